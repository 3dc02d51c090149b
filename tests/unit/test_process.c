/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <string.h>

#include "agent/process.h"

static struct bytes text(const char *s)
{
	return (struct bytes){ .at = (const uint8_t *)s, .len = strlen(s) };
}

static struct rec_image image(uint32_t pid, uint64_t start_ns, uint32_t exec_id)
{
	return (struct rec_image){ .pid = pid, .start_ns = start_ns, .exec_id = exec_id };
}

static struct image_facts facts(struct rec_image key, struct rec_image parent,
				const char *executable)
{
	return (struct image_facts){
		.key = key,
		.parent = parent,
		.name = text("name"),
		.executable = text(executable),
		.args = text("a"),
		.args_bytes = 2,
		.uid = 5,
	};
}

static void assert_text(struct bytes b, const char *want)
{
	assert_int_equal(b.len, strlen(want));
	if (b.len)
		assert_memory_equal(b.at, want, b.len);
}

static struct process_table *table(size_t entries, size_t bytes)
{
	const struct process_config c = { .entries_max = entries, .bytes_max = bytes };
	struct process_table *t = process_table_new(&c);

	assert_non_null(t);
	return t;
}

static const struct rec_image none;

static void unknown_is_null(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct rec_image key = image(1, 2, 3);

	(void)state;
	assert_null(process_find(t, &key));
	assert_null(process_of_pid(t, 1));
	process_exit(t, &key, 1);
	process_update(t, &(struct image_facts){ .key = key });
	process_expire(t, UINT64_MAX);
	process_table_free(t);
	process_table_free(NULL);
}

static void exhausted_bounds_evict_and_count(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct process_stats s;

	(void)state;
	for (uint32_t pid = 1; pid <= 20; pid++) {
		struct image_facts f = facts(image(pid, pid, 1), none, "/x");

		assert_non_null(process_put(t, &f, PROCESS_EXEC, 1));
		if (pid == 10)
			process_exit(t, &f.key, 2);
		/* Process 1 is in use all the time, so others go. */
		assert_non_null(process_find(t, &(struct rec_image){ 1, 1, 1 }));
	}
	process_stats(t, &s);
	assert_int_equal(s.entries, 16);
	assert_int_equal(s.evicted_exited, 1);
	assert_int_equal(s.evicted_live, 3);
	assert_null(process_of_pid(t, 10));
	assert_null(process_of_pid(t, 2));
	assert_non_null(process_of_pid(t, 20));
	process_table_free(t);
}

static void bytes_are_bounded_and_come_back(void **state)
{
	static char args[REC_ARGS_MAX + 100];
	struct process_table *t = table(1024, KiB(256));
	struct process_stats s;

	(void)state;
	memset(args, 'a', sizeof(args));
	for (uint32_t pid = 1; pid <= 100; pid++) {
		struct image_facts f = facts(image(pid, pid, 1), none, "/x");
		const struct process *p;

		f.args = (struct bytes){ .at = (uint8_t *)args, .len = sizeof(args) };
		p = process_put(t, &f, PROCESS_EXEC, 1);
		assert_non_null(p);
		assert_int_equal(p->facts.args.len, REC_ARGS_MAX);
		process_stats(t, &s);
		assert_true(s.bytes <= KiB(256));
		process_exit(t, &f.key, 1);
	}
	assert_true(s.evicted_exited > 80);
	process_expire(t, 2 + PROCESS_EXITED_NS);
	process_stats(t, &s);
	assert_int_equal(s.entries, 0);
	assert_int_equal(s.exited, 0);
	assert_int_equal(s.bytes, 0);
	process_table_free(t);
}

static void forks_share_arguments(void **state)
{
	static char args[REC_ARGS_MAX];
	struct process_table *t = table(4096, MiB(1));
	struct image_facts f = facts(image(1, 1, 1), none, "/bin/sh");
	struct process_stats s;

	(void)state;
	memset(args, 'a', sizeof(args));
	f.args = (struct bytes){ .at = (uint8_t *)args, .len = sizeof(args) };
	f.flags = 16;
	f.cap_effective = 3;
	assert_non_null(process_put(t, &f, PROCESS_EXEC, 1));
	for (uint32_t pid = 2; pid <= 1000; pid++) {
		struct image_facts child = {
			.key = image(pid, pid, 1), .parent = f.key, .name = text("kid"), .uid = 7
		};
		const struct process *p = process_fork(t, &child, &f.key, 1);

		assert_non_null(p);
		assert_text(p->facts.executable, "/bin/sh");
		assert_text(p->facts.name, "kid");
		assert_text(p->parent_name, "name");
		assert_text(p->parent_executable, "/bin/sh");
		assert_int_equal(p->facts.args.len, REC_ARGS_MAX);
		assert_int_equal(p->facts.uid, 7);
		assert_int_equal(p->facts.cap_effective, 3);
		assert_int_equal(p->facts.flags, 16);
	}
	process_stats(t, &s);
	assert_int_equal(s.entries, 1000);
	assert_int_equal(s.evicted_live, 0);
	process_table_free(t);
}

static void fork_of_unknown_caller_keeps_what_the_record_says(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts child = { .key = image(9, 9, 1), .name = text("kid"), .uid = 7 };
	struct rec_image caller = image(8, 8, 1);
	const struct process *p = process_fork(t, &child, &caller, 1);

	(void)state;
	assert_non_null(p);
	assert_int_equal(p->source, PROCESS_ACTOR);
	assert_text(p->facts.executable, "");
	assert_text(p->facts.name, "kid");
	process_table_free(t);
}

static void parent_outlives_its_entry(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts mother = facts(image(1, 1, 1), none, "/sbin/init");
	struct image_facts child = facts(image(2, 2, 1), mother.key, "/bin/sh");
	const struct process *p;

	(void)state;
	assert_non_null(process_put(t, &mother, PROCESS_STOCK, 1));
	assert_non_null(process_put(t, &child, PROCESS_EXEC, 1));
	process_exit(t, &mother.key, 10);
	process_expire(t, 11 + PROCESS_EXITED_NS);
	assert_null(process_find(t, &mother.key));
	p = process_find(t, &child.key);
	assert_non_null(p);
	assert_text(p->parent_executable, "/sbin/init");
	process_table_free(t);
}

static void parent_that_comes_later_is_joined(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts mother = facts(image(1, 1, 1), none, "/sbin/init");
	struct image_facts child = facts(image(2, 2, 1), mother.key, "/bin/sh");

	(void)state;
	assert_text(process_put(t, &child, PROCESS_STOCK, 1)->parent_executable, "");
	assert_non_null(process_put(t, &mother, PROCESS_STOCK, 1));
	assert_text(process_find(t, &child.key)->parent_executable, "/sbin/init");
	process_table_free(t);
}

static void parent_of_a_better_source_is_joined_anew(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts first = facts(image(1, 1, 1), none, "/first");
	struct image_facts second = facts(image(2, 2, 1), none, "/second");
	struct image_facts child = facts(image(3, 3, 1), first.key, "/bin/sh");

	(void)state;
	assert_non_null(process_put(t, &first, PROCESS_STOCK, 1));
	assert_non_null(process_put(t, &second, PROCESS_STOCK, 1));
	assert_text(process_put(t, &child, PROCESS_ACTOR, 1)->parent_executable, "/first");
	child.parent = second.key;
	assert_text(process_put(t, &child, PROCESS_EXEC, 1)->parent_executable, "/second");
	process_table_free(t);
}

/* 50,000 images of one pid; with a walk through the older ones at each this takes minutes. */
static void exec_over_and_over_costs_the_same(void **state)
{
	struct process_table *t = table(65536, MiB(32));
	struct process_stats s;

	(void)state;
	for (uint32_t i = 1; i <= 50000; i++) {
		struct image_facts f = facts(image(1, 1, i), none, "/bin/sh");

		assert_non_null(process_put(t, &f, PROCESS_EXEC, i));
	}
	assert_int_equal(process_of_pid(t, 1)->facts.key.exec_id, 50000);
	process_stats(t, &s);
	assert_int_equal(s.exited, 49999);
	assert_int_equal(s.evicted_exited + s.evicted_live, 0);
	process_table_free(t);
}

static void exited_stay_a_minute(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts f = facts(image(1, 1, 1), none, "/x");

	(void)state;
	assert_non_null(process_put(t, &f, PROCESS_EXEC, 5));
	process_expire(t, UINT64_MAX);
	assert_non_null(process_find(t, &f.key));
	process_exit(t, &f.key, 100);
	process_exit(t, &f.key, 200);
	process_expire(t, 100 + PROCESS_EXITED_NS);
	assert_int_equal(process_find(t, &f.key)->exited_ns, 100);
	assert_non_null(process_of_pid(t, 1));
	process_expire(t, 101 + PROCESS_EXITED_NS);
	assert_null(process_find(t, &f.key));
	process_table_free(t);
}

static void exec_replaces_the_image(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts old = facts(image(1, 1, 1), none, "/bin/sh");
	struct image_facts new = facts(image(1, 1, 2), none, "/bin/ls");
	struct image_facts reused = facts(image(1, 50, 2), none, "/bin/cat");

	(void)state;
	assert_non_null(process_put(t, &old, PROCESS_EXEC, 5));
	assert_non_null(process_put(t, &new, PROCESS_EXEC, 6));
	assert_text(process_of_pid(t, 1)->facts.executable, "/bin/ls");
	assert_int_equal(process_find(t, &old.key)->exited_ns, 6);
	assert_int_equal(process_find(t, &new.key)->exited_ns, 0);
	assert_non_null(process_put(t, &reused, PROCESS_EXEC, 9));
	assert_text(process_of_pid(t, 1)->facts.executable, "/bin/cat");
	assert_int_equal(process_find(t, &new.key)->exited_ns, 9);
	process_table_free(t);
}

static void late_stock_does_not_become_current(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts old = facts(image(1, 1, 1), none, "/bin/sh");
	struct image_facts new = facts(image(1, 1, 2), none, "/bin/ls");

	(void)state;
	assert_non_null(process_put(t, &new, PROCESS_EXEC, 5));
	assert_non_null(process_put(t, &old, PROCESS_STOCK, 6));
	assert_text(process_of_pid(t, 1)->facts.executable, "/bin/ls");
	assert_int_equal(process_find(t, &old.key)->exited_ns, 6);
	assert_int_equal(process_find(t, &new.key)->exited_ns, 0);
	process_table_free(t);
}

struct source_row {
	const char *name;
	enum process_source first, second;
	const char *want;
};

static const struct source_row source_rows[] = {
	{ "exec after actor", PROCESS_ACTOR, PROCESS_EXEC, "/second" },
	{ "exec after /proc", PROCESS_PROCFS, PROCESS_EXEC, "/second" },
	{ "stock after exec", PROCESS_EXEC, PROCESS_STOCK, "/first" },
	{ "/proc after stock", PROCESS_STOCK, PROCESS_PROCFS, "/first" },
	{ "the same again", PROCESS_EXEC, PROCESS_EXEC, "/second" },
};

static void better_source_wins(void **state)
{
	const struct source_row *row = *state;
	struct process_table *t = table(16, MiB(1));
	struct image_facts first = facts(image(1, 1, 1), none, "/first");
	struct image_facts second = facts(image(1, 1, 1), none, "/second");
	struct process_stats s;

	assert_non_null(process_put(t, &first, row->first, 1));
	assert_text(process_put(t, &second, row->second, 1)->facts.executable, row->want);
	process_stats(t, &s);
	assert_int_equal(s.entries, 1);
	process_table_free(t);
}

static void update_follows_the_process(void **state)
{
	struct process_table *t = table(16, MiB(1));
	struct image_facts f = facts(image(1, 1, 1), none, "/x");
	struct image_facts now = {
		.key = f.key, .uid = 0, .gid = 3, .cgroup_id = 44, .name = text("new")
	};
	const struct process *p;

	(void)state;
	f.mnt_ns = 8;
	f.cgroup_id = 43;
	f.cgroup_name = text("old.scope");
	assert_non_null(process_put(t, &f, PROCESS_EXEC, 1));
	process_update(t, &now);
	p = process_find(t, &f.key);
	assert_int_equal(p->facts.uid, 0);
	assert_int_equal(p->facts.gid, 3);
	assert_int_equal(p->facts.mnt_ns, 8);
	assert_int_equal(p->facts.cgroup_id, 44);
	assert_text(p->facts.cgroup_name, "");
	assert_text(p->facts.name, "new");
	assert_text(p->facts.executable, "/x");
	process_table_free(t);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, unknown_is_null);
	ADD_TEST(&t, exhausted_bounds_evict_and_count);
	ADD_TEST(&t, bytes_are_bounded_and_come_back);
	ADD_TEST(&t, fork_of_unknown_caller_keeps_what_the_record_says);
	ADD_TEST(&t, forks_share_arguments);
	ADD_TEST(&t, parent_outlives_its_entry);
	ADD_TEST(&t, parent_that_comes_later_is_joined);
	ADD_TEST(&t, parent_of_a_better_source_is_joined_anew);
	ADD_TEST(&t, exec_over_and_over_costs_the_same);
	ADD_TEST(&t, exited_stay_a_minute);
	ADD_TEST(&t, exec_replaces_the_image);
	ADD_TEST(&t, late_stock_does_not_become_current);
	ADD_ROWS(&t, better_source_wins, source_rows);
	ADD_TEST(&t, update_follows_the_process);
	return tests_run(&t, "process");
}
