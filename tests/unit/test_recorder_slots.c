/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/recorder_slots.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "tests/unit/rows.h"

#define SLOTS 64
#define SNAP 32
#define SLOT_BYTES (sizeof(struct packets_head) + SNAP)

struct ring {
	uint64_t head;
	struct packets_recorder state;
	_Alignas(8) uint8_t bytes[SLOTS * SLOT_BYTES];
	struct recorder_slots slots;
};

static void ring_init(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->state = (struct packets_recorder){ .version = PACKETS_RECORDER_VERSION,
					      .slots = SLOTS,
					      .slot_bytes = SLOT_BYTES,
					      .snap = SNAP };
	assert_int_equal(recorder_slots_init(&r->state, &r->head, r->bytes, &r->slots, NULL), 0);
}

static struct packets_head *take(struct ring *r)
{
	uint64_t number = __atomic_fetch_add(&r->head, 1, __ATOMIC_SEQ_CST);
	struct packets_head *slot = (void *)(r->bytes + number % SLOTS * SLOT_BYTES);

	__atomic_store_n(&slot->number, 0, __ATOMIC_SEQ_CST);
	return slot;
}

/* As bpf/recorder.bpf.c does: the number twice, so that a mixed copy shows. */
static void finish(struct packets_head *slot, uint64_t number)
{
	slot->boottime_ns = number;
	slot->socket = number;
	slot->caplen = SNAP;
	memset(slot + 1, (int)(number % 251), SNAP);
	__atomic_store_n(&slot->number, number, __ATOMIC_SEQ_CST);
}

static void write_n(struct ring *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct packets_head *slot = take(r);

		finish(slot, r->head);
	}
}

static void check_whole(const struct recorder_packet *p)
{
	assert_int_equal(p->head.boottime_ns, p->head.number);
	assert_int_equal(p->head.socket, p->head.number);
	for (size_t i = 0; i < SNAP; i++)
		assert_int_equal(p->data[i], p->head.number % 251);
}

static const struct bad_row {
	const char *name;
	struct packets_recorder state;
} bad_rows[] = {
	{ "another version", { .version = 2, .slots = 1, .slot_bytes = SLOT_BYTES, .snap = 1 } },
	{ "no slots", { .version = 1, .slot_bytes = SLOT_BYTES, .snap = 1 } },
	{ "slots too small", { .version = 1, .slots = 1, .slot_bytes = SLOT_BYTES, .snap = 40 } },
	{ "snap too long", { .version = 1, .slots = 1, .slot_bytes = 1 << 20, .snap = 1601 } },
	{ "crooked slots", { .version = 1, .slots = 1, .slot_bytes = SLOT_BYTES + 1, .snap = 1 } },
};

static void test_bad_state(void **state)
{
	const struct bad_row *row = *state;
	struct recorder_slots slots;
	uint64_t head = 0;

	assert_int_equal(recorder_slots_init(&row->state, &head, NULL, &slots, NULL), -EBADMSG);
}

static void test_bad_length(void **state)
{
	struct recorder_packet p;
	struct packets_head *slot;
	struct ring r;

	(void)state;
	ring_init(&r);
	slot = take(&r);
	finish(slot, 1);
	slot->caplen = SNAP + 1;
	assert_int_equal(recorder_slots_next(&r.slots, 0, &p), 0); /* it ends at the head, */
	assert_int_equal(r.slots.lapped, 1); /* and one was skipped */
}

static void test_empty(void **state)
{
	struct recorder_packet p;
	struct ring r;

	(void)state;
	ring_init(&r);
	recorder_slots_oldest(&r.slots);
	assert_int_equal(recorder_slots_next(&r.slots, 0, &p), 0);
	assert_int_equal(recorder_slots_since(&r.slots), 0);
}

static void test_in_order(void **state)
{
	struct recorder_packet p;
	struct ring r;

	(void)state;
	ring_init(&r);
	write_n(&r, 10);
	recorder_slots_oldest(&r.slots);
	for (uint64_t n = 1; n <= 10; n++) {
		assert_int_equal(recorder_slots_next(&r.slots, 0, &p), 1);
		assert_int_equal(p.head.number, n);
		check_whole(&p);
	}
	assert_int_equal(recorder_slots_next(&r.slots, 0, &p), 0);
	assert_int_equal(r.slots.lapped, 0);
}

/* The oldest twentieth is left alone; what the reader did not come to in time is counted, each one. */
static void test_lapped(void **state)
{
	struct recorder_packet p;
	struct ring r;

	(void)state;
	ring_init(&r);
	write_n(&r, 3 * SLOTS);
	recorder_slots_oldest(&r.slots);
	assert_int_equal(recorder_slots_next(&r.slots, 0, &p), 1);
	assert_int_equal(p.head.number, 2 * SLOTS + SLOTS / 20 + 1);
	assert_int_equal(r.slots.lapped, 0);
	write_n(&r, 2 * SLOTS);
	assert_int_equal(recorder_slots_next(&r.slots, 0, &p), 1);
	assert_int_equal(p.head.number, 4 * SLOTS + 1);
	assert_int_equal(r.slots.lapped, 4 * SLOTS - (2 * SLOTS + SLOTS / 20 + 1));
}

static void test_busy_writer(void **state)
{
	struct recorder_packet p;
	struct packets_head *slow;
	struct ring r;

	(void)state;
	ring_init(&r);
	slow = take(&r);
	write_n(&r, 1);
	assert_int_equal(recorder_slots_next(&r.slots, 5, &p), 0);
	finish(slow, 1);
	assert_int_equal(recorder_slots_next(&r.slots, 6, &p), 1);
	assert_int_equal(p.head.number, 1);
	assert_int_equal(r.slots.lapped, 0);
}

static void test_stuck_writer(void **state)
{
	struct recorder_packet p;
	struct ring r;

	(void)state;
	ring_init(&r);
	(void)take(&r);
	write_n(&r, 1);
	assert_int_equal(recorder_slots_next(&r.slots, 5, &p), 0);
	assert_int_equal(recorder_slots_next(&r.slots, 6 + RECORDER_STUCK_NS, &p), 1);
	assert_int_equal(p.head.number, 2);
	assert_int_equal(r.slots.lapped, 1);
}

#define RACE_NUMBERS 400000

static void *race(void *arg)
{
	struct ring *r = arg;

	for (size_t i = 0; i < RACE_NUMBERS; i++) {
		struct packets_head *slot = take(r);

		finish(slot, i + 1);
		if (i % 37 == 0)
			(void)nanosleep(&(struct timespec){ .tv_nsec = 1 }, NULL);
	}
	return NULL;
}

/* Against a writer that laps: what comes out is whole and rises, and with what is lapped it is all. */
static void test_race(void **state)
{
	static struct ring r;
	struct recorder_packet p;
	uint64_t got = 0, last = 0;
	pthread_t writer;

	(void)state;
	ring_init(&r);
	assert_int_equal(pthread_create(&writer, NULL, race, &r), 0);
	while (r.slots.next < RACE_NUMBERS) {
		if (recorder_slots_next(&r.slots, 0, &p) == 0)
			continue;
		check_whole(&p);
		assert_true(p.head.number > last);
		last = p.head.number;
		got++;
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_equal(got + r.slots.lapped, RACE_NUMBERS);
	assert_true(got > 0);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, test_bad_state, bad_rows);
	ADD_TEST(&t, test_bad_length);
	ADD_TEST(&t, test_empty);
	ADD_TEST(&t, test_in_order);
	ADD_TEST(&t, test_lapped);
	ADD_TEST(&t, test_busy_writer);
	ADD_TEST(&t, test_stuck_writer);
	ADD_TEST(&t, test_race);
	return tests_run(&t, "recorder_slots");
}
