/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/durable_mark.h"

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define NAME_MAX_BYTES (SEGMENT_ID_TEXT + 16)
/* Two slots in turn: one that a crash tears leaves the one before it. */
#define SLOTS 2
#define SLOT 16 /* length u64, ordinal u32, CRC-32 of the segment's id and these 12 bytes */

struct durable_marker {
	int fd;
	struct segment_id id;
	unsigned int next; /* slot */
};

static const char *name_of(const struct segment_id *id, char buf[static NAME_MAX_BYTES])
{
	char text[SEGMENT_ID_TEXT];

	(void)snprintf(buf, NAME_MAX_BYTES, "%s.mark", segment_id_text(id, text));
	return buf;
}

static uint32_t crc_of(const struct segment_id *id, const uint8_t slot[static SLOT])
{
	return (uint32_t)crc32(crc32(0, id->b, SEGMENT_ID_LEN), slot, SLOT - 4);
}

struct durable_marker *durable_marker_new(int dirfd, const struct segment_id *id)
{
	struct durable_marker *m = calloc(1, sizeof(*m));
	char name[NAME_MAX_BYTES];

	if (!m)
		return NULL;
	m->id = *id;
	m->fd = openat(dirfd, name_of(id, name),
		       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (m->fd < 0) {
		/* What an older one says may be more than the file holds by now. */
		durable_mark_remove(dirfd, id);
		free(m);
		return NULL;
	}
	return m;
}

void durable_marker_free(struct durable_marker *m)
{
	if (!m)
		return;
	close_fd(&m->fd);
	free(m);
}

void durable_marker_set(struct durable_marker *m, const struct durable_mark *mark)
{
	uint8_t slot[SLOT];
	struct writer w = writer_init(slot, SLOT);
	ssize_t n;

	if (!m || m->fd < 0)
		return;
	writer_u64(&w, mark->length);
	writer_u32(&w, mark->ordinal);
	writer_u32(&w, crc_of(&m->id, slot));
	do
		n = pwrite(m->fd, slot, SLOT, (off_t)m->next * SLOT);
	while (n < 0 && errno == EINTR);
	m->next = (m->next + 1) % SLOTS;
	if (n == SLOT)
		return;
	close_fd(&m->fd);
	m->fd = -1;
}

static void take_slot(const struct segment_id *id, const uint8_t slot[static SLOT],
		      struct durable_mark *best)
{
	struct reader r = reader_init(slot, SLOT);
	struct durable_mark m = { .length = reader_u64(&r), .ordinal = reader_u32(&r) };

	if (reader_u32(&r) == crc_of(id, slot) && m.length > best->length)
		*best = m;
}

void durable_mark_read(int dirfd, const struct segment_id *id, struct durable_mark *ret)
{
	char name[NAME_MAX_BYTES];
	AUTO(close_fd)
	int fd = openat(dirfd, name_of(id, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t slots[SLOTS * SLOT];
	ssize_t n = fd < 0 ? -1 : segment_pread(&fd, 0, slots, sizeof(slots));

	*ret = (struct durable_mark){ 0 };
	for (ssize_t at = 0; at + SLOT <= n; at += SLOT)
		take_slot(id, slots + at, ret);
}

void durable_mark_remove(int dirfd, const struct segment_id *id)
{
	char name[NAME_MAX_BYTES];

	(void)unlinkat(dirfd, name_of(id, name), 0);
}
