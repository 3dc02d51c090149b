/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <string.h>

#include "agent/enrich.h"
#include "proto/actions.h"
#include "tests/unit/records.h"

/* An enricher over an empty table, and what its edge answers. */
struct bench {
	struct enricher en;
	struct process_table *table;
	struct record waiting; /* what more() finds in the critical ring */
	struct image_facts proc; /* what /proc says; key.pid 0: nothing */
	unsigned int mores, procs;
};

static const struct decode_hooks hooks;

static void assert_text(struct bytes b, const char *want)
{
	assert_int_equal(b.len, strlen(want));
	if (b.len)
		assert_memory_equal(b.at, want, b.len);
}

static void feed(struct enricher *en, struct record *r, struct decoded *d, struct enriched *ret)
{
	const char *why;

	assert_int_equal(decode_record(&hooks, r->at, r->len, d, &why), 0);
	enrich_record(en, d, d->event.boottime_ns, ret);
}

static void more(void *ctx)
{
	struct bench *b = ctx;
	struct enriched who;
	struct decoded d;

	b->mores++;
	if (b->waiting.len)
		feed(&b->en, &b->waiting, &d, &who);
}

static bool read_proc(void *ctx, const struct rec_image *key, struct image_facts *ret)
{
	struct bench *b = ctx;

	b->procs++;
	if (b->proc.key.pid != key->pid)
		return false;
	*ret = b->proc;
	ret->key = *key;
	return true;
}

static int setup(void **state)
{
	const struct process_config c = { .entries_max = 64, .bytes_max = MiB(1) };
	struct bench *b = calloc(1, sizeof(*b));

	if (!b)
		return -1;
	b->table = process_table_new(&c);
	b->en = (struct enricher){
		.table = b->table, .more = more, .read_proc = read_proc, .ctx = b
	};
	*state = b;
	return b->table ? 0 : -1;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	process_table_free(b->table);
	free(b);
	return 0;
}

static void nobody_stays_nobody(void **state)
{
	struct bench *b = *state;
	struct record r = record_tcp(REC_TCP_DISCONNECT, REC_ROLE_OPENER);
	struct rec_header *h = (void *)r.at;
	struct event gap = { .action = ACTION_GAP };
	struct enriched who;
	struct decoded d;

	h->actor = (struct rec_actor){ 0 };
	h->flags = REC_OWNER_NONE;
	feed(&b->en, &r, &d, &who);
	assert_null(who.process);
	enrich_event(&b->en, &gap, 1, &who);
	assert_null(who.process);
	assert_int_equal(b->mores + b->procs, 0);
}

static void unknown_image_asks_once_and_keeps_what_the_record_says(void **state)
{
	struct bench *b = *state;
	struct record r = record_file_open();
	struct enriched who;
	struct decoded d;

	for (int i = 0; i < 3; i++)
		feed(&b->en, &r, &d, &who);
	assert_non_null(who.process);
	assert_int_equal(who.process->source, PROCESS_ACTOR);
	assert_int_equal(who.process->facts.uid, 1000);
	assert_int_equal(who.process->facts.parent.pid, 1);
	assert_text(who.process->facts.name, "true");
	assert_int_equal(b->mores, 1);
	assert_int_equal(b->procs, 1);
	assert_int_equal(b->en.unknown, 1);
}

static void critical_ring_is_asked_first(void **state)
{
	struct bench *b = *state;
	struct record r = record_file_open();
	struct enriched who;
	struct decoded d;

	b->waiting = record_exec();
	feed(&b->en, &r, &d, &who);
	assert_text(who.process->facts.executable, "/usr/bin/true");
	assert_int_equal(b->en.from_more, 1);
	assert_int_equal(b->procs, 0);
}

/* The ring's reader would be entered twice, and hand over its records twice. */
static void critical_ring_is_not_asked_about_its_own_records(void **state)
{
	struct bench *b = *state;
	struct record child = record_fork(), end = record_exit();
	struct enriched who;
	struct decoded d;

	feed(&b->en, &child, &d, &who);
	feed(&b->en, &end, &d, &who);
	assert_int_equal(b->mores, 0);
	assert_int_equal(b->en.misses, 1);
	assert_false(b->en.asking);
}

static void proc_is_asked_next(void **state)
{
	struct bench *b = *state;
	struct image_facts init = { .key = { .pid = 1, .exec_id = 1, .start_ns = 10 } };
	struct record r = record_file_open();
	struct enriched who;
	struct decoded d;

	assert_non_null(process_put(b->table, &init, PROCESS_STOCK, 1));
	b->proc = (struct image_facts){
		.key = { .pid = 100 },
		.parent = { .pid = 1 },
		.executable = { (const uint8_t *)"/bin/x", 6 },
		.uid = 5,
		.net_ns = 99,
	};
	feed(&b->en, &r, &d, &who);
	assert_int_equal(who.process->source, PROCESS_PROCFS);
	assert_text(who.process->facts.executable, "/bin/x");
	assert_int_equal(who.process->facts.uid, 1000); /* the record knows better */
	assert_int_equal(who.process->facts.net_ns, 99);
	assert_int_equal(who.process->facts.parent.start_ns, 10);
	assert_int_equal(b->en.from_proc, 1);
}

/* /proc shows the image of after the exec: it must not be taken for the one before. */
static void proc_is_not_asked_for_a_replaced_image(void **state)
{
	struct bench *b = *state;
	struct record later = record_exec(), r = record_file_open();
	struct enriched who;
	struct decoded d;

	b->proc.key.pid = 100;
	feed(&b->en, &later, &d, &who);
	((struct rec_header *)(void *)r.at)->actor.image.exec_id = 1;
	feed(&b->en, &r, &d, &who);
	assert_int_equal(b->procs, 0);
	assert_int_equal(who.process->source, PROCESS_ACTOR);
	assert_int_equal(who.process->facts.key.exec_id, 1);
}

static void pid_becomes_the_image_it_runs(void **state)
{
	struct bench *b = *state;
	struct record r = record_exec();
	struct event ev = { .action = ACTION_MODIFY, .image = { .pid = 100 } };
	struct enriched who;
	struct decoded d;

	feed(&b->en, &r, &d, &who);
	enrich_event(&b->en, &ev, 1, &who);
	assert_int_equal(ev.image.start_ns, 1000);
	assert_int_equal(ev.image.exec_id, 2);
	assert_text(who.process->facts.executable, "/usr/bin/true");
	/* ... and when it has just exited. */
	r = record_exit();
	feed(&b->en, &r, &d, &who);
	ev.image = (struct rec_image){ .pid = 100 };
	enrich_event(&b->en, &ev, 1, &who);
	assert_int_equal(ev.image.exec_id, 2);
}

static void fork_exec_exit_are_learned(void **state)
{
	struct bench *b = *state;
	struct record exec = record_exec(), child = record_fork(), end = record_exit();
	struct rec_image key = { .pid = 101, .exec_id = 2, .start_ns = 2000 };
	struct enriched who;
	struct decoded d;

	feed(&b->en, &exec, &d, &who);
	assert_int_equal(who.process->source, PROCESS_EXEC);
	feed(&b->en, &child, &d, &who);
	assert_int_equal(who.process->source, PROCESS_FORK);
	assert_text(who.process->facts.executable, "/usr/bin/true");
	assert_text(who.process->parent_executable, "/usr/bin/true");
	assert_int_equal(who.process->facts.parent.pid, 100);
	feed(&b->en, &end, &d, &who);
	assert_int_equal(who.process->facts.key.pid, 100);
	assert_true(who.process->exited_ns);
	assert_int_equal(process_find(b->table, &key)->exited_ns, 0);
	assert_int_equal(b->mores, 0);
}

struct version_row {
	const char *name;
	void (*change)(struct rec_header *h);
	bool differs;
};

static void change_nothing(struct rec_header *h)
{
	(void)h;
}
static void change_user(struct rec_header *h)
{
	h->actor.uid = 0;
}
static void change_name(struct rec_header *h)
{
	h->actor.comm[0] = 'X';
}
static void change_thread_name(struct rec_header *h)
{
	h->actor.comm[0] = 'X';
	h->actor.tid = 105;
}
static void change_owner(struct rec_header *h)
{
	h->actor.uid = 0;
	h->flags = REC_OWNER_SOCKET;
}
static void change_namespace(struct rec_header *h)
{
	h->actor.mnt_ns = 77;
}
static void change_cgroup(struct rec_header *h)
{
	h->actor.cgroup_id = 77;
}

static const struct version_row version_rows[] = {
	{ "nothing", change_nothing, false },
	{ "user", change_user, true },
	{ "name", change_name, true },
	{ "another thread's name", change_thread_name, false },
	{ "owner of a socket", change_owner, false },
	{ "namespace", change_namespace, true },
	{ "cgroup", change_cgroup, true },
};

static void version_follows_changes(void **state)
{
	const struct version_row *row = *state;
	void *own = NULL;
	struct bench *b;
	struct record exec = record_exec(), r = record_file_open();
	struct enriched before, after;
	struct decoded d;

	assert_int_equal(setup(&own), 0);
	b = own;
	feed(&b->en, &exec, &d, &before);
	row->change((void *)r.at);
	feed(&b->en, &r, &d, &after);
	assert_int_equal(before.version != after.version, row->differs);
	(void)teardown(&own);
}

static void description_names_unit_and_user(void **state)
{
	struct bench *b = *state;
	char path[] = "/tmp/test_enrich.XXXXXX";
	int fd = mkstemp(path);
	const struct cgroups_config c = { .root = "/nonexistent",
					  .proc = "/nonexistent",
					  .max = 16 };
	struct record r = record_exec();
	struct description about;
	struct enriched who;
	struct decoded d;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "ann:x:1000:\n", 12), 12);
	assert_int_equal(close(fd), 0);
	b->en.users = users_new(path);
	assert_true(cgroups_open(&c, &b->en.cgroups, NULL) < 0);
	feed(&b->en, &r, &d, &who);
	enrich_describe(&b->en, &who, 1, &about);
	assert_text(about.user_name, "ann");
	assert_text(about.unit, "ssh.service");
	assert_text(about.container_id, "");
	assert_text(about.facts->executable, "/usr/bin/true");
	users_free(b->en.users);
	cgroups_close(b->en.cgroups);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, nobody_stays_nobody);
	ADD_TEST(&t, unknown_image_asks_once_and_keeps_what_the_record_says);
	ADD_TEST(&t, critical_ring_is_asked_first);
	ADD_TEST(&t, critical_ring_is_not_asked_about_its_own_records);
	ADD_TEST(&t, proc_is_asked_next);
	ADD_TEST(&t, proc_is_not_asked_for_a_replaced_image);
	ADD_TEST(&t, pid_becomes_the_image_it_runs);
	ADD_TEST(&t, fork_exec_exit_are_learned);
	ADD_TEST(&t, description_names_unit_and_user);
	for (size_t i = 0; i < t.n; i++) {
		t.test[i].setup_func = setup;
		t.test[i].teardown_func = teardown;
	}
	ADD_ROWS(&t, version_follows_changes, version_rows);
	return tests_run(&t, "enrich");
}
