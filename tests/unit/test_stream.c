/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <zstd.h>

#include "agent/acquire/control.h"
#include "exhibit.pb-c.h"
#include "proto/base/clock.h"
#include "proto/base/reader.h"
#include "rows.h"

#define HOUR_NS (3600 * NSEC_PER_SEC)

/* The uplink's and sense's part. */
struct world {
	int payload[2], control[2];
	struct output *o;
	struct error e;
	pthread_t reader;
	size_t n; /* messages */
	Exhibit__V1__UploadRequest *got[64];
};

static bool read_all(int fd, uint8_t *at, size_t len)
{
	for (ssize_t n; len > 0; at += n, len -= (size_t)n)
		if ((n = recv(fd, at, len, 0)) <= 0)
			return false;
	return true;
}

static void *read_payload(void *arg)
{
	struct world *w = arg;
	uint8_t *data = malloc(STREAM_MESSAGE_MAX);

	while (w->n < ARRAY_LEN(w->got)) {
		uint8_t head[4];

		if (!read_all(w->payload[1], head, sizeof(head)))
			break;
		struct reader r = reader_init(head, sizeof(head));
		uint32_t len = reader_u32(&r);

		if (len > STREAM_MESSAGE_MAX || !read_all(w->payload[1], data, len))
			break;
		w->got[w->n] = exhibit__v1__upload_request__unpack(NULL, len, data);
		if (w->got[w->n++] == NULL)
			break;
	}
	free(data);
	return NULL;
}

static void open_world(struct world *w, struct stream_config *c)
{
	memset(w, 0, sizeof(*w));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, w->payload), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, w->control), 0);
	c->payload = w->payload[0];
	c->control = w->control[0];
	assert_int_equal(output_stream(c, &w->o, &w->e), 0);
}

static void start_reader(struct world *w)
{
	assert_int_equal(pthread_create(&w->reader, NULL, read_payload, w), 0);
}

static void end_reader(struct world *w)
{
	assert_int_equal(shutdown(w->payload[0], SHUT_WR), 0);
	assert_int_equal(pthread_join(w->reader, NULL), 0);
}

static void close_world(struct world *w)
{
	output_free(w->o);
	for (size_t i = 0; i < w->n; i++)
		exhibit__v1__upload_request__free_unpacked(w->got[i], NULL);
	for (size_t i = 0; i < 2; i++) {
		(void)close(w->payload[i]);
		(void)close(w->control[i]);
	}
}

static void expect_chunk(const Exhibit__V1__UploadRequest *q, uint64_t offset, uint32_t len,
			 Exhibit__V1__Codec codec, const uint8_t *raw)
{
	static uint8_t out[OUTPUT_CHUNK_BYTES];
	struct seal_hash want;

	assert_int_equal(q->kind_case, EXHIBIT__V1__UPLOAD_REQUEST__KIND_CHUNK);
	assert_int_equal(q->chunk->offset, offset);
	assert_int_equal(q->chunk->raw_bytes, len);
	assert_int_equal(q->chunk->codec, codec);
	assert_int_equal(seal_sha256(raw, len, &want), 0);
	assert_int_equal(q->chunk->sha256.len, sizeof(want));
	assert_memory_equal(q->chunk->sha256.data, &want, sizeof(want));
	if (codec == EXHIBIT__V1__CODEC__CODEC_ZERO)
		assert_int_equal(q->chunk->data.len, 0);
	if (codec == EXHIBIT__V1__CODEC__CODEC_RAW)
		assert_memory_equal(q->chunk->data.data, raw, len);
	if (codec == EXHIBIT__V1__CODEC__CODEC_ZSTD) {
		assert_int_equal(ZSTD_decompress(out, sizeof(out), q->chunk->data.data,
						 q->chunk->data.len),
				 len);
		assert_memory_equal(out, raw, len);
	}
}

static void test_payload(void **state)
{
	struct stream_config c = { 0 };
	struct world w;
	AUTO(free_ptr) uint8_t *data = calloc(1, MiB(4));
	struct seal_hash hash;
	uint32_t item;

	(void)state;
	for (size_t i = 0; i < MiB(1); i++)
		data[i] = (uint8_t)(i / 100);
	uint64_t x = 1;
	for (size_t i = MiB(2); i < MiB(3); i++) /* does not get smaller */
		data[i] = (uint8_t)((x = x * 6364136223846793005 + 1442695040888963407) >> 56);
	data[MiB(3)] = 'x';
	open_world(&w, &c);
	start_reader(&w);
	assert_int_equal(output_begin(w.o, "disk.raw", "raw", 77, &item, &w.e), 0);
	assert_int_equal(output_write(w.o, item, data, MiB(1), &w.e), 0);
	assert_int_equal(output_zeros(w.o, item, MiB(1), &w.e), 0);
	assert_int_equal(output_write(w.o, item, data + MiB(2), MiB(1) + 1, &w.e), 0);
	assert_int_equal(output_end(w.o, item, NULL, &hash, &w.e), 0);
	end_reader(&w);
	assert_int_equal(w.n, 6);
	assert_int_equal(w.got[0]->kind_case, EXHIBIT__V1__UPLOAD_REQUEST__KIND_ITEM);
	assert_int_equal(w.got[0]->item->expected_bytes, 77);
	assert_int_equal(w.got[0]->item->name.len, 8);
	expect_chunk(w.got[1], 0, MiB(1), EXHIBIT__V1__CODEC__CODEC_ZSTD, data);
	expect_chunk(w.got[2], MiB(1), MiB(1), EXHIBIT__V1__CODEC__CODEC_ZERO, data + MiB(1));
	expect_chunk(w.got[3], MiB(2), MiB(1), EXHIBIT__V1__CODEC__CODEC_RAW, data + MiB(2));
	expect_chunk(w.got[4], MiB(3), 1, EXHIBIT__V1__CODEC__CODEC_RAW, data + MiB(3));
	assert_int_equal(w.got[5]->end->bytes, MiB(3) + 1);
	assert_memory_equal(w.got[5]->end->sha256.data, &hash, sizeof(hash));
	close_world(&w);
}

/* Somebody watches: what there is goes now, and the item is the same. */
static void test_flush(void **state)
{
	struct stream_config c = { 0 };
	struct world w;
	struct seal_hash hash, want;
	uint32_t item;

	(void)state;
	open_world(&w, &c);
	start_reader(&w);
	assert_int_equal(output_begin(w.o, "x", "raw", 0, &item, &w.e), 0);
	assert_int_equal(output_flush(w.o, item, &w.e), 0); /* nothing yet */
	assert_int_equal(output_write(w.o, item, "abc", 3, &w.e), 0);
	assert_int_equal(output_flush(w.o, item, &w.e), 0);
	assert_int_equal(output_flush(w.o, item, &w.e), 0);
	assert_int_equal(output_write(w.o, item, "de", 2, &w.e), 0);
	assert_int_equal(output_flush(w.o, item + 1, &w.e), -EINVAL);
	assert_int_equal(output_end(w.o, item, NULL, &hash, &w.e), 0);
	end_reader(&w);
	assert_int_equal(w.n, 4);
	expect_chunk(w.got[1], 0, 3, EXHIBIT__V1__CODEC__CODEC_RAW, (const uint8_t *)"abc");
	expect_chunk(w.got[2], 3, 2, EXHIBIT__V1__CODEC__CODEC_RAW, (const uint8_t *)"de");
	assert_int_equal(w.got[3]->end->bytes, 5);
	assert_int_equal(seal_sha256("abcde", 5, &want), 0);
	assert_memory_equal(&hash, &want, sizeof(hash));
	close_world(&w);
}

static void test_facts(void **state)
{
	static uint8_t buf[CONTROL_MESSAGE_MAX];
	static const enum control_kind want[] = { CONTROL_ITEM, CONTROL_NOTE, CONTROL_NOTE,
						  CONTROL_WARNING, CONTROL_ITEM_END };
	struct stream_config c = { 0 };
	struct control_message m;
	struct world w;
	uint32_t item;

	(void)state;
	open_world(&w, &c);
	assert_int_equal(output_begin(w.o, "a.txt", "text", 0, &item, &w.e), 0);
	assert_int_equal(output_note(w.o, "source", "kcore", &w.e), 0);
	assert_int_equal(output_note_u64(w.o, "frozen_ns", 5, &w.e), 0);
	assert_int_equal(output_warn(w.o, true, &w.e, "x"), 0);
	assert_int_equal(output_end(w.o, item, "cut", NULL, &w.e), 0);
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_int_equal(control_receive(w.control[1], buf, &m), 1);
		assert_int_equal(m.kind, want[i]);
	}
	assert_int_equal(m.u.item_end.status.len, 3);
	close_world(&w);
}

static void test_gone(void **state)
{
	struct stream_config c = { 0 };
	struct world w;
	uint32_t item;

	(void)state;
	open_world(&w, &c);
	assert_int_equal(output_begin(w.o, "a", "raw", 0, &item, &w.e), 0);
	(void)shutdown(w.payload[1], SHUT_RDWR);
	assert_int_equal(output_zeros(w.o, item, MiB(1), &w.e), -EPIPE);
	(void)shutdown(w.control[1], SHUT_RDWR);
	assert_int_equal(output_note(w.o, "a", "b", &w.e), -EPIPE);
	close_world(&w);
}

static void test_stop(void **state)
{
	static volatile sig_atomic_t stop;
	/* A rate at which a chunk takes a day: the stop is not waited out. */
	struct stream_config c = { .stop = &stop, .bytes_per_second = 12 };
	struct world w;
	uint32_t item;

	(void)state;
	open_world(&w, &c);
	assert_int_equal(output_begin(w.o, "a", "raw", 0, &item, &w.e), 0);
	stop = 1;
	assert_int_equal(output_write(w.o, item, "x", 1, &w.e), -ECANCELED);
	assert_string_equal(w.e.text, "the acquisition was told to stop");
	assert_int_equal(output_write(w.o, item, "the end", 7, &w.e), 0);
	assert_int_equal(output_end(w.o, item, NULL, NULL, &w.e), 0);
	close_world(&w);
}

static _Atomic uint64_t fake_ns;

static uint64_t fake_clock(void)
{
	return atomic_load(&fake_ns);
}

/* The collector is away for an hour; then another one passes in which nobody has to wait. */
static void *read_late(void *arg)
{
	(void)usleep(100000);
	(void)atomic_fetch_add(&fake_ns, HOUR_NS);
	return read_payload(arg);
}

static void test_time(void **state)
{
	struct stream_config c = { .max_seconds = 60, .now_ns = fake_clock };
	struct world w;
	uint32_t item;

	(void)state;
	open_world(&w, &c);
	assert_int_equal(output_begin(w.o, "a", "raw", 0, &item, &w.e), 0);
	AUTO(free_ptr) uint8_t *noise = malloc(MiB(1));
	uint64_t x = 1;
	for (size_t i = 0; i < MiB(1); i++)
		noise[i] = (uint8_t)((x = x * 6364136223846793005 + 1442695040888963407) >> 56);
	assert_int_equal(pthread_create(&w.reader, NULL, read_late, &w), 0);
	for (size_t i = 0; i < 4; i++) /* more than a socket holds */
		assert_int_equal(output_write(w.o, item, noise, MiB(1), &w.e), 0);
	assert_true(fake_clock() >= HOUR_NS);
	(void)atomic_fetch_add(&fake_ns, HOUR_NS);
	assert_int_equal(output_write(w.o, item, noise, MiB(1), &w.e), -ECANCELED);
	assert_string_equal(w.e.text, "the limit of 60 seconds is used up");
	end_reader(&w);
	close_world(&w);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_gone);
	ADD_TEST(&t, test_stop);
	ADD_TEST(&t, test_time);
	ADD_TEST(&t, test_payload);
	ADD_TEST(&t, test_flush);
	ADD_TEST(&t, test_facts);
	return tests_run(&t, "stream");
}
