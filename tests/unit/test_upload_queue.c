/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/upload_queue.h"

#include <errno.h>

#include "exhibit.pb-c.h"
#include "proto/envelope.h"
#include "rows.h"

static uint8_t *pack(const Exhibit__V1__UploadRequest *q, size_t *ret_len)
{
	uint8_t *data = malloc(exhibit__v1__upload_request__get_packed_size(q));

	assert_non_null(data);
	*ret_len = exhibit__v1__upload_request__pack(q, data);
	return data;
}

static void push_item(struct upload_queue *q, uint32_t item)
{
	Exhibit__V1__UploadRequest m = EXHIBIT__V1__UPLOAD_REQUEST__INIT;
	Exhibit__V1__ItemStart start = EXHIBIT__V1__ITEM_START__INIT;
	size_t len;

	start.item = item;
	m.kind_case = EXHIBIT__V1__UPLOAD_REQUEST__KIND_ITEM;
	m.item = &start;
	uint8_t *data = pack(&m, &len);

	assert_int_equal(upload_queue_push(q, data, len), 0);
}

static int push_chunk(struct upload_queue *q, uint32_t item, uint64_t offset, size_t bytes)
{
	Exhibit__V1__UploadRequest m = EXHIBIT__V1__UPLOAD_REQUEST__INIT;
	Exhibit__V1__Chunk chunk = EXHIBIT__V1__CHUNK__INIT;
	size_t len;

	chunk.item = item;
	chunk.offset = offset;
	chunk.raw_bytes = 100;
	chunk.data = (ProtobufCBinaryData){ bytes, calloc(1, bytes + 1) };
	m.kind_case = EXHIBIT__V1__UPLOAD_REQUEST__KIND_CHUNK;
	m.chunk = &chunk;
	uint8_t *data = pack(&m, &len);
	int r = upload_queue_push(q, data, len);

	free(chunk.data.data);
	if (r < 0)
		free(data);
	return r;
}

/* Send the next; what it is: 0: nothing; an item's number, plus 1000 for its start, else offset * 10000. */
static uint64_t send_next(struct upload_queue *q)
{
	const uint8_t *data;
	size_t len;
	uint64_t what;

	if (!upload_queue_next(q, &data, &len))
		return 0;
	Exhibit__V1__UploadRequest *m = exhibit__v1__upload_request__unpack(NULL, len, data);

	assert_non_null(m);
	what = m->kind_case == EXHIBIT__V1__UPLOAD_REQUEST__KIND_ITEM ?
		       1000 + m->item->item :
		       m->chunk->item + 10000 * m->chunk->offset;
	exhibit__v1__upload_request__free_unpacked(m, NULL);
	upload_queue_sent(q);
	return what;
}

static void test_hostile(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = {
		{ "", 0 },
		{ "\x0a\x00", 2 }, /* a start is the uplink's own */
		{ "\x2a\x00", 2 }, /* so is a manifest */
		{ "\x32\x00", 2 }, /* unknown */
		{ "\x12\x01", 2 }, /* cut */
		{ "\x12\x00\x12\x00", 4 }, /* two: the last would count */
		{ "\x1a\x00", 2 }, /* a chunk of no item */
		{ "\x1a\x02\x08", 3 },
	};
	struct upload_queue *q = upload_queue_new();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(free_ptr) uint8_t *data = malloc(rows[i].len + 1);

		memcpy(data, rows[i].bytes, rows[i].len);
		assert_int_equal(upload_queue_push(q, data, rows[i].len), -EBADMSG);
	}
	assert_true(upload_queue_idle(q));
	upload_queue_free(q);
}

static void test_again(void **state)
{
	struct upload_queue *q = upload_queue_new();

	(void)state;
	push_item(q, 1);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(push_chunk(q, 1, i * 100, 1), 0);
	upload_queue_rewind(q, 1, 0);
	assert_int_equal(send_next(q), 1001);
	assert_int_equal(send_next(q), 1);
	assert_int_equal(send_next(q), 1000001);
	upload_queue_durable(q, 2);
	/* The call breaks: what is not durable goes again, and once. */
	upload_queue_rewind(q, 1, 100);
	assert_int_equal(send_next(q), 1000001);
	assert_int_equal(send_next(q), 2000001);
	upload_queue_durable(q, 2);
	assert_int_equal(send_next(q), 3000001);
	assert_int_equal(send_next(q), 0);
	assert_true(upload_queue_idle(q));
	/* More than was sent counts as all of it. */
	upload_queue_durable(q, 99);
	assert_int_equal(send_next(q), 0);
	upload_queue_free(q);
}

/* The source is read again from its start: chunks that are there already are passed over, at once. */
static void test_held(void **state)
{
	struct upload_queue *q = upload_queue_new();

	(void)state;
	upload_queue_rewind(q, 2, 200);
	push_item(q, 1);
	assert_int_equal(push_chunk(q, 1, 0, 1), 0);
	push_item(q, 2);
	assert_int_equal(send_next(q), 1001);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(push_chunk(q, 2, i * 100, 1), 0);
	assert_int_equal(send_next(q), 1002);
	assert_int_equal(send_next(q), 2000002);
	assert_int_equal(send_next(q), 3000002);
	assert_int_equal(send_next(q), 0);
	/* Three of four requests: those passed over were none. */
	upload_queue_durable(q, 3);
	upload_queue_rewind(q, 2, 300);
	assert_int_equal(send_next(q), 3000002);
	assert_int_equal(send_next(q), 0);
	upload_queue_free(q);
}

static void test_interleaved(void **state)
{
	struct upload_queue *q = upload_queue_new();

	(void)state;
	upload_queue_rewind(q, 1, 0);
	push_item(q, 1);
	push_item(q, 2);
	assert_int_equal(push_chunk(q, 2, 0, 1), 0);
	assert_int_equal(push_chunk(q, 1, 0, 1), 0);
	assert_int_equal(push_chunk(q, 2, 100, 1), 0);
	while (send_next(q) != 0)
		continue;
	upload_queue_durable(q, 4);
	/* Of item 1 nothing more came: item 2 goes on all the same. */
	upload_queue_rewind(q, 1, 100);
	assert_int_equal(send_next(q), 1000002);
	assert_int_equal(send_next(q), 0);
	upload_queue_free(q);
}

static void test_full(void **state)
{
	struct upload_queue *q = upload_queue_new();
	size_t n = 0;

	(void)state;
	upload_queue_rewind(q, 1, 0);
	while (push_chunk(q, 1, n * 100, MiB(1)) == 0)
		n++;
	assert_int_equal(n, 24);
	assert_true(upload_queue_full(q));
	assert_int_equal(send_next(q), 1);
	upload_queue_durable(q, 1);
	assert_false(upload_queue_full(q));
	upload_queue_free(q);
	q = upload_queue_new();
	for (n = 0; push_chunk(q, 1, n * 100, 0) == 0; n++)
		continue;
	assert_int_equal(n, UPLOAD_QUEUE_MESSAGES);
	upload_queue_free(q);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_hostile);
	ADD_TEST(&t, test_full);
	ADD_TEST(&t, test_again);
	ADD_TEST(&t, test_held);
	ADD_TEST(&t, test_interleaved);
	return tests_run(&t, "upload_queue");
}
