/* SPDX-License-Identifier: Apache-2.0 */
/* How orders begin at the collector: stored with their leaf or not at all, once, by methods with roles. */
#include "proto/base/files.h"
#include "tests/unit/orders_site.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/* ---- failures first ------------------------------------------------------------------------------------- */

static void without_its_leaf_there_is_no_order(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	s.leaves.fail = ENOSPC;
	assert_int_equal(site_order(&s, 1, NULL), -ENOSPC);
	assert_null(s.o.open);
	s.leaves.fail = 0;
	assert_int_equal(site_order(&s, 1, NULL), 0);
	STATES_ARE(&s, 1, S(MADE), S(WAITING));
	site_end(&s);
}

/* A step that the ledger does not take is tried again. */
static void without_its_leaf_there_is_no_step(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(site_order(&s, 1, NULL), 0);
	s.leaves.fail = ENOSPC;
	site_clock_add(7200 * SECOND);
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING));
	assert_non_null(s.o.open);
	s.leaves.fail = 0;
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(EXPIRED));
	assert_null(s.o.open);
	site_end(&s);
}

static void spoil(struct site *s, const char *sql)
{
	char path[128];
	sqlite3 *db = NULL;

	(void)snprintf(path, sizeof(path), "%s/orders.sqlite", s->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
}

/* Twice a second, for as long as there is no room: the ledger is not to fill with it. */
static void a_step_that_is_not_stored_has_one_leaf(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(site_order(&s, 1, NULL), 0);
	size_t before = s.leaves.n;

	spoil(&s, "CREATE TRIGGER full BEFORE INSERT ON steps"
		  " BEGIN SELECT RAISE(FAIL, 'no room'); END");
	site_clock_add(7200 * SECOND);
	for (int i = 0; i < 5; i++)
		orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING));
	assert_int_equal(s.leaves.n, before + 1);
	spoil(&s, "DROP TRIGGER full");
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(EXPIRED));
	assert_int_equal(s.leaves.n, before + 1);
	site_end(&s);
}

static void another_reason(struct order_kit *t)
{
	t->o.reason = orders_text("another");
}

static void an_id_is_taken_once(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(site_order(&s, 1, NULL), 0);
	assert_int_equal(site_order(&s, 1, another_reason), -EEXIST);
	assert_int_equal(site_order(&s, 1, NULL), 0); /* the very same */
	assert_int_equal(s.o.n_open, 1);
	assert_int_equal(site_order(&s, 2, NULL), 0);
	assert_int_equal(s.o.n_open, 2);
	site_end(&s);
}

static void damage_is_told(void **state)
{
	struct orders_store *store = NULL;
	struct error e = { 0 };
	char path[128];
	struct site s;

	(void)state;
	site_begin(&s);
	site_close(&s);
	(void)snprintf(path, sizeof(path), "%s/orders.sqlite", s.dir);
	assert_int_equal(files_replace(path, "no database at all, but long enough", 35, 0600, &e),
			 0);
	assert_int_equal(orders_store_open(s.dir, &store, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "orders.sqlite"));
	assert_non_null(strstr(e.hint, "publish the list of revocations"));
	assert_null(store);
	assert_int_equal(unlink(path), 0);
	site_open(&s);
	site_end(&s);
}

static const struct approvals_row {
	const char *name;
	const char *words[3];
	int want, memory, disk;
} approvals_rows[] = {
	{ "none", { NULL }, 0, 0, 0 },
	{ "one kind", { "memory=2" }, 0, 2, 0 },
	{ "all", { "all=1" }, 0, 1, 1 },
	{ "all but one", { "all=1", "disk=0" }, 0, 1, 0 },
	{ "no number", { "memory" }, -EINVAL, 0, 0 },
	{ "empty number", { "memory=" }, -EINVAL, 0, 0 },
	{ "too many", { "memory=9" }, -EINVAL, 0, 0 },
	{ "two digits", { "memory=10" }, -EINVAL, 0, 0 },
	{ "no kind", { "=1" }, -EINVAL, 0, 0 },
	{ "unknown kind", { "shell=1" }, -EINVAL, 0, 0 },
	{ "a long word", { "memorymemorymemorymemorymemorymemory=1" }, -EINVAL, 0, 0 },
};

static void approvals_are_parsed(void **state)
{
	const struct approvals_row *row = *state;
	struct option_list list = { 0 };
	uint8_t got[ORDERS_KINDS_MAX];
	struct error e = { 0 };

	for (; row->words[list.n]; list.n++)
		list.item[list.n] = (char *)(uintptr_t)row->words[list.n];
	assert_int_equal(orders_parse_approvals(&list, got, &e), row->want);
	if (row->want < 0) {
		assert_non_null(strstr(e.text, row->words[0]));
		return;
	}
	assert_int_equal(got[EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY], row->memory);
	assert_int_equal(got[EXHIBIT__V1__ORDER_KIND__ORDER_DISK], row->disk);
}

/* Deny by default: each method has its row, and people's methods their roles. */
static void every_method_has_a_row(void **state)
{
	static const char *const paths[] = {
		"/exhibit.v1.Orders/Submit", "/exhibit.v1.Orders/Approve",
		"/exhibit.v1.Orders/List", "/exhibit.v1.Orders/Publish", "/exhibit.v1.Agent/Orders"
	};
	size_t n = 0;

	(void)state;
	for (; orders_method_path(n); n++) {
		bool people = strncmp(orders_method_path(n), "/exhibit.v1.Orders/", 19) == 0;

		assert_true(n < ARRAY_LEN(paths));
		assert_string_equal(orders_method_path(n), paths[n]);
		assert_int_equal(people, orders_method_roles(n) != NULL);
	}
	assert_int_equal(n, ARRAY_LEN(paths));
	assert_string_equal(orders_method_roles(0)[0], "acquirer");
	assert_null(orders_method_roles(0)[1]);
	assert_string_equal(orders_method_roles(1)[0], "approver");
	assert_null(orders_method_roles(1)[1]);
}

int main(void)
{
	static struct tests t;
	int failed;

	site_people();
	ADD_TEST(&t, without_its_leaf_there_is_no_order);
	ADD_TEST(&t, without_its_leaf_there_is_no_step);
	ADD_TEST(&t, a_step_that_is_not_stored_has_one_leaf);
	ADD_TEST(&t, an_id_is_taken_once);
	ADD_TEST(&t, damage_is_told);
	ADD_ROWS(&t, approvals_are_parsed, approvals_rows);
	ADD_TEST(&t, every_method_has_a_row);
	failed = tests_run(&t, "orders_begin");
	site_people_end();
	return failed;
}
