/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/files.h"
#include "tests/unit/rows.h"
#include "tests/unit/vault_world.h"

/* ---- check ------------------------------------------------------------------------------------------------- */

static const struct damage {
	const char *name;
	const char *leaf; /* of exhibits/ID; NULL: the object */
	off_t at; /* flip; -1: remove; -2: cut one byte; -3: flip the last */
	const char *sentence;
} damages[] = {
	{ "a byte of an item", NULL, VAULT_CHUNK_BYTES * 2 + 5,
	  "item 'a.raw' is damaged, first at bytes 2097152 to 3145727" },
	{ "an item cut", NULL, -2, "is damaged, first at bytes 2097152 to 3145727" },
	{ "an item gone", NULL, -1, "No such file" },
	{ "a byte of the manifest", "manifest.json", 20, "manifest.json': is damaged" },
	{ "no manifest", "manifest.json", -1, "manifest.json" },
	{ "no signature", "manifest.sig", -1, "manifest.sig': is missing" },
	{ "a byte of the record", "exhibit.json", 0, "exhibit.json' is damaged" },
	{ "its last byte", "exhibit.json", -3, "exhibit.json' is damaged" },
	{ "the first byte of the signature", "manifest.sig", 0,
	  "is not the signature of host 'web-1'" },
	{ "its last byte", "manifest.sig", 63, "is not the signature of host 'web-1'" },
	{ "no chunks", "chunks.jsonl", -1, "chunks.jsonl': cannot open" },
	{ "chunks cut", "chunks.jsonl", -2, "chunks.jsonl': is damaged" },
	{ "no record", "exhibit.json", -1, "exhibit.json" },
};

static void check_names_it(void **state)
{
	const struct damage *row = *state;
	struct vault_world *w = vault_world_new();
	char path[PATH_MAX], first[2048];
	Exhibit__V1__ExhibitInfo *info;
	struct stat st;
	off_t at = row->at;
	uint8_t b = 0;

	w->config.immutable = true;
	vault_world_open(w);
	vault_world_whole(w, "a.raw", 3 * VAULT_CHUNK_BYTES);
	info = vault_world_info(w);
	vault_object_path(w->v, &w->begin.tenant, info->items[0]->sha256.data, path);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	if (row->leaf)
		(void)snprintf(path, sizeof(path), "%s",
			       vault_world_path(w, "exhibits/", row->leaf));
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	vault_protect(path, false);
	if (at == -1) {
		assert_int_equal(unlink(path), 0);
	} else {
		AUTO(close_fd) int fd = open(path, O_RDWR);

		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		if (at == -3)
			at = st.st_size - 1;
		if (at == -2) {
			assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
		} else {
			assert_int_equal(pread(fd, &b, 1, at), 1);
			b ^= 0x20;
			assert_int_equal(pwrite(fd, &b, 1, at), 1);
		}
	}
	assert_true(vault_world_check(w, first) > 0);
	if (!strstr(first, row->sentence))
		fail_msg("'%s' instead of '%s'", first, row->sentence);
	vault_world_free(w);
}

/* ---- one digit or letter of any member ----------------------------------------------------------------------- */

/* The first byte of each member's name and of its value: none is left without a sum. */
static size_t flip_members(struct vault_world *w, const char *leaf, const char *sentence)
{
	char path[512], first[2048];
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len, flipped = 0;

	(void)snprintf(path, sizeof(path), "%s", vault_world_path(w, "exhibits/", leaf));
	assert_int_equal(files_read(path, MiB(1), &data, &len, NULL), 0);
	for (size_t i = 1; i + 1 < len; i++) {
		bool begins = data[i - 1] == '"' || data[i - 1] == ':';

		if (!begins || strchr("\":,{}[]", data[i]))
			continue;
		data[i] ^= 1;
		assert_int_equal(files_replace(path, data, len, 0444, NULL), 0);
		if (vault_world_check(w, first) != 1 || !strstr(first, sentence))
			fail_msg("byte %zu of %s: '%s' instead of '%s'", i, leaf, first, sentence);
		data[i] ^= 1;
		flipped++;
	}
	assert_int_equal(files_replace(path, data, len, 0444, NULL), 0);
	assert_int_equal(vault_world_check(w, first), 0);
	return flipped;
}

static void every_member_of_the_record_and_of_the_chunks_counts(void **state)
{
	struct vault_world *w = *state;

	vault_world_whole(w, "a.raw", 7);
	vault_world_close(w);
	assert_true(flip_members(w, "exhibit.json", "exhibit.json' is damaged: ") >= 2 * 18);
	assert_true(flip_members(w, "chunks.jsonl",
				 "chunks.jsonl': is damaged: it does not have the SHA-256") >= 12);
	vault_world_free(w);
}

/* A line that was false already when it was sealed. */
static void check_compares_lines_with_bytes(void **state)
{
	struct vault_world *w = *state;
	char path[512], folder[512], first[2048];
	AUTO(free_ptr) uint8_t *data = NULL;
	struct vault_record r = { 0 };
	struct error e = { 0 };
	uint8_t *at;
	size_t len;

	vault_world_whole(w, "a.raw", 7);
	vault_world_close(w);
	(void)snprintf(path, sizeof(path), "%s", vault_world_path(w, "exhibits/", "chunks.jsonl"));
	(void)snprintf(folder, sizeof(folder), "%s", vault_world_path(w, "exhibits/", ""));
	assert_int_equal(files_read(path, MiB(1), &data, &len, NULL), 0);
	at = memmem(data, len, "\"sha256\":\"", 10);
	assert_non_null(at);
	at[10] = at[10] == '0' ? '1' : '0';
	assert_int_equal(files_replace(path, data, len, 0444, NULL), 0);
	assert_int_equal(vault_record_get(folder, &r, &e), 0);
	assert_int_equal(seal_sha256(data, len, &r.chunks), 0);
	assert_int_equal(vault_record_put(folder, &w->begin.tenant, &r, 0444, &e), 0);
	vault_record_release(&r);
	assert_int_equal(vault_world_check(w, first), 1);
	if (!strstr(first, "chunks.jsonl': its line of item 'a.raw', bytes 0 to 6, does not have"))
		fail_msg("%s", first);
	vault_world_free(w);
}

/* Not taken for intact. */
static void check_says_that_a_host_is_unknown(void **state)
{
	struct vault_world *w = *state;
	char first[2048];

	vault_world_whole(w, "a.raw", 7);
	vault_world_close(w);
	vault_keys_release(&w->keys);
	assert_int_equal(vault_world_check(w, first), 1);
	assert_non_null(strstr(first,
			       "manifest.sig': cannot be verified: the store has no record of "
			       "host 'web-1'"));
	vault_world_free(w);
}

/* Its chunks are told from those of another item. */
static void check_names_the_chunk_of_the_right_item(void **state)
{
	struct vault_world *w = *state;
	Exhibit__V1__ExhibitInfo *info;
	char path[PATH_MAX], first[2048];

	vault_world_begin(w, 0);
	vault_world_item(w, 1, "a.raw", 3 * VAULT_CHUNK_BYTES);
	vault_world_item(w, 2, "b.raw", 3 * VAULT_CHUNK_BYTES);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a.raw 3145728, 2 b.raw 3145728", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	info = vault_world_info(w);
	vault_object_path(w->v, &w->begin.tenant, info->items[1]->sha256.data, path);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	vault_world_close(w);
	AUTO(close_fd) int fd = open(path, O_RDWR);

	assert_int_equal(pwrite(fd, "!", 1, 2 * VAULT_CHUNK_BYTES + 9), 1);
	assert_int_equal(vault_world_check(w, first), 1);
	assert_non_null(
		strstr(first, "item 'b.raw' is damaged, first at bytes 2097152 to 3145727"));
	vault_world_free(w);
}

static void check_without_a_vault(void **state)
{
	uint64_t faults;
	struct error e = { 0 };

	(void)state;
	assert_int_equal(vault_check("/nonexistent/vault", NULL, NULL, NULL, &faults, &e), -ENOENT);
	assert_non_null(strstr(e.text, "there is no vault in '/nonexistent/vault'"));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, check_names_it, damages);
	ADD_TEST(&t, check_without_a_vault);
	ADD_SCENE(&t, every_member_of_the_record_and_of_the_chunks_counts);
	ADD_SCENE(&t, check_compares_lines_with_bytes);
	ADD_SCENE(&t, check_says_that_a_host_is_unknown);
	ADD_SCENE(&t, check_names_the_chunk_of_the_right_item);
	return tests_run(&t, "vault_check");
}
