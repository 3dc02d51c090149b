/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "agent/journal_state.h"
#include "proto/base/reader.h"

#define BLOCK KiB(4)
#define OFFSETS_FIRST 16
#define FILES_FIRST 16

struct journal_file *journal_file_new(bool tombstone, uint64_t number, uint64_t first)
{
	struct journal_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->tombstone = tombstone;
	f->number = number;
	f->first = first;
	return f;
}

void journal_file_free(struct journal_file *f)
{
	if (!f)
		return;
	free(f->offsets);
	free(f);
}

void journal_file_name(const struct journal_file *f, enum batch_lane lane,
		       char buf[static JOURNAL_NAME_MAX])
{
	(void)snprintf(buf, JOURNAL_NAME_MAX, "%s-%016" PRIx64 ".%s",
		       lane == BATCH_LANE_CRITICAL ? "critical" : "bulk",
		       f->tombstone ? f->first : f->number, f->tombstone ? "tomb" : "jrn");
}

int journal_file_reserve(struct journal_file *f)
{
	uint32_t max = f->n_max > 0 ? f->n_max * 2 : OFFSETS_FIRST;
	uint32_t *offsets;

	if (f->n < f->n_max)
		return 0;
	offsets = reallocarray(f->offsets, max, sizeof(*offsets));
	if (!offsets)
		return -ENOMEM;
	f->offsets = offsets;
	f->n_max = max;
	return 0;
}

int journal_file_note(struct journal_file *f, uint32_t offset)
{
	int r = journal_file_reserve(f);

	if (r < 0)
		return r;
	f->offsets[f->n++] = offset;
	return 0;
}

int journal_files_reserve(struct journal_files *l)
{
	size_t max = l->max > 0 ? l->max * 2 : FILES_FIRST;
	struct journal_file **at;

	if (l->n < l->max)
		return 0;
	at = reallocarray(l->at, max, sizeof(struct journal_file *));
	if (!at)
		return -ENOMEM;
	l->at = at;
	l->max = max;
	return 0;
}

void journal_files_push(struct journal_files *l, struct journal_file *f)
{
	l->at[l->n++] = f;
}

void journal_files_free(struct journal_files *l)
{
	for (size_t i = 0; i < l->n; i++)
		journal_file_free(l->at[i]);
	free(l->at);
	*l = (struct journal_files){ 0 };
}

uint64_t journal_file_disk(const struct journal_file *f)
{
	return (f->bytes + BLOCK - 1) & ~(BLOCK - 1);
}

uint64_t journal_disk(const struct journal *j)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < BATCH_LANES; i++) {
		const struct journal_lane *l = &j->lanes[i];

		for (size_t k = 0; k < l->files.n; k++)
			sum += journal_file_disk(l->files.at[k]);
		for (size_t k = 0; k < l->tombs.n; k++)
			sum += journal_file_disk(l->tombs.at[k]);
	}
	return sum;
}

size_t journal_files_find(const struct journal_files *l, uint64_t position)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (journal_file_end(l->at[middle]) <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct journal_file *journal_locate(const struct journal_lane *l, uint64_t position,
				    uint32_t *ret_offset)
{
	const struct journal_files *lists[] = { &l->tombs, &l->files };

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		size_t k = journal_files_find(lists[i], position);
		struct journal_file *f = k < lists[i]->n ? lists[i]->at[k] : NULL;

		if (!f || position < f->first || f->offsets[position - f->first] == 0)
			continue;
		*ret_offset = f->offsets[position - f->first];
		return f;
	}
	return NULL;
}

static int write_all(int fd, struct iovec *v, int n, uint64_t offset)
{
	while (n > 0) {
		ssize_t done = pwritev(fd, v, n, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		offset += (uint64_t)done;
		for (; n > 0 && (size_t)done >= v->iov_len; v++, n--)
			done -= (ssize_t)v->iov_len;
		if (n > 0) {
			v->iov_base = (uint8_t *)v->iov_base + done;
			v->iov_len -= (size_t)done;
		}
	}
	return 0;
}

int journal_file_append(struct journal *j, int fd, const struct journal_file_header *h,
			const struct journal_frame *frame, uint64_t offset, struct error *e)
{
	uint8_t file_header[JOURNAL_FILE_HEADER_LEN], frame_header[JOURNAL_FRAME_HEADER_LEN];
	struct iovec v[] = {
		{ file_header, offset == 0 ? sizeof(file_header) : 0 },
		{ frame_header, sizeof(frame_header) },
		{ (void *)(uintptr_t)frame->body, frame->len },
	};
	int r;

	journal_file_header_write(h, file_header);
	journal_frame_write(frame, h, frame_header);
	r = write_all(fd, v, ARRAY_LEN(v), offset);
	if (r < 0)
		return error_set(e, r, "cannot write %u bytes to the journal '%s': %m", frame->len,
				 j->dir);
	if (fdatasync(fd) < 0)
		return error_set(
			e, -errno,
			"cannot make a batch durable in the journal '%s', so it does not count: %m",
			j->dir);
	if (offset == 0 && fsync(j->dir_fd) < 0)
		return error_set(e, -errno, "cannot sync the journal's folder '%s': %m", j->dir);
	return 0;
}

void journal_file_forget(struct journal *j, const struct journal_file *f)
{
	if (j->read_file != f)
		return;
	close_fd(&j->read_fd);
	j->read_fd = -1;
	j->read_file = NULL;
}

static int open_to_read(struct journal *j, const struct journal_lane *l,
			const struct journal_file *f, struct error *e)
{
	char name[JOURNAL_NAME_MAX];
	int fd;

	if (j->read_file == f)
		return 0;
	journal_file_name(f, l->lane, name);
	fd = openat(j->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(e, errno == ENOENT ? -EBADMSG : -errno, "cannot open '%s/%s': %m",
				 j->dir, name);
	close_fd(&j->read_fd);
	j->read_fd = fd;
	j->read_file = f;
	return 0;
}

/* As many as there are, up to len. */
static ssize_t read_some(int fd, uint8_t *buf, size_t len, uint64_t offset)
{
	bool tried = false;
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EIO && !tried) { /* some disks can do it the second time */
			tried = true;
			continue;
		}
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int journal_file_read(struct journal *j, const struct journal_lane *l, const struct journal_file *f,
		      uint32_t offset, struct journal_frame *ret_f, struct error *e)
{
	struct journal_file_header h = { .lane = l->lane };
	size_t want = f->bytes - offset;
	ssize_t n;
	int r = open_to_read(j, l, f, e);

	if (r < 0)
		return r;
	if (want > JOURNAL_FRAME_HEADER_LEN + JOURNAL_FRAME_MAX)
		want = JOURNAL_FRAME_HEADER_LEN + JOURNAL_FRAME_MAX;
	/* The header tells how much of that is the frame. */
	n = read_some(j->read_fd, j->buf, JOURNAL_FRAME_HEADER_LEN, offset);
	if (n == JOURNAL_FRAME_HEADER_LEN) {
		struct reader len_at = reader_init(j->buf + 16, 4);
		size_t len = reader_u32(&len_at);

		if (len < want - JOURNAL_FRAME_HEADER_LEN)
			want = JOURNAL_FRAME_HEADER_LEN + len;
		n = read_some(j->read_fd, j->buf, want, offset);
	}
	memcpy(h.epoch, f->epoch, sizeof(h.epoch));
	/* A sector that cannot be read is a frame that is not there. */
	if (n < 0 && n != -EIO)
		return error_set(e, (int)n, "cannot read the journal '%s': %m", j->dir);
	if (n < 0 || journal_frame_read(j->buf, (size_t)n, &h, ret_f) != JOURNAL_FOUND_FRAME)
		return error_set(e, -EBADMSG,
				 "a frame in the journal '%s' is not as it was written", j->dir);
	return 0;
}

int journal_file_remove(struct journal *j, const struct journal_lane *l,
			const struct journal_file *f, struct error *e)
{
	char name[JOURNAL_NAME_MAX], aside[JOURNAL_NAME_MAX + sizeof(".damaged")];
	int r;

	journal_file_forget(j, f);
	journal_file_name(f, l->lane, name);
	(void)snprintf(aside, sizeof(aside), "%s.damaged", name);
	r = f->damaged ? renameat(j->dir_fd, name, j->dir_fd, aside) : unlinkat(j->dir_fd, name, 0);
	if (r < 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot remove '%s/%s': %m", j->dir, name);
	return 0;
}
