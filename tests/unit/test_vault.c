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

static int begin(void **state)
{
	*state = vault_world_new();
	vault_world_open(*state);
	return 0;
}

static void end(struct vault_world *w)
{
	vault_world_free(w);
}

static void whole(struct vault_world *w, const char *name, uint64_t bytes)
{
	vault_world_begin(w, 0);
	vault_world_item(w, 1, name, bytes);
	char items[160];

	(void)snprintf(items, sizeof(items), "1 %s %llu", name, (unsigned long long)bytes);
	AUTO(free_ptr) char *m = vault_world_manifest(w, items, "");

	if (vault_world_seal(w, m) < 0)
		fail_msg("%s", w->error.text);
}

static void state_is(struct vault_world *w, Exhibit__V1__ExhibitState state, const char *reason)
{
	Exhibit__V1__ExhibitInfo *info = vault_world_info(w);

	assert_non_null(info);
	char text[1200];

	(void)snprintf(text, sizeof(text), "%.*s", (int)info->reason.len,
		       (const char *)info->reason.data);
	if (info->state != state || !strstr(text, reason))
		fail_msg("state %d instead of %d: '%s', not '%s'", (int)info->state, (int)state,
			 text, reason);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
}

#define SEALED EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED
#define INCOMPLETE EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_INCOMPLETE
#define ARRIVING EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING

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
	{ "behind a short one",
	  { { ITEM, 1, 0, 0, NULL }, { CHUNK, 1, 0, 5, NULL }, { CHUNK, 1, 5, 5, "" } },
	  "follows one that is shorter" },
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
	end(w);
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
	end(w);
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
	state_is(w, row->state, row->reason);
	assert_int_equal(w->kinds[0], EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT);
	assert_int_equal(w->receipt.ledger_index, 100);
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	vault_world_open(w);
	state_is(w, row->state, row->reason);
	end(w);
}

static void an_item_without_end_is_sealed_as_it_is(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a.raw 1048576", "");

	assert_int_equal(vault_world_seal(w, m), 0);
	state_is(w, INCOMPLETE, "item 'a.raw' did not end: 1048576 bytes arrived");
	end(w);
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
	state_is(w, ARRIVING, "");
	end(w);
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

	whole(w, "memory.lime", size);
	state_is(w, SEALED, "");
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
	end(w);
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
	state_is(w, SEALED, "");
	vault_world_close(w);
	if (vault_world_check(w, first) != 0)
		fail_msg("%s", first);
	end(w);
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
	state_is(w, SEALED, "");
	end(w);
}

static void the_receipt_is_given_again(void **state)
{
	struct vault_world *w = *state;
	struct vault_receipt before;

	whole(w, "a.raw", 5);
	before = w->receipt;
	w->receipt = (struct vault_receipt){ 0 };
	vault_world_begin(w, 1);
	assert_memory_equal(before.manifest.b, w->receipt.manifest.b, SEAL_HASH_LEN);
	assert_int_equal(before.ledger_index, w->receipt.ledger_index);
	assert_int_equal(w->leaves, 1);
	end(w);
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
	end(w);
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
	end(w);
}

static void the_same_bytes_lie_once(void **state)
{
	struct vault_world *w = *state;
	char first[2048];

	w->config.retain_ms = 1000;
	vault_world_close(w);
	vault_world_open(w);
	whole(w, "a.raw", 5);
	vault_world_now_ns += 900 * (int64_t)NSEC_PER_MSEC;
	w->begin.exhibit_id[0] = 0x23;
	whole(w, "other.raw", 5);
	/* The first is removed; the second still has its bytes. */
	vault_world_now_ns += 200 * (int64_t)NSEC_PER_MSEC;
	vault_tick(w->v);
	assert_int_equal(w->kinds[2], EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION);
	state_is(w, SEALED, "");
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
	end(w);
}

/* ---- hold ------------------------------------------------------------------------------------------------ */

static void a_hold_outlives_retention(void **state)
{
	struct vault_world *w = *state;

	w->config.retain_ms = 1000;
	vault_world_close(w);
	vault_world_open(w);
	whole(w, "a.raw", 5);
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, true,
				    "spiffe://ann", "court", 5, &w->error),
			 0);
	assert_int_equal(w->kinds[1], EXHIBIT__V1__LEDGER_KIND__LEDGER_HOLD);
	assert_string_equal(w->text, "legal hold set: court");
	vault_world_now_ns += 2000 * (int64_t)NSEC_PER_MSEC;
	vault_tick(w->v);
	state_is(w, SEALED, "");
	vault_world_close(w);
	vault_world_open(w);
	vault_tick(w->v);
	state_is(w, SEALED, "");
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, true, "x", "", 0,
				    &w->error),
			 0);
	assert_int_equal(w->leaves, 2); /* it is held already */
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, false, "x", "over",
				    4, &w->error),
			 0);
	vault_tick(w->v);
	assert_null(vault_world_info(w));
	end(w);
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
	end(w);
}

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
	state_is(w, SEALED, "");
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	end(w);
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
	end(w);
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
		vault_world_chunks(w, 1, 0, 2 * VAULT_CHUNK_BYTES);
		assert_int_equal(vault_upload_sync(w->u, &w->durable, NULL), 0);
		vault_world_close(w);
		change(w, row->leaf, row->append, row->cut, row->flip);
		vault_world_open(w);
		if (again) {
			/* The agent never comes back: clocks of folders are real. */
			vault_world_now_ns = INT64_MAX / 2;
			vault_tick(w->v);
			state_is(w, INCOMPLETE, row->reason);
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
	end(w);
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
	state_is(w, ARRIVING, "");
	vault_upload_leave(TAKE(w->u));
	vault_world_now_ns += 3599 * (int64_t)NSEC_PER_SEC;
	vault_tick(w->v);
	state_is(w, ARRIVING, "");
	vault_world_now_ns += 2 * (int64_t)NSEC_PER_SEC;
	vault_tick(w->v);
	state_is(w, INCOMPLETE, "did not go on with the upload for 3600 s");
	assert_int_equal(w->leaves, 1);
	vault_world_begin(w, 1);
	vault_world_close(w);
	if (vault_world_check(w, first) != 0)
		fail_msg("%s", first);
	end(w);
}

static void a_ledger_that_fails_delays_the_sealing(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	vault_world_item(w, 1, "a.raw", 5);
	AUTO(free_ptr) char *m = vault_world_manifest(w, "1 a.raw 5", "");

	w->ledger_fails = EIO;
	assert_int_equal(vault_world_seal(w, m), -EIO);
	state_is(w, ARRIVING, "");
	vault_tick(w->v);
	state_is(w, ARRIVING, "");
	vault_world_begin(w, -EIO);
	vault_world_close(w);
	vault_world_open(w);
	state_is(w, ARRIVING, "");
	w->ledger_fails = 0;
	vault_world_begin(w, 1);
	state_is(w, SEALED, "");
	assert_int_equal(w->leaves, 1);
	end(w);
}

/* Each file operation of sealing and removing may be the last: seen by a copy of each state on the way. */
static void sealing_is_finished_at_the_next_start(void **state)
{
	struct vault_world *w = *state;
	char from[512], first[2048];

	whole(w, "a.raw", 5);
	vault_world_close(w);
	/* As if the kill came before the folder was renamed. */
	(void)snprintf(from, sizeof(from), "%s", vault_world_path(w, "exhibits/", ""));
	assert_int_equal(rename(from, vault_world_path(w, "incoming/", "")), 0);
	vault_world_open(w);
	state_is(w, ARRIVING, "");
	vault_tick(w->v);
	state_is(w, SEALED, "");
	assert_int_equal(w->leaves, 1); /* the record knows its leaf */
	vault_world_close(w);
	/* As if it came in the middle of a removal. */
	assert_int_equal(rename(from, vault_world_path(w, "removing/", "")), 0);
	vault_world_open(w);
	assert_null(vault_world_info(w));
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	assert_string_equal(first, "");
	end(w);
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
	end(w);
}

static void an_exhibit_has_a_largest_size(void **state)
{
	struct vault_world *w = *state;

	vault_world_begin(w, 0);
	w->v->c.exhibit_bytes = VAULT_CHUNK_BYTES;
	assert_int_equal(vault_upload_item(w->u, 1, "a.raw", 5, "raw", 3, 0, NULL), 0);
	vault_world_chunks(w, 1, 0, VAULT_CHUNK_BYTES);
	assert_int_equal(vault_world_chunk(w, 1, VAULT_CHUNK_BYTES, 1), -E2BIG);
	end(w);
}

static void one_collector_at_a_time(void **state)
{
	struct vault_world *w = *state;
	struct vault *other = NULL;

	assert_int_equal(vault_open(&w->config, &other, &w->error), -EBUSY);
	assert_non_null(strstr(w->error.text, "cannot lock the vault"));
	end(w);
}

/* ---- check ------------------------------------------------------------------------------------------------- */

static const struct damage {
	const char *name;
	const char *leaf; /* of exhibits/ID; NULL: the object */
	off_t at; /* flip; -1: remove; -2: cut one byte */
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
	{ "no record", "exhibit.json", -1, "exhibit.json" },
};

static void check_names_it(void **state)
{
	const struct damage *row = *state;
	struct vault_world *w = vault_world_new();
	char path[PATH_MAX], first[2048];
	Exhibit__V1__ExhibitInfo *info;
	uint8_t b = 0;

	w->config.immutable = true;
	vault_world_open(w);
	whole(w, "a.raw", 3 * VAULT_CHUNK_BYTES);
	info = vault_world_info(w);
	vault_object_path(w->v, &w->begin.tenant, info->items[0]->sha256.data, path);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	if (row->leaf)
		(void)snprintf(path, sizeof(path), "%s",
			       vault_world_path(w, "exhibits/", row->leaf));
	vault_world_close(w);
	assert_int_equal(vault_world_check(w, first), 0);
	vault_protect(path, false);
	if (row->at == -1) {
		assert_int_equal(unlink(path), 0);
	} else {
		AUTO(close_fd) int fd = open(path, O_RDWR);

		assert_true(fd >= 0);
		if (row->at == -2) {
			assert_int_equal(ftruncate(fd, 3 * VAULT_CHUNK_BYTES - 1), 0);
		} else {
			assert_int_equal(pread(fd, &b, 1, row->at), 1);
			b ^= 0x20;
			assert_int_equal(pwrite(fd, &b, 1, row->at), 1);
		}
	}
	assert_true(vault_world_check(w, first) > 0);
	if (!strstr(first, row->sentence))
		fail_msg("'%s' instead of '%s'", first, row->sentence);
	end(w);
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
	end(w);
}

static void check_without_a_vault(void **state)
{
	uint64_t faults;
	struct error e = { 0 };

	(void)state;
	assert_int_equal(vault_check("/nonexistent/vault", NULL, NULL, &faults, &e), -ENOENT);
	assert_non_null(strstr(e.text, "there is no vault in '/nonexistent/vault'"));
}

int main(void)
{
	static const CMUnitTestFunction scenes[] = {
		a_false_hash_is_refused,
		an_item_without_end_is_sealed_as_it_is,
		a_large_manifest_is_refused,
		bytes_lie_as_they_are,
		empty_and_small_items,
		interleaved_items,
		the_receipt_is_given_again,
		others_may_not_go_on_with_it,
		an_order_gives_few_exhibits,
		the_same_bytes_lie_once,
		a_hold_outlives_retention,
		a_hold_of_what_arrives,
		goes_on_after_a_kill,
		other_bytes_are_never_spliced,
		abandoned_after_an_hour,
		a_ledger_that_fails_delays_the_sealing,
		sealing_is_finished_at_the_next_start,
		a_full_disk_is_waited_out,
		an_exhibit_has_a_largest_size,
		one_collector_at_a_time,
		check_names_the_chunk_of_the_right_item,
	};
	static struct tests t;

	ADD_ROWS(&t, refused, refusals);
	ADD_ROWS(&t, sealed_whatever_the_manifest_says, mismatches);
	ADD_ROWS(&t, torn, tears);
	ADD_ROWS(&t, check_names_it, damages);
	ADD_TEST(&t, check_without_a_vault);
	for (size_t i = 0; i < ARRAY_LEN(scenes); i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "scene %zu", i);
		tests_add(&t, name, scenes[i], NULL);
		t.test[t.n - 1].setup_func = begin;
	}
	return tests_run(&t, "vault");
}
