/* SPDX-License-Identifier: Apache-2.0 */
/* A collector's ledger and segments into a bucket in memory, and a collector made from it. */
#include "collector/archive_index.h"
#include "collector/rebuild.h"
#include "collector/rebuilt.h"
#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/ledger_cert.h"
#include "tests/unit/archive_world.h"
#include "tests/unit/rows.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- scenes ---------------------------------------------------------------------------------------------------- */

static void same_root_and_same_batches(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, second;
	struct error e;

	aw_open(w);
	aw_store(w, &s, "one");
	assert_true(aw_archived() >= 2);
	/* The segment grows, and goes on in a second piece. */
	for (int i = 0; i < 300; i++)
		aw_store(w, &s, "two three");
	second = aw_archived();
	assert_non_null(fake_bucket_find(aw_fake, "p/.segments/acme/", 1));
	assert_non_null(fake_bucket_find(aw_fake, "/tile/0/000", 0));
	aw_store(w, &s, "lost");
	aw_close(w);
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, second);
	aw_follows(second);
	assert_int_equal(aw_batches(), 301);
	/* A second time it replaces nothing. */
	assert_int_equal(aw_rebuild(&faults, &size, &e), -ENOTEMPTY);
	assert_non_null(strstr(e.text, "is not empty"));
}

static void what_came_after_the_checkpoint_gets_leaves(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, first;
	struct error e;

	aw_open(w);
	aw_store(w, &s, "one");
	first = aw_archived();
	aw_store(w, &s, "two");
	/* The next checkpoint does not get there, its segments do. */
	fake_bucket_fail(aw_fake, &(struct fake_faults){ .status = 503, .only = "/checkpoint/" });
	(void)aw_newest();
	for (int i = 0; i < 500 && fake_bucket_find(aw_fake, ".segments/", 1) == NULL; i++) {
		archive_poke(aw_archive);
		(void)usleep(10000);
	}
	assert_non_null(fake_bucket_find(aw_fake, ".segments/", 1));
	aw_close(w);
	fake_bucket_fail(aw_fake, NULL);
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, first);
	assert_int_equal(aw_batches(), 2);
	struct ledger *l = aw_ledger();
	Exhibit__V1__LedgerEntry *m = aw_leaf(l, first + 1);

	assert_int_equal(m->kind, EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH);
	assert_memory_equal(m->object.data, s.previous.b, SEAL_HASH_LEN);
	exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	ledger_close(l);
}

static void a_damaged_piece_is_named_and_kept(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size;
	struct fake_object *o;
	struct error e;

	aw_open(w);
	for (int i = 0; i < 5; i++)
		aw_store(w, &s, "one two three");
	(void)aw_archived();
	aw_close(w);
	o = fake_bucket_find(aw_fake, ".segments/", 0);
	o->data[o->len / 2] ^= 1;
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 1);
	assert_true(aw_batches() < 5);
}

static void an_object_that_somebody_put_over_it_does_not_count(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, want;
	struct error e;
	size_t n = 0;

	aw_open(w);
	aw_store(w, &s, "one");
	want = aw_archived();
	aw_close(w);
	for (const struct fake_object *o;
	     n < 200 && (o = fake_bucket_find(aw_fake, "p/.", n)) != NULL; n++)
		if (o->len != 3)
			fake_bucket_put(aw_fake, o->key, "bad", 3);
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, want);
	aw_follows(want);
}

static void the_checkpoint_before_is_taken_when_the_newest_is_damaged(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, first;
	struct fake_object *o;
	struct error e;
	char name[64];

	aw_open(w);
	aw_store(w, &s, "one");
	first = aw_archived();
	aw_store(w, &s, "two");
	(void)snprintf(name, sizeof(name), "/tile/entries/000.p/%llu",
		       (unsigned long long)aw_archived());
	aw_close(w);
	o = fake_bucket_find(aw_fake, name, 0);
	assert_non_null(o);
	o->data[10] ^= 1;
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_true(faults >= 1);
	assert_int_equal(size, first);
	aw_follows(first);
	assert_int_equal(aw_batches(), 2);
}

static void a_forged_checkpoint_is_refused(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size;
	struct fake_object *o;
	struct error e;

	aw_open(w);
	aw_store(w, &s, "one");
	(void)aw_archived();
	aw_close(w);
	o = fake_bucket_find(aw_fake, "/checkpoint/", 0);
	o->data[o->len - 10] = o->data[o->len - 10] == 'A' ? 'B' : 'A';
	assert_int_equal(aw_rebuild(&faults, &size, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "none of the newest checkpoints"));
	/* Half a rebuild is no state to start from. */
	assert_int_equal(rebuild_refuse_half(aw_target, &e), -EBUSY);
}

static void put_file(const char *name, const char *path)
{
	uint8_t *data = NULL;
	struct error e = { 0 };
	size_t len;

	aw_must(files_read(path, KiB(64), &data, &len, &e), &e);
	fake_bucket_put(aw_fake, name, data, len);
	free(data);
}

/* A ledger's certificate of the fleet authority. */
static const char *make_foreign(void)
{
	static const uint8_t public[SEAL_PUBLIC_LEN] = { 1 };
	static char path[200];
	struct certs_authority *a = NULL;
	struct error e = { 0 };

	(void)snprintf(path, sizeof(path), "%s/foreign.crt", aw_pki.dir);
	aw_must(certs_authority_load(pki_path(&aw_pki, "fleet", ""), &a, &e), &e);
	aw_must(ledger_cert_make(a, "exhibit.internal", "acme", public, time(NULL), path, &e), &e);
	certs_authority_free(a);
	return path;
}

/* Whoever may write into the aw_fake gives names that sort before the true one. */
static void forged_names_do_not_hide_the_true_one(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, want;
	struct fake_object *o;
	struct error e;
	char name[S3_KEY_MAX];

	aw_open(w);
	aw_store(w, &s, "one");
	want = aw_archived();
	aw_close(w);
	o = fake_bucket_find(aw_fake, "/checkpoint/", 0);
	for (int i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof(name), "%.*s00000000000000009%03d",
			       (int)(strlen(o->key) - 20), o->key, i);
		fake_bucket_put(aw_fake, name, o->data, o->len);
	}
	fake_bucket_put(aw_fake, "p/.ledger/&#1;", "x", 1);
	/* And a whole log of an authority that has no say in this. */
	put_file("p/.ledger/ffffffffffffffff/certificate.crt", make_foreign());
	(void)snprintf(name, sizeof(name),
		       "p/.ledger/ffffffffffffffff/checkpoint/00000000000000010000");
	fake_bucket_put(aw_fake, name, o->data, o->len);
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 21);
	assert_int_equal(size, want);
}

static void an_empty_bucket_says_so(struct world *w)
{
	uint64_t faults, size;
	struct error e;

	(void)w;
	aw_key(aw_pki.dir, "first");
	assert_int_equal(aw_rebuild(&faults, &size, &e), -ENOENT);
	assert_non_null(strstr(e.text, "there is no checkpoint of a ledger below 'p/'"));
}

static void with_a_new_key_the_same_tree_goes_on(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, want;
	struct error e;
	char path[300];

	aw_open(w);
	aw_store(w, &s, "one");
	want = aw_archived();
	aw_close(w);
	aw_key(aw_pki.dir, "second");
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, want);
	aw_follows(want);
	(void)snprintf(path, sizeof(path), "%s/" LEDGER_FOLDER "/" REBUILT_CERTIFICATE, aw_target);
	assert_int_equal(access(path, F_OK), 0);
}

static void failures_are_shown_and_end(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct archive_status status = { 0 };

	fake_bucket_fail(aw_fake, &(struct fake_faults){ .status = 503 });
	aw_open(w);
	aw_store(w, &s, "one");
	(void)aw_newest();
	for (int i = 0; i < 1000 && status.why[0] == '\0'; i++) {
		archive_poke(aw_archive);
		archive_status(aw_archive, &status);
		(void)usleep(10000);
	}
	assert_non_null(strstr(status.why, "with 503"));
	assert_int_equal(status.size, 0);
	/* Nobody waits for it. */
	aw_store(w, &s, "two");
	fake_bucket_fail(aw_fake, NULL);
	assert_true(aw_archived() >= 3);
	archive_status(aw_archive, &status);
	assert_string_equal(status.why, "");
	aw_close(w);
}

struct ending {
	size_t n;
	char first[S3_KEY_MAX];
};

static int count_due(void *ctx, const struct archive_object *o)
{
	struct ending *d = ctx;

	if (d->n++ == 0)
		(void)snprintf(d->first, sizeof(d->first), "%s", o->key);
	return 0;
}

/* A segment, whose lock is as good as over, and one that retention removed meanwhile. */
static void locks_are_renewed_while_needed(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	int64_t soon = (int64_t)time(NULL) + 60;
	struct archive_index *i = NULL;
	struct ending due = { 0 };
	const struct fake_object *o;
	char before[64];
	struct error e = { 0 };

	aw_open(w);
	aw_store(w, &s, "one");
	(void)aw_archived();
	aw_close(w);
	o = fake_bucket_find(aw_fake, "p/.segments/", 0);
	aw_must(archive_index_open(w->dir, &i, &e), &e);
	aw_must(archive_index_renewed(i, o->key + 2, soon, true, &e), &e);
	aw_must(archive_index_add(i,
				  &(struct archive_object){ .key = ".segments/acme/gone/0",
							    .version = "v1",
							    .group = "acme/gone",
							    .bytes = 1,
							    .until_s = soon,
							    .renew = true },
				  &e),
		&e);
	aw_must(archive_index_due(i, soon + 1, 10, count_due, &due, &e), &e);
	assert_int_equal(due.n, 2);
	archive_index_close(TAKE(i));
	(void)snprintf(before, sizeof(before), "%s", o->until);
	(void)sleep(1); /* locks count whole seconds */
	aw_open(w);
	for (int t = 0; t < 1000 && strcmp(before, o->until) == 0; t++)
		(void)usleep(10000);
	assert_true(strcmp(before, o->until) < 0);
	aw_store(w, &s, "two");
	(void)aw_archived(); /* the look before is over */
	aw_close(w);
	aw_must(archive_index_open(w->dir, &i, &e), &e);
	due = (struct ending){ 0 };
	aw_must(archive_index_due(i, soon + 1, 10, count_due, &due, &e), &e);
	assert_int_equal(due.n, 0);
	archive_index_close(i);
}

/* What a host of before says of the checkpoint that it holds. */
static void lost_leaves_are_stated_once(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	Exhibit__V1__StatusRebuilt status = EXHIBIT__V1__STATUS_REBUILT__INIT;
	struct batch_name tenant = { 4, "acme" }, host = { 3, "h-1" };
	AUTO(free_ptr) char *held = NULL;
	uint64_t faults, size, first, last, now;
	struct rebuilt *b = NULL;
	struct ledger *l;
	struct error e = { 0 };
	char dir[200];

	aw_open(w);
	aw_store(w, &s, "one");
	first = aw_archived();
	aw_store(w, &s, "two");
	last = aw_newest();
	aw_must(ledger_newest(aw_log, &held, &last, &e), &e);
	aw_close(w);
	aw_key(aw_pki.dir, "second");
	aw_must(aw_rebuild(&faults, &size, &e), &e);
	assert_int_equal(size, first);
	l = aw_ledger();
	(void)snprintf(dir, sizeof(dir), "%s/" LEDGER_FOLDER, aw_target);
	aw_must(rebuilt_open(dir, l, &b, &e), &e);
	assert_int_equal(ledger_rebuild(l), first);
	for (int i = 0; i < 2; i++)
		rebuilt_held(b, &tenant, &host, held, strlen(held));
	assert_true(rebuilt_status(b, &status));
	assert_int_equal(status.from_leaves, first);
	assert_int_equal(status.lost_leaves, last - first);
	assert_int_equal(status.n_hosts, 1);
	assert_int_equal(status.contradictions, 0);
	rebuilt_status_release(&status);
	aw_must(ledger_checkpoint(l, &e), &e);
	free(TAKE(held));
	aw_must(ledger_newest(l, &held, &now, &e), &e);
	Exhibit__V1__LedgerEntry *m = aw_leaf(l, now - 1), *before = aw_leaf(l, now - 2);

	assert_int_equal(m->kind, EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD);
	assert_memory_equal(m->host_id.data, "h-1", 3);
	assert_non_null(memmem(m->text.data, m->text.len, " were lost", 10));
	assert_int_equal(before->host_id.len, 0);
	exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	exhibit__v1__ledger_entry__free_unpacked(before, NULL);
	/* The new log's own checkpoint is no contradiction. */
	rebuilt_held(b, &tenant, &host, held, strlen(held));
	assert_true(rebuilt_status(b, &status));
	assert_int_equal(status.contradictions, 0);
	rebuilt_status_release(&status);
	rebuilt_close(b);
	/* And it is known after a restart. */
	aw_must(rebuilt_open(dir, l, &b, &e), &e);
	assert_true(rebuilt_status(b, &status));
	assert_int_equal(status.lost_leaves, last - first);
	rebuilt_status_release(&status);
	rebuilt_close(b);
	ledger_close(l);
}

/* ---- around them ------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void play(void **state)
{
	const struct world_scene *scene = *state;
	struct world *w = world_new();

	aw_fake = fake_bucket_new();
	assert_non_null(aw_fake);
	(void)snprintf(aw_target, sizeof(aw_target), "%s-rebuilt", w->dir);
	scene->play(w);
	world_free(w);
	fake_bucket_free(aw_fake);
	(void)nftw(aw_target, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct world_scene scenes[] = {
	SCENE(same_root_and_same_batches),
	SCENE(what_came_after_the_checkpoint_gets_leaves),
	SCENE(a_damaged_piece_is_named_and_kept),
	SCENE(an_object_that_somebody_put_over_it_does_not_count),
	SCENE(the_checkpoint_before_is_taken_when_the_newest_is_damaged),
	SCENE(a_forged_checkpoint_is_refused),
	SCENE(forged_names_do_not_hide_the_true_one),
	SCENE(an_empty_bucket_says_so),
	SCENE(with_a_new_key_the_same_tree_goes_on),
	SCENE(failures_are_shown_and_end),
	SCENE(locks_are_renewed_while_needed),
	SCENE(lost_leaves_are_stated_once),
};

int main(void)
{
	static struct tests t;
	int failed;

	ADD_ROWS(&t, play, scenes);
	pki_make(&aw_pki);
	failed = tests_run(&t, "archive");
	pki_remove(&aw_pki);
	return failed;
}
