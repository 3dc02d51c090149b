/* SPDX-License-Identifier: Apache-2.0 */
/* A collector's ledger and segments into a bucket in memory, and a collector made from it. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "collector/archive.h"
#include "collector/ledger_feed.h"
#include "collector/rebuild.h"
#include "collector/rebuilt.h"
#include "collector/vault_parts.h"
#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/ledger_cert.h"
#include "tests/unit/fake_bucket.h"
#include "tests/unit/rows.h"
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/store_world.h"

#define WAIT_MS 20000

static struct pki pki;
static struct ledger_feed *feed;
static struct ledger *ledger;
static struct archive *archive;
static struct fake_bucket *bucket;
static struct collector_config config; /* of the collector that is rebuilt */
static char key[200], cert[200], folder[200], target[100];

static void must(int r, const struct error *e)
{
	if (r < 0)
		fail_msg("%s", e->text);
}

static void on_frame(void *ctx, enum store_kind kind, const struct batch_name *tenant,
		     const uint8_t *body, size_t len)
{
	(void)ctx;
	if (feed)
		ledger_feed_owe(feed, kind, tenant, body, len);
}

/* A ledger key with the order authority's certificate: NAME.key, NAME.crt. */
static void make_key(const char *dir, const char *name)
{
	struct certs_authority *a = NULL;
	uint8_t public[SEAL_PUBLIC_LEN];
	struct error e = { 0 };

	(void)snprintf(key, sizeof(key), "%s/%s.key", dir, name);
	(void)snprintf(cert, sizeof(cert), "%s/%s.crt", dir, name);
	must(certs_sealing_key(key, public, &e), &e);
	must(certs_authority_load(pki_path(&pki, "order", ""), &a, &e), &e);
	must(ledger_cert_make(a, "exhibit.internal", "acme", public, time(NULL), cert, &e), &e);
	certs_authority_free(a);
}

static struct bucket_config bucket_settings(void)
{
	return (struct bucket_config){ .name = "b",
				       .prefix = "p",
				       .lock_mode = "compliance",
				       .retain_days = 3,
				       .run = fake_bucket_run,
				       .run_ctx = bucket };
}

static void open_all(struct world *w)
{
	struct ledger_config c = { .dir = folder, .key_file = key, .cert_file = cert };

	make_key(pki.dir, "first");
	(void)snprintf(folder, sizeof(folder), "%s/" LEDGER_FOLDER, w->dir);
	w->config.on_frame = on_frame;
	world_open(w);
	must(ledger_open(&c, &ledger, &w->error), &w->error);
	must(ledger_feed_open(ledger, w->store, folder, &feed, &w->error), &w->error);
	must(archive_start(&(struct archive_config){ .bucket = bucket_settings(),
						     .store_dir = w->dir,
						     .cert_file = cert,
						     .ledger = ledger,
						     .store = w->store,
						     .age_ms = 3600000,
						     .leaves = 1000000,
						     .segments = true },
			   &archive, &w->error),
	     &w->error);
}

static void close_all(struct world *w)
{
	archive_stop(archive);
	ledger_feed_free(feed);
	ledger_close(ledger);
	archive = NULL;
	feed = NULL;
	ledger = NULL;
	world_close(w);
}

static void store(struct world *w, struct world_stream *s, const char *words)
{
	world_store(w, s, 10 + s->number, words);
	must(ledger_feed_pay(feed, &w->error), &w->error);
}

static uint64_t newest(void)
{
	struct error e = { 0 };
	char *note = NULL;
	uint64_t size;

	must(ledger_checkpoint(ledger, &e), &e);
	must(ledger_newest(ledger, &note, &size, &e), &e);
	free(note);
	return size;
}

/* Everything stored so far lies in the bucket; leaves of the checkpoint that says so. */
static uint64_t archived(void)
{
	uint64_t want = newest();
	struct archive_status s = { 0 };

	for (unsigned int ms = 0; ms < WAIT_MS; ms += 10) {
		archive_poke(archive);
		archive_status(archive, &s);
		if (s.size >= want)
			return s.size;
		(void)usleep(10000);
	}
	fail_msg("not archived within %d ms: %s", WAIT_MS, s.why);
	return 0;
}

/* ---- the other collector ------------------------------------------------------------------------------------- */

static int rebuild(uint64_t *faults, uint64_t *size, struct error *e)
{
	struct bucket_config b = bucket_settings();

	config.store_dir = target;
	config.vault_dir = (char *)"";
	config.ledger_key = key;
	config.ledger_cert = cert;
	config.tls_order_ca = (char *)(uintptr_t)pki_path(&pki, "order", ".crt");
	config.segment_bytes = MiB(64);
	*e = (struct error){ 0 };
	return rebuild_from(&config, &b, faults, size, e);
}

static uint64_t batches_there(void)
{
	struct store_config c = { .dir = target, .tokenize = world_tokenize };
	struct store_totals totals;
	struct store *s = NULL;
	struct error e = { 0 };

	must(store_open(&c, &s, &e), &e);
	store_totals(s, &totals);
	store_close(s);
	return totals.batches;
}

static struct ledger *open_rebuilt(void)
{
	char dir[200];
	struct ledger_config c = { .dir = dir, .key_file = key, .cert_file = cert };
	struct ledger *l = NULL;
	struct error e = { 0 };

	(void)snprintf(dir, sizeof(dir), "%s/" LEDGER_FOLDER, target);
	must(ledger_open(&c, &l, &e), &e);
	return l;
}

static Exhibit__V1__LedgerEntry *leaf_at(struct ledger *l, uint64_t index)
{
	Exhibit__V1__LedgerEntry *m;
	uint8_t *bytes = NULL;
	size_t len;
	struct error e = { 0 };

	must(ledger_entry(l, index, &bytes, &len, &e), &e);
	m = exhibit__v1__ledger_entry__unpack(NULL, len, bytes);
	free(bytes);
	assert_non_null(m);
	return m;
}

/* The archived root, as the rebuilt log gives it for that many leaves; the leaf behind says what happened. */
static void follows_from_archive(uint64_t size)
{
	struct ledger *l = open_rebuilt();
	const struct fake_object *o;
	struct checkpoint c;
	struct seal_hash root, hash;
	char name[64];
	struct error e = { 0 };
	Exhibit__V1__LedgerEntry *m;

	(void)snprintf(name, sizeof(name), "checkpoint/%020llu", (unsigned long long)size);
	o = fake_bucket_find(bucket, name, 0);
	assert_non_null(o);
	assert_int_equal(checkpoint_parse((char *)o->data, o->len, &c, NULL), 0);
	assert_int_equal(c.size, size);
	must(ledger_root(l, size, &root, &e), &e);
	assert_memory_equal(root.b, c.root.b, SEAL_HASH_LEN);
	m = leaf_at(l, size);
	assert_int_equal(m->kind, EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD);
	assert_int_equal(m->size, size);
	assert_int_equal(seal_sha256(o->data, o->len, &hash), 0);
	assert_memory_equal(m->object.data, hash.b, SEAL_HASH_LEN);
	exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	ledger_close(l);
}

/* ---- scenes ---------------------------------------------------------------------------------------------------- */

static void same_root_and_same_batches(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, second;
	struct error e;

	open_all(w);
	store(w, &s, "one");
	assert_true(archived() >= 2);
	/* The segment grows, and goes on in a second piece. */
	for (int i = 0; i < 300; i++)
		store(w, &s, "two three");
	second = archived();
	assert_non_null(fake_bucket_find(bucket, "p/.segments/acme/", 1));
	assert_non_null(fake_bucket_find(bucket, "/tile/0/000", 0));
	store(w, &s, "lost");
	close_all(w);
	must(rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, second);
	follows_from_archive(second);
	assert_int_equal(batches_there(), 301);
	/* A second time it replaces nothing. */
	assert_int_equal(rebuild(&faults, &size, &e), -ENOTEMPTY);
	assert_non_null(strstr(e.text, "is not empty"));
}

static void what_came_after_the_checkpoint_gets_leaves(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, first;
	struct error e;

	open_all(w);
	store(w, &s, "one");
	first = archived();
	store(w, &s, "two");
	/* The next checkpoint does not get there, its segments do. */
	fake_bucket_fail(bucket, &(struct fake_faults){ .status = 503, .only = "/checkpoint/" });
	(void)newest();
	for (int i = 0; i < 500 && fake_bucket_find(bucket, ".segments/", 1) == NULL; i++) {
		archive_poke(archive);
		(void)usleep(10000);
	}
	assert_non_null(fake_bucket_find(bucket, ".segments/", 1));
	close_all(w);
	fake_bucket_fail(bucket, NULL);
	must(rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, first);
	assert_int_equal(batches_there(), 2);
	struct ledger *l = open_rebuilt();
	Exhibit__V1__LedgerEntry *m = leaf_at(l, first + 1);

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

	open_all(w);
	for (int i = 0; i < 5; i++)
		store(w, &s, "one two three");
	(void)archived();
	close_all(w);
	o = fake_bucket_find(bucket, ".segments/", 0);
	o->data[o->len / 2] ^= 1;
	must(rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 1);
	assert_true(batches_there() < 5);
}

static void an_object_that_somebody_put_over_it_does_not_count(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, want;
	struct error e;
	size_t n = 0;

	open_all(w);
	store(w, &s, "one");
	want = archived();
	close_all(w);
	for (const struct fake_object *o;
	     n < 200 && (o = fake_bucket_find(bucket, "p/.", n)) != NULL; n++)
		if (o->len != 3)
			fake_bucket_put(bucket, o->key, "bad", 3);
	must(rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, want);
	follows_from_archive(want);
}

static void the_checkpoint_before_is_taken_when_the_newest_is_damaged(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, first;
	struct fake_object *o;
	struct error e;
	char name[64];

	open_all(w);
	store(w, &s, "one");
	first = archived();
	store(w, &s, "two");
	(void)snprintf(name, sizeof(name), "/tile/entries/000.p/%llu",
		       (unsigned long long)archived());
	close_all(w);
	o = fake_bucket_find(bucket, name, 0);
	assert_non_null(o);
	o->data[10] ^= 1;
	must(rebuild(&faults, &size, &e), &e);
	assert_true(faults >= 1);
	assert_int_equal(size, first);
	follows_from_archive(first);
	assert_int_equal(batches_there(), 2);
}

static void a_forged_checkpoint_is_refused(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size;
	struct fake_object *o;
	struct error e;

	open_all(w);
	store(w, &s, "one");
	(void)archived();
	close_all(w);
	o = fake_bucket_find(bucket, "/checkpoint/", 0);
	o->data[o->len - 10] = o->data[o->len - 10] == 'A' ? 'B' : 'A';
	assert_int_equal(rebuild(&faults, &size, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "none of the newest checkpoints"));
	/* Half a rebuild is no state to start from. */
	assert_int_equal(rebuild_refuse_half(target, &e), -EBUSY);
}

static void an_empty_bucket_says_so(struct world *w)
{
	uint64_t faults, size;
	struct error e;

	(void)w;
	make_key(pki.dir, "first");
	assert_int_equal(rebuild(&faults, &size, &e), -ENOENT);
	assert_non_null(strstr(e.text, "there is no checkpoint of a ledger below 'p/'"));
}

static void with_a_new_key_the_same_tree_goes_on(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint64_t faults, size, want;
	struct error e;
	char path[300];

	open_all(w);
	store(w, &s, "one");
	want = archived();
	close_all(w);
	make_key(pki.dir, "second");
	must(rebuild(&faults, &size, &e), &e);
	assert_int_equal(faults, 0);
	assert_int_equal(size, want);
	follows_from_archive(want);
	(void)snprintf(path, sizeof(path), "%s/" LEDGER_FOLDER "/" REBUILT_CERTIFICATE, target);
	assert_int_equal(access(path, F_OK), 0);
}

static void failures_are_shown_and_end(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct archive_status status = { 0 };

	fake_bucket_fail(bucket, &(struct fake_faults){ .status = 503 });
	open_all(w);
	store(w, &s, "one");
	(void)newest();
	for (int i = 0; i < 1000 && status.why[0] == '\0'; i++) {
		archive_poke(archive);
		archive_status(archive, &status);
		(void)usleep(10000);
	}
	assert_non_null(strstr(status.why, "with 503"));
	assert_int_equal(status.size, 0);
	/* Nobody waits for it. */
	store(w, &s, "two");
	fake_bucket_fail(bucket, NULL);
	assert_true(archived() >= 3);
	archive_status(archive, &status);
	assert_string_equal(status.why, "");
	close_all(w);
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

	open_all(w);
	store(w, &s, "one");
	first = archived();
	store(w, &s, "two");
	last = newest();
	must(ledger_newest(ledger, &held, &last, &e), &e);
	close_all(w);
	make_key(pki.dir, "second");
	must(rebuild(&faults, &size, &e), &e);
	assert_int_equal(size, first);
	l = open_rebuilt();
	(void)snprintf(dir, sizeof(dir), "%s/" LEDGER_FOLDER, target);
	must(rebuilt_open(dir, l, &b, &e), &e);
	assert_int_equal(ledger_rebuild(l), first);
	for (int i = 0; i < 2; i++)
		rebuilt_held(b, &tenant, &host, held, strlen(held));
	assert_true(rebuilt_status(b, &status));
	assert_int_equal(status.from_leaves, first);
	assert_int_equal(status.lost_leaves, last - first);
	assert_int_equal(status.n_hosts, 1);
	assert_int_equal(status.contradictions, 0);
	rebuilt_status_release(&status);
	must(ledger_checkpoint(l, &e), &e);
	free(TAKE(held));
	must(ledger_newest(l, &held, &now, &e), &e);
	Exhibit__V1__LedgerEntry *m = leaf_at(l, now - 1), *before = leaf_at(l, now - 2);

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
	must(rebuilt_open(dir, l, &b, &e), &e);
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

	bucket = fake_bucket_new();
	assert_non_null(bucket);
	(void)snprintf(target, sizeof(target), "%s-rebuilt", w->dir);
	scene->play(w);
	world_free(w);
	fake_bucket_free(bucket);
	(void)nftw(target, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct world_scene scenes[] = {
	SCENE(same_root_and_same_batches),
	SCENE(what_came_after_the_checkpoint_gets_leaves),
	SCENE(a_damaged_piece_is_named_and_kept),
	SCENE(an_object_that_somebody_put_over_it_does_not_count),
	SCENE(the_checkpoint_before_is_taken_when_the_newest_is_damaged),
	SCENE(a_forged_checkpoint_is_refused),
	SCENE(an_empty_bucket_says_so),
	SCENE(with_a_new_key_the_same_tree_goes_on),
	SCENE(failures_are_shown_and_end),
	SCENE(lost_leaves_are_stated_once),
};

int main(void)
{
	static struct tests t;
	int failed;

	ADD_ROWS(&t, play, scenes);
	pki_make(&pki);
	failed = tests_run(&t, "archive");
	pki_remove(&pki);
	return failed;
}
