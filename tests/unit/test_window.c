/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agent/window.h"
#include "tests/unit/rows.h"

static struct window_id id_of(uint64_t number)
{
	struct window_id id = { .number = number };

	memset(id.boot_id, 1, sizeof(id.boot_id));
	memset(id.epoch, 2, sizeof(id.epoch));
	memset(id.hash.b, (int)number, sizeof(id.hash.b));
	return id;
}

static void send(struct window *w, uint64_t position)
{
	struct window_id id = id_of(position);

	w->asked = true;
	assert_true(window_accepts(w, w->round));
	window_sent(w, position, &id);
}

static void is_bounded(void **state)
{
	struct window w = { 0 };

	(void)state;
	for (uint64_t i = 1; i <= WINDOW_MAX; i++) {
		assert_true(window_wants(&w));
		send(&w, i);
	}
	assert_false(window_wants(&w));
	assert_int_equal(w.next, WINDOW_MAX + 1);
}

static void asks_once(void **state)
{
	struct window w = { .asked = true };

	(void)state;
	assert_false(window_wants(&w));
}

static void acknowledges_cumulatively(void **state)
{
	struct window w = { 0 };
	struct window_id id = id_of(5);
	uint64_t position = 0;

	(void)state;
	for (uint64_t i = 3; i <= 7; i++)
		send(&w, i);
	assert_true(window_acknowledge(&w, &id, &position));
	assert_int_equal(position, 5);
	assert_int_equal(w.n, 2);
	assert_false(window_acknowledge(&w, &id, &position)); /* a second time: no longer ours */
}

static const struct false_row {
	const char *name;
	void (*spoil)(struct window_id *id);
} false_rows[];

static void spoil_number(struct window_id *id)
{
	id->number++;
}

static void spoil_hash(struct window_id *id)
{
	id->hash.b[31] ^= 1;
}

static void spoil_boot(struct window_id *id)
{
	id->boot_id[0] ^= 1;
}

static void spoil_epoch(struct window_id *id)
{
	id->epoch[15] ^= 1;
}

static const struct false_row false_rows[] = {
	{ "another number", spoil_number },
	{ "another header", spoil_hash },
	{ "another boot", spoil_boot },
	{ "another epoch", spoil_epoch },
};

static void refuses_false_acknowledgement(void **state)
{
	const struct false_row *row = *state;
	struct window w = { 0 };
	struct window_id id = id_of(1);
	uint64_t position = 99;

	send(&w, 1);
	row->spoil(&id);
	assert_false(window_acknowledge(&w, &id, &position));
	assert_int_equal(position, 99);
	assert_int_equal(w.n, 1);
}

static void reset_drops_the_late_answer(void **state)
{
	struct window w = { 0 };
	uint16_t before = w.round;

	(void)state;
	send(&w, 1);
	w.asked = true; /* for 2, when the connection breaks */
	window_reset(&w);
	assert_int_equal(w.next, 0);
	assert_true(window_wants(&w)); /* a quiet lane may owe that answer for minutes */
	w.asked = true;
	assert_false(window_accepts(&w, before)); /* 2 must not be sent before 1 again */
	assert_true(w.asked);
	assert_true(window_accepts(&w, w.round));
	assert_false(window_accepts(&w, w.round)); /* nobody asked */
}

static void goes_round(void **state)
{
	struct window w = { 0 };

	(void)state;
	for (uint64_t i = 1; i <= 5 * WINDOW_MAX; i++) {
		struct window_id id = id_of(i % 250);
		uint64_t position;

		w.asked = true;
		assert_true(window_accepts(&w, w.round));
		window_sent(&w, i, &id);
		assert_true(window_acknowledge(&w, &id, &position));
		assert_int_equal(position, i);
	}
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, is_bounded);
	ADD_TEST(&t, asks_once);
	ADD_TEST(&t, acknowledges_cumulatively);
	ADD_ROWS(&t, refuses_false_acknowledgement, false_rows);
	ADD_TEST(&t, reset_drops_the_late_answer);
	ADD_TEST(&t, goes_round);
	return tests_run(&t, "window");
}
