/* SPDX-License-Identifier: Apache-2.0 */
/* Retention: what must not go, whatever is damaged, and that the ledger hears of what went, once. */
#include "collector/vault_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/files.h"
#include "tests/unit/rows.h"
#include "tests/unit/vault_world.h"

#define RETAIN_MS 1000

/* The next start, when the time of all that is there is over. */
static void begin_after(struct vault_world *w)
{
	vault_world_close(w);
	vault_world_now_ns += 2 * RETAIN_MS * (int64_t)NSEC_PER_MSEC;
	vault_world_open(w);
}

static struct vault_world *with_retention(void)
{
	struct vault_world *w = vault_world_new();

	w->config.retain_ms = RETAIN_MS;
	vault_world_open(w);
	return w;
}

static bool is_there(struct vault_world *w)
{
	Exhibit__V1__ExhibitInfo *info = vault_world_info(w);

	if (info)
		exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	return info != NULL;
}

static void hold(struct vault_world *w, bool on, int r)
{
	assert_int_equal(vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, on, "spiffe://ann",
				    "court", 5, &w->error),
			 r);
}

/* ---- a hold that cannot be read --------------------------------------------------------------------------- */

static const struct spoiled {
	const char *name;
	const char *text; /* of hold.json; NULL: a folder in its place */
	bool fault; /* `check` names it */
	bool stays;
} holds[] = {
	{ "a bit of its word", "{\"hkld\":true,\"by\":\"ann\"}\n", true, true },
	{ "a bit of its value", "{\"hold\":tbue,\"by\":\"ann\"}\n", true, true },
	{ "cut off", "{\"ho", true, true },
	{ "nothing", "", true, true },
	{ "another type", "{\"hold\":\"true\"}\n", true, true },
	{ "twice", "{\"hold\":false,\"hold\":false}\n", true, true },
	{ "a folder", NULL, true, true },
	{ "a hold", "{\"hold\": true}\n", false, true },
	{ "released", "{\"hold\":false,\"by\":\"\\\"hold\\\":true\"}\n", false, false },
};

static void a_hold_that_cannot_be_read_is_one(void **state)
{
	const struct spoiled *row = *state;
	struct vault_world *w = with_retention();
	char path[512], first[2048];

	vault_world_whole(w, "a.raw", 5);
	hold(w, true, 0);
	vault_world_close(w);
	(void)snprintf(path, sizeof(path), "%s", vault_world_path(w, "exhibits/", "hold.json"));
	assert_int_equal(unlink(path), 0);
	if (row->text)
		assert_int_equal(files_replace(path, row->text, strlen(row->text), 0444, NULL), 0);
	else
		assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(vault_world_check(w, first), row->fault ? 1 : 0);
	if (row->fault)
		assert_non_null(strstr(first, "hold.json"));
	vault_world_open(w);
	begin_after(w);
	vault_tick(w->v);
	assert_int_equal(is_there(w), row->stays);
	if (row->stays && row->text) {
		hold(w, false, 0);
		vault_tick(w->v);
		assert_false(is_there(w));
	}
	vault_world_free(w);
}

/* ---- an exhibit that cannot be read ------------------------------------------------------------------------ */

/* An earlier time by one flipped bit: it stays, and counts as one that cannot be read. */
static void an_exhibit_whose_time_was_changed_stays(void **state)
{
	static const char key[] = "\"retain_until_ns\":";
	struct vault_world *w = with_retention();
	char record[512], first[2048];
	AUTO(free_ptr) uint8_t *data = NULL;
	uint8_t *at;
	size_t len;

	(void)state;
	vault_world_whole(w, "a.raw", 5);
	(void)snprintf(record, sizeof(record), "%s",
		       vault_world_path(w, "exhibits/", "exhibit.json"));
	vault_world_close(w);
	assert_int_equal(files_read(record, MiB(1), &data, &len, NULL), 0);
	at = memmem(data, len, key, strlen(key));
	assert_non_null(at);
	at[strlen(key) + 1] ^= 2; /* 17.. becomes 15..: years ago */
	assert_int_equal(files_replace(record, data, len, 0444, NULL), 0);
	vault_world_open(w);
	vault_tick(w->v);
	assert_int_equal(access(record, R_OK), 0);
	vault_world_close(w);
	assert_true(vault_world_check(w, first) > 0);
	assert_non_null(strstr(first, "exhibit.json' is damaged: it does not have the SHA-256"));
	vault_world_free(w);
}

static void bytes_that_an_unreadable_exhibit_needs_stay(void **state)
{
	struct vault_world *w = with_retention();
	Exhibit__V1__ExhibitInfo *info;
	char record[512], object[PATH_MAX];
	AUTO(free_ptr) uint8_t *good = NULL;
	size_t len;

	(void)state;
	vault_world_whole(w, "a.raw", 5);
	info = vault_world_info(w);
	vault_object_path(w->v, &w->begin.tenant, info->items[0]->sha256.data, object);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	hold(w, true, 0);
	(void)snprintf(record, sizeof(record), "%s",
		       vault_world_path(w, "exhibits/", "exhibit.json"));
	/* The same bytes in another one. */
	w->begin.exhibit_id[0] = 0x23;
	vault_world_whole(w, "b.raw", 5);
	vault_world_close(w);
	assert_int_equal(files_read(record, MiB(1), &good, &len, NULL), 0);
	good[0] ^= 1;
	assert_int_equal(files_replace(record, good, len, 0444, NULL), 0);
	vault_world_open(w);
	begin_after(w);
	vault_tick(w->v);
	assert_false(is_there(w));
	assert_int_equal(access(object, R_OK), 0);
	/* It can be read again, and has all that it had. */
	good[0] ^= 1;
	vault_world_close(w);
	assert_int_equal(files_replace(record, good, len, 0444, NULL), 0);
	char first[2048];

	if (vault_world_check(w, first) != 0)
		fail_msg("%s", first);
	vault_world_free(w);
}

/* ---- leaves -------------------------------------------------------------------------------------------------- */

static void a_removal_that_fails_is_told_once(void **state)
{
	struct vault_world *w = with_retention();
	char folder[512];

	(void)state;
	vault_world_whole(w, "a.raw", 5);
	assert_int_equal(w->leaves, 1);
	begin_after(w);
	/* A file in the place of the folder that it goes to. */
	(void)snprintf(folder, sizeof(folder), "%s", vault_world_path(w, "removing", ""));
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(files_replace(folder, "x", 1, 0600, NULL), 0);
	for (int i = 0; i < 5; i++)
		vault_tick(w->v);
	assert_true(is_there(w));
	assert_int_equal(w->leaves, 2);
	assert_int_equal(unlink(folder), 0);
	assert_int_equal(mkdir(folder, 0700), 0);
	vault_tick(w->v);
	assert_false(is_there(w));
	assert_int_equal(w->leaves, 2);
	vault_world_free(w);
}

/* Its leaf is written while the other call waits: the exhibit is either removed or held, and the ledger says which. */
static void a_hold_comes_before_or_after_a_removal(void **state)
{
	struct vault_world *w = with_retention();

	(void)state;
	vault_world_whole(w, "a.raw", 5);
	begin_after(w);
	w->during = VAULT_WORLD_HOLD; /* while the removal's leaf is appended */
	vault_tick(w->v);
	assert_int_equal(w->during_result, -EAGAIN);
	assert_false(is_there(w));
	assert_int_equal(w->leaves, 2);
	assert_int_equal(w->kinds[1], EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION);

	w->begin.exhibit_id[0] = 0x23;
	vault_world_whole(w, "a.raw", 5);
	begin_after(w);
	w->during = VAULT_WORLD_TICK; /* while the hold's leaf is */
	hold(w, true, 0);
	assert_true(is_there(w));
	assert_int_equal(w->leaves, 4);
	assert_int_equal(w->kinds[3], EXHIBIT__V1__LEDGER_KIND__LEDGER_HOLD);
	vault_tick(w->v);
	assert_true(is_there(w));
	vault_world_free(w);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, a_hold_that_cannot_be_read_is_one, holds);
	ADD_TEST(&t, an_exhibit_whose_time_was_changed_stays);
	ADD_TEST(&t, bytes_that_an_unreadable_exhibit_needs_stay);
	ADD_TEST(&t, a_removal_that_fails_is_told_once);
	ADD_TEST(&t, a_hold_comes_before_or_after_a_removal);
	return tests_run(&t, "vault_remove");
}
