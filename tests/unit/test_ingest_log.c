/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ingest_log.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/rows.h"

#define START_NS (5 * NSEC_PER_SEC)

static struct batch_name name(const char *text)
{
	struct batch_name n = { .len = (uint8_t)strlen(text) };

	memcpy(n.b, text, n.len);
	return n;
}

static bool may(struct ingest_log *l, const char *tenant, const char *host, uint64_t now_ns,
		uint64_t *ret_held)
{
	struct batch_name t = name(tenant), h = name(host);

	return ingest_log_may(l, &t, &h, now_ns, ret_held);
}

static void a_noisy_host_does_not_hide_another(void **state)
{
	struct ingest_log *l = ingest_log_new();
	uint64_t held;

	(void)state;
	assert_true(may(l, "t", "noisy", START_NS, &held));
	for (int i = 0; i < 1000; i++)
		assert_false(may(l, "t", "noisy", START_NS + 1, &held));
	assert_true(may(l, "t", "quiet", START_NS + 1, &held));
	assert_int_equal(held, 0);
	assert_true(may(l, "u", "noisy", START_NS + 1, &held));
	assert_int_equal(held, 0);
	ingest_log_free(l);
}

static void what_was_held_back_is_told_with_the_next_line(void **state)
{
	struct ingest_log *l = ingest_log_new();
	uint64_t held;

	(void)state;
	assert_true(may(l, "t", "h", START_NS, &held));
	assert_false(may(l, "t", "h", START_NS + INGEST_LOG_EVERY_NS, &held));
	assert_false(may(l, "t", "h", START_NS + INGEST_LOG_EVERY_NS, &held));
	assert_true(may(l, "t", "h", START_NS + INGEST_LOG_EVERY_NS + 1, &held));
	assert_int_equal(held, 2);
	assert_true(may(l, "t", "h", START_NS + 2 * INGEST_LOG_EVERY_NS + 2, &held));
	assert_int_equal(held, 0);
	ingest_log_free(l);
}

/* A host that says nothing more still has its count told. */
static void what_was_held_back_is_told_when_it_is_quiet(void **state)
{
	struct ingest_log *l = ingest_log_new();
	struct batch_name tenant, host;
	uint64_t held;

	(void)state;
	assert_true(may(l, "t", "h", START_NS, &held));
	assert_false(may(l, "t", "h", START_NS, &held));
	assert_false(ingest_log_take(l, START_NS + 1, &tenant, &host, &held));
	assert_true(ingest_log_take(l, START_NS + INGEST_LOG_EVERY_NS + 1, &tenant, &host, &held));
	assert_int_equal(held, 1);
	assert_int_equal(host.len, 1);
	assert_memory_equal(host.b, "h", 1);
	assert_false(ingest_log_take(l, START_NS + 9 * INGEST_LOG_EVERY_NS, &tenant, &host, &held));
	ingest_log_free(l);
}

/* More hosts than places: nothing grows, and no count is lost. */
static void every_line_is_said_or_counted(void **state)
{
	enum { HOSTS = 5 * INGEST_LOG_HOSTS, LINES = 3 };
	struct ingest_log *l = ingest_log_new();
	struct batch_name tenant, host;
	uint64_t said = 0, told = 0, held;
	char text[16];

	(void)state;
	for (int i = 0; i < HOSTS * LINES; i++) {
		(void)snprintf(text, sizeof(text), "h%d", i / LINES);
		bool now = may(l, "t", text, START_NS, &held);

		said += now;
		told += now ? held : 0;
	}
	while (ingest_log_take(l, START_NS + 2 * INGEST_LOG_EVERY_NS, &tenant, &host, &held))
		told += held;
	assert_int_equal(said, HOSTS);
	assert_int_equal(said + told, HOSTS * LINES);
	ingest_log_free(l);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, a_noisy_host_does_not_hide_another);
	ADD_TEST(&t, what_was_held_back_is_told_with_the_next_line);
	ADD_TEST(&t, what_was_held_back_is_told_when_it_is_quiet);
	ADD_TEST(&t, every_line_is_said_or_counted);
	return tests_run(&t, "ingest_log");
}
