/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/disk_copy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* after those */
#include <cmocka.h>

#include "proto/base/files.h"

#define SECTOR 512U
#define BAD_MAX 8

/* A device of sectors that each hold their number; some fail. */
struct fake {
	uint64_t ends; /* reads behind this byte say that there is no more */
	uint64_t bad[BAD_MAX]; /* sectors */
	size_t n_bad;
	size_t reads;
};

static int64_t fake_read(void *ctx, uint64_t offset, void *buf, size_t len)
{
	struct fake *f = ctx;
	uint8_t *to = buf;
	size_t done = 0;

	f->reads++;
	while (done < len && offset + done < f->ends) {
		uint64_t sector = (offset + done) / SECTOR;

		for (size_t i = 0; i < f->n_bad; i++)
			if (f->bad[i] == sector)
				return done > 0 ? (int64_t)done : -EIO;
		memset(to + done, (int)(sector % 251) + 1, SECTOR);
		done += SECTOR;
	}
	return (int64_t)done;
}

static char *folder(void)
{
	static char dir[64];

	(void)snprintf(dir, sizeof(dir), "/tmp/exhibit-disk-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return dir;
}

static uint8_t *item(const char *dir, const char *name, size_t *len)
{
	char path[128];
	uint8_t *data = NULL;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(files_read(path, MiB(16), &data, len, NULL), 0);
	return data;
}

static void forget(const char *dir)
{
	static const char *const names[] = { "disk.raw", "disk.unreadable.jsonl", "notes.jsonl" };
	char path[128];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

struct row {
	uint64_t sectors, ends, max_bytes; /* 0: all */
	size_t n_bad;
	uint64_t bad[BAD_MAX];
	uint64_t image; /* bytes that must come out */
	const char *table;
};

static void copies(const struct row *row)
{
	struct fake f = { .ends = (row->ends != 0 ? row->ends : row->sectors) * SECTOR,
			  .n_bad = row->n_bad };
	struct disk_reader d = { row->sectors * SECTOR, SECTOR, fake_read, &f };
	struct disk_result done = { 0 };
	struct output *o = NULL;
	struct error e = { 0 };
	const char *dir = folder();
	size_t len = 0, table_len = 0;

	memcpy(f.bad, row->bad, sizeof(f.bad));
	assert_int_equal(output_folder(dir, row->max_bytes, &o, &e), 0);
	assert_int_equal(disk_copy(&d, o, &done, &e), 0);
	output_free(o);
	AUTO(free_ptr) uint8_t *image = item(dir, "disk.raw", &len);
	AUTO(free_ptr) uint8_t *table = item(dir, "disk.unreadable.jsonl", &table_len);

	assert_int_equal(len, row->image);
	for (size_t at = 0; at < len; at++) {
		uint64_t sector = at / SECTOR;
		bool bad = false;

		for (size_t i = 0; i < row->n_bad; i++)
			bad |= row->bad[i] == sector;
		if (image[at] != (bad ? 0 : sector % 251 + 1))
			fail_msg("byte %zu", at);
	}
	assert_string_equal((const char *)table, row->table);
	assert_int_equal(done.unreadable, row->n_bad * SECTOR);
	forget(dir);
}

static void copies_every_sector(void **state)
{
	static const struct row rows[] = {
		{ 1, 0, 0, 0, { 0 }, SECTOR, "" },
		{ 5000, 0, 0, 0, { 0 }, 5000 * SECTOR, "" },
		/* at both ends, alone, a run, across the border of two reads */
		{ 5000,
		  0,
		  0,
		  2,
		  { 0, 4999 },
		  5000 * SECTOR,
		  "{\"first_byte\":0,\"bytes\":512,\"reason\":\"Input/output error\"}\n"
		  "{\"first_byte\":2559488,\"bytes\":512,\"reason\":\"Input/output error\"}\n" },
		{ 5000,
		  0,
		  0,
		  3,
		  { 7, 8, 9 },
		  5000 * SECTOR,
		  "{\"first_byte\":3584,\"bytes\":1536,\"reason\":\"Input/output error\"}\n" },
		{ 5000,
		  0,
		  0,
		  2,
		  { 2047, 2048 },
		  5000 * SECTOR,
		  "{\"first_byte\":1048064,\"bytes\":1024,\"reason\":\"Input/output error\"}\n" },
		/* a device that ends early, and an order's limit */
		{ 5000, 3000, 0, 0, { 0 }, 3000 * SECTOR, "" },
		{ 5000, 0, 1000000, 0, { 0 }, 1000000, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		copies(&rows[i]);
}

/* One bad sector costs the single reads of its own piece, not of all that follow. */
static void goes_on_in_large_reads(void **state)
{
	struct fake f = { .ends = 20480ULL * SECTOR, .n_bad = 1, .bad = { 5 } };
	struct disk_reader d = { 20480ULL * SECTOR, SECTOR, fake_read, &f };
	struct disk_result done = { 0 };
	struct output *o = NULL;
	struct error e = { 0 };
	const char *dir = folder();

	(void)state;
	assert_int_equal(output_folder(dir, 0, &o, &e), 0);
	assert_int_equal(disk_copy(&d, o, &done, &e), 0);
	output_free(o);
	assert_true(f.reads < 2048 + 20);
	assert_int_equal(done.runs, 1);
	forget(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_every_sector),
		cmocka_unit_test(goes_on_in_large_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
