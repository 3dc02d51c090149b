/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders_policy.h"

#include <errno.h>

#include "rows.h"

#define LIST(...)                                                                                  \
	{                                                                                          \
		.n = sizeof((char *[]){ __VA_ARGS__ }) / sizeof(char *), .item = { __VA_ARGS__ }   \
	}
#define KIND(k) EXHIBIT__V1__ORDER_KIND__ORDER_##k

static const struct bad {
	const char *name;
	struct option_list allow, deny, approvals;
	const char *want;
} bad_rows[] = {
	{ "allow",
	  LIST("memory", "shell"),
	  { 0 },
	  { 0 },
	  "orders.allow: 'shell' is not a kind of order, nor 'all'" },
	{ "deny", { 0 }, LIST(""), { 0 }, "orders.deny: '' is not a kind of order, nor 'all'" },
	{ "no number",
	  { 0 },
	  { 0 },
	  LIST("memory"),
	  "orders.require-approvals: 'memory' is not KIND=NUMBER, at most 8" },
	{ "sign",
	  { 0 },
	  { 0 },
	  LIST("memory=-1"),
	  "orders.require-approvals: 'memory=-1' is not KIND=NUMBER, at most 8" },
	{ "rest",
	  { 0 },
	  { 0 },
	  LIST("memory=1x"),
	  "orders.require-approvals: 'memory=1x' is not KIND=NUMBER, at most 8" },
	{ "too many",
	  { 0 },
	  { 0 },
	  LIST("memory=9"),
	  "orders.require-approvals: 'memory=9' is not KIND=NUMBER, at most 8" },
	{ "unknown kind",
	  { 0 },
	  { 0 },
	  LIST("ram=1"),
	  "orders.require-approvals: 'ram' is not a kind of order, nor 'all'" },
};

static void test_bad(void **state)
{
	const struct bad *row = *state;
	struct orders_policy p = { 0 };
	struct error e = { 0 };

	assert_int_equal(orders_policy_parse(&row->allow, &row->deny, &row->approvals, &p, &e),
			 -EINVAL);
	assert_string_equal(e.text, row->want);
}

static const struct kinds {
	const char *name;
	struct option_list allow, deny;
	int memory, disk;
} kind_rows[] = {
	{ "nothing said", { 0 }, { 0 }, 0, 0 },
	{ "allowed alone", LIST("memory"), { 0 }, 0, -EPERM },
	{ "denied", { 0 }, LIST("memory", "core"), -EPERM, 0 },
	{ "denied wins", LIST("memory", "disk"), LIST("disk"), 0, -EPERM },
	{ "denied all", LIST("all"), LIST("all"), -EPERM, -EPERM },
};

static void test_kinds(void **state)
{
	const struct kinds *row = *state;
	struct option_list none = { 0 };
	struct orders_policy p = { 0 };
	struct error e = { 0 };

	assert_int_equal(orders_policy_parse(&row->allow, &row->deny, &none, &p, &e), 0);
	assert_int_equal(orders_policy_kind(&p, KIND(MEMORY), &e), row->memory);
	assert_int_equal(orders_policy_kind(&p, KIND(DISK), &e), row->disk);
	assert_int_equal(orders_policy_kind(&p, KIND(UNKNOWN), &e), -EPERM);
	assert_int_equal(orders_policy_kind(&p, (Exhibit__V1__OrderKind)9, &e), -EPERM);
}

static void test_approvals(void **state)
{
	struct option_list none = { 0 }, list = LIST("all=1", "memory=2", "disk=0");
	struct orders_policy p = { 0 };
	struct error e = { 0 };

	(void)state;
	assert_int_equal(orders_policy_parse(&none, &none, &list, &p, &e), 0);
	assert_int_equal(p.approvals[KIND(MEMORY)], 2);
	assert_int_equal(p.approvals[KIND(DISK)], 0);
	assert_int_equal(p.approvals[KIND(ARREST)], 1);
}

static const struct load {
	const char *name;
	struct orders_load load;
	const char *want; /* NULL: fine */
} load_rows[] = {
	{ "nothing", { 0, 0, 0 }, NULL },
	{ "one below", { 1, 9, 4 }, NULL },
	{ "running",
	  { 2, 0, 0 },
	  "this host takes at most 2 acquisitions at a time (orders.concurrent)" },
	{ "hour", { 0, 10, 0 }, "this host takes at most 10 orders an hour (orders.per-hour)" },
	{ "caller",
	  { 0, 9, 5 },
	  "this host takes at most 5 orders an hour of one person (orders.per-hour-caller)" },
};

static void test_load(void **state)
{
	const struct load *row = *state;
	struct orders_policy p = { .concurrent = 2, .per_hour = 10, .per_hour_caller = 5 };
	struct error e = { 0 };
	int r = orders_policy_load(&p, &row->load, &e);

	assert_int_equal(r, row->want == NULL ? 0 : -EDQUOT);
	if (row->want != NULL)
		assert_string_equal(e.text, row->want);
}

static void test_least(void **state)
{
	(void)state;
	assert_int_equal(orders_policy_least(0, 0), 0);
	assert_int_equal(orders_policy_least(5, 0), 5);
	assert_int_equal(orders_policy_least(0, 5), 5);
	assert_int_equal(orders_policy_least(5, 7), 5);
	assert_int_equal(orders_policy_least(7, 5), 5);
}

static void test_targets(void **state)
{
	Exhibit__V1__Order a = EXHIBIT__V1__ORDER__INIT, b = EXHIBIT__V1__ORDER__INIT;
	Exhibit__V1__ProcessTarget p = EXHIBIT__V1__PROCESS_TARGET__INIT, q = p;
	Exhibit__V1__DiskOrder d = EXHIBIT__V1__DISK_ORDER__INIT, f = d;

	(void)state;
	a.kind = b.kind = KIND(CORE);
	a.process = &p;
	assert_false(orders_policy_same_target(&a, &b));
	b.process = &q;
	assert_true(orders_policy_same_target(&a, &b));
	p.pid = 7;
	assert_false(orders_policy_same_target(&a, &b));
	a.process = b.process = NULL;
	a.container_id = (ProtobufCBinaryData){ 1, (uint8_t *)"x" };
	assert_false(orders_policy_same_target(&a, &b));
	b.container_id = (ProtobufCBinaryData){ 1, (uint8_t *)"x" };
	assert_true(orders_policy_same_target(&a, &b));
	b.kind = KIND(FILES);
	assert_false(orders_policy_same_target(&a, &b));
	a.kind = b.kind = KIND(DISK);
	a.detail_case = b.detail_case = EXHIBIT__V1__ORDER__DETAIL_DISK;
	a.disk = &d;
	b.disk = &f;
	assert_true(orders_policy_same_target(&a, &b));
	d.device = (ProtobufCBinaryData){ 8, (uint8_t *)"/dev/sda" };
	assert_false(orders_policy_same_target(&a, &b));
}

static void test_wishes(void **state)
{
	Exhibit__V1__Order a = EXHIBIT__V1__ORDER__INIT, b = EXHIBIT__V1__ORDER__INIT;
	Exhibit__V1__PacketsOrder p = EXHIBIT__V1__PACKETS_ORDER__INIT, q = p;
	Exhibit__V1__FilesOrder f = EXHIBIT__V1__FILES_ORDER__INIT, g = f;
	ProtobufCBinaryData etc = { 4, (uint8_t *)"/etc" }, tmp = { 4, (uint8_t *)"/tmp" };

	(void)state;
	a.kind = b.kind = KIND(PACKETS);
	a.detail_case = b.detail_case = EXHIBIT__V1__ORDER__DETAIL_PACKETS;
	a.packets = &p;
	b.packets = &q;
	p.seconds = q.seconds = 60;
	assert_true(orders_policy_same_target(&a, &b));
	q.interface = (ProtobufCBinaryData){ 4, (uint8_t *)"eth0" };
	assert_false(orders_policy_same_target(&a, &b));
	a.kind = b.kind = KIND(FILES);
	a.detail_case = b.detail_case = EXHIBIT__V1__ORDER__DETAIL_FILES;
	a.files = &f;
	b.files = &g;
	f.n_paths = g.n_paths = 1;
	f.paths = &etc;
	g.paths = &tmp;
	assert_false(orders_policy_same_target(&a, &b));
	g.paths = &etc;
	assert_true(orders_policy_same_target(&a, &b));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, test_bad, bad_rows);
	ADD_ROWS(&t, test_kinds, kind_rows);
	ADD_TEST(&t, test_approvals);
	ADD_ROWS(&t, test_load, load_rows);
	ADD_TEST(&t, test_least);
	ADD_TEST(&t, test_targets);
	ADD_TEST(&t, test_wishes);
	return tests_run(&t, "orders_policy");
}
