/* SPDX-License-Identifier: Apache-2.0 */
/* A ring as the kernel fills it, in memory of the test's: what lies there, and in which order it comes out. */
#include "agent/acquire/packets_ring.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/rows.h"

#define BYTES KiB(4)
#define BUSY (1U << 31)
#define DISCARDED (1U << 30)
#define RECORD 184 /* head, 8 bytes, the ring's own 8 */

struct world {
	uint64_t consumer, producer;
	uint8_t data[2 * BYTES];
	struct packets_ring *r;
	struct error e;
	size_t n;
	uint64_t numbers[64], times[64];
};

static struct world *world_new(uint64_t from)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->consumer = w->producer = from;
	assert_int_equal(packets_ring_over(&(struct packets_ring_memory){ &w->consumer,
									  &w->producer, w->data,
									  BYTES },
					   &w->r, &w->e),
			 0);
	return w;
}

static void world_free(struct world *w)
{
	packets_ring_close(w->r);
	free(w);
}

/* As memory that is mapped twice would have it. */
static void store(struct world *w, uint64_t at, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t place = (at + i) % BYTES;

		w->data[place] = w->data[place + BYTES] = ((const uint8_t *)data)[i];
	}
}

static uint64_t put(struct world *w, uint64_t number, uint64_t time_ns, uint32_t flags)
{
	struct packets_head h = { .number = number, .boottime_ns = time_ns, .caplen = 8 };
	uint32_t word = (RECORD - 8) | flags;
	uint64_t at = w->producer;

	store(w, at, &word, sizeof(word));
	store(w, at + 8, &h, sizeof(h));
	store(w, at + 8 + sizeof(h), &number, sizeof(number));
	w->producer += RECORD;
	return at;
}

static int take(void *ctx, const struct packets_head *h, const uint8_t *data, struct error *e)
{
	struct world *w = ctx;
	uint64_t number;

	(void)e;
	memcpy(&number, data, sizeof(number));
	assert_int_equal(number, h->number);
	w->times[w->n] = h->boottime_ns;
	w->numbers[w->n++] = h->number;
	return 0;
}

static void look(struct world *w, uint64_t want_bytes)
{
	uint64_t bytes = 0;

	if (packets_ring_look(w->r, &bytes, &w->e) < 0)
		fail_msg("%s", w->e.text);
	assert_int_equal(bytes, want_bytes);
}

static void drain(struct world *w, uint64_t until_ns)
{
	w->n = 0;
	assert_int_equal(packets_ring_drain(w->r, until_ns, take, w, &w->e), 0);
}

/* ---- failures -------------------------------------------------------------------------------------------- */

static void test_not_ours(void **state)
{
	static const struct {
		uint32_t word, caplen;
	} rows[] = {
		{ 0, 0 }, { 100, 0 }, { RECORD - 8, 9 }, { KiB(8), 0 }, { UINT32_MAX >> 2, 0 }
	};
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct world *w = world_new(0);
		struct packets_head h = { .caplen = rows[i].caplen };

		store(w, 0, &rows[i].word, 4);
		store(w, 8, &h, sizeof(h));
		w->producer = RECORD;
		assert_int_equal(packets_ring_look(w->r, &bytes, &w->e), -EBADMSG);
		world_free(w);
	}
	struct world *w = world_new(0);

	w->producer = BYTES + 8;
	assert_int_equal(packets_ring_look(w->r, &bytes, &w->e), -EBADMSG);
	world_free(w);
}

static int refuse(void *ctx, const struct packets_head *h, const uint8_t *data, struct error *e)
{
	(void)take(ctx, h, data, e);
	return -ECANCELED;
}

/* What was taken before a failure is not taken again. */
static void test_a_taker_that_fails(void **state)
{
	struct world *w = world_new(0);

	(void)state;
	(void)put(w, 1, 10, 0);
	(void)put(w, 2, 20, 0);
	look(w, 2 * RECORD);
	assert_int_equal(packets_ring_drain(w->r, UINT64_MAX, refuse, w, &w->e), -ECANCELED);
	assert_int_equal(w->consumer, RECORD);
	drain(w, UINT64_MAX);
	assert_int_equal(w->n, 1);
	assert_int_equal(w->numbers[0], 2);
	world_free(w);
}

/* ---- order ----------------------------------------------------------------------------------------------- */

static void test_by_time(void **state)
{
	static const uint64_t times[] = { 10, 30, 20, 20, 50, 40 };
	static const uint64_t want[] = { 1, 3, 4, 2, 6, 5 };
	struct world *w = world_new(0);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		(void)put(w, i + 1, times[i], 0);
	look(w, ARRAY_LEN(times) * RECORD);
	drain(w, UINT64_MAX);
	assert_int_equal(w->n, ARRAY_LEN(want));
	assert_memory_equal(w->numbers, want, sizeof(want));
	assert_int_equal(w->consumer, w->producer);
	world_free(w);
}

/* What is held back keeps its place in the ring, and what came before it there too. */
static void test_held_back(void **state)
{
	struct world *w = world_new(0);
	uint64_t most;

	(void)state;
	(void)put(w, 1, 100, 0);
	(void)put(w, 2, 40, 0);
	look(w, 2 * RECORD);
	drain(w, 50);
	assert_int_equal(w->n, 1);
	assert_int_equal(w->numbers[0], 2);
	assert_int_equal(w->consumer, 0);
	(void)put(w, 3, 90, 0);
	look(w, 3 * RECORD);
	drain(w, 100);
	assert_int_equal(w->n, 2);
	assert_int_equal(w->numbers[0], 3);
	assert_int_equal(w->numbers[1], 1);
	assert_int_equal(w->consumer, 3 * RECORD);
	assert_int_equal(packets_ring_disorder(w->r, &most), 0);
	/* Later than it was waited for: told. */
	(void)put(w, 4, 70, 0);
	look(w, RECORD);
	drain(w, UINT64_MAX);
	assert_int_equal(packets_ring_disorder(w->r, &most), 1);
	assert_int_equal(most, 30);
	world_free(w);
}

static void test_busy_and_discarded(void **state)
{
	struct world *w = world_new(0);
	uint32_t done = RECORD - 8;

	(void)state;
	(void)put(w, 1, 10, DISCARDED);
	(void)put(w, 2, 20, 0);
	uint64_t busy = put(w, 3, 15, BUSY);

	(void)put(w, 4, 30, 0);
	look(w, 4 * RECORD);
	drain(w, 25);
	assert_int_equal(w->n, 1);
	assert_int_equal(w->consumer, 2 * RECORD);
	store(w, busy, &done, sizeof(done));
	look(w, 2 * RECORD);
	drain(w, UINT64_MAX);
	assert_int_equal(w->n, 2);
	assert_int_equal(w->numbers[0], 3);
	world_free(w);
}

/* Round and round, records over the end included; what waits is shown and stays. */
static void test_around(void **state)
{
	struct world *w = world_new(BYTES - 64);
	uint64_t number = 0;

	(void)state;
	for (size_t round = 0; round < 100; round++) {
		for (size_t i = 0; i < 20; i++, number++)
			(void)put(w, number, number ^ 1, 0);
		look(w, 20 * RECORD);
		w->n = 0;
		assert_int_equal(packets_ring_each(w->r, take, w, &w->e), 0);
		assert_int_equal(w->n, 20);
		drain(w, UINT64_MAX);
		assert_int_equal(w->n, 20);
		for (size_t i = 0; i < 20; i++)
			assert_int_equal(w->times[i], number - 20 + i);
	}
	world_free(w);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_not_ours);
	ADD_TEST(&t, test_a_taker_that_fails);
	ADD_TEST(&t, test_by_time);
	ADD_TEST(&t, test_held_back);
	ADD_TEST(&t, test_busy_and_discarded);
	ADD_TEST(&t, test_around);
	return tests_run(&t, "packets_ring");
}
