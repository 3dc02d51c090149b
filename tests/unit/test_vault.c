/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/vault_internal.h"
#include "proto/base/files.h"
#include "tests/unit/rows.h"
#include "tests/unit/vault_world.h"

#define HALF (VAULT_CHUNK_BYTES / 2)

/* ---- messages out of place ------------------------------------------------------------------------------- */

enum what { ITEM, CHUNK, END, SYNC };

static const struct refusal {
	const char *name;
	struct {
		enum what what;
		uint32_t item;
		uint64_t at;
		size_t len;
		const char *text;
	} steps[5]; /* the last one with a text other than NULL is refused */
	const char *sentence;
} refusals[] = {
	{ "chunk before its item", { { CHUNK, 1, 0, 5, "" } }, "item 1 was not begun" },
	{ "item 0", { { ITEM, 0, 0, 0, "x" } }, "item 0 is begun, but the next one is 1" },
	{ "item 2 first", { { ITEM, 2, 0, 0, "x" } }, "item 2 is begun, but the next one is 1" },
	{ "item twice",
	  { { ITEM, 1, 0, 0, NULL }, { ITEM, 1, 0, 0, "again" } },
	  "item 1 is begun, but the next one is 2" },
	{ "name with a slash", { { ITEM, 1, 0, 0, "../x" } }, "the name of item 1 is not" },
	{ "name with a dot", { { ITEM, 1, 0, 0, ".x" } }, "the name of item 1 is not" },
	{ "name with a newline", { { ITEM, 1, 0, 0, "a\nb" } }, "the name of item 1 is not" },
	{ "no name", { { ITEM, 1, 0, 0, "" } }, "the name of item 1 is not" },
	{ "a name twice",
	  { { ITEM, 1, 0, 0, NULL }, { ITEM, 2, 0, 0, "item-1" } },
	  "items 1 and 2 have the same name" },
	{ "out of place",
	  { { ITEM, 1, 0, 0, NULL }, { CHUNK, 1, VAULT_CHUNK_BYTES, 5, "" } },
	  "at byte 1048576 is out of place, byte 0 is next" },
	{ "not at a multiple",
	  { { ITEM, 1, 0, 0, NULL }, { CHUNK, 1, 0, 5, NULL }, { CHUNK, 1, 3, 5, "" } },
	  "comes twice" },
	{ "twice",
	  { { ITEM, 1, 0, 0, NULL },
	    { CHUNK, 1, 0, VAULT_CHUNK_BYTES, NULL },
	    { CHUNK, 1, 0, VAULT_CHUNK_BYTES, "" } },
	  "at byte 0 comes twice" },
	{ "twice, although it is durable",
	  { { ITEM, 1, 0, 0, NULL },
	    { CHUNK, 1, 0, VAULT_CHUNK_BYTES, NULL },
	    { SYNC, 0, 0, 0, NULL },
	    { CHUNK, 1, 0, VAULT_CHUNK_BYTES, "" } },
	  "at byte 0 comes twice" },
	{ "a hole behind a short one",
	  { { ITEM, 1, 0, 0, NULL }, { CHUNK, 1, 0, 5, NULL }, { CHUNK, 1, 6, 5, "" } },
	  "at byte 6 is out of place, byte 5 is next" },
	{ "too large",
	  { { ITEM, 1, 0, 0, NULL }, { CHUNK, 1, 0, VAULT_CHUNK_BYTES + 1, "" } },
	  "has 1048577 bytes, not 1 to 1048576" },
	{ "empty", { { ITEM, 1, 0, 0, NULL }, { CHUNK, 1, 0, 0, "" } }, "has 0 bytes" },
	{ "end at another byte",
	  { { ITEM, 1, 0, 0, NULL }, { CHUNK, 1, 0, 5, NULL }, { END, 1, 6, 0, "" } },
	  "ends at byte 6, but 5 bytes arrived" },
	{ "end twice",
	  { { ITEM, 1, 0, 0, NULL },
	    { CHUNK, 1, 0, 5, NULL },
	    { END, 1, 5, 0, NULL },
	    { END, 1, 5, 0, "" } },
	  "the end of item 1 comes twice" },
	{ "chunk after the end",
	  { { ITEM, 1, 0, 0, NULL },
	    { CHUNK, 1, 0, 5, NULL },
	    { END, 1, 5, 0, NULL },
	    { CHUNK, 1, 5, 5, "" } },
	  "comes after its end" },
};

static int step(struct vault_world *w, enum what what, uint32_t item, uint64_t at, size_t len,
		const char *text)
{
	char name[32];

	w->error = (struct error){ 0 };
	if (!text || what != ITEM)
		(void)snprintf(name, sizeof(name), "item-%u", item);
	else
		(void)snprintf(name, sizeof(name), "%s", text);
	switch (what) {
	case ITEM:
		return vault_upload_item(w->u, item, name, strlen(name), "raw", 3, 0, &w->error);
	case CHUNK:
		return vault_world_chunk(w, item, at, len);
	case END:
		return vault_world_end(w, item, at);
	case SYNC:
		return vault_upload_sync(w->u, &w->durable, &w->error);
	}
	return -EINVAL;
}

static void refused(void **state)
{
	const struct refusal *row = *state;
	struct vault_world *w = vault_world_new();
	int r = 0;

	vault_world_open(w);
	vault_world_begin(w, 0);
	for (size_t i = 0; i < ARRAY_LEN(row->steps) && r == 0; i++)
		if (i == 0 || row->steps[i].len || row->steps[i].item || row->steps[i].what == SYNC)
			r = step(w, row->steps[i].what, row->steps[i].item, row->steps[i].at,
				 row->steps[i].len, row->steps[i].text);
	assert_int_equal(r, -EBADMSG);
	if (!strstr(w->error.text, row->sentence))
		fail_msg("'%s' instead of '%s'", w->error.text, row->sentence);
	/* What was good before it is there for the next call. */
	vault_upload_leave(TAKE(w->u));
	vault_world_begin(w, 0);
	vault_world_free(w);
}

static void a_false_hash_is_refused(void **state)
{
	struct vault_world *w = *state;
	struct seal_hash hash = { { 1 } };

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "x", 1, "raw", 3, 0, NULL), 0);
	assert_int_equal(vault_upload_chunk(w->u, 1, 0, "abc", 3, &hash, &w->error), -EBADMSG);
	assert_non_null(strstr(w->error.text, "does not have the SHA-256"));
	assert_int_equal(vault_world_chunk(w, 1, 0, 3), 0);
	assert_int_equal(vault_upload_end(w->u, 1, 3, &hash, &w->error), -EBADMSG);
	assert_non_null(strstr(w->error.text, "does not have the SHA-256"));
	vault_world_free(w);
}

/* ---- manifests ------------------------------------------------------------------------------------------- */

static const struct mismatch {
	const char *name;
	const char *items, *extra, *whole; /* whole: instead of items */
	Exhibit__V1__ExhibitState state;
	const char *reason;
} mismatches[] = {
	{ "other length", "1 a.raw 6", "", NULL, INCOMPLETE, "has 6 bytes, 5 arrived" },
	{ "other hash", "2 a.raw 5", "", NULL, INCOMPLETE, "another SHA-256 for item 'a.raw'" },
	{ "one that did not arrive", "1 a.raw 5, 1 b.raw 5", "", NULL, INCOMPLETE,
	  "names item 'b.raw', which did not arrive" },
	{ "one that it does not name", "", "", NULL, INCOMPLETE, "the manifest does not name it" },
	{ "one twice", "1 a.raw 5, 1 a.raw 5", "", NULL, INCOMPLETE, "names an item twice" },
	{ "not JSON", NULL, NULL, "{\"items\":", INCOMPLETE, "cannot be read: line 1" },
	{ "not an object", NULL, NULL, "[]", INCOMPLETE, "it is not an object" },
	{ "key twice", NULL, NULL, "{\"items\":[],\"items\":[]}", INCOMPLETE, "duplicate" },
	{ "no ids", NULL, NULL, "{\"items\":[]}", INCOMPLETE, "'exhibit_id' is missing" },
	{ "another exhibit's", NULL, NULL,
	  "{\"items\":[],\"exhibit_id\":\"00000000000000000000000000000000\","
	  "\"order_id\":\"11111111111111111111111111111111\"}",
	  INCOMPLETE, "is that of another exhibit" },
	{ "another order's", NULL, NULL,
	  "{\"items\":[],\"exhibit_id\":\"22222222222222222222222222222222\","
	  "\"order_id\":\"00000000000000000000000000000000\"}",
	  INCOMPLETE, "is that of another order" },
	{ "the host says so", "1 a.raw 5", ",\"complete\":false", NULL, INCOMPLETE,
	  "the host could not take all of it" },
	{ "the host says why", "1 a.raw 5", ",\"complete\":false,\"failure\":\"the process ended\"",
	  NULL, INCOMPLETE, "the host could not take all of it: the process ended" },
	{ "unfinished", "", ",\"complete\":true,\"unfinished_items\":[{\"name\":\"a.raw\"}]", NULL,
	  INCOMPLETE, "its manifest says what is missing" },
	{ "unfinished without a name", "1 a.raw 5", ",\"unfinished_items\":[{}]", NULL, INCOMPLETE,
	  "an item has no name" },
	{ "good", "1 a.raw 5", ",\"complete\":true,\"who\":[null]", NULL, SEALED, "" },
};

static void sealed_whatever_the_manifest_says(void **state)
{
	const struct mismatch *row = *state;
	struct vault_world *w = vault_world_new();
	char first[2048];

	vault_world_open(w);
	vault_world_begin(w, 0);
	vault_world_item(w, 1, "a.raw", 5);
	AUTO(free_ptr)
	char *m = row->whole ? strdup(row->whole) : vault_world_manifest(w, row->items, row->extra);

	assert_int_equal(vault_world_seal(w, m), 0);
	vault_world_state_is(w, row->state, row->reason);
	assert_int_equal(w->kinds[0], EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT);
	assert_int_equal(w->receipt.ledger_index, 100);
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	vault_world_open(w);
	vault_world_state_is(w, row->state, row->reason);
	vault_world_free(w);
}

static void an_item_without_end_is_sealed_as_it_is(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a.raw 1048576", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	vault_world_state_is(w, INCOMPLETE, "item 'a.raw' did not end: 1048576 bytes arrived");
	vault_world_free(w);
}

static void a_large_manifest_is_refused(void **state)
{
	struct vault_world *w = *state;
	char *m = malloc(VAULT_MANIFEST_MAX + 2);

	assert_non_null(m);
	memset(m, ' ', VAULT_MANIFEST_MAX + 1);
	m[VAULT_MANIFEST_MAX + 1] = '\0';
	vault_world_begin(w, 0);
	assert_int_equal(vault_world_seal(w, m), -E2BIG);
	free(m);
	vault_world_state_is(w, ARRIVING, "");
	vault_world_free(w);
}

/* ---- what rests there -------------------------------------------------------------------------------------- */

static void bytes_lie_as_they_are(void **state)
{
	struct vault_world *w = *state;
	const uint64_t size = 5 * VAULT_CHUNK_BYTES + HALF;
	AUTO(free_ptr) uint8_t *want = malloc(size), *got = NULL;
	Exhibit__V1__ItemInfo *item = NULL;
	AUTO(close_fd) int fd = -1;
	struct stat st;
	size_t len;

	vault_world_whole(w, "memory.lime", size);
	vault_world_state_is(w, SEALED, "");
	assert_int_equal(vault_open_item(w->v, &w->begin.tenant, w->begin.exhibit_id, "memory.lime",
					 11, &fd, &item, &w->error),
			 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(st.st_nlink, 1);
	/* Every second MiB is zeros: holes. */
	assert_true((uint64_t)st.st_blocks * 512 < 4 * VAULT_CHUNK_BYTES);
	char path[PATH_MAX];

	vault_object_path(w->v, &w->begin.tenant, item->sha256.data, path);
	exhibit__v1__item_info__free_unpacked(item, NULL);
	assert_int_equal(files_read(path, 16 * MiB(1), &got, &len, NULL), 0);
	assert_int_equal(len, size);
	vault_world_bytes(1, 0, want, size);
	assert_memory_equal(got, want, size);
	assert_int_equal(access(vault_world_path(w, "exhibits/", "manifest.sig"), R_OK), 0);
	assert_int_equal(access(vault_world_path(w, "incoming/", ""), F_OK), -1);
	vault_world_free(w);
}

static void empty_and_small_items(void **state)
{
	struct vault_world *w = *state;
	char first[2048];

	vault_world_begin(w, 0);
	vault_world_item(w, 1, "empty.txt", 0);
	vault_world_item(w, 2, "one.txt", 1);
	vault_world_item(w, 3, "mib.raw", VAULT_CHUNK_BYTES);
	AUTO(free_ptr)
	char *m = vault_world_manifest(w, "1 empty.txt 0, 2 one.txt 1, 3 mib.raw 1048576", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	vault_world_state_is(w, SEALED, "");
	vault_world_close(w);
	if (vault_world_check(w, first) != 0)
		fail_msg("%s", first);
	vault_world_free(w);
}

static void interleaved_items(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a", 1, "raw", 3, 0, NULL), 0);
	assert_int_equal(vault_upload_item(w->u, 2, "b", 1, "jsonl", 5, 0, NULL), 0);
	vault_world_chunks(w, 2, 0, VAULT_CHUNK_BYTES);
	vault_world_chunks(w, 1, 0, 2 * VAULT_CHUNK_BYTES);
	vault_world_chunks(w, 2, VAULT_CHUNK_BYTES, VAULT_CHUNK_BYTES + 7);
	assert_int_equal(vault_world_end(w, 2, VAULT_CHUNK_BYTES + 7), 0);
	assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
	/* Item 2 is whole, but only what comes before the first open one counts as a place to go on from. */
	assert_int_equal(w->durable.item, 1);
	assert_int_equal(w->durable.offset, 2 * VAULT_CHUNK_BYTES);
	assert_int_equal(vault_world_end(w, 1, 2 * VAULT_CHUNK_BYTES), 0);
	assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
	assert_int_equal(w->durable.item, 3);
	/* The next call says the newest again, as an agent does that kept it. */
	vault_upload_leave(TAKE(w->u));
	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 2, "b", 1, "jsonl", 5, 0, NULL), 0);
	assert_int_equal(vault_world_chunk(w, 2, 0, VAULT_CHUNK_BYTES), 0);
	assert_int_equal(vault_world_end(w, 2, VAULT_CHUNK_BYTES + 7), 0);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a 2097152, 2 b 1048583", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	vault_world_state_is(w, SEALED, "");
	vault_world_free(w);
}

static void the_receipt_is_given_again(void **state)
{
	struct vault_world *w = *state;
	struct vault_receipt before;

	vault_world_whole(w, "a.raw", 5);
	before = w->receipt;
	w->receipt = (struct vault_receipt){ 0 };
	vault_world_begin(w, 1);
	assert_memory_equal(before.manifest.b, w->receipt.manifest.b, SEAL_HASH_LEN);
	assert_int_equal(before.ledger_index, w->receipt.ledger_index);
	assert_int_equal(w->leaves, 1);
	vault_world_free(w);
}

static void others_may_not_go_on_with_it(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	struct vault_upload *mine = TAKE(w->u);

	vault_world_begin(w, -EBUSY);
	vault_upload_leave(mine);
	w->begin.host_id.b[0] = 'X';
	vault_world_begin(w, -EACCES);
	w->begin.host_id.b[0] = 'w';
	w->begin.order_id[0] = 0;
	vault_world_begin(w, -EACCES);
	w->begin.order_id[0] = 0x11;
	/* Another tenant's is another exhibit. */
	w->begin.tenant.b[0] = 'b';
	vault_world_begin(w, 0);
	vault_world_free(w);
}

static void an_order_gives_few_exhibits(void **state)
{
	struct vault_world *w = *state;

	for (uint8_t i = 0; i < VAULT_PER_ORDER_MAX; i++) {
		w->begin.exhibit_id[0] = i;
		vault_world_begin(w, 0);
		vault_upload_leave(TAKE(w->u));
	}
	w->begin.exhibit_id[0] = 99;
	vault_world_begin(w, -ENOSPC);
	vault_world_free(w);
}

static void the_same_bytes_lie_once(void **state)
{
	struct vault_world *w = *state;
	char first[2048];

	w->config.retain_ms = 1000;
	vault_world_close(w);
	vault_world_open(w);
	vault_world_whole(w, "a.raw", 5);
	vault_world_now_ns += 900 * (int64_t)NSEC_PER_MSEC;
	w->begin.exhibit_id[0] = 0x23;
	vault_world_whole(w, "other.raw", 5);
	/* The first is removed; the second still has its bytes. */
	vault_world_now_ns += 200 * (int64_t)NSEC_PER_MSEC;
	vault_tick(w->v);
	assert_int_equal(w->kinds[2], EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION);
	vault_world_state_is(w, SEALED, "");
	w->begin.exhibit_id[0] = 0x22;
	assert_null(vault_world_info(w));
	vault_world_close(w);
	if (vault_world_check(w, first) != 0 || first[0])
		fail_msg("%s", first);
	vault_world_open(w);
	vault_world_now_ns += 1000 * (int64_t)NSEC_PER_MSEC;
	vault_tick(w->v);
	vault_world_close(w);
	/* Nothing is left, and nothing lies about. */
	assert_int_equal(vault_world_check(w, first), 0);
	assert_string_equal(first, "");
	vault_world_free(w);
}

/* ---- hold ------------------------------------------------------------------------------------------------ */

static void a_hold_outlives_retention(void **state)
{
	struct vault_world *w = *state;

	w->config.retain_ms = 1000;
	vault_world_close(w);
	vault_world_open(w);
	vault_world_whole(w, "a.raw", 5);
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, true,
				    "spiffe://ann", "court", 5, &w->error),
			 0);
	assert_int_equal(w->kinds[1], EXHIBIT__V1__LEDGER_KIND__LEDGER_HOLD);
	assert_string_equal(w->text, "legal hold set: court");
	vault_world_now_ns += 2000 * (int64_t)NSEC_PER_MSEC;
	vault_tick(w->v);
	vault_world_state_is(w, SEALED, "");
	vault_world_close(w);
	vault_world_open(w);
	vault_tick(w->v);
	vault_world_state_is(w, SEALED, "");
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, true, "x", "", 0,
				    &w->error),
			 0);
	assert_int_equal(w->leaves, 2); /* it is held already */
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, false, "x", "over",
				    4, &w->error),
			 0);
	vault_tick(w->v);
	assert_null(vault_world_info(w));
	vault_world_free(w);
}

static void a_hold_of_what_arrives(void **state)
{
	struct vault_world *w = *state;
	Exhibit__V1__ExhibitInfo *info;

	vault_world_begin(w, 0);
	vault_world_item(w, 1, "a.raw", 5);
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, true, "x", "y", 1,
				    &w->error),
			 0);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a.raw 5", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	info = vault_world_info(w);
	assert_true(info->hold);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	vault_world_close(w);
	vault_world_open(w);
	info = vault_world_info(w);
	assert_true(info->hold);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	vault_world_free(w);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, refused, refusals);
	ADD_ROWS(&t, sealed_whatever_the_manifest_says, mismatches);
	ADD_SCENE(&t, a_false_hash_is_refused);
	ADD_SCENE(&t, an_item_without_end_is_sealed_as_it_is);
	ADD_SCENE(&t, a_large_manifest_is_refused);
	ADD_SCENE(&t, bytes_lie_as_they_are);
	ADD_SCENE(&t, empty_and_small_items);
	ADD_SCENE(&t, interleaved_items);
	ADD_SCENE(&t, the_receipt_is_given_again);
	ADD_SCENE(&t, others_may_not_go_on_with_it);
	ADD_SCENE(&t, an_order_gives_few_exhibits);
	ADD_SCENE(&t, the_same_bytes_lie_once);
	ADD_SCENE(&t, a_hold_outlives_retention);
	ADD_SCENE(&t, a_hold_of_what_arrives);
	return tests_run(&t, "vault");
}
