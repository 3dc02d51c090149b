/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files created or opened for writing, from the struct file behind the descriptor that the system
 * call returned: what was really opened, whatever the caller's buffer says by now. */
#ifndef BPF_FILE_BPF_H
#define BPF_FILE_BPF_H

#include "bpf/actor.bpf.h"
#include "bpf/path.bpf.h"

#define DEDUP_WINDOW_NS 1000000000ULL
#define DEDUP_ENTRIES 16384
#define O_TRUNC 01000
#define TRUNCATES_UNKNOWN 2 /* the flags of the call lie in user memory */

struct dedup_key {
	struct rec_image image;
	uint64_t inode;
	uint32_t dev;
	uint32_t op;
};

struct dedup {
	uint64_t sent_ns; /* when the last record of this key was sent */
	uint64_t folded; /* since then */
};

/* What falls out of it was counted as aggregated already: nothing but `repeated` suffers. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DEDUP_ENTRIES);
	__type(key, struct dedup_key);
	__type(value, struct dedup);
} exh_dedup SEC(".maps");

static __always_inline struct file *file_of_fd(struct task_struct *task, long fd)
{
	struct fdtable *table = LOAD(task, files, fdt);
	struct file **files = LOAD(table, fd), *file = NULL;

	if (fd < 0 || fd >= LOAD(table, max_fds))
		return NULL;
	READ_BYTES(&file, sizeof(file), files + fd);
	return file;
}

/* Within the window of a record with the same key? Then it is folded; else *ret_repeated is what
 * was folded into the record before. */
static __always_inline bool fold(const struct dedup_key *key, uint64_t now, uint32_t *ret_repeated)
{
	struct dedup *seen = bpf_map_lookup_elem(&exh_dedup, key);
	struct dedup fresh = { .sent_ns = now };

	if (seen && now - seen->sent_ns < DEDUP_WINDOW_NS) {
		__sync_fetch_and_add(&seen->folded, 1);
		return true;
	}
	if (seen)
		*ret_repeated = seen->folded;
	bpf_map_update_elem(&exh_dedup, key, &fresh, BPF_ANY);
	return false;
}

static __always_inline void send_file(struct slot *slot, uint32_t index, struct file *file,
				      const struct rec_file_open *made, uint32_t class)
{
	struct rec_file_open *rec = (void *)slot->record;
	bool incomplete = false;
	uint32_t len;

	__builtin_memcpy(rec, made, sizeof(*rec));
	rec->path_len = put_path(slot, index, sizeof(*rec), READ(file, f_path.mnt),
				 READ(file, f_path.dentry), &incomplete);
	if (incomplete)
		rec->h.flags |= REC_INCOMPLETE;
	len = sizeof(*rec) + rec->path_len;
	OPAQUE(len);
	if (len > REC_MAX)
		len = REC_MAX;
	emit(&rec->h, len, class, REC_RING_BULK);
}

/* truncates: O_TRUNC was among the flags of the call, or TRUNCATES_UNKNOWN. class: a constant. */
static __always_inline void file_open_body(struct task_struct *task, long fd, uint32_t truncates,
					   uint32_t flags, uint32_t class)
{
	struct file *file;
	struct inode *inode;
	struct rec_file_open rec;
	struct dedup_key key;
	struct slot *slot;
	uint32_t mode, index = 0, dev;

	COUNT(class, seen);
	file = file_of_fd(task, fd);
	mode = READ(file, f_mode);
	inode = mode & (FMODE_WRITE | FMODE_CREATED) ? READ(file, f_inode) : NULL;
	if (!inode || (READ(inode, i_mode) & S_IFMT) != S_IFREG || is_own()) {
		COUNT(class, filtered);
		return;
	}
	__builtin_memset(&rec, 0, sizeof(rec));
	begin(&rec.h, REC_FILE_OPEN, class, REC_RING_BULK);
	rec.h.flags = flags;
	rec.op = mode & FMODE_CREATED ? REC_FILE_CREATE : REC_FILE_OPEN_WRITE;
	rec.inode = READ(inode, i_ino);
	dev = READ(inode, i_sb, s_dev);

	__builtin_memset(&key, 0, sizeof(key));
	fill_image(&key.image, task);
	key.inode = rec.inode;
	key.dev = dev;
	key.op = rec.op;
	if (rec.op != REC_FILE_CREATE && fold(&key, rec.h.boottime_ns, &rec.repeated)) {
		COUNT(class, aggregated);
		return;
	}
	slot = slot_take(&index);
	if (!slot) {
		COUNT(class, lost_scratch);
		return;
	}
	fill_actor(&rec.h.actor, task);
	rec.size = READ(inode, i_size);
	rec.dev_major = KERNEL_MAJOR(dev);
	rec.dev_minor = KERNEL_MINOR(dev);
	rec.mode = READ(inode, i_mode);
	rec.uid = READ(inode, i_uid.val);
	rec.gid = READ(inode, i_gid.val);
	rec.nlink = READ(inode, i_nlink);
	rec.open_flags = READ(file, f_flags);
	/* A size above 0 was not made by truncation. */
	rec.size_before_known = rec.op == REC_FILE_CREATE || truncates == 0 || rec.size > 0;
	send_file(slot, index, file, &rec, class);
	slot_give(slot);
}

#endif
