/* SPDX-License-Identifier: Apache-2.0 */
/* The store as a whole: put, find, read, across restarts, from several threads. */
#include "tests/unit/rows.h"
#include "tests/unit/store_world.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- what may not work ---- */

static void second_opener_is_refused(struct world *w)
{
	struct store *other = NULL;

	world_open(w);
	assert_int_equal(store_open(&w->config, &other, &w->error), -EBUSY);
	assert_null(other);
	assert_non_null(strstr(w->error.text, "another process holds"));
}

static void reserve_reached_stores_nothing(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);

	w->config.reserve_bytes = TiB(1000);
	world_open(w);
	(void)world_batch(w, &s, 10, "one");
	assert_int_equal(world_put(w), -ENOSPC);
	assert_int_equal(world_find(w, "acme", NULL, NULL), 0);
	assert_int_equal(world_view(w, &s).newest, 0);
	assert_int_equal(w->stored, 0);
}

static void strange_tenants_are_refused(struct world *w)
{
	static const char *const names[] = { "..", ".hidden", "a/b", "a b", "" };

	world_open(w);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)world_host_record(w, names[i], "host", 1);
		world_put_all(w, STORE_REFUSED);
	}
}

static void holes_are_bounded(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);

	world_open(w);
	s.has_previous = true;
	for (int i = 0; i < STORE_HOLES_MAX; i++) {
		s.number++; /* never sent */
		world_store(w, &s, 10, "x");
	}
	assert_int_equal(world_view(w, &s).contiguous, 0);
	s.number++;
	world_store(w, &s, 10, "x");
	for (int restarts = 0; restarts < 2; restarts++) {
		assert_int_equal(world_view(w, &s).contiguous, 2);
		assert_int_equal(world_view(w, &s).newest, 2 * (STORE_HOLES_MAX + 1));
		assert_int_equal(world_view(w, &s).chain_breaks, 1);
		world_reopen(w);
	}
	/* What was given up comes after all. */
	s.number = 0;
	s.has_previous = false;
	world_store(w, &s, 10, "late");
	assert_int_equal(world_find(w, "acme", NULL, "late"), 1);
	s.number = 0;
	s.has_previous = false;
	s.sequence--;
	(void)world_batch(w, &s, 10, "late");
	world_put_all(w, STORE_DUPLICATE);
}

static void streams_of_a_host_are_bounded(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	uint32_t made = 0;

	world_open(w);
	for (uint32_t i = 0; i <= STORE_STREAMS_MAX; i += 32) {
		for (uint32_t k = 0; k < 32 && i + k <= STORE_STREAMS_MAX; k++) {
			s = world_stream("a", (uint8_t)((i + k) & 255), BATCH_LANE_BULK);
			s.epoch = (uint8_t)((i + k) >> 8);
			(void)world_batch(w, &s, 10, "x");
		}
		assert_int_equal(world_put(w), 0);
		for (size_t k = 0; k < 32; k++)
			made += w->items[k].result == STORE_STORED;
	}
	assert_int_equal(w->items[0].result, STORE_REFUSED);
	assert_true(made >= STORE_STREAMS_MAX);
}

static void host_records_are_bounded(struct world *w)
{
	world_open(w);
	for (uint8_t i = 0; i < STORE_HOST_RECORDS_MAX; i++) {
		(void)world_host_record(w, "acme", "a", i);
		world_put_all(w, STORE_STORED);
	}
	(void)world_host_record(w, "acme", "a", 200);
	world_put_all(w, STORE_REFUSED);
	(void)world_host_record(w, "acme", "a", 3);
	world_put_all(w, STORE_DUPLICATE);
}

static void too_many_references(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct batch_name t = { 4, "acme" };
	struct store_question q = {
		.tenant = &t, .since_ns = INT64_MIN, .until_ns = INT64_MAX, .max = 1
	};
	struct store_ref *refs = NULL;
	size_t n;

	world_open(w);
	world_store(w, &s, 10, "x");
	world_store(w, &s, 10, "y");
	assert_int_equal(store_find(w->store, &q, &refs, &n, &w->error), -E2BIG);
	assert_null(refs);
}

/* ---- what must work ---- */

static void found_again_after_each_restart(struct world *w)
{
	struct world_stream a = world_stream("a", 1, BATCH_LANE_BULK),
			    b = world_stream("b", 1, BATCH_LANE_CRITICAL);

	world_open(w);
	world_store(w, &a, 10, "one two");
	world_store(w, &a, 20, "two three");
	world_store(w, &b, 15, "two");
	for (int sealed = 0; sealed < 2; sealed++) {
		assert_int_equal(world_find(w, "acme", NULL, NULL), 3);
		assert_int_equal(world_find(w, "acme", "a", NULL), 2);
		assert_int_equal(world_find(w, "acme", "nobody", NULL), 0);
		assert_int_equal(world_find(w, "acme", NULL, "two"), 3);
		assert_int_equal(world_find(w, "acme", "b", "two"), 1);
		assert_int_equal(world_find(w, "acme", NULL, "three"), 1);
		assert_int_equal(world_find(w, "acme", NULL, "never"), 0);
		assert_int_equal(world_find(w, "other", NULL, NULL), 0);
		world_reopen(w);
		assert_int_equal(world_find(w, "acme", NULL, "two"), 3);
		assert_int_equal(world_find(w, "acme", NULL, "never"), 0);
		assert_int_equal(world_view(w, &a).contiguous, 2);
		assert_int_equal(world_view(w, &a).chain_breaks, 0);
		assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error), 0);
		assert_int_equal(world_files(w, "acme", ".idx"), 1);
	}
	assert_int_equal(w->stored, 3);
}

static void duplicates_are_told_wherever_they_lie(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK), again = s;

	world_open(w);
	world_store(w, &s, 10, "one");
	for (int sealed = 0; sealed < 3; sealed++) {
		struct world_stream copy = again;

		(void)world_batch(w, &copy, 10, "one");
		world_put_all(w, STORE_DUPLICATE);
		if (sealed == 0)
			assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error),
					 0);
		else
			world_reopen(w);
	}
	(void)world_batch(w, &s, 10, "two");
	s.number--;
	s.sequence--;
	s.previous = w->behind[0].view.header.previous;
	(void)world_batch(w, &s, 10, "two");
	assert_int_equal(world_put(w), 0);
	assert_int_equal(w->items[0].result, STORE_STORED);
	assert_int_equal(w->items[1].result, STORE_DUPLICATE);
	assert_int_equal(world_find(w, "acme", NULL, NULL), 2);
	assert_int_equal(w->stored, 2);
}

static void conflicts_are_kept_and_shown(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK), twin = s;

	world_open(w);
	world_store(w, &s, 10, "truth");
	for (int round = 0; round < 2; round++) {
		struct world_stream t = twin;

		(void)world_batch(w, &t, 10, "lie");
		world_put_all(w, round == 0 ? STORE_CONFLICT : STORE_DUPLICATE);
		if (round == 0) /* The chain goes on from the other one. */
			s = t;
	}
	world_store(w, &s, 20, "next");
	for (int restarts = 0; restarts < 3; restarts++) {
		assert_int_equal(world_find(w, "acme", NULL, "truth"), 1);
		assert_int_equal(world_find(w, "acme", NULL, "lie"), 1);
		assert_int_equal(world_view(w, &s).conflicts, 1);
		assert_int_equal(world_view(w, &s).chain_breaks, 0);
		assert_int_equal(world_view(w, &s).contiguous, 2);
		if (restarts == 1)
			assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error),
					 0);
		world_reopen(w);
	}
}

static void tombstones_close_the_hole(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct world_stream before;

	world_open(w);
	world_store(w, &s, 10, "one");
	before = s;
	(void)world_tombstone(w, &s, 20, 3);
	world_put_all(w, STORE_STORED);
	world_store(w, &s, 30, "five");
	(void)world_tombstone(w, &before, 20, 3);
	world_put_all(w, STORE_DUPLICATE);
	for (int sealed = 0; sealed < 3; sealed++) {
		struct store_stream v = world_view(w, &s);

		assert_int_equal(v.contiguous, 5);
		assert_int_equal(v.dropped_events, 9);
		assert_int_equal(v.events, 2);
		assert_int_equal(v.chain_breaks, 0);
		/* It belongs to every answer whose time it touches. */
		assert_int_equal(world_find(w, "acme", NULL, "never"), 1);
		assert_int_equal(world_find(w, "acme", NULL, NULL), 3);
		if (sealed == 0)
			assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error),
					 0);
		else
			world_reopen(w);
	}
}

static void acknowledged_is_what_has_no_hole(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK), missing;
	struct batch_header h = { .tenant = { 4, "acme" },
				  .host_id = { 1, "a" },
				  .lane = BATCH_LANE_BULK };
	struct seal_hash hash, first;
	uint64_t number = 0;

	memset(h.boot_id, 1, sizeof(h.boot_id));
	memset(h.epoch, 1, sizeof(h.epoch));
	world_open(w);
	assert_false(store_acknowledged(w->store, &h, &number, &hash));
	world_store(w, &s, 10, "one");
	first = s.previous;
	missing = s;
	(void)world_batch(w, &s, 20, "two");
	w->n = 0; /* lost on the way */
	free(w->behind[0].bytes);
	arena_free(w->behind[0].arena);
	world_store(w, &s, 30, "three");
	assert_true(store_acknowledged(w->store, &h, &number, &hash));
	assert_int_equal(number, 1);
	assert_memory_equal(hash.b, first.b, SEAL_HASH_LEN);
	world_reopen(w);
	(void)world_batch(w, &missing, 20, "two");
	world_put_all(w, STORE_STORED);
	assert_true(store_acknowledged(w->store, &h, &number, &hash));
	assert_int_equal(number, 3);
	assert_memory_equal(hash.b, s.previous.b, SEAL_HASH_LEN);
	assert_int_equal(world_view(w, &s).chain_breaks, 0);
}

static void broken_chains_are_counted(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);

	world_open(w);
	world_store(w, &s, 10, "one");
	s.previous.b[0] ^= 1;
	world_store(w, &s, 20, "two");
	assert_int_equal(world_view(w, &s).chain_breaks, 1);
	world_reopen(w);
	assert_int_equal(world_view(w, &s).chain_breaks, 1);
}

static void a_boot_goes_on_from_the_one_before(struct world *w)
{
	struct world_stream one = world_stream("a", 1, BATCH_LANE_BULK), two = one, three = one;

	world_open(w);
	world_store(w, &one, 10, "x");
	two.boot = 2;
	two.has_previous = true;
	two.previous = one.previous;
	world_store(w, &two, 10, "x");
	assert_int_equal(world_view(w, &two).chain_breaks, 0);
	three.boot = 3;
	world_store(w, &three, 10, "x");
	assert_int_equal(world_view(w, &three).chain_breaks, 1);
}

static void idle_moves_the_watermark(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct batch_idle idle = { .tenant = { 4, "acme" },
				   .host_id = { 1, "a" },
				   .lane = BATCH_LANE_BULK,
				   .number = 1,
				   .has_hash = true,
				   .watermark_ns = 99 * NSEC_PER_SEC };

	memset(idle.boot_id, 1, sizeof(idle.boot_id));
	memset(idle.epoch, 1, sizeof(idle.epoch));
	world_open(w);
	assert_int_equal(store_idle(w->store, &idle, 1), -ESTALE);
	world_store(w, &s, 10, "x");
	assert_int_equal(store_idle(w->store, &idle, 1), -ESTALE);
	idle.header_hash = s.previous;
	assert_int_equal(store_idle(w->store, &idle, w->now_ns + 5), 0);
	assert_int_equal(world_view(w, &s).watermark_wall_ns, 99000000000LL + WORLD_OFFSET);
	assert_int_equal(world_view(w, &s).received_ns, w->now_ns + 5);
}

static void tenants_do_not_see_each_other(struct world *w)
{
	struct world_stream a = world_stream("h", 1, BATCH_LANE_BULK), b = a;

	b.tenant = "umbrella";
	world_open(w);
	(void)world_batch(w, &a, 10, "secret");
	(void)world_batch(w, &b, 10, "secret");
	world_put_all(w, STORE_STORED);
	assert_int_equal(world_find(w, "acme", NULL, "secret"), 1);
	assert_int_equal(world_find(w, "umbrella", NULL, "secret"), 1);
	world_reopen(w);
	assert_int_equal(world_find(w, "acme", NULL, NULL), 1);
	assert_int_equal(world_find(w, "umbrella", NULL, NULL), 1);
}

static void segments_roll_by_size(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct store_totals t;
	char word[32];

	w->config.segment_bytes = KiB(64);
	world_open(w);
	for (int i = 0; i < 400; i++) {
		(void)snprintf(word, sizeof(word), "word%d common", i);
		world_store(w, &s, (uint64_t)i, word);
	}
	assert_true(world_files(w, "acme", ".idx") >= 2);
	store_totals(w->store, &t);
	assert_int_equal(t.batches, 400);
	assert_int_equal(t.events, 800);
	for (int restarts = 0; restarts < 2; restarts++) {
		assert_int_equal(world_find(w, "acme", NULL, "word17"), 1);
		assert_int_equal(world_find(w, "acme", NULL, "word399"), 1);
		assert_int_equal(world_find(w, "acme", "a", "common"), 400);
		assert_int_equal(world_view(w, &s).contiguous, 400);
		world_reopen(w);
	}
	world_close(w);
}

static void hosts_are_known_by_their_newest_record(struct world *w)
{
	struct store_host *hosts = NULL;
	size_t n = 0;

	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	(void)world_host_record(w, "acme", "a", 2);
	(void)world_host_record(w, "acme", "b", 1);
	world_put_all(w, STORE_STORED);
	for (int restarts = 0; restarts < 3; restarts++) {
		assert_int_equal(store_hosts(w->store, &hosts, &n, &w->error), 0);
		assert_int_equal(n, 2);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(hosts[i].record[hosts[i].record_len - 1],
					 hosts[i].host_id.b[0] == 'a' ? 2 : 1);
		store_hosts_free(hosts, n);
		assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error), 0);
		world_reopen(w);
	}
}

/* ---- threads ---- */

struct reading {
	struct world *w;
	atomic_bool stop;
	atomic_uint rounds;
};

static void *read_all(void *arg)
{
	struct reading *x = arg;
	struct batch_name t = { 4, "acme" };
	uint64_t token = world_token("common");
	struct store_group group = { &token, 1 };
	struct store_question q = { .tenant = &t,
				    .since_ns = INT64_MIN,
				    .until_ns = INT64_MAX,
				    .groups = &group,
				    .n_groups = 1,
				    .max = 100000 };
	size_t before = 0;

	while (!atomic_load(&x->stop)) {
		struct store_ref *refs = NULL;
		struct store_stream *streams = NULL;
		struct error e = { 0 };
		size_t n = 0, m = 0;

		if (store_find(x->w->store, &q, &refs, &n, &e) || n < before ||
		    store_streams(x->w->store, &t, NULL, &streams, &m, &e))
			return "a question failed, or found less than before";
		before = n;
		for (size_t i = n > 3 ? n - 3 : 0; i < n; i++) {
			AUTO(free_ptr) uint8_t *bytes = NULL;
			size_t len;

			if (store_read(x->w->store, &refs[i], &bytes, &len, &e))
				return "a batch could not be read";
		}
		free(refs);
		free(streams);
		atomic_fetch_add(&x->rounds, 1);
	}
	return NULL;
}

static void questions_while_storing(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct reading x = { .w = w };
	pthread_t threads[2];
	void *complaint = NULL;
	char word[32];

	w->config.segment_bytes = KiB(64);
	world_open(w);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_all, &x), 0);
	for (unsigned int i = 0; i < 600 || atomic_load(&x.rounds) < 20; i++) {
		(void)snprintf(word, sizeof(word), "common w%u", i);
		world_store(w, &s, i, word);
	}
	atomic_store(&x.stop, true);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &complaint), 0);
		if (complaint)
			fail_msg("%s", (const char *)complaint);
	}
	assert_int_equal(world_find(w, "acme", NULL, "w599"), 1);
}

static const struct world_scene scenes[] = {
	SCENE(second_opener_is_refused),
	SCENE(reserve_reached_stores_nothing),
	SCENE(strange_tenants_are_refused),
	SCENE(holes_are_bounded),
	SCENE(streams_of_a_host_are_bounded),
	SCENE(host_records_are_bounded),
	SCENE(too_many_references),
	SCENE(found_again_after_each_restart),
	SCENE(duplicates_are_told_wherever_they_lie),
	SCENE(conflicts_are_kept_and_shown),
	SCENE(tombstones_close_the_hole),
	SCENE(acknowledged_is_what_has_no_hole),
	SCENE(broken_chains_are_counted),
	SCENE(a_boot_goes_on_from_the_one_before),
	SCENE(idle_moves_the_watermark),
	SCENE(tenants_do_not_see_each_other),
	SCENE(segments_roll_by_size),
	SCENE(hosts_are_known_by_their_newest_record),
	SCENE(questions_while_storing),
};

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, world_play, scenes);
	return tests_run(&t, "store");
}
