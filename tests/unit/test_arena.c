/* SPDX-License-Identifier: Apache-2.0 */
#include <protobuf-c/protobuf-c.h>
#include <string.h>

#include "proto/base/arena.h"
#include "tests/unit/rows.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

static const struct refuse_row {
	const char *name;
	size_t max, first, second;
} refuse_rows[] = {
	{ "more than the maximum at once", 1024, 0, 2048 },
	{ "more than the maximum in two", 4096, 2048, 2048 + 16 },
	{ "size that overflows", 4096, 0, SIZE_MAX },
	{ "size that overflows when rounded", 4096, 0, SIZE_MAX - 15 },
	{ "maximum of zero", 0, 0, 1 },
};

static void refuses(void **state)
{
	const struct refuse_row *row = *state;
	AUTO(arena_free_ptr) struct arena *a = arena_new(row->max, 0);

	assert_non_null(a);
	if (row->first)
		assert_non_null(arena_alloc(a, row->first));
	assert_null(arena_alloc(a, row->second));
	assert_null(arena_zalloc(a, row->second));
	assert_null(arena_copy(a, "", row->second));
}

static void pieces_do_not_overlap(void **state)
{
	enum { N = 500 };
	AUTO(arena_free_ptr) struct arena *a = arena_new(MiB(1), 0);
	uint8_t *p[N];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		p[i] = arena_alloc(a, i);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		memset(p[i], (int)i, i);
	}
	for (size_t i = 0; i < N; i++)
		for (size_t k = 0; k < i; k++)
			assert_int_equal(p[i][k], i & 0xff);
}

static void larger_than_a_chunk(void **state)
{
	AUTO(arena_free_ptr) struct arena *a = arena_new(MiB(1), 0);
	uint8_t *p = arena_zalloc(a, 300000);

	(void)state;
	assert_non_null(p);
	p[299999] = 1;
	assert_non_null(arena_alloc(a, 300000));
	assert_in_range(arena_used(a), 600000, 610000);
}

static void reset_gives_all_back(void **state)
{
	AUTO(arena_free_ptr) struct arena *a = arena_new(KiB(256), KiB(64));

	(void)state;
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 30; i++)
			assert_non_null(arena_alloc(a, 5000));
		/* Another size each time, so that what is kept does not fit. */
		assert_non_null(arena_alloc(a, 20000 + 400 * (size_t)round));
		arena_reset(a);
		assert_int_equal(arena_used(a), 0);
	}
}

static void copies_and_zeroes(void **state)
{
	AUTO(arena_free_ptr) struct arena *a = arena_new(KiB(64), KiB(64));
	static const uint8_t zero[64];
	uint8_t *p = arena_alloc(a, 64);

	(void)state;
	memset(p, 0xff, 64);
	arena_reset(a);
	assert_memory_equal(arena_zalloc(a, 64), zero, 64);
	assert_string_equal(arena_copy(a, "text", 5), "text");
	assert_non_null(arena_copy(a, NULL, 0));
}

static void protobuf_draws_from_it(void **state)
{
	AUTO(arena_free_ptr) struct arena *a = arena_new(KiB(64), 0);
	ProtobufCAllocator *allocator = arena_protobuf(a);
	void *p = allocator->alloc(allocator->allocator_data, 100);

	(void)state;
	assert_non_null(p);
	assert_in_range(arena_used(a), 100, 200);
	allocator->free(allocator->allocator_data, p);
	assert_null(allocator->alloc(allocator->allocator_data, KiB(65)));
}

static void poisoned_after_reset(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	AUTO(arena_free_ptr) struct arena *a = arena_new(KiB(64), KiB(64));
	uint8_t *p = arena_alloc(a, 100);

	(void)state;
	assert_false(__asan_address_is_poisoned(p + 99));
	assert_true(__asan_address_is_poisoned(p + 100));
	arena_reset(a);
	assert_true(__asan_address_is_poisoned(p));
#else
	(void)state;
	skip();
#endif
}

static void free_of_null(void **state)
{
	(void)state;
	arena_free(NULL);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, refuses, refuse_rows);
	ADD_TEST(&t, pieces_do_not_overlap);
	ADD_TEST(&t, larger_than_a_chunk);
	ADD_TEST(&t, reset_gives_all_back);
	ADD_TEST(&t, copies_and_zeroes);
	ADD_TEST(&t, protobuf_draws_from_it);
	ADD_TEST(&t, poisoned_after_reset);
	ADD_TEST(&t, free_of_null);
	return tests_run(&t, "arena");
}
