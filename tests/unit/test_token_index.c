/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is put in is found, by the naive search's measure; what is damaged is said to be. */
#include "tests/unit/rows.h"

#include "collector/token_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct shape {
	const char *name;
	uint32_t rows, per_row; /* tokens */
	uint32_t spread; /* hashes are multiples of this; 0: random over everything */
};

static const struct shape shapes[] = {
	{ "no rows", 0, 0, 0 },
	{ "rows without tokens", 10, 0, 0 },
	{ "one token", 1, 1, 0 },
	{ "few, all the same", 200, 5, 0x10000000 },
	{ "random", 300, 200, 0 },
	{ "dense at the bottom", 100, 100, 3 },
	{ "both ends", 64, 2, UINT32_MAX - 1 },
	{ "many common ones", 2000, 20, 0x08000000 },
};

struct built {
	char path[64];
	int fd;
	struct token_row *rows;
	uint32_t n;
	struct token_index index;
};

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t next_hash(uint64_t *state, uint32_t spread)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return spread ? (uint32_t)(*state >> 60) * spread : (uint32_t)(*state >> 32);
}

static void fill_row(struct token_row *t, const struct shape *s, uint64_t *state)
{
	uint32_t n = 0;

	t->hashes = calloc(s->per_row + 1, sizeof(*t->hashes));
	for (uint32_t i = 0; i < s->per_row; i++)
		t->hashes[i] = next_hash(state, s->spread);
	qsort(t->hashes, s->per_row, sizeof(*t->hashes), by_value);
	for (uint32_t i = 0; i < s->per_row; i++)
		if (i == 0 || t->hashes[i] != t->hashes[i - 1])
			t->hashes[n++] = t->hashes[i];
	t->n = n;
}

static void build(struct built *b, const struct shape *s)
{
	struct outfile o;
	uint64_t state = 7;

	(void)snprintf(b->path, sizeof(b->path), "/tmp/exhibit-tokens-XXXXXX");
	b->fd = mkstemp(b->path);
	assert_true(b->fd >= 0);
	b->n = s->rows;
	b->rows = calloc(b->n + 1, sizeof(*b->rows));
	for (uint32_t i = 0; i < b->n; i++)
		fill_row(&b->rows[i], s, &state);
	assert_int_equal(outfile_open(&o, AT_FDCWD, b->path), 0);
	assert_int_equal(token_index_write(b->rows, b->n, &o, &b->index), 0);
	assert_int_equal(outfile_finish(&o, NULL, 0), 0);
}

static void release(struct built *b)
{
	for (uint32_t i = 0; i < b->n; i++)
		free(b->rows[i].hashes);
	free(b->rows);
	assert_int_equal(close(b->fd), 0);
	assert_int_equal(unlink(b->path), 0);
}

static bool has(const struct token_row *t, uint32_t hash)
{
	return t->n && bsearch(&hash, t->hashes, t->n, sizeof(hash), by_value) != NULL;
}

static void compare(struct built *b, uint32_t hash)
{
	struct bitmap hits;

	assert_true(bitmap_init(&hits, b->n, false));
	assert_int_equal(token_index_find(&b->index, segment_pread, &b->fd, hash, &hits), 0);
	for (uint32_t i = 0; i < b->n; i++)
		assert_int_equal(bitmap_get(&hits, i), has(&b->rows[i], hash));
	bitmap_release(&hits);
}

static void found_as_by_looking_at_all(void **state)
{
	struct built b;
	uint64_t other = 99;

	build(&b, *state);
	for (uint32_t i = 0; i < b.n; i += 7)
		for (uint32_t k = 0; k < b.rows[i].n; k += 3)
			compare(&b, b.rows[i].hashes[k]);
	for (int i = 0; i < 50; i++)
		compare(&b, next_hash(&other, 0));
	compare(&b, 0);
	compare(&b, UINT32_MAX);
	release(&b);
}

static void any_flipped_bit_is_noticed(void **state)
{
	static const struct shape small = { "", 20, 10, 0 };
	struct built b;
	struct stat st;

	(void)state;
	build(&b, &small);
	assert_int_equal(fstat(b.fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at++) {
		bool noticed = false;
		uint8_t byte;

		assert_int_equal(pread(b.fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(b.fd, &byte, 1, at), 1);
		for (uint32_t bucket = 0; bucket < 1u << b.index.bits; bucket++) {
			struct bitmap hits;

			assert_true(bitmap_init(&hits, b.n, false));
			noticed |= token_index_find(&b.index, segment_pread, &b.fd,
						    bucket << (32 - b.index.bits),
						    &hits) == -EBADMSG;
			bitmap_release(&hits);
		}
		if (!noticed)
			fail_msg("byte %ld: not noticed", (long)at);
		byte ^= 0x10;
		assert_int_equal(pwrite(b.fd, &byte, 1, at), 1);
	}
	release(&b);
}

static void the_reserved_hash_is_never_a_token(void **state)
{
	(void)state;
	assert_int_equal(token_index_hash(0x0000000000000001u), 1);
	assert_int_equal(token_index_hash(0x00000001ffffffffu), 1);
	assert_int_equal(token_index_hash(0xffffffff00000000u), UINT32_MAX);
}

/* What the aim of 10 bytes per event leaves for 1.5 tokens each, at 500 events a batch. */
static void small_enough(void **state)
{
	static const struct shape real = { "", 2000, 750, 0 };
	struct built b;
	struct stat st;

	(void)state;
	build(&b, &real);
	assert_int_equal(fstat(b.fd, &st), 0);
	assert_true((uint64_t)st.st_size < 9ull * 2000 * 500);
	release(&b);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, any_flipped_bit_is_noticed);
	ADD_ROWS(&t, found_as_by_looking_at_all, shapes);
	ADD_TEST(&t, the_reserved_hash_is_never_a_token);
	ADD_TEST(&t, small_enough);
	return tests_run(&t, "token_index");
}
