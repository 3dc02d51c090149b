/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/journal_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <zlib.h>

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#define NAME "marks"

static unsigned int index_of(enum batch_lane lane)
{
	return lane == BATCH_LANE_BULK ? 1 : 0;
}

/* file u64, length u64, position u64, lane u32, CRC-32 of these 28 bytes. */
static void write_slot(const struct journal_mark *m, enum batch_lane lane,
		       uint8_t slot[static JOURNAL_MARK_LEN])
{
	struct writer w = writer_init(slot, JOURNAL_MARK_LEN);

	writer_u64(&w, m->file);
	writer_u64(&w, m->length);
	writer_u64(&w, m->position);
	writer_u32(&w, (uint32_t)lane);
	writer_u32(&w, (uint32_t)crc32(0, slot, JOURNAL_MARK_LEN - 4));
}

static bool is_newer(const struct journal_mark *m, const struct journal_mark *than)
{
	return m->file > than->file || (m->file == than->file && m->length > than->length);
}

static void take_slot(struct reader *r, enum batch_lane lane, struct journal_mark *best)
{
	struct journal_mark m = { 0 };
	uint32_t sum = 0, whose;

	if (r->left >= JOURNAL_MARK_LEN)
		sum = (uint32_t)crc32(0, r->at, JOURNAL_MARK_LEN - 4);
	m.file = reader_u64(r);
	m.length = reader_u64(r);
	m.position = reader_u64(r);
	whose = reader_u32(r);
	if (reader_u32(r) == sum && !r->bad && whose == (uint32_t)lane &&
	    m.file < JOURNAL_POSITION_MAX && m.position < JOURNAL_POSITION_MAX &&
	    is_newer(&m, best))
		*best = m;
}

void journal_marks_read(const uint8_t *data, size_t len,
			struct journal_mark ret[static BATCH_LANES])
{
	struct reader r = reader_init(data, len);

	for (unsigned int i = 0; i < BATCH_LANES; i++) {
		ret[i] = (struct journal_mark){ 0 };
		for (unsigned int slot = 0; slot < JOURNAL_MARK_SLOTS; slot++)
			take_slot(&r, (enum batch_lane)(i + 1), &ret[i]);
	}
}

void journal_marker_open(struct journal_marker *m, int dir_fd,
			 struct journal_mark ret[static BATCH_LANES])
{
	uint8_t bytes[JOURNAL_MARKS_LEN];
	ssize_t n;

	*m = (struct journal_marker){
		.fd = openat(dir_fd, NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)
	};
	n = m->fd < 0 ? -1 : pread(m->fd, bytes, sizeof(bytes), 0);
	journal_marks_read(bytes, n > 0 ? (size_t)n : 0, ret);
}

void journal_marker_close(struct journal_marker *m)
{
	close_fd(&m->fd);
	m->fd = -1;
}

void journal_marker_set(struct journal_marker *m, enum batch_lane lane,
			const struct journal_mark *mark)
{
	unsigned int *next = &m->next[index_of(lane)];
	uint8_t slot[JOURNAL_MARK_LEN];
	off_t at = (off_t)(index_of(lane) * JOURNAL_MARK_SLOTS + *next) * JOURNAL_MARK_LEN;
	ssize_t n;

	if (m->fd < 0)
		return;
	write_slot(mark, lane, slot);
	do
		n = pwrite(m->fd, slot, sizeof(slot), at);
	while (n < 0 && errno == EINTR);
	*next = (*next + 1) % JOURNAL_MARK_SLOTS;
	if (n != (ssize_t)sizeof(slot))
		journal_marker_close(m);
}
