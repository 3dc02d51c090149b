/* SPDX-License-Identifier: Apache-2.0 */
/* Lawful removal: by age, by size, recorded first, and everything that must live on lives on. */
#include "tests/unit/rows.h"
#include "tests/unit/store_world.h"

#include "proto/base/files.h"

#include <string.h>

static void fill_segments(struct world *w, struct world_stream *s, unsigned int segments)
{
	for (unsigned int i = 0; i < segments; i++) {
		w->now_ns += 10000000000LL;
		world_store(w, s, 10 + i, "word");
		world_store(w, s, 10 + i, "word");
		assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error), 0);
	}
}

static void removed_by_age_with_a_record(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK), old = s;
	struct batch_header h = { .tenant = { 4, "acme" },
				  .host_id = { 1, "a" },
				  .lane = BATCH_LANE_BULK };
	struct store_host *hosts = NULL;
	struct seal_hash hash;
	char first[1024];
	uint64_t number = 0;
	size_t n = 0;

	memset(h.boot_id, 1, sizeof(h.boot_id));
	memset(h.epoch, 1, sizeof(h.epoch));
	w->config.retain_ms = 35000;
	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	fill_segments(w, &s, 12);
	assert_true(world_files(w, "acme", ".idx") <= 5);
	for (int restarts = 0; restarts < 4; restarts++) {
		assert_int_equal(world_view(w, &s).contiguous, 24);
		assert_int_equal(world_view(w, &s).chain_breaks, 0);
		assert_true(store_acknowledged(w->store, &h, &number, &hash));
		assert_int_equal(number, 24);
		assert_memory_equal(hash.b, s.previous.b, SEAL_HASH_LEN);
		assert_int_equal(store_hosts(w->store, &hosts, &n, &w->error), 0);
		assert_int_equal(n, 1);
		store_hosts_free(hosts, n);
		world_close(w);
		assert_int_equal(world_check(w, first), 0);
		if (restarts > 0)
			assert_int_equal(store_reindex(&w->config, &w->error), 0);
		world_open(w);
	}
	(void)world_batch(w, &old, 10, "word");
	world_put_all(w, STORE_DUPLICATE);
	world_store(w, &s, 99, "word");
	assert_int_equal(world_view(w, &s).contiguous, 25);
}

/* One span over all removals, across restarts and records that are themselves removed. */
static void what_was_removed_is_summed(struct world *w)
{
	const struct batch_name tenant = { 4, "acme" }, other = { 5, "other" };
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct store_removed first, now;
	uint64_t kept;
	struct store_totals t;

	w->config.retain_ms = 35000;
	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	assert_false(store_removed(w->store, &tenant, &now));
	fill_segments(w, &s, 12);
	assert_true(store_removed(w->store, &tenant, &first));
	assert_false(store_removed(w->store, &other, &now));
	store_totals(w->store, &t);
	kept = t.events;
	assert_true(first.segments >= 7);
	assert_int_equal(first.events + kept, world_view(w, &s).events);
	assert_string_equal(first.reason, "age");
	assert_true(first.first_wall_ns <= first.last_wall_ns);
	assert_true(first.last_wall_ns < w->now_ns - 35000000000LL + 10000000000LL);
	for (int restarts = 0; restarts < 4; restarts++) {
		world_close(w);
		if (restarts == 1)
			assert_int_equal(store_reindex(&w->config, &w->error), 0);
		world_open(w);
		assert_true(store_removed(w->store, &tenant, &now));
		assert_int_equal(now.segments, first.segments);
		assert_int_equal(now.events, first.events);
		assert_true(now.first_wall_ns == first.first_wall_ns);
		assert_true(now.last_wall_ns == first.last_wall_ns);
		assert_string_equal(now.reason, "age");
	}
}

static void removed_whole_the_host_goes_on(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	char first[1024];

	w->config.retain_ms = 35000;
	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	fill_segments(w, &s, 3);
	assert_int_equal(store_retain(w->store, w->now_ns + 100000000000LL, &w->error), 0);
	assert_int_equal(world_files(w, "acme", ".idx"), 0);
	world_close(w);
	assert_int_equal(store_reindex(&w->config, &w->error), 0);
	world_open(w);
	assert_int_equal(world_view(w, &s).contiguous, 6);
	world_store(w, &s, 99, "word");
	assert_int_equal(world_view(w, &s).contiguous, 7);
	assert_int_equal(world_view(w, &s).chain_breaks, 0);
	world_close(w);
	assert_int_equal(world_check(w, first), 0);
}

/* The record of what a quiet host lost is removed itself in time: what it says goes on all the same. */
static void a_quiet_host_is_not_forgotten(struct world *w)
{
	struct world_stream quiet = world_stream("quiet", 1, BATCH_LANE_BULK);
	struct world_stream busy = world_stream("busy", 1, BATCH_LANE_BULK);
	char first[1024];

	w->config.retain_ms = 35000;
	world_open(w);
	(void)world_host_record(w, "acme", "quiet", 1);
	(void)world_host_record(w, "acme", "busy", 1);
	world_put_all(w, STORE_STORED);
	world_store(w, &quiet, 10, "word");
	fill_segments(w, &busy, 20);
	assert_int_equal(world_find(w, "acme", "quiet", NULL), 0);
	world_close(w);
	assert_int_equal(store_reindex(&w->config, &w->error), 0);
	world_open(w);
	assert_int_equal(world_view(w, &quiet).contiguous, 1);
	world_store(w, &quiet, 99, "word");
	assert_int_equal(world_view(w, &quiet).contiguous, 2);
	assert_int_equal(world_view(w, &quiet).chain_breaks, 0);
	world_close(w);
	assert_int_equal(world_check(w, first), 0);
}

static void removed_by_size(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	struct store_totals t;
	char first[1024];

	w->config.retain_bytes = KiB(30);
	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	fill_segments(w, &s, 40);
	store_totals(w->store, &t);
	assert_true(t.segment_bytes + t.index_bytes <= KiB(36));
	assert_true(t.batches > 2);
	assert_int_equal(world_find(w, "acme", NULL, "word"), t.batches);
	world_close(w);
	assert_int_equal(world_check(w, first), 0);
}

static void a_removal_cut_short_is_finished(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	char path[256], first[1024];
	uint8_t *copy = NULL;
	size_t len;

	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	fill_segments(w, &s, 3);
	assert_true(world_file(w, "acme", ".seg", 0, path));
	assert_int_equal(files_read(path, MiB(1), &copy, &len, NULL), 0);
	world_close(w);
	w->config.retain_ms = 15000;
	world_open(w);
	assert_int_equal(store_retain(w->store, w->now_ns + 3000000000, &w->error), 0);
	assert_int_equal(access(path, F_OK), -1);
	world_close(w);
	/* As if the machine had died before the file was unlinked. */
	assert_int_equal(files_replace(path, copy, len, 0444, NULL), 0);
	free(copy);
	world_open(w);
	assert_int_equal(access(path, F_OK), -1);
	world_close(w);
	assert_int_equal(world_check(w, first), 0);
}

static const struct world_scene scenes[] = {
	SCENE(removed_by_age_with_a_record),    SCENE(removed_whole_the_host_goes_on),
	SCENE(a_quiet_host_is_not_forgotten),   SCENE(removed_by_size),
	SCENE(a_removal_cut_short_is_finished), SCENE(what_was_removed_is_summed),
};

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, world_play, scenes);
	return tests_run(&t, "store_retention");
}
