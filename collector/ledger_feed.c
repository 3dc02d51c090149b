/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_feed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/ledger_internal.h"
#include "collector/ledger_leaf.h"
#include "collector/ledger_objects.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define MARK_NAME "stored"
#define MARK_FIRST "exhibit ledger mark 1\n"
#define MARK_MAX MiB(1)
#define MARK_EVERY_NS (5 * NSEC_PER_SEC)
#define OWED_MAX 65536 /* past it, what is owed is looked for in the store */
#define ARENA_MAX MiB(64)

struct ledger_feed {
	struct ledger *ledger;
	struct store *store;
	char *mark_path;
	struct arena *arena;
	struct ledger_leaf *owed;
	size_t n, max;
	bool lost; /* something could not be noted: look for it in the store */
	bool moved; /* since the last mark */
	uint64_t marked_ns;
	/* The mark: frames before these places have leaves below size. */
	uint64_t size;
	struct store_mark *marks;
	size_t n_marks;
};

void ledger_feed_free(struct ledger_feed *f)
{
	if (!f)
		return;
	arena_free(f->arena);
	free(f->owed);
	free(f->marks);
	free(f->mark_path);
	free(f);
}

/* ---- owing and paying ---- */

static int owe(struct ledger_feed *f, const struct ledger_leaf *leaf)
{
	if (f->n == f->max) {
		size_t max = f->max ? 2 * f->max : STORE_PUT_MAX;
		struct ledger_leaf *more =
			max <= OWED_MAX ? reallocarray(f->owed, max, sizeof(*more)) : NULL;

		if (!more)
			return -ENOMEM;
		f->owed = more;
		f->max = max;
	}
	f->owed[f->n++] = *leaf;
	return 0;
}

void ledger_feed_owe(struct ledger_feed *f, enum store_kind kind, const struct batch_name *tenant,
		     const uint8_t *body, size_t len)
{
	struct ledger_leaf leaf;

	arena_reset(f->arena);
	if (ledger_leaf_of((enum frame_kind)kind, tenant, body, len, f->arena, &leaf, NULL) < 0 ||
	    owe(f, &leaf) < 0)
		f->lost = true;
}

static int append(struct ledger_feed *f, const struct ledger_leaf *leaves, size_t n,
		  struct error *e)
{
	Exhibit__V1__LedgerEntry entries[STORE_PUT_MAX];
	const Exhibit__V1__LedgerEntry *list[STORE_PUT_MAX];

	for (size_t at = 0; at < n;) {
		size_t part = n - at < STORE_PUT_MAX ? n - at : STORE_PUT_MAX;
		int r;

		for (size_t i = 0; i < part; i++) {
			ledger_leaf_entry(&leaves[at + i], &entries[i]);
			list[i] = &entries[i];
		}
		r = ledger_append(f->ledger, list, part, NULL, e);
		if (r < 0)
			return error_wrap(e, r, "cannot write what was stored into the ledger");
		at += part;
	}
	return 0;
}

/* ---- the mark ---- */

/* A decimal number that ends with a given character; *at is put behind that. */
static bool take_number(const char **at, char stop, uint64_t *ret)
{
	char *end = NULL;

	if (**at < '0' || **at > '9')
		return false;
	*ret = strtoull(*at, &end, 10);
	if (*end != stop)
		return false;
	*at = end + 1;
	return true;
}

/* "SEQUENCE OFFSET TENANT\n" */
static int parse_line(struct ledger_feed *f, const char **at)
{
	struct store_mark m = { 0 };
	struct store_mark *more;
	size_t len;

	if (!take_number(at, ' ', &m.sequence) || !take_number(at, ' ', &m.offset))
		return -EBADMSG;
	len = strcspn(*at, "\n");
	if (len == 0 || len > BATCH_NAME_MAX || (*at)[len] != '\n')
		return -EBADMSG;
	m.tenant.len = (uint8_t)len;
	memcpy(m.tenant.b, *at, len);
	*at += len + 1;
	more = reallocarray(f->marks, f->n_marks + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	f->marks = more;
	f->marks[f->n_marks++] = m;
	return 0;
}

/* text: NUL-terminated. */
static int parse_mark(struct ledger_feed *f, const char *text)
{
	const char *at = text;
	int r = 0;

	if (strncmp(at, MARK_FIRST, strlen(MARK_FIRST)) != 0)
		return -EBADMSG;
	at += strlen(MARK_FIRST);
	if (!take_number(&at, '\n', &f->size))
		return -EBADMSG;
	while (*at != '\0' && r == 0)
		r = parse_line(f, &at);
	return r;
}

static void forget_mark(struct ledger_feed *f)
{
	f->size = 0;
	f->n_marks = 0;
}

/* Derived: one that cannot be read, or is of a longer log, is none. */
static void load_mark(struct ledger_feed *f)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len;

	if (files_read(f->mark_path, MARK_MAX, &text, &len, NULL) < 0)
		return;
	if (parse_mark(f, (char *)text) < 0 || f->size > ledger_size(f->ledger))
		forget_mark(f);
}

static int write_mark(struct ledger_feed *f, struct error *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r = 0;

	if (!out)
		return error_set(e, -errno, "cannot write the ledger's mark: %m");
	(void)fprintf(out, MARK_FIRST "%" PRIu64 "\n", f->size);
	for (size_t i = 0; i < f->n_marks; i++)
		(void)fprintf(out, "%" PRIu64 " %" PRIu64 " %.*s\n", f->marks[i].sequence,
			      f->marks[i].offset, f->marks[i].tenant.len,
			      (const char *)f->marks[i].tenant.b);
	if (fclose(out) != 0)
		r = error_set(e, -ENOMEM, "cannot write the ledger's mark: %m");
	if (r == 0)
		r = files_replace(f->mark_path, text, len, 0644, e);
	free(text);
	return r;
}

/* Everything stored has its leaf now: note where that is, and how long the log was at most. */
static int move_mark(struct ledger_feed *f, struct error *e)
{
	struct store_mark *marks = NULL;
	size_t n = 0;
	int r = store_marks(f->store, &marks, &n, e);

	if (r < 0)
		return r;
	free(f->marks);
	f->marks = marks;
	f->n_marks = n;
	f->size = ledger_size(f->ledger);
	f->moved = false;
	return write_mark(f, e);
}

void ledger_feed_mark(struct ledger_feed *f, bool at_once)
{
	uint64_t now = clock_monotonic_ns();
	struct error e = { 0 };

	if (!f->moved || f->n > 0 || f->lost || (!at_once && now - f->marked_ns < MARK_EVERY_NS))
		return;
	f->marked_ns = now;
	if (move_mark(f, &e) < 0)
		log_failure(LOG_LEVEL_WARN,
			    "the next start will compare more of the store with the ledger", &e);
}

/* ---- looking for what has no leaf ---- */

struct search {
	struct ledger_feed *feed;
	struct ledger_objects *have;
	uint64_t found;
};

static int take_leaf(void *ctx, uint64_t index, const uint8_t *entry, size_t len, struct error *e)
{
	struct search *s = ctx;
	Exhibit__V1__LedgerEntry *m = exhibit__v1__ledger_entry__unpack(NULL, len, entry);
	int r = 0;

	(void)index;
	if (m && m->kind >= EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH &&
	    m->kind <= EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION && m->object.len == SEAL_HASH_LEN)
		r = ledger_objects_add(s->have, m->object.data);
	if (m)
		exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return r < 0 ? error_set(e, r, "cannot compare the store with the ledger: %m") : 0;
}

static int take_frame(void *ctx, enum store_kind kind, const struct batch_name *tenant,
		      const uint8_t *body, size_t len, struct error *e)
{
	struct search *s = ctx;
	struct ledger_feed *f = s->feed;
	struct ledger_leaf leaf;
	int r;

	arena_reset(f->arena);
	r = ledger_leaf_of((enum frame_kind)kind, tenant, body, len, f->arena, &leaf, e);
	/* What cannot be read was checked when it came: damage, which the store names. */
	if (r == -EBADMSG || r == 1)
		return 0;
	if (r < 0 || ledger_objects_has(s->have, leaf.object.b))
		return r;
	s->found++;
	r = ledger_objects_add(s->have, leaf.object.b);
	if (r == 0 && f->n == STORE_PUT_MAX) {
		r = append(f, f->owed, f->n, e);
		f->n = r == 0 ? 0 : f->n;
	}
	if (r == 0)
		r = owe(f, &leaf);
	return r < 0 ? error_set(e, r, "cannot compare the store with the ledger: %m") : 0;
}

static int search(struct ledger_feed *f, struct error *e)
{
	struct search s = { .feed = f, .have = ledger_objects_new() };
	int r = s.have ? ledger_checkpoint(f->ledger, e) :
			 error_set(e, -ENOMEM, "cannot compare the store with the ledger: %m");

	f->n = 0;
	if (r == 0)
		r = tiles_each_entry(f->ledger->dirfd, f->size, ledger_size(f->ledger), take_leaf,
				     &s, e);
	if (r == 0)
		r = store_each_frame(f->store, f->marks, f->n_marks, take_frame, &s, e);
	if (r == 0 && f->n > 0)
		r = append(f, f->owed, f->n, e);
	ledger_objects_free(s.have);
	if (r < 0)
		return r;
	f->n = 0;
	f->lost = false;
	f->moved = true;
	if (s.found > 0)
		log_info("stored without a leaf in the ledger, has one now",
			 KV_U64("frames", s.found));
	return 0;
}

int ledger_feed_pay(struct ledger_feed *f, struct error *e)
{
	int r;

	if (f->lost)
		return search(f, e);
	if (f->n == 0)
		return 0;
	r = append(f, f->owed, f->n, e);
	if (r == 0) {
		f->n = 0;
		f->moved = true;
	}
	return r;
}

int ledger_feed_open(struct ledger *l, struct store *s, const char *ledger_dir,
		     struct ledger_feed **ret, struct error *e)
{
	struct ledger_feed *f = calloc(1, sizeof(*f));
	int r = 0;

	if (f) {
		f->ledger = l;
		f->store = s;
		f->arena = arena_new(ARENA_MAX, 0);
	}
	if (!f || !f->arena || asprintf(&f->mark_path, "%s/" MARK_NAME, ledger_dir) < 0) {
		if (f)
			f->mark_path = NULL;
		ledger_feed_free(f);
		return error_set(e, -ENOMEM, "cannot compare the store with the ledger: %m");
	}
	load_mark(f);
	r = search(f, e);
	if (r == 0)
		r = move_mark(f, e);
	if (r < 0) {
		ledger_feed_free(f);
		return r;
	}
	*ret = f;
	return 0;
}
