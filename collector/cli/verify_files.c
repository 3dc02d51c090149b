/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/bundle_events.h"
#include "collector/cli/verify.h"
#include "proto/base/hex.h"

#define SUMS "SHA256SUMS"
#define CHUNKS_MAX GiB(1) /* of an item of 10 TiB */

/* ---- from files to the bundle ---- */

/* "PREFIXnameSUFFIX": the name, malloc'ed; NULL: another path. */
static char *between(const char *path, const char *prefix, const char *suffix)
{
	size_t len = strlen(path), before = strlen(prefix), after = strlen(suffix);

	if (len <= before + after || strncmp(path, prefix, before) != 0 ||
	    strcmp(path + len - after, suffix) != 0 ||
	    memchr(path + before, '/', len - before - after))
		return NULL;
	return strndup(path + before, len - before - after);
}

static int no_memory(struct error *e)
{
	return error_set(e, -ENOMEM, "cannot read the bundle: out of memory");
}

static int take(const struct bundle_file *f, struct blob *to, struct error *e)
{
	return f->bytes.data && blob_set(to, f->bytes.data, f->bytes.len) < 0 ? no_memory(e) : 0;
}

static int load_leaf(struct verify *v, struct bundle_file *f, const char *number, struct error *e)
{
	struct bundle_leaf *l = bundle_add_leaf(&v->bundle);
	char path[BUNDLE_PATH_MAX];
	struct bundle_file *proof;
	struct tlog_proof p;
	struct error why = { 0 };
	int r;

	if (!l)
		return no_memory(e);
	f->known = true;
	r = take(f, &l->bytes, e);
	(void)snprintf(path, sizeof(path), "ledger/leaves/%s.tlog-proof", number);
	proof = bundle_files_find(&v->files, path);
	l->index = strtoull(number, NULL, 10);
	if (r < 0)
		return r;
	if (!proof || !proof->bytes.data) {
		verify_fault(v, f->path, 0, 0, "its proof '%s' is not there", path);
		return 0;
	}
	proof->known = true;
	if (tlog_proof_parse((char *)proof->bytes.data, proof->bytes.len, &p, &why) < 0)
		verify_fault(v, path, 0, proof->size, "%s", why.text);
	else if (p.index != l->index)
		verify_fault(v, path, 0, proof->size,
			     "the proof is of another leaf than its name says");
	l->n = p.n;
	memcpy(l->proof, p.hashes, sizeof(l->proof));
	return 0;
}

static int load_exhibit(struct verify *v, struct bundle_file *f, const char *id, struct error *e)
{
	struct bundle_exhibit *x = bundle_add_exhibit(&v->bundle);
	char path[BUNDLE_PATH_MAX];
	struct bundle_file *signature;
	int r;

	if (!x)
		return no_memory(e);
	(void)snprintf(x->id, sizeof(x->id), "%s", id);
	f->known = true;
	r = take(f, &x->manifest, e);
	(void)snprintf(path, sizeof(path), "exhibits/%s/manifest.sig", id);
	signature = bundle_files_find(&v->files, path);
	if (signature)
		signature->known = true;
	return r == 0 && signature ? take(signature, &x->signature, e) : r;
}

static int load_host(struct verify *v, struct bundle_file *f, const char *id, struct error *e)
{
	struct bundle_host *h = bundle_add_host(&v->bundle);

	if (!h)
		return no_memory(e);
	(void)snprintf(h->id, sizeof(h->id), "%s", id);
	f->known = true;
	return take(f, &h->record, e);
}

static int load_order(struct verify *v, struct bundle_file *f, const char *id, struct error *e)
{
	struct bundle_order *o = bundle_add_order(&v->bundle);

	if (!o)
		return no_memory(e);
	(void)snprintf(o->id, sizeof(o->id), "%s", id);
	f->known = true;
	return take(f, &o->bytes, e);
}

static int load_events(struct verify *v, struct bundle_file *f, const char *id, struct error *e)
{
	struct bundle_events *x;

	if (strlen(id) != 2 * VAULT_ID_LEN)
		return 0; /* nobody's */
	f->known = true;
	if (f->size > BUNDLE_EVENTS_BYTES_MAX ||
	    v->events_bytes + f->size > BUNDLE_EVENTS_BYTES_ALL_MAX) {
		verify_fault(v, f->path, 0, f->size, "it is larger than events can be");
		return 0;
	}
	v->events_bytes += f->size;
	x = bundle_add_event(&v->bundle);
	if (!x)
		return no_memory(e);
	(void)snprintf(x->id, sizeof(x->id), "%s", id);
	int r = f->bytes.data ?
			take(f, &x->bytes, e) :
			bundle_file_load(&v->files, f, BUNDLE_EVENTS_BYTES_MAX, &x->bytes, e);

	if (r < 0)
		return r;
	bundle_events_understand(x);
	if (!x->readable)
		verify_fault(v, f->path, 0, f->size, "it is no question and its answers");
	else
		(void)fprintf(stderr,
			      "%s: %" PRIu64
			      " events around the exhibit: only the collector says that "
			      "hosts told them\n",
			      f->path, bundle_events_rows(x));
	return 0;
}

static const struct {
	const char *prefix, *suffix;
	int (*load)(struct verify *v, struct bundle_file *f, const char *name, struct error *e);
} members[] = {
	{ "ledger/leaves/", ".leaf", load_leaf },
	{ "keys/", ".record", load_host },
	{ "orders/", ".order", load_order },
	{ "events/", ".events", load_events },
};

static int load_file(struct verify *v, struct bundle_file *f, struct error *e)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		AUTO(free_ptr) char *name = between(f->path, members[i].prefix, members[i].suffix);

		if (name)
			return members[i].load(v, f, name, e);
	}
	if (strncmp(f->path, "exhibits/", 9) == 0 && strlen(f->path) > 9 + 2 * VAULT_ID_LEN &&
	    strcmp(f->path + 9 + 2 * VAULT_ID_LEN, "/manifest.json") == 0) {
		char id[2 * VAULT_ID_LEN + 1] = "";

		memcpy(id, f->path + 9, 2 * VAULT_ID_LEN);
		return load_exhibit(v, f, id, e);
	}
	return 0;
}

static int load_one(struct verify *v, const char *path, struct blob *to, struct error *e)
{
	struct bundle_file *f = bundle_files_find(&v->files, path);

	if (!f) {
		verify_fault(v, path, 0, 0, "it is not in the bundle");
		return 0;
	}
	f->known = true;
	if (!f->bytes.data)
		verify_fault(v, path, 0, f->size, "it is too large to be one");
	return take(f, to, e);
}

static int by_index(const void *a, const void *b)
{
	const struct bundle_leaf *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

int verify_load(struct verify *v, struct error *e)
{
	struct bundle *b = &v->bundle;
	int r = 0;

	if (!v->files.tar && !bundle_files_find(&v->files, "custody.jsonl") &&
	    !bundle_files_find(&v->files, "ledger/checkpoint"))
		return 0;
	r = load_one(v, "keys/order-ca.crt", &b->authority, e);
	if (r == 0)
		r = load_one(v, "ledger/certificate.der", &b->certificate, e);
	if (r == 0)
		r = load_one(v, "ledger/checkpoint", &b->note, e);
	for (size_t i = 0; i < v->files.n && r == 0; i++)
		r = load_file(v, &v->files.at[i], e);
	if (b->n_leaves > 0)
		qsort(b->leaves, b->n_leaves, sizeof(*b->leaves), by_index);
	bundle_understand(b);
	return r;
}

/* ---- where a file is damaged ---- */

/* "OFFSET LENGTH SHA256" of a piece of a file of size bytes; a length may reach beyond the end. */
static bool parse_piece(const char *line, uint64_t size, uint64_t *begin, uint64_t *len,
			struct seal_hash *hash)
{
	char *end = NULL;

	if (hex_digit(line[0]) < 0)
		return false;
	*begin = strtoull(line, &end, 10);
	if (end[0] != ' ' || hex_digit(end[1]) < 0)
		return false;
	*len = strtoull(end + 1, &end, 10);
	return end[0] == ' ' && *begin <= size && *len <= BUNDLE_CHUNK &&
	       hex_parse(end + 1, hash->b, SEAL_HASH_LEN);
}

/* "exhibits/ID/items/NAME" -> "exhibits/ID/chunks/NAME"; NULL: it is no item. */
static struct bundle_file *chunks_of(const struct verify *v, const struct bundle_file *f)
{
	char path[BUNDLE_PATH_MAX];
	const char *items = strstr(f->path, "/items/");

	if (!items)
		return NULL;
	(void)snprintf(path, sizeof(path), "%.*s/chunks/%s", (int)(items - f->path), f->path,
		       items + strlen("/items/"));
	return bundle_files_find(&v->files, path);
}

/* Piece by piece; neighbours that are both bad are one range. */
static int locate_in(struct verify *v, struct bundle_file *f, FILE *in, const char *why,
		     bool *ret_found, struct error *e)
{
	char line[160];
	uint64_t from = 0, to = 0, begin, len;
	int r = 0;

	while (r == 0 && fgets(line, sizeof(line), in)) {
		struct seal_hash want, got;

		if (!parse_piece(line, f->size, &begin, &len, &want))
			return 0;
		if (len > f->size - begin) {
			verify_fault(v, f->path, begin, begin + len, "%s: it ends at byte %" PRIu64,
				     why, f->size);
			*ret_found = true;
			return 0;
		}
		r = bundle_file_range(&v->files, f, begin, len, &got, e);
		if (r < 0 || memcmp(got.b, want.b, SEAL_HASH_LEN) == 0)
			continue;
		if (*ret_found && begin != to) {
			f->faulty = false; /* another range of it */
			verify_fault(v, f->path, from, to, "%s", why);
			*ret_found = false;
		}
		from = *ret_found ? from : begin;
		to = begin + len;
		*ret_found = true;
	}
	if (r == 0 && *ret_found) {
		f->faulty = false;
		verify_fault(v, f->path, from, to, "%s", why);
	}
	return r;
}

int verify_locate(struct verify *v, struct bundle_file *f, const char *why, struct error *e)
{
	struct bundle_file *chunks = chunks_of(v, f);
	AUTO(blob_release) struct blob text = { 0 };
	bool found = false;
	FILE *in;
	int r = 0;

	if (f->faulty)
		return 0;
	if (chunks && chunks->size > 0 &&
	    bundle_file_load(&v->files, chunks, CHUNKS_MAX, &text, NULL) == 0) {
		in = fmemopen(text.data, text.len, "r");
		if (!in)
			return no_memory(e);
		r = locate_in(v, f, in, why, &found, e);
		(void)fclose(in);
	}
	if (r == 0 && !found)
		verify_fault(v, f->path, 0, f->size, "%s", why);
	return r;
}

/* ---- SHA256SUMS ---- */

static int check_line(struct verify *v, char *line, struct error *e)
{
	struct seal_hash want;
	struct bundle_file *f;
	const char *path;

	if (strlen(line) < 2 * SEAL_HASH_LEN + 3 || !hex_parse(line, want.b, SEAL_HASH_LEN) ||
	    memcmp(line + 2 * SEAL_HASH_LEN, "  ", 2) != 0) {
		verify_fault(v, SUMS, 0, 0, "a line of it is not SHA-256, two blanks and a name");
		return 0;
	}
	path = line + 2 * SEAL_HASH_LEN + 2;
	f = bundle_files_find(&v->files, path);
	if (!f) {
		verify_fault(v, path, 0, 0, "it is not there, though " SUMS " names it");
		return 0;
	}
	f->known = true;
	if (memcmp(f->sha256.b, want.b, SEAL_HASH_LEN) == 0)
		return 0;
	return verify_locate(v, f, "its bytes do not have the SHA-256 in " SUMS, e);
}

int verify_sums(struct verify *v, struct error *e)
{
	struct bundle_file *sums = bundle_files_find(&v->files, SUMS);
	AUTO(free_ptr) char *line = NULL;
	size_t size = 0, lines = 0;
	uint64_t before = v->faults;
	FILE *in;
	ssize_t n;
	int r = 0;

	for (size_t i = 0; i < v->files.n; i++)
		v->files.at[i].known = false;
	if (!sums || !sums->bytes.data || sums->bytes.len == 0) {
		verify_fault(v, SUMS, 0, 0, "it is not there, or too large");
		return 0;
	}
	sums->known = true;
	in = fmemopen(sums->bytes.data, sums->bytes.len, "r");
	if (!in)
		return no_memory(e);
	while (r == 0 && (n = getline(&line, &size, in)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		r = check_line(v, line, e);
		lines++;
	}
	(void)fclose(in);
	for (size_t i = 0; i < v->files.n && r == 0; i++) {
		const char *path = v->files.at[i].path;

		/* A fetched exhibit's signature stands beside its manifest. */
		if (!v->files.at[i].known && strcmp(path, "manifest.sig") != 0)
			verify_fault(v, path, 0, v->files.at[i].size,
				     "nothing names it: it was added");
	}
	if (v->faults == before)
		verify_explain(v,
			       "each of %zu files has the SHA-256 in " SUMS
			       ", and there is no other file",
			       lines);
	return r;
}

/* ---- what is derived ---- */

static int compare(void *ctx, const char *path, const void *data, size_t len, struct error *e)
{
	struct verify *v = ctx;
	struct bundle_file *f = bundle_files_find(&v->files, path);
	const uint8_t *want = data;
	struct seal_hash hash;
	size_t at = 0;

	if (!f) {
		verify_fault(v, path, 0, 0, "it is not there");
		return 0;
	}
	f->known = true;
	if (seal_sha256(data, len, &hash) < 0)
		return no_memory(e);
	if (memcmp(hash.b, f->sha256.b, SEAL_HASH_LEN) == 0)
		return 0;
	while (f->bytes.data && at < len && at < f->bytes.len && f->bytes.data[at] == want[at])
		at++;
	verify_fault(v, path, at, f->size > at ? f->size : at + 1,
		     "it is not what the signed and logged parts say, from its byte %zu on", at);
	return 0;
}

int verify_derived(struct verify *v, struct error *e)
{
	uint64_t before = v->faults;
	int r = bundle_derived(&v->bundle, compare, v, e);

	/* Proofs were read into the bundle: written again they are the same, with the one checkpoint. */
	if (r == 0)
		r = bundle_primary(&v->bundle, compare, v, e);
	if (r == 0 && v->faults == before)
		verify_explain(
			v,
			"custody.jsonl, timeline.jsonl, case.jsonld and the rest that is written from "
			"leaves, manifests and events say what those say, byte for byte");
	return r;
}

/* ---- items ---- */

static int check_item(struct verify *v, const struct bundle_exhibit *x,
		      const struct vault_manifest_item *item, struct error *e)
{
	char path[BUNDLE_PATH_MAX];
	struct bundle_file *f;

	(void)snprintf(path, sizeof(path), "exhibits/%s/items/%s", x->id, item->name);
	f = bundle_files_find(&v->files, path);
	if (!f) {
		verify_fault(v, path, 0, item->bytes,
			     "it is not there, though the host's manifest names it");
		return 0;
	}
	f->known = true;
	if (memcmp(f->sha256.b, item->sha256.b, SEAL_HASH_LEN) == 0 && f->size == item->bytes)
		return 0;
	return verify_locate(v, f, "its bytes do not have the SHA-256 that the host signed", e);
}

int verify_items(struct verify *v, struct error *e)
{
	uint64_t before = v->faults, bytes = 0;
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < v->bundle.n_exhibits; i++) {
		const struct bundle_exhibit *x = &v->bundle.exhibits[i];

		for (size_t k = 0; x->parsed && k < x->parsed->n_items && r == 0; k++) {
			r = check_item(v, x, &x->parsed->items[k], e);
			bytes += x->parsed->items[k].bytes;
			n++;
		}
	}
	for (size_t i = 0; i < v->files.n && r == 0; i++)
		if (strstr(v->files.at[i].path, "/items/") && !v->files.at[i].known)
			(void)fprintf(
				stderr,
				"%s: no manifest names it: only the collector says that it is what "
				"arrived\n",
				v->files.at[i].path);
	if (r == 0 && v->faults == before)
		verify_explain(v,
			       "%zu items with %" PRIu64
			       " bytes have the lengths and SHA-256 that the "
			       "hosts' manifests say",
			       n, bytes);
	return r;
}
