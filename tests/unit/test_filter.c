/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling and what each condition matches; that index and scan agree is test_query_events.c's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "collector/filter.h"
#include "proto/actions.h"

#define B(text) ((ProtobufCBinaryData){ sizeof(text) - 1, (uint8_t *)(uintptr_t)(text) })

enum { EQUALS, PREFIX, CONTAINS, CIDR };

static const struct row {
	const char *name, *field;
	int op;
	const char *value;
	const char *error; /* must stand in the sentence with its hint; NULL: compiles */
	bool match;
	size_t index; /* groups that the index can narrow */
} rows[] = {
	{ "unknown field", "process.nmae", EQUALS, "x", .error = "did you mean 'process.name'?" },
	{ "no name at all", "", EQUALS, "x", .error = "there is no field ''" },
	{ "unknown operator", "process.name", 9, "x", .error = "operator 9" },
	{ "unknown action", "event.action", EQUALS, "exek", .error = "did you mean 'exec'?" },
	{ "prefix of a number", "process.pid", PREFIX, "4",
	  .error = "cannot be asked in this way" },
	{ "network of a path", "file.path", CIDR, "10.0.0.0/8",
	  .error = "networks are for addresses" },
	{ "address that is none", "any.ip", EQUALS, "10.0.0", .error = "give an address" },
	{ "network too long", "any.ip", CIDR, "10.0.0.0/33", .error = "give an address" },
	{ "network of nothing", "any.ip", CIDR, "/8", .error = "give an address" },
	{ "port beyond 65535", "destination.port", EQUALS, "65536",
	  .error = "give a port up to 65535" },
	{ "number with a sign", "process.pid", EQUALS, "-1", .error = "give a decimal number" },
	{ "number above 64 bits", "process.pid", EQUALS, "18446744073709551616",
	  .error = "give a decimal number" },
	{ "time that is none", "@timestamp", EQUALS, "noon", .error = "give a time" },
	{ "yes is no boolean", "exhibit.existing", EQUALS, "yes", .error = "give true or false" },
	{ "name", "process.name", EQUALS, "curl", .match = true, .index = 1 },
	{ "other name", "process.name", EQUALS, "curly", .match = false, .index = 1 },
	{ "name's prefix", "process.name", PREFIX, "cu", .match = true },
	{ "name's middle", "process.name", CONTAINS, "ur", .match = true },
	{ "an argument", "process.args", EQUALS, "-v", .match = true },
	{ "command line over a blank", "process.command_line", CONTAINS, "url -v", .match = true },
	{ "any text", "any.text", CONTAINS, "system.slice", .match = true },
	{ "any text, absent", "any.text", CONTAINS, "nowhere", .match = false },
	{ "source address", "source.ip", EQUALS, "10.1.2.3", .match = true, .index = 1 },
	{ "any address", "any.ip", EQUALS, "fd00::1", .match = true, .index = 1 },
	{ "mapped address is IPv4", "any.ip", EQUALS, "::ffff:10.1.2.3", .match = true,
	  .index = 1 },
	{ "network", "any.ip", CIDR, "10.1.0.0/16", .match = true },
	{ "network, odd bits", "any.ip", CIDR, "10.1.2.2/31", .match = true },
	{ "other network", "any.ip", CIDR, "10.1.2.4/30", .match = false },
	{ "network of one", "any.ip", CIDR, "10.1.2.3/32", .match = true, .index = 1 },
	{ "whole IPv6", "any.ip", CIDR, "::/0", .match = true },
	{ "mapped network", "any.ip", CIDR, "::ffff:10.0.0.0/104", .match = true },
	{ "port", "any.port", EQUALS, "443", .match = true, .index = 1 },
	{ "port of the wrong side", "source.port", EQUALS, "443", .match = false, .index = 1 },
	{ "action", "event.action", EQUALS, "connect", .match = true, .index = 1 },
	{ "other action", "event.action", EQUALS, "accept", .match = false, .index = 1 },
	{ "uid as text", "process.user.id", EQUALS, "1000", .match = true, .index = 1 },
	{ "uid not canonical", "process.user.id", EQUALS, "01000", .match = false },
	{ "absent boolean is false", "exhibit.existing", EQUALS, "false", .match = true },
	{ "host of the context", "host.name", EQUALS, "web-1", .match = true },
	{ "time", "@timestamp", EQUALS, "1970-01-01T00:00:05Z", .match = true },
};

static int compile(const char *field, int op, const char *value, struct filter **f, struct error *e)
{
	Exhibit__V1__FilterTerm term = EXHIBIT__V1__FILTER_TERM__INIT, *terms[] = { &term };

	term.field = (ProtobufCBinaryData){ strlen(field), (uint8_t *)(uintptr_t)field };
	term.op = (Exhibit__V1__FilterOp)op;
	term.value = (ProtobufCBinaryData){ strlen(value), (uint8_t *)(uintptr_t)value };
	return filter_compile(terms, 1, f, e);
}

static bool matches(const struct filter *f)
{
	Exhibit__V1__BatchContext context = EXHIBIT__V1__BATCH_CONTEXT__INIT;
	Exhibit__V1__ImageKey key = EXHIBIT__V1__IMAGE_KEY__INIT;
	Exhibit__V1__Process process = EXHIBIT__V1__PROCESS__INIT;
	Exhibit__V1__Net net = EXHIBIT__V1__NET__INIT;
	Exhibit__V1__Event event = EXHIBIT__V1__EVENT__INIT;
	ProtobufCBinaryData args[] = { B("curl"), B("-v") };
	AUTO(arena_free_ptr) struct arena *a = arena_new(MiB(1), 0);
	struct subject s = { &context, &event, &process, a, .failed = false };

	context.host_name = B("web-1");
	key.pid = 42;
	process.key = &key;
	process.name = B("curl");
	process.args = args;
	process.n_args = 2;
	process.uid = 1000;
	process.cgroup_path = B("/system.slice/x.service");
	net.source_ip = B("\x0a\x01\x02\x03");
	net.source_port = 40000;
	net.destination_ip = B("\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
	net.destination_port = 443;
	event.action = EXHIBIT__V1__ACTION__ACTION_CONNECT;
	event.boottime_ns = 5 * NSEC_PER_SEC;
	event.detail_case = EXHIBIT__V1__EVENT__DETAIL_NET;
	event.net = &net;
	return filter_match(f, &s);
}

static void run_row(void **state)
{
	const struct row *row = *state;
	AUTO(filter_free_ptr) struct filter *f = NULL;
	struct error e = { 0 };
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	size_t n;
	int r = compile(row->field, row->op, row->value, &f, &e);

	if (row->error) {
		assert_int_equal(r, -EINVAL);
		if (!strstr(error_format(&e, text, sizeof(text)), row->error))
			fail_msg("%s", text);
		return;
	}
	if (r < 0)
		fail_msg("%s", e.text);
	assert_int_equal(matches(f), row->match);
	(void)filter_groups(f, &n);
	assert_int_equal(n, row->index);
}

static void groups_are_anded_and_their_terms_ored(void **state)
{
	Exhibit__V1__FilterTerm t[3] = { EXHIBIT__V1__FILTER_TERM__INIT,
					 EXHIBIT__V1__FILTER_TERM__INIT,
					 EXHIBIT__V1__FILTER_TERM__INIT },
				*terms[] = { &t[0], &t[1], &t[2] };
	struct filter *f;
	size_t n;

	(void)state;
	t[0].field = t[1].field = B("process.name");
	t[0].value = B("wget");
	t[1].value = B("curl");
	t[2].field = B("event.action");
	t[2].value = B("connect");
	t[2].group = 7;
	assert_int_equal(filter_compile(terms, 3, &f, NULL), 0);
	assert_true(matches(f));
	(void)filter_groups(f, &n);
	assert_int_equal(n, 2);
	assert_int_equal(filter_classes(f), 1u << CLASS_TCP);
	filter_free(f);
	t[1].group = 8; /* now both names are demanded */
	assert_int_equal(filter_compile(terms, 3, &f, NULL), 0);
	assert_false(matches(f));
	filter_free(f);
	/* One alternative that the index does not know: it cannot narrow by this group. */
	t[1].group = 0;
	t[1].op = EXHIBIT__V1__FILTER_OP__FILTER_PREFIX;
	assert_int_equal(filter_compile(terms, 3, &f, NULL), 0);
	(void)filter_groups(f, &n);
	assert_int_equal(n, 1);
	filter_free(f);
}

static void a_batch_without_the_text_is_passed_over(void **state)
{
	AUTO(filter_free_ptr) struct filter *f = NULL, *blank = NULL;

	(void)state;
	assert_int_equal(compile("any.text", CONTAINS, "passwd", &f, NULL), 0);
	assert_true(filter_may_match(f, (const uint8_t *)"cat /etc/passwd", 15));
	assert_false(filter_may_match(f, (const uint8_t *)"cat /etc/shadow", 15));
	assert_false(filter_may_match(f, NULL, 0));
	/* The blank between arguments is not stored. */
	assert_int_equal(compile("any.text", CONTAINS, "cat /etc", &blank, NULL), 0);
	assert_true(filter_may_match(blank, (const uint8_t *)"cat", 3));
}

static void too_much_is_refused(void **state)
{
	static uint8_t value[FILTER_VALUE_MAX + 1];
	Exhibit__V1__FilterTerm term = EXHIBIT__V1__FILTER_TERM__INIT, *terms[FILTER_TERMS_MAX + 1];
	struct filter *f;

	(void)state;
	term.field = B("process.name");
	for (size_t i = 0; i <= FILTER_TERMS_MAX; i++)
		terms[i] = &term;
	assert_int_equal(filter_compile(terms, FILTER_TERMS_MAX + 1, &f, NULL), -EINVAL);
	term.value = (ProtobufCBinaryData){ sizeof(value), value };
	assert_int_equal(filter_compile(terms, 1, &f, NULL), -EINVAL);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 3];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, run_row, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] =
		(struct CMUnitTest)cmocka_unit_test(groups_are_anded_and_their_terms_ored);
	tests[ARRAY_LEN(rows) + 1] =
		(struct CMUnitTest)cmocka_unit_test(a_batch_without_the_text_is_passed_over);
	tests[ARRAY_LEN(rows) + 2] = (struct CMUnitTest)cmocka_unit_test(too_much_is_refused);
	return cmocka_run_group_tests_name("filter", tests, NULL, NULL);
}
