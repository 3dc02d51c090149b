/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/upload_queue.h"

#include <errno.h>

#include "proto/wire.h"

/* UploadRequest's and Chunk's field numbers (exhibit.proto). */
enum { REQUEST_ITEM = 2, REQUEST_CHUNK = 3, REQUEST_END = 4 };
enum { CHUNK_ITEM = 1, CHUNK_OFFSET = 2, CHUNK_RAW_BYTES = 3 };

struct message {
	uint8_t *data; /* NULL: the collector had it before; it is passed over */
	size_t len;
	bool chunk;
	uint32_t item;
	uint64_t end; /* of a chunk: the byte behind it */
};

struct upload_queue {
	/* A ring: at[first] is the oldest, `sent` of the n were sent on this call. */
	struct message at[UPLOAD_QUEUE_MESSAGES];
	size_t first, n, sent;
	uint64_t bytes;
	uint64_t durable; /* requests of this call that left the front */
	uint32_t held_item; /* what the collector had when this call began */
	uint64_t held_offset;
};

struct upload_queue *upload_queue_new(void)
{
	return calloc(1, sizeof(struct upload_queue));
}

static struct message *message_at(struct upload_queue *q, size_t i)
{
	return &q->at[(q->first + i) % UPLOAD_QUEUE_MESSAGES];
}

void upload_queue_free(struct upload_queue *q)
{
	if (q == NULL)
		return;
	for (size_t i = 0; i < q->n; i++)
		free(message_at(q, i)->data);
	free(q);
}

static bool read_chunk(const uint8_t *data, size_t len, struct message *ret)
{
	struct reader r = reader_init(data, len);
	struct wire_field f;
	uint64_t item = 0, offset = 0, raw = 0;

	while (wire_next(&r, &f)) {
		if (f.type != WIRE_VARINT)
			continue;
		if (f.number == CHUNK_ITEM)
			item = f.value;
		else if (f.number == CHUNK_OFFSET)
			offset = f.value;
		else if (f.number == CHUNK_RAW_BYTES)
			raw = f.value;
	}
	ret->chunk = true;
	ret->item = (uint32_t)item;
	return !r.bad && item > 0 && item <= UINT32_MAX &&
	       !__builtin_add_overflow(offset, raw, &ret->end);
}

/* One field alone: what an acquirer says is what the collector's parser will see. */
static bool read_message(struct message *m)
{
	struct reader r = reader_init(m->data, m->len);
	struct wire_field f;

	if (!wire_next(&r, &f) || r.left > 0 || f.type != WIRE_LEN)
		return false;
	if (f.number == REQUEST_CHUNK)
		return read_chunk(f.bytes, f.len, m);
	return f.number == REQUEST_ITEM || f.number == REQUEST_END;
}

bool upload_queue_full(const struct upload_queue *q)
{
	return q->n == UPLOAD_QUEUE_MESSAGES || q->bytes >= UPLOAD_QUEUE_BYTES;
}

bool upload_queue_idle(const struct upload_queue *q)
{
	return q->sent == q->n;
}

int upload_queue_push(struct upload_queue *q, uint8_t *data, size_t len)
{
	struct message m = { .data = data, .len = len };

	if (!read_message(&m))
		return -EBADMSG;
	if (upload_queue_full(q))
		return -EAGAIN;
	*message_at(q, q->n++) = m;
	q->bytes += len;
	return 0;
}

static void drop_front(struct upload_queue *q)
{
	struct message *m = message_at(q, 0);

	q->bytes -= m->len;
	free(m->data);
	*m = (struct message){ 0 };
	q->first = (q->first + 1) % UPLOAD_QUEUE_MESSAGES;
	q->n--;
}

/* From the front, what was passed over: it is no request of this call. */
static void drop_passed(struct upload_queue *q)
{
	while (q->sent > 0 && message_at(q, 0)->data == NULL) {
		drop_front(q);
		q->sent--;
	}
}

static bool held(const struct upload_queue *q, const struct message *m)
{
	return m->chunk &&
	       (m->item < q->held_item || (m->item == q->held_item && m->end <= q->held_offset));
}

bool upload_queue_next(struct upload_queue *q, const uint8_t **ret_data, size_t *ret_len)
{
	while (q->sent < q->n) {
		struct message *m = message_at(q, q->sent);

		if (m->data != NULL && !held(q, m)) {
			*ret_data = m->data;
			*ret_len = m->len;
			return true;
		}
		q->bytes -= m->len;
		m->len = 0;
		free(TAKE(m->data));
		q->sent++;
		drop_passed(q);
	}
	return false;
}

void upload_queue_sent(struct upload_queue *q)
{
	q->sent++;
}

void upload_queue_rewind(struct upload_queue *q, uint32_t item, uint64_t offset)
{
	q->sent = 0;
	q->durable = 0;
	q->held_item = item;
	q->held_offset = offset;
}

void upload_queue_durable(struct upload_queue *q, uint64_t requests)
{
	while (q->durable < requests && q->sent > 0) {
		drop_front(q);
		q->sent--;
		q->durable++;
		drop_passed(q);
	}
}
