/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of a segment file: write a head, read frames one after the other, get past damage, tell a
 * torn tail from damage. Format: collector/README.md "segments". Pure functions over a read callback
 * (production: pread; fuzzing: memory). Any thread; a scan belongs to one. */
#ifndef COLLECTOR_SEGMENT_H
#define COLLECTOR_SEGMENT_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/batch.h"

#define SEGMENT_VERSION 1
#define SEGMENT_HEAD 36 /* bytes before each body */
#define SEGMENT_BODY_MAX MiB(2)
#define SEGMENT_TRAILER 16
#define SEGMENT_ID_LEN 16
#define SEGMENT_ID_TEXT (2 * SEGMENT_ID_LEN + 1)
#define SEGMENT_STREAMS_MAX 16384 /* different streams in one segment */

/* Sequence number within the tenant (big-endian, from 1), then 8 random bytes. */
struct segment_id {
	uint8_t b[SEGMENT_ID_LEN];
};

enum frame_kind {
	FRAME_BATCH = 1, /* the first four are store_kind */
	FRAME_TOMBSTONE = 2,
	FRAME_HOST_RECORD = 3,
	FRAME_RETENTION = 4,
	FRAME_BEGIN = 16, /* the first of each segment */
	FRAME_END = 17, /* the last one of a sealed segment, followed by the trailer */
};

#define FRAME_CONFLICT 1u /* flag: another batch with this key was here already */

struct frame {
	enum frame_kind kind;
	uint16_t flags;
	uint32_t length; /* of the body */
	uint32_t ordinal; /* 0, 1, 2 ... in the segment */
	uint32_t group; /* ordinal of the first frame of its group commit */
	int64_t received_ns;
	uint64_t offset; /* of the head */
	const uint8_t *body; /* reading: in the scan's buffer until the next call */
};

uint64_t segment_id_sequence(const struct segment_id *id);
void segment_id_make(struct segment_id *ret_id, uint64_t sequence, const uint8_t random[static 8]);
const char *segment_id_text(const struct segment_id *id, char buf[static SEGMENT_ID_TEXT]);
MUST_CHECK bool segment_id_parse(const char *text, size_t len, struct segment_id *ret_id);

void segment_frame_head(const struct segment_id *id, const struct frame *f,
			uint8_t head[static SEGMENT_HEAD]);
/* Up to len bytes at offset; less only at the end; negative errno. */
typedef ssize_t (*segment_read_fn)(void *ctx, uint64_t offset, void *buf, size_t len);
ssize_t segment_pread(void *fd, uint64_t offset, void *buf, size_t len); /* ctx: int * */

/* One frame whose place is known: malloc'ed body. -EBADMSG: not that frame (why in e), -ENOMEM, -EIO. */
MUST_CHECK int segment_read_frame(segment_read_fn read, void *ctx, const struct segment_id *id,
				  uint64_t offset, struct frame *ret_f, uint8_t **ret_body,
				  struct error *e);

/* Its head alone: body is NULL and not checked. */
MUST_CHECK int segment_read_head(segment_read_fn read, void *ctx, const struct segment_id *id,
				 uint64_t offset, struct frame *ret_f, struct error *e);

struct segment_scan;

/* size: bytes to look at. */
MUST_CHECK int segment_scan_new(segment_read_fn read, void *ctx, const struct segment_id *id,
				uint64_t size, struct segment_scan **ret_s, struct error *e);
void segment_scan_free(struct segment_scan *s);
static inline void segment_scan_free_ptr(struct segment_scan **s)
{
	segment_scan_free(*s);
}
/* 1: a frame. 0: the end, exactly behind a frame (or behind the trailer). -EBADMSG: what stands at
 * segment_scan_offset is no frame, e says why. -EIO, -ENOMEM. */
MUST_CHECK int segment_scan_next(struct segment_scan *s, struct frame *ret_f, struct error *e);
uint64_t segment_scan_offset(const struct segment_scan *s);
/* Go to the next whole frame at the bad place (one that is out of turn) or behind it, or to the end. */
MUST_CHECK int segment_scan_skip(struct segment_scan *s, struct error *e);
void segment_scan_seek(struct segment_scan *s, uint64_t offset, uint32_t ordinal);

enum segment_fault { SEGMENT_INTACT, SEGMENT_TORN, SEGMENT_DAMAGED };

/* After -EBADMSG: DAMAGED when the place was durable: it lies below durable (bytes that are known to have been
 * synced, 0: none), or a later group follows. Else TORN: nothing from there on is known to have been
 * acknowledged. The scan stays where it is. */
MUST_CHECK int segment_scan_judge(struct segment_scan *s, uint64_t durable,
				  enum segment_fault *ret_fault, struct error *e);

/* Body of FRAME_BEGIN. */
struct segment_begin {
	struct segment_id id, previous; /* zero: the tenant's first */
	struct seal_hash previous_root; /* Merkle root of the previous one; zero: not known */
	uint64_t previous_length; /* 0: all of it counts. Else it was abandoned after an error: what stands
				   * behind this length was never acknowledged, and came again elsewhere */
	int64_t created_ns;
	uint8_t retention_class; /* 1 */
	struct batch_name tenant;
};
#define SEGMENT_BEGIN_MAX (16 + 16 + 32 + 8 + 8 + 1 + 1 + BATCH_NAME_MAX)
size_t segment_begin_pack(const struct segment_begin *b, uint8_t buf[static SEGMENT_BEGIN_MAX]);
/* What the segment (name in dirfd) says of the length of the one before it. 0: nothing, or not readable. */
uint64_t segment_previous_length(int dirfd, const char *name, const struct segment_id *id,
				 const struct segment_id *previous);
MUST_CHECK int segment_begin_parse(const uint8_t *body, size_t len, struct segment_begin *ret_b,
				   struct error *e);

/* Body of FRAME_END, less its streams, which follow as segment_end_stream. */
struct segment_end {
	uint32_t frames; /* before this one */
	uint32_t batches, tombstones;
	uint64_t events;
	int64_t first_wall_ns, last_wall_ns, first_received_ns, last_received_ns;
	struct seal_hash root; /* RFC 6962 over the bodies of all frames before this one */
	struct seal_hash sha256; /* of all bytes of the file before this frame */
	uint32_t streams;
};
struct segment_end_stream {
	struct batch_name host_id;
	uint8_t boot_id[BATCH_BOOT_LEN], epoch[BATCH_EPOCH_LEN];
	uint8_t lane;
	uint64_t first_number, last_number;
};
#define SEGMENT_END_FIXED (4 + 4 + 4 + 8 + 4 * 8 + 32 + 32 + 4)
#define SEGMENT_END_STREAM_MAX (1 + BATCH_NAME_MAX + 16 + 16 + 1 + 8 + 8)
struct writer;
struct reader;
void segment_end_write(struct writer *w, const struct segment_end *end);
void segment_end_stream_write(struct writer *w, const struct segment_end_stream *s);
MUST_CHECK int segment_end_read(struct reader *r, struct segment_end *ret_end, struct error *e);
/* 1: one more, 0: the end, -EBADMSG. */
MUST_CHECK int segment_end_stream_read(struct reader *r, struct segment_end_stream *ret_s);
/* The last bytes of a sealed segment: where FRAME_END's head stands. */
void segment_trailer_pack(uint64_t end_offset, uint8_t buf[static SEGMENT_TRAILER]);
MUST_CHECK bool segment_trailer_parse(const uint8_t buf[static SEGMENT_TRAILER],
				      uint64_t *ret_end_offset);

#endif
