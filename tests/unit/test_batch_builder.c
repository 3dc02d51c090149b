/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "agent/batch_builder.h"
#include "proto/base/reader.h"
#include "tests/unit/rows.h"

static struct batch_builder *make(void)
{
	struct batch_builder *b = NULL;

	assert_int_equal(batch_builder_new(BATCH_LANE_BULK, 2, 41, 1000, &b, NULL), 0);
	return b;
}

static int add(struct batch_builder *b, size_t len, uint64_t boottime_ns)
{
	static const uint8_t entry[BATCH_ENTRY_MAX + 1];

	return batch_builder_add_event(b, entry, len,
				       &(struct batch_event_facts){ .class = 4,
								    .boottime_ns = boottime_ns,
								    .now_ns = 5000 });
}

static struct batch_closed *close_batch(struct batch_builder *b)
{
	struct batch_closed *c = NULL;

	assert_int_equal(batch_builder_close(b, &c), 0);
	return c;
}

static const struct size_row {
	const char *name;
	size_t len;
	int want;
} size_rows[] = {
	{ "nothing", 0, -EINVAL },
	{ "one byte too many", BATCH_ENTRY_MAX + 1, -E2BIG },
	{ "one byte", 1, 0 },
	{ "the largest", BATCH_ENTRY_MAX, 0 },
};

static void size_of_an_entry_is_bounded(void **state)
{
	const struct size_row *row = *state;
	struct batch_builder *b = make();

	assert_int_equal(add(b, row->len, 1), row->want);
	assert_int_equal(batch_builder_next_sequence(b), row->want == 0 ? 42 : 41);
	assert_int_equal(batch_builder_empty(b), row->want != 0);
	batch_builder_free(b);
}

static const struct due_row {
	const char *name;
	size_t events, len;
	uint64_t now_ns;
	bool want;
} due_rows[] = {
	{ "empty, however late", 0, 1, UINT64_MAX, false },
	{ "young", 1, 1, 5999, false },
	{ "clock before the first event", 1, 1, 0, false },
	{ "old", 1, 1, 6000, true },
	{ "499 events", 499, 1, 5000, false },
	{ "500 events", 500, 1, 5000, true },
	{ "below 64 KiB", 15, 4096, 5000, false },
	{ "64 KiB", 16, 4096, 5000, true },
};

static void batch_is_due(void **state)
{
	const struct due_row *row = *state;
	struct batch_builder *b = make();

	for (size_t i = 0; i < row->events; i++)
		assert_int_equal(add(b, row->len, i), 0);
	assert_int_equal(batch_builder_due(b, row->now_ns), row->want);
	batch_builder_free(b);
}

static void batch_never_outgrows_its_maxima(void **state)
{
	struct batch_builder *b = make();
	struct batch_closed *c;
	uint64_t events = 0;
	int r;

	(void)state;
	while ((r = add(b, BATCH_ENTRY_MAX, 1)) == 0)
		;
	assert_int_equal(r, -ENOSPC);
	c = close_batch(b);
	assert_true(c->raw_len <= BATCH_RAW_MAX);
	events += c->count;
	batch_closed_free(c);
	while ((r = add(b, 1, 1)) == 0)
		;
	assert_int_equal(r, -ENOSPC);
	c = close_batch(b);
	assert_int_equal(c->count, BATCH_EVENTS_MAX);
	events += c->count;
	batch_closed_free(c);
	/* The refused ones used no sequence. */
	assert_int_equal(batch_builder_next_sequence(b), 41 + events);
	batch_builder_free(b);
}

static void process_is_said_once_in_each_batch(void **state)
{
	struct batch_builder *b = make();
	uint32_t index = 0;

	(void)state;
	for (uint32_t pid = 1; pid <= 1000; pid++) {
		struct rec_image image = { .pid = pid,
					   .exec_id = 3,
					   .start_ns = 17 * (uint64_t)pid };

		assert_int_equal(batch_builder_process(b, &image), 0);
		assert_int_equal(batch_builder_add_process(b, &image, "p", 1, &index), 0);
		assert_int_equal(index, pid);
	}
	for (uint32_t pid = 1; pid <= 1000; pid++) {
		struct rec_image image = { .pid = pid,
					   .exec_id = 3,
					   .start_ns = 17 * (uint64_t)pid };

		assert_int_equal(batch_builder_process(b, &image), pid);
		image.exec_id++;
		assert_int_equal(batch_builder_process(b, &image), 0);
	}
	/* Said again, because it changed. */
	assert_int_equal(
		batch_builder_add_process(b, &(struct rec_image){ 1, 3, 17 }, "q", 1, &index), 0);
	assert_int_equal(batch_builder_process(b, &(struct rec_image){ 1, 3, 17 }), 1001);
	batch_closed_free(close_batch(b));
	assert_int_equal(batch_builder_process(b, &(struct rec_image){ 1, 3, 17 }), 0);
	batch_builder_free(b);
}

static void closed_batch_tells_what_went_in(void **state)
{
	struct batch_builder *b = make();
	struct batch_closed *c;
	struct reader r;
	const uint8_t *entry;
	uint32_t index;
	size_t len;

	(void)state;
	assert_int_equal(
		batch_builder_add_process(b, &(struct rec_image){ 1, 2, 3 }, "proc", 4, &index), 0);
	assert_int_equal(batch_builder_add_event(b, "event", 5,
						 &(struct batch_event_facts){ .class = 1,
									      .boottime_ns = 70 }),
			 0);
	assert_int_equal(batch_builder_add_event(b, "gap", 3,
						 &(struct batch_event_facts){ .class = 8,
									      .gap = true,
									      .boottime_ns = 60 }),
			 0);
	assert_int_equal(batch_builder_reached(b, 1, 0, 10), 0);
	assert_int_equal(batch_builder_reached(b, 1, 1, 20), 0);
	assert_int_equal(batch_builder_reached(b, 1, 0, 9), 0);
	assert_int_equal(batch_builder_reached(b, 2, 0, 1), -ENOSPC);
	batch_builder_watermark(b, 90);
	batch_builder_watermark(b, 80);
	c = close_batch(b);
	assert_int_equal(c->lane, BATCH_LANE_BULK);
	assert_int_equal(c->count, 2);
	assert_int_equal(c->entries, 3);
	assert_int_equal(c->gaps, 1);
	assert_int_equal(c->first_sequence, 41);
	assert_int_equal(c->last_sequence, 42);
	assert_int_equal(c->first_boottime_ns, 60);
	assert_int_equal(c->last_boottime_ns, 70);
	assert_int_equal(c->watermark_ns, 90);
	assert_int_equal(c->counts[1] + c->counts[8], 2);
	assert_int_equal(c->n_rings, 2);
	assert_int_equal(c->rings[0].sequence, 10);
	r = reader_init(c->raw, c->raw_len);
	assert_true(batch_next(&r, &entry, &len) && len == 4 && memcmp(entry, "proc", 4) == 0);
	assert_true(batch_next(&r, &entry, &len) && len == 5 && memcmp(entry, "event", 5) == 0);
	assert_true(batch_next(&r, &entry, &len) && len == 3 && memcmp(entry, "gap", 3) == 0);
	assert_false(batch_next(&r, &entry, &len) || r.bad);
	batch_closed_free(c);
	c = close_batch(b); /* empty, for a watermark that is sealed while idle */
	assert_int_equal(c->first_sequence + c->last_sequence + c->count + c->raw_len, 0);
	assert_int_equal(c->watermark_ns, 90);
	batch_closed_free(c);
	assert_int_equal(batch_builder_next_sequence(b), 43);
	batch_builder_free(b);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, size_of_an_entry_is_bounded, size_rows);
	ADD_TEST(&t, batch_never_outgrows_its_maxima);
	ADD_ROWS(&t, batch_is_due, due_rows);
	ADD_TEST(&t, process_is_said_once_in_each_batch);
	ADD_TEST(&t, closed_batch_tells_what_went_in);
	return tests_run(&t, "batch_builder");
}
