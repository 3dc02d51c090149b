/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cut_off.h"

#include "proto/base/files.h"
#include "proto/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK KiB(64)
#define OFFSET_DIGITS 16
#define NAME_LEN (2 * SEGMENT_ID_LEN + 1 + OFFSET_DIGITS + 4)

static const char *name_of(const struct segment_id *id, uint64_t offset,
			   char buf[static CUT_OFF_NAME_MAX])
{
	char text[SEGMENT_ID_TEXT];

	(void)snprintf(buf, CUT_OFF_NAME_MAX, "%s-%016" PRIx64 ".cut", segment_id_text(id, text),
		       offset);
	return buf;
}

bool cut_off_parse(const char *name, struct segment_id *ret_id, uint64_t *ret_offset)
{
	const char *digits = name + 2 * SEGMENT_ID_LEN + 1;
	char *end;

	if (strlen(name) != NAME_LEN || digits[-1] != '-' ||
	    strspn(digits, "0123456789abcdef") != OFFSET_DIGITS ||
	    strcmp(digits + OFFSET_DIGITS, ".cut") != 0)
		return false;
	*ret_offset = strtoull(digits, &end, 16);
	return segment_id_parse(name, 2 * SEGMENT_ID_LEN, ret_id);
}

int cut_off_each(int dirfd,
		 void (*fn)(void *ctx, const char *name, const struct segment_id *id,
			    uint64_t offset, uint64_t bytes),
		 void *ctx)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int r;

	if (!d) {
		r = -errno;
		close_fd(&fd);
		return r;
	}
	while ((errno = 0, entry = readdir(d))) {
		struct segment_id id;
		uint64_t offset;
		struct stat st;

		if (cut_off_parse(entry->d_name, &id, &offset) &&
		    fstatat(dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			fn(ctx, entry->d_name, &id, offset, (uint64_t)st.st_size);
	}
	r = -errno;
	(void)closedir(d);
	return r;
}

static void count_one(void *ctx, const char *name, const struct segment_id *id, uint64_t offset,
		      uint64_t bytes)
{
	struct cut_off_totals *t = ctx;

	(void)name, (void)id, (void)offset;
	t->files++;
	t->bytes += bytes;
}

void cut_off_count(int dirfd, struct cut_off_totals *add_to)
{
	/* A number for people to see; the folder was listed a moment ago. */
	(void)!cut_off_each(dirfd, count_one, add_to);
}

struct removal {
	int dirfd;
	uint64_t sequence;
	struct cut_off_totals *take_from;
};

static void remove_one(void *ctx, const char *name, const struct segment_id *id, uint64_t offset,
		       uint64_t bytes)
{
	struct removal *m = ctx;

	(void)offset;
	if (segment_id_sequence(id) > m->sequence || unlinkat(m->dirfd, name, 0) < 0)
		return;
	if (m->take_from->files)
		m->take_from->files--;
	m->take_from->bytes -= bytes < m->take_from->bytes ? bytes : m->take_from->bytes;
}

void cut_off_remove(int dirfd, uint64_t sequence, struct cut_off_totals *take_from)
{
	struct removal m = { dirfd, sequence, take_from };

	if (take_from->files)
		(void)!cut_off_each(dirfd, remove_one, &m);
}

static int copy(int from, uint64_t offset, uint64_t size, int to, struct error *e)
{
	AUTO(free_ptr) uint8_t *chunk = malloc(CHUNK);
	int r = 0;

	if (!chunk)
		return error_set(e, -ENOMEM, "cannot allocate a buffer");
	while (!r && offset < size) {
		uint64_t left = size - offset;
		ssize_t n =
			segment_pread(&from, offset, chunk, left < CHUNK ? (size_t)left : CHUNK);

		if (n <= 0)
			return error_set(e, n < 0 ? (int)n : -EIO, "cannot read: %m");
		r = files_write_all(to, chunk, (size_t)n, e);
		offset += (uint64_t)n;
	}
	if (!r && fsync(to) < 0)
		r = error_set(e, -errno, "cannot sync: %m");
	return r;
}

int cut_off_keep(int dirfd, const struct segment_id *id, int fd, uint64_t offset, uint64_t size,
		 uint64_t *ret_bytes, struct error *e)
{
	struct cut_off_totals there = { 0 };
	char name[CUT_OFF_NAME_MAX];
	uint64_t bytes = size - offset < CUT_OFF_BYTES_MAX ? size - offset : CUT_OFF_BYTES_MAX;
	int to, r;

	cut_off_count(dirfd, &there);
	*ret_bytes = 0;
	if (there.files >= CUT_OFF_FILES_MAX) {
		log_warn("torn end of a segment not kept: so many are kept already",
			 KV_U64("files", there.files));
		return 0;
	}
	to = openat(dirfd, name_of(id, offset, name),
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return error_set(e, -errno, "cannot make '%s': %m", name);
	r = copy(fd, offset, offset + bytes, to, e);
	if (close(to) < 0 && !r)
		r = error_set(e, -errno, "cannot close: %m");
	if (r || fsync(dirfd) < 0) {
		r = r ? r : error_set(e, -errno, "cannot sync the folder: %m");
		(void)unlinkat(dirfd, name, 0);
		return error_wrap(e, r, "cannot keep what was cut off as '%s'", name);
	}
	*ret_bytes = bytes;
	return 0;
}
