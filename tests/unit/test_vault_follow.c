/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an item behind its upload: never more than is durable, over breaks, up to its end. */
#include "collector/vault_follow.h"

#include <errno.h>
#include <string.h>

#include "collector/vault_internal.h"
#include "tests/unit/rows.h"
#include "tests/unit/vault_world.h"

#define NAME "capture.pcapng"

static int open_named(struct vault_world *w, const char *name, struct vault_follow **ret)
{
	w->error = (struct error){ 0 };
	return vault_follow_open(w->v, &w->begin.tenant, w->begin.exhibit_id, name, strlen(name),
				 ret, &w->error);
}

static void look(struct vault_follow *f, uint64_t want, bool want_end)
{
	struct error e = { 0 };
	uint64_t bytes = 0;
	bool end = false;

	if (vault_follow_look(f, &bytes, &end, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(bytes, want);
	assert_int_equal(end, want_end);
}

static void sync_now(struct vault_world *w)
{
	assert_int_equal(vault_upload_sync(w->u, &w->durable, &w->error), 0);
}

static void begin_item(struct vault_world *w, uint32_t item, const char *name)
{
	assert_int_equal(vault_upload_item(w->u, item, name, strlen(name), "pcapng", 6, 0, NULL),
			 0);
}

static void what_is_not_there(void **state)
{
	struct vault_world *w = *state;
	struct vault_follow *f = NULL;

	assert_int_equal(open_named(w, NAME, &f), -ENOENT);
	vault_world_begin(w, 0);
	assert_int_equal(open_named(w, "../x", &f), -EINVAL);
	assert_int_equal(open_named(w, NAME, &f), -EAGAIN);
	begin_item(w, 1, "other.jsonl");
	sync_now(w);
	assert_int_equal(open_named(w, NAME, &f), -EAGAIN);
	assert_null(f);
	vault_world_free(w);
}

static void no_further_than_durable(void **state)
{
	struct vault_world *w = *state;
	struct vault_follow *f = NULL;
	uint8_t want[300], got[300];

	vault_world_begin(w, 0);
	begin_item(w, 1, "other.jsonl");
	begin_item(w, 2, NAME);
	assert_int_equal(vault_world_chunk(w, 2, 0, 100), 0);
	assert_int_equal(open_named(w, NAME, &f), -EAGAIN);
	sync_now(w);
	assert_int_equal(open_named(w, NAME, &f), 0);
	look(f, 100, false);
	assert_int_equal(vault_world_chunk(w, 1, 0, 7), 0);
	assert_int_equal(vault_world_chunk(w, 2, 100, 200), 0);
	look(f, 100, false);
	sync_now(w);
	look(f, 300, false);
	vault_world_bytes(2, 0, want, sizeof(want));
	assert_int_equal(pread(vault_follow_fd(f), got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, want, sizeof(got));
	assert_int_equal(vault_world_end(w, 2, 300), 0);
	look(f, 300, false);
	sync_now(w);
	look(f, 300, true);
	vault_follow_free(f);
	vault_world_free(w);
}

/* Half a line, as a reader may meet it. */
static void a_line_that_is_being_written(void **state)
{
	struct vault_world *w = *state;
	struct vault_follow *f = NULL;
	static const char half[] = "{\"item\":1,\"offs";

	vault_world_begin(w, 0);
	begin_item(w, 1, NAME);
	assert_int_equal(vault_world_chunk(w, 1, 0, 100), 0);
	sync_now(w);
	assert_int_equal(open_named(w, NAME, &f), 0);
	assert_int_equal(pwrite(w->u->chunks_fd, half, sizeof(half) - 1, (off_t)w->u->chunks_len),
			 sizeof(half) - 1);
	look(f, 100, false);
	assert_int_equal(vault_world_chunk(w, 1, 100, 100), 0);
	sync_now(w); /* over it */
	look(f, 200, false);
	vault_follow_free(f);
	vault_world_free(w);
}

static void damage_is_told(void **state)
{
	struct vault_world *w = *state;
	struct vault_follow *f = NULL;
	struct error e = { 0 };
	uint64_t bytes;
	bool end;

	vault_world_begin(w, 0);
	begin_item(w, 1, NAME);
	sync_now(w);
	assert_int_equal(open_named(w, NAME, &f), 0);
	assert_int_equal(pwrite(w->u->chunks_fd, "nonsense\n", 9, (off_t)w->u->chunks_len), 9);
	assert_int_equal(vault_follow_look(f, &bytes, &end, &e), -EIO);
	assert_non_null(strstr(e.text, "chunks.jsonl cannot be read"));
	vault_follow_free(f);
	vault_world_free(w);
}

static void over_a_break_and_its_sealing(void **state)
{
	struct vault_world *w = *state;
	struct vault_follow *f = NULL, *late = NULL;
	uint8_t want[300], got[300];

	vault_world_begin(w, 0);
	begin_item(w, 1, NAME);
	assert_int_equal(vault_world_chunk(w, 1, 0, 100), 0);
	sync_now(w);
	assert_int_equal(open_named(w, NAME, &f), 0);
	vault_upload_leave(TAKE(w->u));
	look(f, 100, false);
	vault_world_begin(w, 0);
	assert_int_equal(vault_world_chunk(w, 1, 100, 200), 0);
	assert_int_equal(vault_world_end(w, 1, 300), 0);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 " NAME " 300", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	vault_world_state_is(w, SEALED, "");
	look(f, 300, true);
	vault_world_bytes(1, 0, want, sizeof(want));
	assert_int_equal(pread(vault_follow_fd(f), got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, want, sizeof(got));
	assert_int_equal(open_named(w, NAME, &late), 1);
	vault_follow_free(f);
	vault_world_free(w);
}

/* An agent that never came back: there is no end of the item, and still one of the reading. */
static void sealed_without_its_end(void **state)
{
	struct vault_world *w = *state;
	struct vault_follow *f = NULL;

	vault_world_begin(w, 0);
	begin_item(w, 1, NAME);
	assert_int_equal(vault_world_chunk(w, 1, 0, 100), 0);
	sync_now(w);
	assert_int_equal(open_named(w, NAME, &f), 0);
	assert_int_equal(vault_world_chunk(w, 1, 100, 5), 0);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 " NAME " 105", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	vault_world_state_is(w, INCOMPLETE, "did not end");
	look(f, 105, true);
	vault_follow_free(f);
	vault_world_free(w);
}

static void short_chunks_are_bounded(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	begin_item(w, 1, NAME);
	assert_int_equal(vault_world_chunk(w, 1, 0, 5), 0);
	assert_int_equal(vault_world_chunk(w, 1, 5, 1), 0);
	sync_now(w);
	/* Counted over a restart. */
	vault_world_close(w);
	vault_world_open(w);
	vault_world_begin(w, 0);
	assert_int_equal(w->u->items[0].short_chunks, 2);
	w->u->items[0].short_chunks = VAULT_SHORT_MAX;
	assert_int_equal(vault_world_chunk(w, 1, 6, 1), -EBADMSG);
	assert_non_null(strstr(w->error.text, "more than 524288 chunks of fewer than"));
	assert_int_equal(vault_world_chunk(w, 1, 6, VAULT_CHUNK_BYTES), 0);
	vault_world_free(w);
}

int main(void)
{
	static struct tests t;

	ADD_SCENE(&t, what_is_not_there);
	ADD_SCENE(&t, no_further_than_durable);
	ADD_SCENE(&t, a_line_that_is_being_written);
	ADD_SCENE(&t, damage_is_told);
	ADD_SCENE(&t, over_a_break_and_its_sealing);
	ADD_SCENE(&t, sealed_without_its_end);
	ADD_SCENE(&t, short_chunks_are_bounded);
	return tests_run(&t, "vault_follow");
}
