/* SPDX-License-Identifier: Apache-2.0 */
/* Re-read everything. Per tenant twice: once for who signs (a record may stand behind what it signs,
 * when retention moved it), once for all bytes. */
#include "collector/check_hosts.h"
#include "collector/check_internal.h"

#include "proto/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#define ARENA_MAX MiB(64)
#define SENTENCE_MAX 1024

PRINTF(3, 0)
static void say(struct check *k, const char *name, const char *fmt, va_list args)
{
	char what[SENTENCE_MAX], sentence[SENTENCE_MAX + 600];

	(void)vsnprintf(what, sizeof(what), fmt, args);
	(void)snprintf(sentence, sizeof(sentence), "'%s/%.*s/%s': %s", k->s->dir,
		       k->tenant->name.len, (const char *)k->tenant->name.b, name, what);
	k->report(k->ctx, sentence);
}

void check_fault(struct check *k, const char *name, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(k, name, fmt, args);
	va_end(args);
	k->faults++;
}

void check_note(struct check *k, const char *name, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(k, name, fmt, args);
	va_end(args);
}

/* ---- files of a tenant ---- */

struct file {
	struct segment_id id;
	bool open;
};

struct files {
	struct file *all;
	size_t n, max;
	struct segment_id *indexes;
	size_t n_indexes, max_indexes;
};

static void files_release(struct files *f)
{
	free(f->all);
	free(f->indexes);
}

static bool name_is(const char *name, const char *prefix, const char *suffix, struct segment_id *id)
{
	size_t before = strlen(prefix), len = strlen(name);

	return len == before + 2 * SEGMENT_ID_LEN + strlen(suffix) &&
	       memcmp(name, prefix, before) == 0 &&
	       strcmp(name + len - strlen(suffix), suffix) == 0 &&
	       segment_id_parse(name + before, 2 * SEGMENT_ID_LEN, id);
}

static int add_file(struct files *f, const struct segment_id *id, bool open)
{
	if (f->n == f->max) {
		size_t max = f->max ? 2 * f->max : 64;
		struct file *all = realloc(f->all, max * sizeof(*all));

		if (!all)
			return -ENOMEM;
		f->all = all;
		f->max = max;
	}
	f->all[f->n++] = (struct file){ *id, open };
	return 0;
}

static int add_index(struct files *f, const struct segment_id *id)
{
	if (f->n_indexes == f->max_indexes) {
		size_t max = f->max_indexes ? 2 * f->max_indexes : 64;
		struct segment_id *all = realloc(f->indexes, max * sizeof(*all));

		if (!all)
			return -ENOMEM;
		f->indexes = all;
		f->max_indexes = max;
	}
	f->indexes[f->n_indexes++] = *id;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, SEGMENT_ID_LEN);
}

static int list_files(struct check *k, struct files *f, struct error *e)
{
	int fd = openat(k->tenant->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!d) {
		r = error_set(e, -errno, "cannot list a tenant's folder: %m");
		close_fd(&fd);
		return r;
	}
	while (!r && (errno = 0, entry = readdir(d))) {
		struct segment_id id;

		if (name_is(entry->d_name, "", ".seg", &id))
			r = add_file(f, &id, false);
		else if (name_is(entry->d_name, "open-", ".seg", &id))
			r = add_file(f, &id, true);
		else if (name_is(entry->d_name, "", ".idx", &id))
			r = add_index(f, &id);
	}
	if (!r)
		r = -errno;
	(void)closedir(d);
	if (f->n > 0)
		qsort(f->all, f->n, sizeof(*f->all), by_id);
	return r ? error_set(e, r, "cannot list a tenant's folder: %m") : 0;
}

static const char *file_name(const struct file *f, char buf[static SEGMENT_NAME_MAX])
{
	return f->open ? segment_name_open(&f->id, buf) : segment_name_sealed(&f->id, buf);
}

/* ---- what is missing ---- */

static bool is_there(const struct files *f, const struct segment_id *id)
{
	for (size_t i = 0; i < f->n; i++)
		if (memcmp(f->all[i].id.b, id->b, SEGMENT_ID_LEN) == 0)
			return true;
	return false;
}

static bool removed_lawfully(const struct check *k, const struct segment_id *id)
{
	for (size_t i = 0; i < k->n_removed; i++)
		if (memcmp(k->removed[i].id.b, id->b, SEGMENT_ID_LEN) == 0)
			return true;
	return false;
}

static bool sequence_removed(const struct check *k, uint64_t sequence)
{
	for (size_t i = 0; i < k->n_removed; i++)
		if (segment_id_sequence(&k->removed[i].id) == sequence)
			return true;
	return false;
}

/* Numbers run from 1. Retention takes the oldest first and each record stands in a later segment: so a
 * record for the one before the first that is left vouches for all before it. */
static void check_sequence(struct check *k, const struct files *f)
{
	uint64_t want = 1;

	for (size_t i = 0; i < f->n; i++) {
		uint64_t sequence = segment_id_sequence(&f->all[i].id);
		char name[SEGMENT_NAME_MAX];

		if (sequence > want && !sequence_removed(k, sequence - 1))
			check_fault(
				k, file_name(&f->all[i], name),
				"%llu segments before this one (numbers %llu to %llu) are missing, and no retention "
				"record says that they were removed",
				(unsigned long long)(sequence - want), (unsigned long long)want,
				(unsigned long long)sequence - 1);
		else if (sequence > want && i > 0)
			for (uint64_t n = want; n < sequence; n++)
				if (!sequence_removed(k, n))
					check_fault(k, file_name(&f->all[i], name),
						    "segment number %llu is missing",
						    (unsigned long long)n);
		want = sequence + 1;
	}
}

struct witness {
	struct check *k;
	const struct files *files;
};

static void missing(struct check *k, const struct files *f, const struct segment_id *id,
		    const char *witness)
{
	char name[SEGMENT_NAME_MAX];

	if (!is_there(f, id) && !removed_lawfully(k, id))
		check_fault(
			k, segment_name_sealed(id, name),
			"the segment is missing (%s knows it), and no retention record says that it was removed",
			witness);
}

static int catalog_witness(void *ctx, const struct catalog_segment *g)
{
	struct witness *w = ctx;

	if (batch_name_equal(&g->tenant, &w->k->tenant->name))
		missing(w->k, w->files, &g->id, "the catalog");
	return 0;
}

/* The newest segments have no successor that names them: the catalog and left-over indexes do. */
static void check_witnesses(struct check *k, const struct files *f)
{
	struct witness w = { k, f };

	if (k->s->catalog)
		(void)!catalog_each_segment(k->s->catalog, catalog_witness, &w, NULL);
	for (size_t i = 0; i < f->n_indexes; i++)
		missing(k, f, &f->indexes[i], "its index");
}

/* ---- what starts cut off ---- */

static void say_cut_off(void *ctx, const char *name, const struct segment_id *id, uint64_t offset,
			uint64_t bytes)
{
	char segment[SEGMENT_ID_TEXT];

	check_note(
		ctx, name,
		"%llu bytes that a start cut off segment %s at byte %llu; nothing of them is known to "
		"have been acknowledged",
		(unsigned long long)bytes, segment_id_text(id, segment),
		(unsigned long long)offset);
}

/* ---- a tenant ---- */

static void tenant_begin(struct check *k, struct tenant *t)
{
	k->tenant = t;
	k->n_removed = 0;
	k->last_id = (struct segment_id){ 0 };
	k->last_root = (struct seal_hash){ 0 };
	for (size_t i = 0; i < k->n_keys; i++)
		seal_verifier_free(k->keys[i].verifier);
	k->n_keys = 0;
}

static int check_tenant(void *ctx, struct tenant *t, struct error *e)
{
	struct check *k = ctx;
	AUTO(files_release) struct files f = { 0 };
	char name[SEGMENT_NAME_MAX];
	int r;

	tenant_begin(k, t);
	streams_free(k->streams);
	k->streams = streams_new();
	if (!k->streams)
		return error_set(e, -ENOMEM, "cannot allocate the table of streams");
	r = list_files(k, &f, e);
	for (size_t i = 0; i < f.n && !r; i++)
		r = check_collect(k, file_name(&f.all[i], name), &f.all[i].id, e);
	if (r)
		return r;
	check_keys_sort(k);
	check_sequence(k, &f);
	check_witnesses(k, &f);
	for (size_t i = 0; i < f.n && !r; i++) {
		uint64_t length = i + 1 < f.n ?
					  segment_previous_length(t->dirfd,
								  file_name(&f.all[i + 1], name),
								  &f.all[i + 1].id, &f.all[i].id) :
					  0;

		r = check_segment(k, file_name(&f.all[i], name), &f.all[i].id, f.all[i].open,
				  length, e);
		if (!r && !f.all[i].open)
			check_index(k, &f.all[i].id);
	}
	if (k->bare.n > 0)
		check_note(
			k, k->bare.name,
			"byte %llu: %llu frames from here on have no leaf in the ledger; they were never "
			"acknowledged, and the next start gives them one",
			(unsigned long long)k->bare.offset, (unsigned long long)k->bare.n);
	k->bare.n = 0;
	if (!r && cut_off_each(t->dirfd, say_cut_off, k))
		r = error_set(e, -EIO, "cannot list a tenant's folder");
	return r;
}

static void check_release(struct check *k)
{
	for (size_t i = 0; i < k->n_keys; i++)
		seal_verifier_free(k->keys[i].verifier);
	free(k->keys);
	free(k->removed);
	streams_free(k->streams);
	seal_verifier_free(k->ledger);
	merkle_free(k->merkle);
	batch_opener_free(k->opener);
	arena_free(k->arena);
	store_close(k->s);
}

static int prepare(struct check *k, struct error *e)
{
	uint8_t public[SEAL_PUBLIC_LEN];
	int r = batch_opener_new(&k->opener, e);

	k->arena = arena_new(ARENA_MAX, MiB(4));
	k->merkle = merkle_new();
	if (!r && (!k->arena || !k->merkle))
		r = error_set(e, -ENOMEM, "cannot allocate memory for the check");
	if (!r && k->c->ledger_key) {
		seal_key_public(k->c->ledger_key, public);
		r = seal_verifier_new(public, &k->ledger, e);
	}
	if (!r)
		r = store_open_locked(k->c, &k->s, e);
	/* A witness only, and only when it is there. */
	if (!r && faccessat(k->s->dirfd, "catalog.sqlite", F_OK, 0) == 0 &&
	    catalog_open(k->s->dir, &k->s->catalog, NULL))
		k->s->catalog = NULL;
	return r;
}

int store_check(const struct store_config *c, void (*report)(void *ctx, const char *sentence),
		void *ctx, uint64_t *ret_faults, struct error *e)
{
	AUTO(check_release) struct check k = { .c = c, .report = report, .ctx = ctx };
	int r = prepare(&k, e);

	if (!r)
		r = check_hosts(&k, e);
	if (!r)
		r = store_each_tenant(k.s, check_tenant, &k, e);
	*ret_faults = k.faults;
	return r;
}

int store_reindex(const struct store_config *c, struct error *e)
{
	struct store *s = NULL;
	int r = store_open_locked(c, &s, e);

	if (r)
		return r;
	r = store_forget_derived(s, e);
	if (!r)
		r = store_load(s, e);
	store_close(s);
	return r ? error_wrap(e, r, "cannot build the indexes of '%s' again", c->dir) : 0;
}
