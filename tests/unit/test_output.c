/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/output.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "proto/base/files.h"
#include "rows.h"

struct world {
	char dir[64];
	struct output *o;
	struct error e;
};

static void open_world(struct world *w, uint64_t max_bytes)
{
	memset(w, 0, sizeof(*w));
	memcpy(w->dir, "/tmp/test-output-XXXXXX", 24);
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(output_folder(w->dir, max_bytes, &w->o, &w->e), 0);
}

static void close_world(struct world *w)
{
	char command[128];

	output_free(w->o);
	for (size_t i = 0; i < 20; i++) {
		(void)snprintf(command, sizeof(command), "%s/item%zu", w->dir, i);
		(void)unlink(command);
	}
	(void)snprintf(command, sizeof(command), "%s/notes.jsonl", w->dir);
	assert_int_equal(unlink(command), 0);
	assert_int_equal(rmdir(w->dir), 0);
}

static uint8_t *read_back(struct world *w, const char *name, size_t *ret_len)
{
	char path[128];
	uint8_t *data;

	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	assert_int_equal(files_read(path, MiB(64), &data, ret_len, NULL), 0);
	return data;
}

static uint32_t begin(struct world *w, const char *name)
{
	uint32_t item = 0;

	assert_int_equal(output_begin(w->o, name, "raw", 0, &item, &w->e), 0);
	return item;
}

static void test_bad_names(void **state)
{
	static const char *const bad[] = { "", ".x", "a/b", "a b", "..", "a\n", "\xc3\xa4" };
	struct world w;
	char longest[OUTPUT_NAME_MAX + 2] = { 0 };
	uint32_t item;

	(void)state;
	open_world(&w, 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(output_begin(w.o, bad[i], "raw", 0, &item, &w.e), -EINVAL);
	memset(longest, 'a', OUTPUT_NAME_MAX + 1);
	assert_int_equal(output_begin(w.o, longest, "raw", 0, &item, &w.e), -EINVAL);
	(void)begin(&w, "item1");
	assert_int_equal(output_begin(w.o, "item1", "raw", 0, &item, &w.e), -EINVAL);
	close_world(&w);
}

static void test_too_many_open(void **state)
{
	struct world w;
	char name[16];
	uint32_t item = 0;

	(void)state;
	open_world(&w, 0);
	for (size_t i = 0; i < OUTPUT_OPEN_MAX; i++) {
		(void)snprintf(name, sizeof(name), "item%zu", i);
		item = begin(&w, name);
		assert_int_equal(item, i + 1);
	}
	assert_int_equal(output_begin(w.o, "item16", "raw", 0, &item, &w.e), -EINVAL);
	assert_int_equal(output_end(w.o, 3, NULL, NULL, &w.e), 0);
	(void)begin(&w, "item16");
	close_world(&w);
}

static void test_ended_or_unknown(void **state)
{
	struct world w;
	uint32_t item;

	(void)state;
	open_world(&w, 0);
	item = begin(&w, "item1");
	assert_int_equal(output_end(w.o, item, NULL, NULL, &w.e), 0);
	assert_int_equal(output_write(w.o, item, "x", 1, &w.e), -EINVAL);
	assert_int_equal(output_end(w.o, item, NULL, NULL, &w.e), -EINVAL);
	assert_int_equal(output_write(w.o, 2, "x", 1, &w.e), -EINVAL);
	assert_int_equal(output_write(w.o, 0, "x", 1, &w.e), -EINVAL);
	close_world(&w);
}

/* Bytes and zeros in any mixture are the bytes that were put in, and hash as such. */
static void test_bytes(void **state)
{
	static const struct {
		uint64_t len;
		bool zeros;
	} parts[] = { { 1, false },         { 10, true }, { MiB(1), false },
		      { MiB(3) + 5, true }, { 7, false }, { MiB(2) - 100, false },
		      { MiB(1), true },     { 3, true },  { KiB(900), true },
		      { KiB(300), false } };
	struct world w;
	struct seal_hash got, want;
	AUTO(free_ptr) uint8_t *expected = malloc(MiB(16));
	size_t n = 0, len;
	uint32_t item, other;

	(void)state;
	open_world(&w, 0);
	item = begin(&w, "item1");
	other = begin(&w, "item2");
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		for (size_t k = 0; k < parts[i].len; k++)
			expected[n + k] = parts[i].zeros ? 0 : (uint8_t)(k * 7 + i + 1);
		if (parts[i].zeros)
			assert_int_equal(output_zeros(w.o, item, parts[i].len, &w.e), 0);
		else
			assert_int_equal(output_write(w.o, item, expected + n, parts[i].len, &w.e),
					 0);
		n += parts[i].len;
		assert_int_equal(output_bytes(w.o, item), n);
		assert_int_equal(output_write(w.o, other, "x", 1, &w.e), 0);
	}
	assert_int_equal(output_end(w.o, item, NULL, &got, &w.e), 0);
	assert_int_equal(seal_sha256(expected, n, &want), 0);
	assert_memory_equal(&got, &want, sizeof(got));
	AUTO(free_ptr) uint8_t *data = read_back(&w, "item1", &len);

	assert_int_equal(len, n);
	assert_memory_equal(data, expected, n);
	assert_int_equal(output_end(w.o, other, "odd", NULL, &w.e), 0);
	close_world(&w);
}

static void test_limit(void **state)
{
	struct world w;
	AUTO(free_ptr) uint8_t *data = calloc(1, MiB(2));
	struct seal_hash got, want;
	uint32_t item, side;
	size_t len;

	(void)state;
	open_world(&w, MiB(1) + 1);
	item = begin(&w, "item1");
	side = begin(&w, "item2");
	memset(data, 'x', MiB(2));
	assert_int_equal(output_write(w.o, item, data, MiB(2), &w.e), -ECANCELED);
	assert_string_equal(w.e.text, "the limit of 1048577 bytes is used up");
	assert_int_equal(output_end(w.o, item, NULL, &got, &w.e), 0);
	assert_int_equal(seal_sha256(data, MiB(1) + 1, &want), 0);
	assert_memory_equal(&got, &want, sizeof(got));
	/* What closes a format still fits, and no more than that. */
	assert_int_equal(output_write(w.o, side, data, MiB(2), &w.e), 0);
	assert_int_equal(output_zeros(w.o, side, MiB(2), &w.e), 0);
	assert_int_equal(output_write(w.o, side, data, 1, &w.e), -ECANCELED);
	assert_int_equal(output_end(w.o, side, NULL, NULL, &w.e), 0);
	AUTO(free_ptr) uint8_t *back = read_back(&w, "item2", &len);

	assert_int_equal(len, MiB(4));
	assert_int_equal(back[MiB(2) - 1], 'x');
	assert_int_equal(back[MiB(2)], 0);
	close_world(&w);
}

static void test_notes(void **state)
{
	struct world w;
	AUTO(free_ptr) char *longest = calloc(1, OUTPUT_NOTE_MAX + 1);
	size_t len;
	char key[16];

	(void)state;
	open_world(&w, 0);
	assert_int_equal(output_note(w.o, "Source", "x", &w.e), -EINVAL);
	assert_int_equal(output_note(w.o, "", "x", &w.e), -EINVAL);
	assert_int_equal(output_note_bytes(w.o, "long", longest, OUTPUT_NOTE_MAX + 1, &w.e),
			 -E2BIG);
	assert_int_equal(output_note(w.o, "source", "kcore", &w.e), 0);
	assert_int_equal(output_note_u64(w.o, "frozen_ns", 17, &w.e), 0);
	assert_int_equal(output_note_bytes(w.o, "name", "a\n\xff", 3, &w.e), 0);
	assert_int_equal(output_warn(w.o, true, &w.e, "page %d", 9), 0);
	AUTO(free_ptr) char *text = (char *)read_back(&w, "notes.jsonl", &len);

	assert_string_equal(text, "{\"note\":\"source\",\"value\":\"kcore\"}\n"
				  "{\"note\":\"frozen_ns\",\"value\":17}\n"
				  "{\"note\":\"name\",\"value\":\"a\\n\xef\xbf\xbd\","
				  "\"value_base64\":\"YQr/\"}\n"
				  "{\"warning\":\"page 9\",\"lacking\":true}\n");
	for (unsigned int i = 3; i < OUTPUT_NOTES_MAX; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		assert_int_equal(output_note(w.o, key, "", &w.e), 0);
	}
	assert_int_equal(output_note(w.o, "source", "again", &w.e), 0);
	assert_int_equal(output_note(w.o, "one_more", "", &w.e), -E2BIG);
	close_world(&w);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_bad_names);
	ADD_TEST(&t, test_too_many_open);
	ADD_TEST(&t, test_ended_or_unknown);
	ADD_TEST(&t, test_bytes);
	ADD_TEST(&t, test_limit);
	ADD_TEST(&t, test_notes);
	return tests_run(&t, "output");
}
