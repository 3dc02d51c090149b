/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/ledger_internal.h"
#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/merkle.h"
#include "tests/unit/rows.h"

#define ORIGIN "exhibit.internal/acme/ledger/test"

static char dir[64], folder[80], key_file[80];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void remove_folder(void)
{
	(void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct ledger *open_ledger(uint64_t checkpoint_ms)
{
	struct ledger_config c = { .dir = folder,
				   .key_file = key_file,
				   .origin = ORIGIN,
				   .checkpoint_ms = checkpoint_ms };
	struct ledger *l = NULL;
	struct error e = { 0 };

	if (ledger_open(&c, &l, &e) < 0)
		fail_msg("%s", e.text);
	return l;
}

static int try_open(struct error *e)
{
	struct ledger_config c = { .dir = folder, .key_file = key_file, .origin = ORIGIN };
	struct ledger *l = NULL;
	int r = ledger_open(&c, &l, e);

	ledger_close(l);
	return r;
}

/* Leaf number i, as it is in any run. */
static Exhibit__V1__LedgerEntry entry_of(uint64_t i, char text[static 32])
{
	Exhibit__V1__LedgerEntry m = EXHIBIT__V1__LEDGER_ENTRY__INIT;

	(void)snprintf(text, 32, "leaf %llu", (unsigned long long)i);
	m.wall_ns = 1700000000000000000LL + (int64_t)i;
	m.text = (ProtobufCBinaryData){ strlen(text), (uint8_t *)text };
	if (i % 10 == 3)
		m.case_id = (ProtobufCBinaryData){ 4, (uint8_t *)(uintptr_t) "case" };
	return m;
}

static void append(struct ledger *l, uint64_t first, size_t n)
{
	Exhibit__V1__LedgerEntry m[300];
	const Exhibit__V1__LedgerEntry *list[300];
	char text[300][32];
	struct error e = { 0 };
	uint64_t at = 0;

	for (size_t i = 0; i < n; i++) {
		m[i] = entry_of(first + i, text[i]);
		list[i] = &m[i];
	}
	if (ledger_append(l, list, n, &at, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(at, first);
}

static void checkpoint(struct ledger *l)
{
	struct error e = { 0 };

	if (ledger_checkpoint(l, &e) < 0)
		fail_msg("%s", e.text);
}

static struct seal_hash root_of(uint64_t size)
{
	struct merkle *m = merkle_new();
	struct seal_hash root;

	assert_non_null(m);
	for (uint64_t i = 0; i < size; i++) {
		char text[32];
		Exhibit__V1__LedgerEntry entry = entry_of(i, text);
		uint8_t packed[256];

		entry.version = 1;
		assert_int_equal(
			merkle_add(m, packed, exhibit__v1__ledger_entry__pack(&entry, packed)), 0);
	}
	assert_int_equal(merkle_root(m, &root), 0);
	merkle_free(m);
	return root;
}

static struct checkpoint newest(struct ledger *l)
{
	struct checkpoint c;
	uint64_t size;
	char *note = NULL;

	assert_int_equal(ledger_newest(l, &note, &size, NULL), 0);
	assert_int_equal(checkpoint_open(ledger_key(l), note, strlen(note), &c, NULL), 0);
	assert_int_equal(c.size, size);
	free(note);
	return c;
}

/* The checkpoint is that of the first size leaves, and proofs in it hold. */
static void check_ledger(struct ledger *l, uint64_t size)
{
	struct seal_hash root = root_of(size), proof[LEDGER_PROOF_MAX];
	struct checkpoint c = newest(l);
	size_t n;

	assert_int_equal(c.size, size);
	assert_memory_equal(c.root.b, root.b, SEAL_HASH_LEN);
	for (uint64_t i = 0; i < size; i += 1 + size / 37) {
		struct seal_hash leaf, old = root_of(i);
		uint8_t *entry = NULL;
		size_t len;

		assert_int_equal(ledger_entry(l, i, &entry, &len, NULL), 0);
		assert_int_equal(tlog_leaf_hash(entry, len, &leaf), 0);
		free(entry);
		assert_int_equal(ledger_inclusion(l, i, size, proof, &n, NULL), 0);
		assert_int_equal(tlog_check_inclusion(proof, n, i, size, &leaf, &root), 0);
		assert_int_equal(ledger_consistency(l, i, size, proof, &n, NULL), 0);
		assert_int_equal(tlog_check_consistency(proof, n, i, &old, size, &root), 0);
	}
	assert_int_equal(ledger_inclusion(l, 0, size + 1, proof, &n, NULL), -ERANGE);
	assert_int_equal(ledger_consistency(l, size + 1, size, proof, &n, NULL), -ERANGE);
}

static int fresh(void **state)
{
	(void)state;
	remove_folder();
	return 0;
}

/* ---- what must not be opened ---- */

static void make_log(uint64_t size)
{
	struct ledger *l;

	remove_folder();
	l = open_ledger(0);
	for (uint64_t i = 0; i < size; i += 200)
		append(l, i, size - i < 200 ? size - i : 200);
	ledger_close(l);
}

static const char *in_folder(const char *name)
{
	static char path[200];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void flip(const char *name, off_t at)
{
	int fd = open(in_folder(name), O_RDONLY);
	struct stat st;
	uint8_t byte;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	if (at < 0)
		at += st.st_size;
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	close(fd);
	assert_int_equal(chmod(in_folder(name), 0644), 0);
	fd = open(in_folder(name), O_WRONLY);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static const struct damage_row {
	const char *name, *file;
	off_t at;
	const char *why; /* in the sentence */
} damage_rows[] = {
	{ "a hash of the last tile", "tile/0/002.p/88", 33, "tile/entries/002.p/88" },
	{ "an entry of the last tile", "tile/entries/002.p/88", 20, "tile/entries/002.p/88" },
	{ "a hash one level up", "tile/1/000.p/2", 40, "tile/0/001" },
	{ "the checkpoint's size", "checkpoint", 34, "signature" },
	{ "the checkpoint's signature", "checkpoint", -10, "signature" },
};

static void damaged_log_is_not_opened(void **state)
{
	const struct damage_row *row = *state;
	struct error e = { 0 };

	make_log(600);
	flip(row->file, row->at);
	assert_int_equal(try_open(&e), -EBADMSG);
	if (!strstr(e.text, row->why))
		fail_msg("%s", e.text);
}

static void log_without_its_checkpoint_is_not_begun_anew(void **state)
{
	struct error e = { 0 };

	(void)state;
	make_log(3);
	assert_int_equal(unlink(in_folder("checkpoint")), 0);
	/* With its pending leaves it can go on: they are all there. */
	assert_int_equal(try_open(&e), 0);
	make_log(3);
	assert_int_equal(unlink(in_folder("checkpoint")), 0);
	assert_int_equal(unlink(in_folder("pending-0000000000000001")), 0);
	assert_int_equal(try_open(&e), -EBADMSG);
	assert_non_null(strstr(e.text, "no checkpoint"));
}

static void another_key_does_not_open_it(void **state)
{
	struct error e = { 0 };
	uint8_t public[32];

	(void)state;
	make_log(3);
	assert_int_equal(unlink(key_file), 0);
	assert_int_equal(certs_sealing_key(key_file, public, NULL), 0);
	assert_int_equal(try_open(&e), -EBADMSG);
}

static void entry_that_is_too_long_is_refused(void **state)
{
	Exhibit__V1__LedgerEntry m = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	const Exhibit__V1__LedgerEntry *list[1] = { &m };
	uint8_t text[LEDGER_ENTRY_MAX] = { 0 };
	struct ledger *l = open_ledger(0);

	(void)state;
	m.text = (ProtobufCBinaryData){ sizeof(text), text };
	assert_int_equal(ledger_append(l, list, 1, NULL, NULL), -EMSGSIZE);
	assert_int_equal(ledger_append(l, list, 0, NULL, NULL), -EINVAL);
	append(l, 0, 1);
	ledger_close(l);
}

/* ---- growing ---- */

static void tree_is_that_of_its_leaves_however_it_grew(void **state)
{
	static const size_t steps[] = { 1, 2, 253, 1, 255, 3, 257, 300, 300, 7 };
	struct ledger *l = open_ledger(0);
	uint64_t size = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		append(l, size, steps[i]);
		size += steps[i];
		checkpoint(l);
		check_ledger(l, size);
		/* Every other step over a restart. */
		if (i % 2) {
			ledger_close(l);
			l = open_ledger(0);
			check_ledger(l, size);
		}
	}
	ledger_close(l);
}

static void partial_tiles_go_when_they_are_not_needed(void **state)
{
	struct ledger *l = open_ledger(0);

	(void)state;
	for (uint64_t i = 0; i < 300; i += 20) {
		append(l, i, 20);
		checkpoint(l);
	}
	ledger_close(l);
	assert_int_equal(access(in_folder("tile/0/000"), F_OK), 0);
	assert_int_equal(access(in_folder("tile/entries/000"), F_OK), 0);
	assert_int_equal(access(in_folder("tile/0/001.p/44"), F_OK), 0);
	assert_int_equal(access(in_folder("tile/1/000.p/1"), F_OK), 0);
	assert_int_not_equal(access(in_folder("tile/0/000.p"), F_OK), 0);
	assert_int_not_equal(access(in_folder("tile/entries/000.p"), F_OK), 0);
	assert_int_not_equal(access(in_folder("tile/0/001.p/24"), F_OK), 0);
}

static void case_finds_its_leaves(void **state)
{
	struct ledger *l = open_ledger(0);
	uint64_t *found = NULL;
	size_t n = 0;

	(void)state;
	append(l, 0, 300);
	checkpoint(l);
	assert_int_equal(ledger_find(l, "case", 4, NULL, 0, 300, 100, &found, &n, NULL), 0);
	assert_int_equal(n, 30);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(found[i], 10 * i + 3);
	free(found);
	assert_int_equal(ledger_find(l, "case", 4, NULL, 0, 300, 29, &found, &n, NULL), -E2BIG);
	assert_int_equal(ledger_find(l, "case", 4, NULL, 0, 14, 100, &found, &n, NULL), 0);
	assert_int_equal(n, 2);
	free(found);
	assert_int_equal(ledger_find(l, "other", 5, NULL, 0, 300, 100, &found, &n, NULL), 0);
	assert_int_equal(n, 0);
	free(found);
	ledger_close(l);
	/* Derived: gone, it comes back. */
	assert_int_equal(unlink(in_folder("index.sqlite")), 0);
	l = open_ledger(0);
	assert_int_equal(ledger_find(l, "case", 4, NULL, 0, 300, 100, &found, &n, NULL), 0);
	assert_int_equal(n, 30);
	free(found);
	ledger_close(l);
}

static void *append_many(void *arg)
{
	struct ledger *l = arg;

	for (int i = 0; i < 100; i++) {
		Exhibit__V1__LedgerEntry m = EXHIBIT__V1__LEDGER_ENTRY__INIT;
		const Exhibit__V1__LedgerEntry *list[2] = { &m, &m };
		uint64_t at;

		m.size = (uint64_t)i;
		if (ledger_append(l, list, 2, &at, NULL) < 0)
			return arg;
	}
	return NULL;
}

static void threads_append_together(void **state)
{
	struct ledger *l = open_ledger(20);
	pthread_t threads[4];
	void *result;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, append_many, l), 0);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &result), 0);
		assert_null(result);
	}
	checkpoint(l);
	assert_int_equal(newest(l).size, 800);
	ledger_close(l);
	l = open_ledger(0);
	assert_int_equal(newest(l).size, 800);
	ledger_close(l);
}

static void count_checkpoint(void *ctx)
{
	(void)atomic_fetch_add((atomic_int *)ctx, 1);
}

static void checkpoint_comes_by_itself_and_is_told(void **state)
{
	struct ledger *l = open_ledger(50);
	atomic_int told = 0;

	(void)state;
	checkpoint(l);
	ledger_on_checkpoint(l, count_checkpoint, &told);
	append(l, 0, 3);
	for (int i = 0; i < 500 && (newest(l).size < 3 || atomic_load(&told) == 0); i++)
		(void)usleep(10000);
	assert_int_equal(newest(l).size, 3);
	assert_true(atomic_load(&told) > 0);
	ledger_on_checkpoint(l, NULL, NULL);
	ledger_close(l);
}

/* ---- pending leaves ---- */

static struct leaf *leaf_of(uint64_t i)
{
	char text[32];
	Exhibit__V1__LedgerEntry m = entry_of(i, text);
	struct leaf *leaf = malloc(sizeof(*leaf) + 256);

	assert_non_null(leaf);
	m.version = 1;
	leaf->len = (uint32_t)exhibit__v1__ledger_entry__pack(&m, leaf->bytes);
	return leaf;
}

static void put(struct pending *p, uint64_t first, size_t n)
{
	struct leaf *leaves[64];

	for (size_t i = 0; i < n; i++)
		leaves[i] = leaf_of(first + i);
	assert_int_equal(pending_append(p, first, leaves, n, NULL), 0);
	for (size_t i = 0; i < n; i++)
		free(leaves[i]);
}

static void cut(const char *name, off_t less)
{
	struct stat st;

	assert_int_equal(stat(in_folder(name), &st), 0);
	assert_int_equal(truncate(in_folder(name), st.st_size - less), 0);
}

#define FILE_1 "pending-0000000000000001"
#define FILE_2 "pending-0000000000000002"

static void torn_tail(void)
{
	cut(FILE_1, 3);
}
static void damaged_tail(void)
{
	flip(FILE_1, -1);
}
static void damaged_middle(void)
{
	flip(FILE_1, 80);
}
static void damaged_head(void)
{
	flip(FILE_1, 13);
}
static void torn_head(void)
{
	assert_int_equal(truncate(in_folder(FILE_2), 20), 0);
}
static void middle_file_gone(void)
{
	assert_int_equal(unlink(in_folder(FILE_1)), 0);
}
static void nothing(void)
{
}

/* Three groups: 0..2 and 3..7 in one file, 8..9 in the next, but for "given up": there 5..9. */
static const struct pending_row {
	const char *name;
	void (*spoil)(void);
	bool second, given_up;
	int want;
	uint64_t leaves;
} pending_rows[] = {
	{ "damage in the first of two groups", damaged_middle, false, false, -EBADMSG, 0 },
	{ "damage at the end of a file that a later one goes on from", damaged_tail, true, false,
	  -EBADMSG, 0 },
	{ "damaged head", damaged_head, false, false, -EBADMSG, 0 },
	{ "a file is gone", middle_file_gone, true, false, -EBADMSG, 0 },
	{ "torn end", torn_tail, false, false, 0, 7 },
	{ "end that was not written whole", damaged_tail, false, false, 0, 7 },
	{ "a later file cut off while it was made", torn_head, true, false, 0, 8 },
	{ "whole", nothing, false, false, 0, 8 },
	{ "two files", nothing, true, false, 0, 10 },
	{ "the first was given up within its last group", nothing, true, true, 0, 10 },
};

static void pending_leaves_are_taken_or_refused(void **state)
{
	const struct pending_row *row = *state;
	struct pending *p;
	struct leaves all;
	uint64_t last;
	int fd;

	remove_folder();
	assert_int_equal(mkdir(folder, 0755), 0);
	fd = open(folder, O_RDONLY | O_DIRECTORY);
	assert_int_equal(pending_make(fd, 1, &p, NULL), 0);
	put(p, 0, 3);
	put(p, 3, 5);
	pending_close(p);
	if (row->second) {
		assert_int_equal(pending_make(fd, 2, &p, NULL), 0);
		put(p, row->given_up ? 5 : 8, row->given_up ? 5 : 2);
		pending_close(p);
	}
	row->spoil();
	assert_int_equal(pending_read_all(fd, 0, &all, &last, NULL), row->want);
	if (row->want == 0) {
		assert_int_equal(all.n, row->leaves);
		for (size_t i = 0; i < all.n; i++) {
			struct leaf *want = leaf_of(i);

			assert_int_equal(all.at[i]->len, want->len);
			assert_memory_equal(all.at[i]->bytes, want->bytes, want->len);
			free(want);
		}
	}
	leaves_release(&all);
	/* What a checkpoint holds already is passed over. */
	if (row->want == 0) {
		assert_int_equal(pending_read_all(fd, 6, &all, &last, NULL), 0);
		assert_int_equal(all.n, row->leaves - 6);
		leaves_release(&all);
	}
	close(fd);
}

/* In a process that ends without a word. */
static void append_and_die(void)
{
	struct ledger *l = open_ledger(3600000);

	append(l, 0, 10);
	checkpoint(l);
	append(l, 10, 290);
	append(l, 300, 50);
	_exit(0);
}

static void appended_leaves_survive_without_a_checkpoint(void **state)
{
	struct ledger *l;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		append_and_die();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	l = open_ledger(0);
	checkpoint(l);
	check_ledger(l, 350);
	append(l, 350, 3);
	checkpoint(l);
	check_ledger(l, 353);
	ledger_close(l);
}

int main(void)
{
	static struct tests t;
	char template[] = "/tmp/exhibit-ledger.XXXXXX";
	uint8_t public[32];
	int failed;

	if (!mkdtemp(template))
		return 1;
	(void)snprintf(dir, sizeof(dir), "%s", template);
	(void)snprintf(folder, sizeof(folder), "%s/ledger", dir);
	(void)snprintf(key_file, sizeof(key_file), "%s/key", dir);
	if (certs_sealing_key(key_file, public, NULL) < 0)
		return 1;
	ADD_ROWS(&t, damaged_log_is_not_opened, damage_rows);
	ADD_TEST(&t, log_without_its_checkpoint_is_not_begun_anew);
	ADD_TEST(&t, another_key_does_not_open_it);
	ADD_ROWS(&t, pending_leaves_are_taken_or_refused, pending_rows);
	ADD_TEST(&t, entry_that_is_too_long_is_refused);
	ADD_TEST(&t, tree_is_that_of_its_leaves_however_it_grew);
	ADD_TEST(&t, partial_tiles_go_when_they_are_not_needed);
	ADD_TEST(&t, case_finds_its_leaves);
	ADD_TEST(&t, threads_append_together);
	ADD_TEST(&t, checkpoint_comes_by_itself_and_is_told);
	ADD_TEST(&t, appended_leaves_survive_without_a_checkpoint);
	for (size_t i = 0; i < t.n; i++)
		t.test[i].setup_func = fresh;
	failed = tests_run(&t, "ledger");
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return failed;
}
