/* SPDX-License-Identifier: Apache-2.0 */
/* Where the recorder's packets end and the capture's own begin. */
#include "agent/acquire/packets_wait.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/rows.h"

#define SNAP 32

static struct packets_head head(uint64_t number, uint64_t time_ns)
{
	return (struct packets_head){ .number = number,
				      .boottime_ns = time_ns,
				      .caplen = SNAP,
				      .len = 60,
				      .socket = 7,
				      .direction = PACKETS_OUT };
}

/* ---- waiting --------------------------------------------------------------------------------------------- */

static void put(struct packets_wait *w, uint64_t number, uint64_t time_ns)
{
	struct packets_head h = head(number, time_ns);
	uint8_t data[SNAP];

	memset(data, (int)number, sizeof(data));
	assert_true(packets_wait_put(w, &h, data));
}

static void expect(struct packets_wait *w, const char *numbers)
{
	char got[256] = "";
	size_t len = 0;

	for (uint32_t i = 0; i < packets_wait_count(w); i++) {
		const struct packets_head *h = packets_wait_at(w, i);
		uint8_t data[SNAP];

		memset(data, (int)h->number, sizeof(data));
		assert_memory_equal(h + 1, data, SNAP);
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%d ", (int)h->number);
	}
	assert_string_equal(got, numbers);
}

static void test_no_room(void **state)
{
	struct packets_wait *w = NULL;
	struct packets_head h = head(3, 1);
	uint8_t data[SNAP + 1] = { 0 };

	(void)state;
	assert_int_equal(packets_wait_new(SNAP, 2, &w, NULL), 0);
	h.caplen = SNAP + 1;
	assert_false(packets_wait_put(w, &h, data));
	put(w, 1, 10);
	put(w, 2, 5);
	h.caplen = SNAP;
	assert_false(packets_wait_put(w, &h, data));
	expect(w, "2 1 ");
	packets_wait_free(w);
}

static void test_in_order(void **state)
{
	struct packets_wait *w = NULL;

	(void)state;
	assert_int_equal(packets_wait_new(SNAP, 5, &w, NULL), 0);
	put(w, 1, 10);
	put(w, 2, 30);
	put(w, 3, 20);
	put(w, 4, 20); /* as it came */
	expect(w, "1 3 4 2 ");
	assert_int_equal(packets_wait_until(w, 9), 0);
	assert_int_equal(packets_wait_until(w, 20), 3);
	packets_wait_drop(w, 3);
	expect(w, "2 ");
	/* Slots are used again, again and again. */
	for (uint64_t i = 0; i < 50; i++) {
		put(w, 100, 1);
		put(w, 101, 2);
		put(w, 102, 40);
		put(w, 103, 0);
		expect(w, "103 100 101 2 102 ");
		packets_wait_drop(w, 3);
		expect(w, "2 102 ");
		packets_wait_drop(w, 2);
		put(w, 2, 30);
	}
	packets_wait_free(w);
}

/* ---- the seam -------------------------------------------------------------------------------------------- */

struct row {
	const char *name;
	struct packets_head own, recorded; /* what differs; the rest as head() has it */
	uint8_t own_byte, recorded_byte;
	bool same;
};

#define OURS                                                                                       \
	{                                                                                          \
		.boottime_ns = 1000                                                                \
	}
#define THEIRS .boottime_ns = 990

static const struct row rows[] = {
	{ "the same", OURS, { THEIRS }, 0, 0, true },
	{ "at the same time", OURS, { .boottime_ns = 1000 }, 0, 0, true },
	{ "a later record", OURS, { .boottime_ns = 1001 }, 0, 0, false },
	{ "much earlier", { .boottime_ns = 1000 + PACKETS_SEAM_NS }, { THEIRS }, 0, 0, false },
	{ "other bytes", OURS, { THEIRS }, 1, 2, false },
	{ "another socket", OURS, { THEIRS, .socket = 8 }, 0, 0, false },
	{ "the other direction", OURS, { THEIRS, .direction = PACKETS_IN }, 0, 0, false },
	{ "another length", OURS, { THEIRS, .len = 61 }, 0, 0, false },
	{ "another CPU", OURS, { THEIRS, .cpu = 1 }, 0, 0, false },
	{ "another device", OURS, { THEIRS, .ifindex = 2 }, 0, 0, false },
	{ "another namespace", OURS, { THEIRS, .net_ns = 2 }, 0, 0, false },
	{ "more bytes of it", { .boottime_ns = 1000, .caplen = 60 }, { THEIRS }, 0, 0, true },
};

static struct packets_head whole(const struct packets_head *differs)
{
	struct packets_head h = head(1, differs->boottime_ns);

	h.socket = differs->socket ? differs->socket : h.socket;
	h.direction = differs->direction ? differs->direction : h.direction;
	h.len = differs->len ? differs->len : h.len;
	h.caplen = differs->caplen ? differs->caplen : h.caplen;
	h.cpu = differs->cpu;
	h.ifindex = differs->ifindex;
	h.net_ns = differs->net_ns;
	return h;
}

static void is_the_same(void **state)
{
	const struct row *row = *state;
	struct packets_head own = whole(&row->own), recorded = whole(&row->recorded);
	uint8_t own_data[64] = { [SNAP - 1] = row->own_byte };
	uint8_t recorded_data[64] = { [SNAP - 1] = row->recorded_byte };
	struct packets_seam *s = NULL;

	own_data[SNAP] = 99; /* past what both have */
	assert_int_equal(packets_seam_new(SNAP, 8, &s, NULL), 0);
	assert_true(packets_seam_add(s, &own, own_data));
	assert_int_equal(packets_seam_take(s, &recorded, recorded_data), row->same);
	assert_false(packets_seam_take(s, &recorded, recorded_data)); /* once */
	packets_seam_free(s);
}

/* Five that are alike, the capture began before the fourth: the first three remain. */
static void test_alike(void **state)
{
	uint8_t data[SNAP] = { 0 };
	struct packets_seam *s = NULL;

	(void)state;
	assert_int_equal(packets_seam_new(SNAP, 2, &s, NULL), 0);
	for (uint64_t i = 4; i <= 5; i++) {
		struct packets_head h = head(i, 100 * i + 1);

		assert_true(packets_seam_add(s, &h, data));
	}
	struct packets_head more = head(6, 700);

	assert_false(packets_seam_add(s, &more, data));
	for (uint64_t i = 5; i >= 1; i--) {
		struct packets_head h = head(i, 100 * i);

		assert_int_equal(packets_seam_take(s, &h, data), i >= 4);
	}
	packets_seam_free(s);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_no_room);
	ADD_TEST(&t, test_in_order);
	ADD_ROWS(&t, is_the_same, rows);
	ADD_TEST(&t, test_alike);
	return tests_run(&t, "packets_wait");
}
