/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/tar.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after those */
#include <cmocka.h>

#include "proto/base/files.h"

struct world {
	char dir[64];
	struct output *o;
	struct tar *t;
	struct error e;
};

static void open_limited(struct world *w, uint64_t max_bytes)
{
	memset(w, 0, sizeof(*w));
	memcpy(w->dir, "/tmp/exhibit-tar-XXXXXX", 24);
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(output_folder(w->dir, max_bytes, &w->o, &w->e), 0);
	assert_int_equal(tar_new(w->o, "a.tar", &w->t, &w->e), 0);
}

static void open_world(struct world *w)
{
	open_limited(w, 0);
}

/* The archive's bytes; the folder is gone then. */
static uint8_t *close_world(struct world *w, size_t *ret_len)
{
	char path[96];
	uint8_t *data = NULL;

	tar_free(w->t);
	output_free(w->o);
	(void)snprintf(path, sizeof(path), "%s/a.tar", w->dir);
	assert_int_equal(files_read(path, MiB(1), &data, ret_len, NULL), 0);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/notes.jsonl", w->dir);
	(void)unlink(path);
	assert_int_equal(rmdir(w->dir), 0);
	return data;
}

static struct tar_entry entry(const char *path, mode_t mode, off_t size)
{
	return (struct tar_entry){ .path = path,
				   .path_len = strlen(path),
				   .st = { .st_mode = mode, .st_size = size } };
}

static void refuses(void **state)
{
	static const struct {
		const char *path;
		mode_t mode;
	} rows[] = {
		{ "", S_IFREG },     { "/", S_IFDIR },     { "..", S_IFREG }, { "a/../b", S_IFREG },
		{ "a/..", S_IFREG }, { "/../a", S_IFREG }, { "s", S_IFSOCK },
	};
	struct world w;
	size_t len = 0;

	(void)state;
	open_world(&w);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tar_entry at = entry(rows[i].path, rows[i].mode, 0);

		assert_int_equal(tar_entry(w.t, &at, &w.e), -EINVAL);
	}
	struct tar_entry nul = entry("a", S_IFREG, 0);

	nul.path = "a\0b";
	nul.path_len = 3;
	assert_int_equal(tar_entry(w.t, &nul, &w.e), -EINVAL);
	assert_int_equal(tar_finish(w.t, NULL, &w.e), 0);
	AUTO(free_ptr) uint8_t *data = close_world(&w, &len);

	assert_non_null(data);
	assert_int_equal(len, 1024);
}

static void writes_blocks(void **state)
{
	struct tar_xattr x = { .name = "user.k", .value = (uint8_t *)(uintptr_t) "v\0w", .len = 3 };
	struct tar_entry file = entry("/dir/..name", S_IFREG | 0640, 700);
	char data[700];
	struct world w;
	size_t len = 0;

	(void)state;
	memset(data, 'd', sizeof(data));
	file.xattrs = &x;
	file.n_xattrs = 1;
	file.st.st_mtim = (struct timespec){ 1000000000, 5 };
	open_world(&w);
	assert_int_equal(tar_entry(w.t, &file, &w.e), 0);
	assert_int_equal(tar_left(w.t), 700);
	assert_int_equal(tar_data(w.t, data, 600, &w.e), 0);
	assert_int_equal(tar_data(w.t, data, 101, &w.e), -EINVAL);
	/* It shrank: the rest is zeros. */
	assert_int_equal(tar_close_entry(w.t, &w.e), 0);
	assert_int_equal(tar_finish(w.t, NULL, &w.e), 0);
	AUTO(free_ptr) uint8_t *all = close_world(&w, &len);

	/* head and records, head and two blocks, two blocks of zeros */
	assert_int_equal(len, 512 * (1 + 1 + 1 + 2 + 2));
	assert_int_equal(all[156], 'x');
	assert_memory_equal(all + 512, "19 path=dir/..name\n", 19);
	assert_non_null(memmem(all + 512, 512, "27 SCHILY.xattr.user.k=v\0w\n", 27));
	assert_non_null(memmem(all + 512, 512, "mtime=1000000000.000000005\n", 27));
	assert_memory_equal(all + 1024, "dir/..name\0", 11);
	assert_memory_equal(all + 1024 + 100, "0000640\0", 8);
	assert_memory_equal(all + 1024 + 124, "00000001274\0", 12);
	assert_int_equal(all[1024 + 156], '0');
	assert_memory_equal(all + 1024 + 257, "ustar\00000", 8);
	assert_int_equal(all[1536 + 599], 'd');
	assert_int_equal(all[1536 + 600], 0);
}

static void writes_holes(void **state)
{
	static const struct tar_piece pieces[] = { { 4096, 10 }, { 8192, 5 } };
	struct tar_entry file = entry("holes", S_IFREG | 0600, 10000);
	struct world w;
	size_t len = 0;

	(void)state;
	file.pieces = pieces;
	file.n_pieces = 2;
	open_world(&w);
	assert_int_equal(tar_entry(w.t, &file, &w.e), 0);
	assert_int_equal(tar_left(w.t), 15);
	assert_int_equal(tar_data(w.t, "0123456789abcde", 15, &w.e), 0);
	assert_int_equal(tar_close_entry(w.t, &w.e), 0);
	assert_int_equal(tar_finish(w.t, NULL, &w.e), 0);
	AUTO(free_ptr) uint8_t *all = close_world(&w, &len);

	assert_non_null(memmem(all + 512, 512, "GNU.sparse.realsize=10000\n", 26));
	assert_memory_equal(all + 1536, "3\n4096\n10\n8192\n5\n10000\n0\n", 26);
	assert_memory_equal(all + 2048, "0123456789abcde\0", 16);
	assert_int_equal(len, 512 * (1 + 1 + 1 + 1 + 1 + 2));
}

static void writes_zeros_between(void **state)
{
	struct tar_entry file = entry("gaps", S_IFREG | 0600, 1000);
	struct world w;
	size_t len = 0;

	(void)state;
	open_world(&w);
	assert_int_equal(tar_entry(w.t, &file, &w.e), 0);
	assert_int_equal(tar_data(w.t, "before", 6, &w.e), 0);
	assert_int_equal(tar_zeros(w.t, 500, &w.e), 0);
	assert_int_equal(tar_data(w.t, "after", 5, &w.e), 0);
	assert_int_equal(tar_left(w.t), 1000 - 6 - 500 - 5);
	assert_int_equal(tar_zeros(w.t, 490, &w.e), -EINVAL);
	assert_int_equal(tar_close_entry(w.t, &w.e), 0);
	assert_int_equal(tar_finish(w.t, NULL, &w.e), 0);
	AUTO(free_ptr) uint8_t *all = close_world(&w, &len);

	assert_int_equal(len, 512 * (1 + 1 + 1 + 2 + 2));
	assert_memory_equal(all + 1536, "before\0", 7);
	assert_memory_equal(all + 1536 + 505, "\0after\0", 7);
}

/* Wherever the order's limit comes: a whole archive with a last entry, told of once. */
static void ends_well_at_a_limit(void **state)
{
	(void)state;
	for (uint64_t limit = 1; limit < 512 * 6; limit += 37) {
		struct tar_entry file = entry("data", S_IFREG | 0600, 700);
		struct tar_entry last = entry("log", S_IFREG | 0600, 3);
		char data[700];
		struct world w;
		size_t len = 0;
		int told = 0;

		memset(data, 'd', sizeof(data));
		open_limited(&w, limit);
		int r = tar_entry(w.t, &file, &w.e);

		told += r == -ECANCELED;
		if (r == 0)
			r = tar_data(w.t, data, sizeof(data), &w.e);
		told += r == -ECANCELED && told == 0;
		assert_int_equal(tar_close_entry(w.t, &w.e), 0);
		r = tar_entry(w.t, &last, &w.e);
		told += r == -ECANCELED;
		r = tar_data(w.t, "end", 3, &w.e);
		told += r == -ECANCELED;
		assert_int_equal(tar_close_entry(w.t, &w.e), 0);
		assert_int_equal(tar_finish(w.t, "cut", &w.e), 0);
		AUTO(free_ptr) uint8_t *all = close_world(&w, &len);

		assert_int_equal(told, 1);
		assert_int_equal(len, 512 * (3 + 2 + 3 + 1 + 2));
		assert_memory_equal(all + 512 * 5 + 1024 + 257, "ustar", 5);
		assert_memory_equal(all + 512 * 8, "end", 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses),
		cmocka_unit_test(writes_blocks),
		cmocka_unit_test(writes_holes),
		cmocka_unit_test(writes_zeros_between),
		cmocka_unit_test(ends_well_at_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
