/* SPDX-License-Identifier: Apache-2.0 */
/* One stream's numbers in any order: how far without a hole, and what the chain says. */
#include "tests/unit/rows.h"

#include "collector/streams.h"

#include <errno.h>
#include <string.h>

struct step {
	uint64_t number;
	char how; /* L lies about the header before; T a tombstone of three; C a conflicting twin */
};

struct row_case {
	const char *name;
	const char *steps; /* "1 3L 2T": numbers in the order of their coming */
	uint64_t contiguous, newest, breaks, conflicts;
	uint32_t runs;
};

static const struct row_case cases[] = {
	{ "nothing", "", 0, 0, 0, 0, 0 },
	{ "in order", "1 2 3", 3, 3, 0, 0, 0 },
	{ "the first is missing", "2 3", 0, 3, 0, 0, 1 },
	{ "backwards", "3 2 1", 3, 3, 0, 0, 0 },
	{ "two holes", "1 3 5", 1, 5, 0, 0, 2 },
	{ "two holes closed", "1 3 5 4 2", 5, 5, 0, 0, 0 },
	{ "runs grow together", "4 6 5 8 7", 0, 8, 0, 0, 1 },
	{ "a lie in order", "1 2L 3", 3, 3, 1, 0, 0 },
	{ "a lie that closes a hole", "1 3 2L", 3, 3, 1, 0, 0 },
	{ "a lie beyond a hole", "1 3L 2", 3, 3, 1, 0, 0 },
	{ "a lie between runs", "5 4L 3", 0, 5, 1, 0, 1 },
	{ "a tombstone in order", "1 2T 5", 5, 5, 0, 0, 0 },
	{ "a tombstone over what is here", "1 2 1T 4", 4, 4, 0, 0, 0 },
	{ "a tombstone first", "1T 4", 4, 4, 0, 0, 0 },
	{ "a tombstone beyond a hole", "3T 1 2", 5, 5, 0, 0, 0 },
	{ "a batch inside a tombstone", "1T 2 4", 4, 4, 0, 0, 0 },
	{ "a conflict, then on", "1 1C 2", 2, 2, 0, 1, 0 },
};

/* The header of a number hashes to its number. */
static struct seal_hash hash_of(uint64_t number, uint8_t variant)
{
	struct seal_hash h = { { 0 } };

	for (size_t i = 0; i < 8; i++)
		h.b[i] = (uint8_t)(number >> (8 * i));
	h.b[31] = variant;
	return h;
}

static void add(struct stream *s, const struct step *step)
{
	uint32_t numbers = step->how == 'T' ? 3 : 1;
	struct row row = {
		.kind = step->how == 'T' ? FRAME_TOMBSTONE : FRAME_BATCH,
		.number = step->number,
		.numbers = numbers,
		.count = 1,
		.hash = hash_of(step->number + numbers - 1, step->how == 'C'),
		.previous = hash_of(step->number - 1, step->how == 'L' ? 9 : 0),
		.flags = step->how == 'C' ? ROW_CONFLICT : 0,
		.watermark_wall_ns = (int64_t)(step->number + numbers - 1) * 100,
	};

	if (step->number > s->contiguous + 1)
		assert_int_equal(stream_reserve(s, 1), 0);
	stream_add(s, &row, 1);
}

static struct stream_key key_of(uint8_t boot)
{
	struct stream_key k = { .tenant = { 1, "t" }, .host_id = { 1, "h" }, .lane = 1 };

	k.boot_id[0] = boot;
	return k;
}

static void numbers(void **state)
{
	const struct row_case *c = *state;
	struct streams *all = streams_new();
	struct stream_key k = key_of(1);
	struct stream *s, *copy;
	struct store_stream v;
	uint8_t *packed;
	size_t len;

	assert_int_equal(streams_get(all, &k, &s), 0);
	for (const char *at = c->steps; *at;) {
		char *end;
		struct step step = { .number = strtoull(at, &end, 10) };

		if (*end && *end != ' ')
			step.how = *end++;
		add(s, &step);
		at = end + (*end == ' ');
	}
	stream_view(s, &v);
	assert_int_equal(v.contiguous, c->contiguous);
	assert_int_equal(v.newest, c->newest);
	assert_int_equal(v.chain_breaks, c->breaks);
	assert_int_equal(v.conflicts, c->conflicts);
	assert_int_equal(s->n_runs, c->runs);
	if (c->contiguous > 0) {
		assert_int_equal(v.watermark_wall_ns, (int64_t)c->contiguous * 100);
		assert_int_equal(v.newest_hash.b[0], c->contiguous);
	}
	/* The same after a rest in the catalog, whatever is cut off is refused. */
	packed = stream_pack(s, &len);
	assert_non_null(packed);
	k.boot_id[0] = 2;
	assert_int_equal(streams_get(all, &k, &copy), 0);
	for (size_t n = 0; n < len; n++)
		assert_true(stream_unpack(copy, packed, n) < 0);
	assert_int_equal(stream_unpack(copy, packed, len), 0);
	assert_int_equal(copy->contiguous, s->contiguous);
	assert_int_equal(copy->n_runs, s->n_runs);
	for (uint32_t i = 0; i < s->n_runs; i++)
		assert_memory_equal(&copy->runs[i], &s->runs[i], sizeof(s->runs[i]));
	free(packed);
	streams_free(all);
}

static void every_order_ends_the_same(void **state)
{
	uint64_t rng = 1;

	(void)state;
	for (int round = 0; round < 200; round++) {
		struct streams *all = streams_new();
		struct stream_key k = key_of(1);
		uint64_t order[40];
		struct stream *s;

		for (size_t i = 0; i < ARRAY_LEN(order); i++) {
			size_t j;

			rng = rng * 6364136223846793005u + 1;
			j = (size_t)(rng >> 33) % (i + 1);
			order[i] = order[j];
			order[j] = i + 1;
		}
		assert_int_equal(streams_get(all, &k, &s), 0);
		for (size_t i = 0; i < ARRAY_LEN(order); i++)
			add(s, &(struct step){ .number = order[i] });
		assert_int_equal(s->contiguous, ARRAY_LEN(order));
		assert_int_equal(s->chain_breaks, 0);
		assert_int_equal(s->n_runs, 0);
		streams_free(all);
	}
}

static void removal_counts_as_there(void **state)
{
	struct streams *all = streams_new();
	struct stream_key k = key_of(1);
	struct seal_hash hash = hash_of(10, 0);
	struct stream *s;

	(void)state;
	assert_int_equal(streams_get(all, &k, &s), 0);
	add(s, &(struct step){ .number = 11 });
	stream_removed(s, 1, 10, &hash, 5);
	assert_int_equal(s->contiguous, 11);
	assert_int_equal(s->chain_breaks, 0);
	assert_true(stream_knows(s, 3));
	assert_false(stream_knows(s, 12));
	streams_free(all);
}

static void holes_have_a_bound(void **state)
{
	struct streams *all = streams_new();
	struct stream_key k = key_of(1);
	struct stream *s;

	(void)state;
	assert_int_equal(streams_get(all, &k, &s), 0);
	for (uint64_t i = 0; i < STORE_HOLES_MAX; i++)
		add(s, &(struct step){ .number = 2 * i + 2 });
	assert_int_equal(s->contiguous, 0);
	assert_int_equal(stream_reserve(s, 0), 0);
	assert_int_equal(s->contiguous, 0);
	assert_int_equal(stream_reserve(s, 1), 0);
	assert_int_equal(s->contiguous, 2);
	assert_int_equal(s->chain_breaks, 1);
	assert_int_equal(stream_reserve(s, STORE_HOLES_MAX), 0);
	assert_int_equal(s->contiguous, 2 * STORE_HOLES_MAX);
	assert_int_equal(s->n_runs, 0);
	assert_int_equal(stream_reserve(s, STORE_HOLES_MAX + 1), -EINVAL);
	streams_free(all);
}

static void streams_have_a_bound(void **state)
{
	struct streams *all = streams_new();
	struct stream_key k = key_of(1);
	struct stream *s;

	(void)state;
	for (uint32_t i = 0; i < STORE_STREAMS_MAX; i++) {
		memcpy(k.epoch, &i, sizeof(i));
		assert_int_equal(streams_get(all, &k, &s), 0);
	}
	memset(k.epoch, 0xff, sizeof(k.epoch));
	assert_int_equal(streams_get(all, &k, &s), -EDQUOT);
	k.host_id.b[0] = 'i';
	assert_int_equal(streams_get(all, &k, &s), 0);
	streams_forget(all, s);
	assert_null(streams_find(all, &k));
	streams_free(all);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, holes_have_a_bound);
	ADD_TEST(&t, streams_have_a_bound);
	ADD_ROWS(&t, numbers, cases);
	ADD_TEST(&t, every_order_ends_the_same);
	ADD_TEST(&t, removal_counts_as_there);
	return tests_run(&t, "streams");
}
