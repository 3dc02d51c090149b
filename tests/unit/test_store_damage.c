/* SPDX-License-Identifier: Apache-2.0 */
/* The store after damage: what is lost is bounded, named, and nothing else; what is derived comes back. */
#include "tests/unit/rows.h"
#include "tests/unit/store_world.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct damage {
	const char *name;
	bool sealed;
	const char *suffix; /* of the file that is hurt */
	long cut, flip; /* bytes off the end; or a bit flipped at this offset */
	bool remove;
	/* Afterwards. */
	uint64_t found; /* of 3 batches */
	uint64_t newest; /* number that is known, when not 3 */
	bool healed; /* check finds nothing after the restart */
};

static const struct damage damages[] = {
	{ "nothing", .found = 3, .healed = true },
	{ "open: last frame cut", .suffix = ".seg", .cut = 5, .found = 2, .newest = 2 },
	{ "open: half of it cut off", .suffix = ".seg", .cut = 500, .found = 1, .newest = 1 },
	{ "open: bit in the first batch", .suffix = ".seg", .flip = 400, .found = 2 },
	{ "open: bit in the first frame", .suffix = ".seg", .flip = 20, .found = 3 },
	{ "open: bit in the last batch", .suffix = ".seg", .flip = -20, .found = 2, .newest = 2 },
	{ "open: mark gone", .suffix = ".mark", .remove = true, .found = 3, .healed = true },
	{ "open: bit in the mark", .suffix = ".mark", .flip = 2, .found = 3, .healed = true },
	{ "open: catalog gone", .suffix = "sqlite", .remove = true, .found = 3, .healed = true },
	{ "open: tokens gone", .suffix = ".tok", .remove = true, .found = 3, .healed = true },
	{ "open: tokens cut", .suffix = ".tok", .cut = 3, .found = 3, .healed = true },
	{ "open: bit in the tokens", .suffix = ".tok", .flip = 10, .found = 3, .healed = true },
	{ "open: bit in the last tokens", .suffix = ".tok", .flip = -2, .found = 3,
	  .healed = true },
	{ "sealed: nothing", .sealed = true, .found = 3, .healed = true },
	{ "sealed: index gone", true, ".idx", .remove = true, .found = 3, .healed = true },
	{ "sealed: index cut", true, ".idx", .cut = 10, .found = 3, .healed = true },
	{ "sealed: bit in the index' head", true, ".idx", .flip = 30, .found = 3, .healed = true },
	{ "sealed: bit in the segment's end", true, ".seg", .flip = -4, .found = 3 },
	{ "sealed: segment's end cut off", true, ".seg", .cut = 40, .found = 3 },
	{ "sealed: catalog gone", true, "sqlite", .remove = true, .found = 3, .healed = true },
	{ "sealed: catalog damaged", true, "sqlite", .flip = 30, .found = 3, .healed = true },
};

static void after_damage(void **state)
{
	const struct damage *d = *state;
	struct world *w = world_new();
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	char path[256], first[1024];
	uint64_t faults;

	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	for (unsigned int i = 0; i < 3; i++)
		world_store(w, &s, 10 + i, "word");
	if (d->sealed)
		assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error), 0);
	world_close(w);
	if (d->suffix)
		assert_true(world_file(w, strcmp(d->suffix, "sqlite") == 0 ? "" : "acme", d->suffix,
				       0, path));
	if (d->remove)
		assert_int_equal(unlink(path), 0);
	if (d->cut)
		world_cut(path, d->cut);
	if (d->flip)
		world_flip(path, d->flip, 4);
	world_open(w);
	assert_int_equal(world_find(w, "acme", NULL, "word"), d->found);
	assert_int_equal(world_view(w, &s).newest, d->newest ? d->newest : 3);
	if (d->healed)
		assert_int_equal(world_view(w, &s).contiguous, d->found);
	assert_int_equal(world_find(w, "acme", NULL, "other"), 0);
	world_close(w);
	faults = world_check(w, first);
	if (d->healed && faults)
		fail_msg("%s", first);
	if (!d->healed)
		assert_true(faults > 0);
	world_free(w);
}

static void check_names_the_first_bad_byte(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	char path[256], first[1024];
	struct stat st;

	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	for (unsigned int i = 0; i < 3; i++)
		world_store(w, &s, 10 + i, "word");
	assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error), 0);
	world_close(w);
	assert_int_equal(world_check(w, first), 0);
	assert_true(world_file(w, "acme", ".seg", 0, path));
	world_flip(path, 400, 1);
	assert_int_equal(world_check(w, first), 1);
	assert_non_null(strstr(first, ".seg': byte "));
	assert_non_null(strstr(first, "checksum of the frame's body"));
	world_flip(path, 400, 1);
	assert_int_equal(world_check(w, first), 0);
	assert_true(world_file(w, "acme", ".idx", 0, path));
	assert_int_equal(stat(path, &st), 0);
	for (long at = 0; at < st.st_size; at += 7) {
		world_flip(path, at, 8);
		if (world_check(w, first) == 0)
			fail_msg("index damaged at byte %ld: not seen", at);
		world_flip(path, at, 8);
	}
}

static void check_needs_the_host_record(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	char first[1024];

	world_open(w);
	world_store(w, &s, 10, "word");
	world_close(w);
	assert_int_equal(world_check(w, first), 1);
	assert_non_null(strstr(first, "no stored host record"));
}

static void a_damaged_index_heals(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK), again = s;
	struct batch_name t = { 4, "acme" };
	struct store_question q = {
		.tenant = &t, .since_ns = INT64_MIN, .until_ns = INT64_MAX, .max = 100
	};
	struct store_ref *refs = NULL;
	char path[256];
	size_t n;

	world_open(w);
	world_store(w, &s, 10, "word");
	assert_int_equal(store_retain(w->store, w->now_ns + 2000000000, &w->error), 0);
	assert_true(world_file(w, "acme", ".idx", 0, path));
	world_flip(path, 600, 1); /* the row */
	assert_int_equal(store_find(w->store, &q, &refs, &n, &w->error), -EBADMSG);
	(void)world_batch(w, &again, 10, "word");
	assert_int_equal(world_put(w), -EBADMSG);
	assert_int_equal(store_retain(w->store, w->now_ns, &w->error), 0);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 1);
	again.number--;
	again.sequence--;
	again.has_previous = false;
	(void)world_batch(w, &again, 10, "word");
	world_put_all(w, STORE_DUPLICATE);
}

static void reindex_builds_all_again(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	char path[256], first[1024];

	w->config.segment_bytes = KiB(64);
	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	for (unsigned int i = 0; i < 200; i++)
		world_store(w, &s, 10 + i, "word other");
	world_close(w);
	assert_true(world_file(w, "acme", ".idx", 0, path));
	world_flip(path, 700, 1);
	assert_true(world_check(w, first) > 0);
	assert_int_equal(store_reindex(&w->config, &w->error), 0);
	assert_int_equal(world_check(w, first), 0);
	world_open(w);
	assert_int_equal(world_find(w, "acme", "a", "word"), 200);
	assert_int_equal(world_view(w, &s).contiguous, 200);
}

static void a_segment_removed_outside_is_named(struct world *w)
{
	struct world_stream s = world_stream("a", 1, BATCH_LANE_BULK);
	char path[256], first[1024];

	w->config.segment_bytes = KiB(64);
	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	for (unsigned int i = 0; i < 400; i++)
		world_store(w, &s, 10 + i, "word other");
	world_close(w);
	assert_int_equal(world_check(w, first), 0);
	assert_true(world_file(w, "acme", ".seg", 1, path));
	assert_int_equal(unlink(path), 0);
	assert_true(world_check(w, first) > 0);
	assert_non_null(strstr(first, "missing"));
	/* Its index and the catalog gone too: the numbers of the segments still tell. */
	memcpy(path + strlen(path) - 4, ".idx", 4);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(store_reindex(&w->config, &w->error), 0);
	assert_true(world_check(w, first) > 0);
	assert_non_null(strstr(first, "missing"));
}

static const struct world_scene scenes[] = {
	SCENE(check_names_the_first_bad_byte),
	SCENE(check_needs_the_host_record),
	SCENE(a_damaged_index_heals),
	SCENE(reindex_builds_all_again),
	SCENE(a_segment_removed_outside_is_named),
};

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, world_play, scenes);
	ADD_ROWS(&t, after_damage, damages);
	return tests_run(&t, "store_damage");
}
