/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is stored has one leaf, also after what a crash or a failure left without. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/ledger_feed.h"
#include "proto/certs.h"
#include "tests/unit/rows.h"
#include "tests/unit/store_world.h"

static struct ledger_feed *feed;
static struct ledger *ledger;
static char key[200], folder[100];

static void on_frame(void *ctx, enum store_kind kind, const struct batch_name *tenant,
		     const uint8_t *body, size_t len)
{
	(void)ctx;
	if (feed)
		ledger_feed_owe(feed, kind, tenant, body, len);
}

static void open_all(struct world *w)
{
	struct ledger_config c = { .dir = folder, .key_file = key, .origin = "example.org/ledger" };
	uint8_t public[32];

	(void)snprintf(key, sizeof(key), "%s/ledger.key", w->dir);
	(void)snprintf(folder, sizeof(folder), "%s/" LEDGER_FOLDER, w->dir);
	assert_int_equal(certs_sealing_key(key, public, NULL), 0);
	w->config.on_frame = on_frame;
	world_open(w);
	if (ledger_open(&c, &ledger, &w->error) < 0 ||
	    ledger_feed_open(ledger, w->store, folder, &feed, &w->error) < 0)
		fail_msg("%s", w->error.text);
}

static void close_all(struct world *w)
{
	ledger_feed_free(feed);
	ledger_close(ledger);
	feed = NULL;
	ledger = NULL;
	world_close(w);
}

static void pay(void)
{
	struct error e = { 0 };

	if (ledger_feed_pay(feed, &e) < 0)
		fail_msg("%s", e.text);
}

/* Leaves by kind, and the last text. */
struct leaves_seen {
	uint64_t n[16], all;
	struct seal_hash last;
	char text[200];
};

static struct leaves_seen look(void)
{
	struct leaves_seen s = { 0 };
	char *note = NULL;

	assert_int_equal(ledger_checkpoint(ledger, NULL), 0);
	assert_int_equal(ledger_newest(ledger, &note, &s.all, NULL), 0);
	free(note);
	for (uint64_t i = 0; i < s.all; i++) {
		Exhibit__V1__LedgerEntry *m;
		uint8_t *bytes;
		size_t len;

		assert_int_equal(ledger_entry(ledger, i, &bytes, &len, NULL), 0);
		m = exhibit__v1__ledger_entry__unpack(NULL, len, bytes);
		assert_non_null(m);
		assert_int_equal(m->object.len, SEAL_HASH_LEN);
		s.n[m->kind]++;
		memcpy(s.last.b, m->object.data, SEAL_HASH_LEN);
		if (m->text.len)
			(void)snprintf(s.text, sizeof(s.text), "%.*s", (int)m->text.len,
				       (const char *)m->text.data);
		exhibit__v1__ledger_entry__free_unpacked(m, NULL);
		free(bytes);
	}
	return s;
}

static void every_kind_has_its_leaf(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK), again = s;
	struct leaves_seen seen;

	open_all(w);
	(void)world_host_record(w, "acme", "a", 1);
	(void)world_batch(w, &s, 10, "one");
	(void)world_tombstone(w, &s, 11, 2);
	(void)world_batch(w, &s, 12, "two");
	world_put_all(w, STORE_STORED);
	pay();
	seen = look();
	assert_int_equal(seen.all, 4);
	assert_int_equal(seen.n[EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH], 2);
	assert_int_equal(seen.n[EXHIBIT__V1__LEDGER_KIND__LEDGER_TOMBSTONE], 1);
	assert_int_equal(seen.n[EXHIBIT__V1__LEDGER_KIND__LEDGER_HOST_RECORD], 1);
	assert_memory_equal(seen.last.b, s.previous.b, SEAL_HASH_LEN);
	/* Again: duplicates have theirs already. */
	(void)world_batch(w, &again, 10, "one");
	world_put_all(w, STORE_DUPLICATE);
	pay();
	assert_int_equal(look().all, 4);
	/* Another with the same number is another. */
	again.number = 0;
	again.has_previous = false;
	(void)world_batch(w, &again, 10, "other");
	world_put_all(w, STORE_CONFLICT);
	pay();
	assert_int_equal(look().all, 5);
	close_all(w);
}

static void what_a_crash_left_without_a_leaf_gets_one(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct world_stream b = world_stream("b", 1, BATCH_LANE_CRITICAL);

	open_all(w);
	world_store(w, &s, 10, "one");
	pay();
	ledger_feed_mark(feed, true);
	world_store(w, &s, 11, "two");
	pay();
	world_store(w, &s, 12, "three");
	world_store(w, &b, 12, "four");
	/* Stored, not paid: here it ends. */
	close_all(w);
	open_all(w);
	assert_int_equal(look().n[EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH], 4);
	close_all(w);
	open_all(w);
	assert_int_equal(look().all, 4);
	close_all(w);
	/* Without the mark all is compared. */
	(void)snprintf(key, sizeof(key), "%s/stored", folder);
	assert_int_equal(unlink(key), 0);
	open_all(w);
	assert_int_equal(look().all, 4);
	close_all(w);
}

static void store_that_is_older_than_the_ledger_is_taken_in(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);

	world_open(w);
	for (uint64_t i = 0; i < 600; i++)
		world_store(w, &s, 10 + i, "word");
	world_close(w);
	open_all(w);
	assert_int_equal(look().n[EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH], 600);
	close_all(w);
}

static void removal_has_its_leaf(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct leaves_seen seen;

	w->config.retain_bytes = 1;
	open_all(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	world_store(w, &s, 10, "one");
	world_store(w, &s, 11, "two");
	pay();
	assert_int_equal(
		store_retain(w->store, w->now_ns + 3600 * (int64_t)NSEC_PER_SEC, &w->error), 0);
	pay();
	seen = look();
	assert_int_equal(seen.n[EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION], 1);
	assert_non_null(strstr(seen.text, "2 batches with 2 events removed by size: segment "));
	close_all(w);
}

static const struct world_scene scenes[] = {
	SCENE(what_a_crash_left_without_a_leaf_gets_one),
	SCENE(store_that_is_older_than_the_ledger_is_taken_in),
	SCENE(every_kind_has_its_leaf),
	SCENE(removal_has_its_leaf),
};

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, world_play, scenes);
	return tests_run(&t, "ledger_feed");
}
