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

/* ---- interrupted ------------------------------------------------------------------------------------------- */

static void goes_on_after_a_kill(void **state)
{
	struct vault_world *w = *state;
	const uint64_t size = 3 * VAULT_CHUNK_BYTES + 9;
	char first[2048];

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, size, NULL), 0);
	vault_world_chunks(w, 1, 0, 2 * VAULT_CHUNK_BYTES);
	assert_int_equal(vault_upload_sync(w->u, &w->durable, &w->error), 0);
	assert_int_equal(w->durable.offset, 2 * VAULT_CHUNK_BYTES);
	vault_world_chunks(w, 1, 2 * VAULT_CHUNK_BYTES, size); /* never durable */
	vault_world_close(w);
	vault_world_open(w);
	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_sync(w->u, &w->durable, &w->error), 0);
	assert_int_equal(w->durable.item, 1);
	assert_int_equal(w->durable.offset, 2 * VAULT_CHUNK_BYTES);
	vault_world_chunks(w, 1, 2 * VAULT_CHUNK_BYTES, size);
	assert_int_equal(vault_world_end(w, 1, size), 0);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a.raw 3145737", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	vault_world_state_is(w, SEALED, "");
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	vault_world_free(w);
}

static void other_bytes_are_never_spliced(void **state)
{
	struct vault_world *w = *state;
	struct seal_hash hash;
	unsigned int n = SEAL_HASH_LEN;
	uint8_t *raw = calloc(1, VAULT_CHUNK_BYTES);

	assert_non_null(raw);
	raw[5] = 7;
	assert_int_equal(EVP_Digest(raw, VAULT_CHUNK_BYTES, hash.b, &n, EVP_sha256(), NULL), 1);
	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, 2 * VAULT_CHUNK_BYTES);
	vault_upload_leave(TAKE(w->u));
	vault_world_begin(w, 0);
	assert_int_equal(vault_world_chunk(w, 1, 0, VAULT_CHUNK_BYTES), 0); /* the same again */
	assert_int_equal(vault_upload_chunk(w->u, 1, VAULT_CHUNK_BYTES, raw, VAULT_CHUNK_BYTES,
					    &hash, &w->error),
			 -EBADMSG);
	assert_non_null(strstr(w->error.text, "are not spliced"));
	free(raw);
	vault_world_free(w);
}

/* Append to, cut, or change a file of incoming/ID. */
static void change(struct vault_world *w, const char *leaf, const char *append, off_t cut,
		   off_t flip)
{
	const char *path = vault_world_path(w, "incoming/", leaf);
	AUTO(close_fd) int fd = open(path, O_RDWR);
	struct stat st;
	uint8_t b;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	if (append)
		assert_int_equal(pwrite(fd, append, strlen(append) + 1, st.st_size),
				 (ssize_t)strlen(append) + 1);
	if (cut)
		assert_int_equal(ftruncate(fd, st.st_size - cut), 0);
	if (flip >= 0) {
		assert_int_equal(pread(fd, &b, 1, flip), 1);
		b ^= 1;
		assert_int_equal(pwrite(fd, &b, 1, flip), 1);
	}
}

static const struct tear {
	const char *name, *leaf, *append;
	off_t cut, flip;
	int begin;
	uint64_t offset; /* durable after it */
	const char *reason; /* when it is sealed as abandoned */
} tears[] = {
	{ "a torn line", "chunks.jsonl", NULL, 10, -1, 0, VAULT_CHUNK_BYTES, "did not go on" },
	{ "half a line more", "chunks.jsonl", "{\"item\":1,\"off", 0, -1, 0, 2 * VAULT_CHUNK_BYTES,
	  "did not go on" },
	{ "zeros after a loss of power", "chunks.jsonl", "", 0, -1, 0, 2 * VAULT_CHUNK_BYTES,
	  "did not go on" },
	{ "bytes that no line names", "1", "more", 0, -1, 0, 2 * VAULT_CHUNK_BYTES,
	  "did not go on" },
	{ "a damaged line", "chunks.jsonl", NULL, 0, 3, -EUCLEAN, 0,
	  "a line of chunks.jsonl at byte 0 cannot be read" },
	{ "damaged bytes", "1", NULL, 0, 77, -EUCLEAN, 0,
	  "item 1 is damaged on disk at bytes 0 to 1048575" },
	{ "bytes cut off", "1", NULL, VAULT_CHUNK_BYTES + 1, -1, -EUCLEAN, 0,
	  "item 1 is damaged on disk at bytes 0 to 1048575" },
};

static void torn(void **state)
{
	const struct tear *row = *state;
	struct vault_world *w = vault_world_new();
	char first[2048];

	for (int again = 0; again < 2; again++) {
		w->begin.exhibit_id[0] = (uint8_t)again;
		vault_world_open(w);
		vault_world_begin(w, 0);
		assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
		vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
		assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
		vault_world_chunks(w, 1, VAULT_CHUNK_BYTES, 2 * VAULT_CHUNK_BYTES);
		assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
		vault_world_close(w);
		change(w, row->leaf, row->append, row->cut, row->flip);
		vault_world_open(w);
		if (again) {
			/* The agent never comes back. */
			vault_world_now_ns += 3601 * (int64_t)NSEC_PER_SEC;
			vault_tick(w->v);
			vault_world_state_is(w, INCOMPLETE, row->reason);
			vault_world_close(w);
			if (vault_world_check(w, first) != 0)
				fail_msg("%s", first);
			break;
		}
		vault_world_begin(w, row->begin);
		if (row->begin == 0) {
			assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
			assert_int_equal(w->durable.offset, row->offset);
			/* What is added stands where the torn end was. */
			vault_world_chunks(w, 1, row->offset, 2 * VAULT_CHUNK_BYTES + 3);
			assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
			vault_world_close(w);
			vault_world_open(w);
			vault_world_begin(w, 0);
			assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
			assert_int_equal(w->durable.offset, 2 * VAULT_CHUNK_BYTES + 3);
		}
		vault_world_close(w);
	}
	vault_world_free(w);
}

/* The first of two lines that were written together did not reach the disk, the second did: nobody was told of them.
 * When a line of a later sync stands behind, it was. */
static void a_hole_in_what_was_never_told(void **state)
{
	struct vault_world *w = *state;
	struct stat st;

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
	assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
	assert_int_equal(stat(vault_world_path(w, "incoming/", "chunks.jsonl"), &st), 0);
	for (unsigned int later = 0; later < 2; later++) {
		vault_world_chunks(w, 1, VAULT_CHUNK_BYTES, 3 * VAULT_CHUNK_BYTES);
		assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
		assert_int_equal(w->durable.offset, 3 * VAULT_CHUNK_BYTES);
		if (later) {
			vault_world_chunks(w, 1, 3 * VAULT_CHUNK_BYTES, 4 * VAULT_CHUNK_BYTES);
			assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
		}
		vault_world_close(w);
		change(w, "chunks.jsonl", NULL, 0, st.st_size + 5);
		vault_world_open(w);
		vault_world_begin(w, later ? -EUCLEAN : 0);
		if (later)
			break;
		assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
		assert_int_equal(w->durable.offset, VAULT_CHUNK_BYTES);
	}
	vault_world_free(w);
}

/* The page cache may show what a failed sync did not write, and what will never be. */
static void what_a_failed_sync_left_is_not_read_back(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
	assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
	vault_world_chunks(w, 1, VAULT_CHUNK_BYTES, 3 * VAULT_CHUNK_BYTES);
	/* Lines can be written, and not synced: a pipe is no file. */
	int pipes[2], chunks = w->u->chunks_fd;

	assert_int_equal(pipe(pipes), 0);
	w->u->chunks_fd = pipes[1];
	assert_int_equal(vault_upload_sync(w->u, &w->durable, &w->error), -ESPIPE);
	w->u->chunks_fd = chunks;
	assert_int_equal(pwrite(chunks, w->u->lines, w->u->n_lines, (off_t)w->u->chunks_len),
			 (ssize_t)w->u->n_lines);
	vault_upload_leave(TAKE(w->u));
	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
	assert_int_equal(w->durable.offset, VAULT_CHUNK_BYTES);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	vault_world_free(w);
}

static void abandoned_after_an_hour(void **state)
{
	struct vault_world *w = *state;
	char first[2048];

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES + 5);
	vault_world_now_ns += 7200 * (int64_t)NSEC_PER_SEC;
	vault_tick(w->v); /* somebody brings it */
	vault_world_state_is(w, ARRIVING, "");
	vault_upload_leave(TAKE(w->u));
	vault_world_now_ns += 3599 * (int64_t)NSEC_PER_SEC;
	vault_tick(w->v);
	vault_world_state_is(w, ARRIVING, "");
	vault_world_now_ns += 2 * (int64_t)NSEC_PER_SEC;
	vault_tick(w->v);
	vault_world_state_is(w, INCOMPLETE, "did not go on with the upload for 3600 s");
	assert_int_equal(w->leaves, 1);
	vault_world_begin(w, 1);
	vault_world_close(w);
	if (vault_world_check(w, first) != 0)
		fail_msg("%s", first);
	vault_world_free(w);
}

/* While the collector was away no host could go on. */
static void a_restart_is_not_the_hosts_fault(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	vault_upload_leave(TAKE(w->u));
	vault_world_close(w);
	vault_world_now_ns = INT64_MAX / 2;
	vault_world_open(w);
	vault_tick(w->v);
	vault_world_state_is(w, ARRIVING, "");
	vault_world_now_ns += 3601 * (int64_t)NSEC_PER_SEC;
	vault_tick(w->v);
	vault_world_state_is(w, INCOMPLETE, "did not go on");
	vault_world_free(w);
}

static void a_ledger_that_fails_delays_the_sealing(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	vault_world_item(w, 1, "a.raw", 5);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a.raw 5", "");

	w->ledger_fails = EIO;
	assert_int_equal(vault_world_seal(w, m), -EIO);
	vault_world_state_is(w, ARRIVING, "");
	vault_tick(w->v);
	vault_world_state_is(w, ARRIVING, "");
	vault_world_begin(w, -EIO);
	vault_world_close(w);
	vault_world_open(w);
	vault_world_state_is(w, ARRIVING, "");
	w->ledger_fails = 0;
	vault_world_begin(w, 1);
	vault_world_state_is(w, SEALED, "");
	assert_int_equal(w->leaves, 1);
	vault_world_free(w);
}

/* Each file operation of sealing and removing may be the last: seen by a copy of each state on the way. */
static void sealing_is_finished_at_the_next_start(void **state)
{
	struct vault_world *w = *state;
	char from[512], first[2048];

	vault_world_whole(w, "a.raw", 5);
	vault_world_close(w);
	/* As if the kill came before the folder was renamed. */
	(void)snprintf(from, sizeof(from), "%s", vault_world_path(w, "exhibits/", ""));
	assert_int_equal(rename(from, vault_world_path(w, "incoming/", "")), 0);
	vault_world_open(w);
	vault_world_state_is(w, ARRIVING, "");
	vault_tick(w->v);
	vault_world_state_is(w, SEALED, "");
	assert_int_equal(w->leaves, 1); /* the record knows its leaf */
	vault_world_close(w);
	/* As if it came in the middle of a removal. */
	assert_int_equal(rename(from, vault_world_path(w, "removing/", "")), 0);
	vault_world_open(w);
	assert_null(vault_world_info(w));
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	assert_string_equal(first, "");
	vault_world_free(w);
}

static void a_full_disk_is_waited_out(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
	w->v->c.reserve_bytes = UINT64_MAX / 2;
	assert_int_equal(vault_world_chunk(w, 1, VAULT_CHUNK_BYTES, 5), -ENOSPC);
	assert_non_null(strstr(w->error.text, "file system is full"));
	vault_upload_leave(TAKE(w->u));
	w->begin.exhibit_id[0] = 1;
	vault_world_begin(w, -ENOSPC);
	assert_null(vault_world_info(w));
	w->begin.exhibit_id[0] = 0x22;
	w->v->c.reserve_bytes = 0;
	vault_world_begin(w, 0);
	vault_world_chunks(w, 1, VAULT_CHUNK_BYTES, VAULT_CHUNK_BYTES + 5);
	assert_int_equal(vault_world_end(w, 1, VAULT_CHUNK_BYTES + 5), 0);
	vault_world_free(w);
}

static void an_exhibit_has_a_largest_size(void **state)
{
	struct vault_world *w = *state;

	w->v->c.exhibit_bytes = VAULT_CHUNK_BYTES;
	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
	assert_int_equal(vault_world_chunk(w, 1, VAULT_CHUNK_BYTES, 1), -E2BIG);
	assert_non_null(strstr(w->error.text, "vault.exhibit-bytes"));
	/* Also by its order, whichever is less; a call that goes on has no more than the first. */
	vault_upload_leave(TAKE(w->u));
	w->v->c.exhibit_bytes = 0;
	w->begin.order.max_bytes = 5;
	for (int again = 0; again < 2; again++) {
		w->begin.exhibit_id[0] = 1;
		vault_world_begin(w, 0);
		assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
		if (!again)
			vault_world_chunks(w, 1, 0, VAULT_ABOVE_ORDER);
		assert_int_equal(vault_world_chunk(w, 1, VAULT_ABOVE_ORDER, 6), -E2BIG);
		assert_non_null(strstr(w->error.text, "its order allows"));
		vault_upload_leave(TAKE(w->u));
	}
	w->begin.order.max_bytes = UINT64_MAX;
	vault_world_begin(w, 0);
	assert_int_equal(vault_world_chunk(w, 1, VAULT_ABOVE_ORDER, 6), 0);
	vault_world_free(w);
}

static void one_collector_at_a_time(void **state)
{
	struct vault_world *w = *state;
	struct vault *other = NULL;

	assert_int_equal(vault_open(&w->config, &other, &w->error), -EBUSY);
	assert_non_null(strstr(w->error.text, "cannot lock the vault"));
	vault_world_free(w);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, torn, tears);
	ADD_SCENE(&t, goes_on_after_a_kill);
	ADD_SCENE(&t, other_bytes_are_never_spliced);
	ADD_SCENE(&t, a_hole_in_what_was_never_told);
	ADD_SCENE(&t, what_a_failed_sync_left_is_not_read_back);
	ADD_SCENE(&t, abandoned_after_an_hour);
	ADD_SCENE(&t, a_restart_is_not_the_hosts_fault);
	ADD_SCENE(&t, a_ledger_that_fails_delays_the_sealing);
	ADD_SCENE(&t, sealing_is_finished_at_the_next_start);
	ADD_SCENE(&t, a_full_disk_is_waited_out);
	ADD_SCENE(&t, an_exhibit_has_a_largest_size);
	ADD_SCENE(&t, one_collector_at_a_time);
	return tests_run(&t, "vault_resume");
}
