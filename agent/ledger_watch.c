/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ledger_watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/files.h"
#include "proto/ledger_cert.h"
#include "proto/tlog.h"
#include "service.pb-c.h"

struct ledger_watch {
	char *path;
	const struct authorities *authorities;
	char *note; /* NULL: none is held */
	size_t note_len;
	struct checkpoint held;
	struct seal_hash hash;
	uint64_t stated_leaf; /* of a rebuild that was told of, and 1; 0: none */
};

static int open_update(const struct ledger_watch *w, const Exhibit__V1__LedgerUpdate *u,
		       int64_t now_s, struct checkpoint *ret, struct error *e)
{
	struct note_key key;
	int r = ledger_cert_check(u->certificate.data, u->certificate.len, w->authorities, now_s,
				  &key, e);

	if (r == 0)
		r = checkpoint_open(&key, (const char *)u->checkpoint.data, u->checkpoint.len, ret,
				    e);
	if (r == 0 || r == -ENOMEM)
		return r;
	(void)error_wrap(e, -EBADMSG, "a checkpoint does not count");
	return -EBADMSG;
}

static int take_held(struct ledger_watch *w, const Exhibit__V1__LedgerUpdate *u,
		     const struct checkpoint *c)
{
	char *note = malloc(u->checkpoint.len + 1);

	if (note == NULL || seal_sha256(u->checkpoint.data, u->checkpoint.len, &w->hash) < 0) {
		free(note);
		return -ENOMEM;
	}
	memcpy(note, u->checkpoint.data, u->checkpoint.len);
	note[u->checkpoint.len] = '\0';
	free(w->note);
	w->note = note;
	w->note_len = u->checkpoint.len;
	w->held = *c;
	return 0;
}

static int load(struct ledger_watch *w, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	struct checkpoint c;
	size_t len;
	int r = files_read(w->path, LEDGER_WATCH_UPDATE_MAX, &data, &len, e);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	Exhibit__V1__LedgerUpdate *u = exhibit__v1__ledger_update__unpack(NULL, len, data);

	if (u == NULL)
		return error_set(e, -EBADMSG, "'%s' is damaged", w->path);
	r = open_update(w, u, 0, &c, e);
	if (r == 0)
		r = take_held(w, u, &c);
	exhibit__v1__ledger_update__free_unpacked(u, NULL);
	return r;
}

int ledger_watch_open(const char *path, const struct authorities *authorities,
		      struct ledger_watch **ret, struct error *e)
{
	struct ledger_watch *w = calloc(1, sizeof(*w));

	if (w != NULL) {
		w->path = strdup(path);
		w->authorities = authorities;
	}
	int r = w == NULL || w->path == NULL ?
			error_set(e, -ENOMEM, "cannot watch the ledger: out of memory") :
			load(w, e);

	if (r < 0) {
		ledger_watch_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void ledger_watch_free(struct ledger_watch *w)
{
	if (w == NULL)
		return;
	free(w->path);
	free(w->note);
	free(w);
}

static int contradicts(struct error *e, const char *what, const struct ledger_watch *w,
		       const struct checkpoint *c)
{
	return error_set(e, -ECONNREFUSED,
			 "the ledger contradicts itself: %s (this host holds %llu entries, %llu "
			 "were offered)",
			 what, (unsigned long long)w->held.size, (unsigned long long)c->size);
}

static int check_proof(const struct ledger_watch *w, const Exhibit__V1__LedgerUpdate *u,
		       const struct checkpoint *c, struct error *e)
{
	struct seal_hash proof[TLOG_PROOF_MAX];

	if (u->old_size != w->held.size)
		return error_set(e, -EAGAIN,
				 "the checkpoint of %llu entries comes with a proof from %llu, "
				 "this host holds %llu",
				 (unsigned long long)c->size, (unsigned long long)u->old_size,
				 (unsigned long long)w->held.size);
	if (u->n_consistency > TLOG_PROOF_MAX)
		return contradicts(e, "the proof is too long", w, c);
	for (size_t i = 0; i < u->n_consistency; i++) {
		if (u->consistency[i].len != SEAL_HASH_LEN)
			return contradicts(e, "the proof is malformed", w, c);
		memcpy(proof[i].b, u->consistency[i].data, SEAL_HASH_LEN);
	}
	int r = tlog_check_consistency(proof, u->n_consistency, w->held.size, &w->held.root,
				       c->size, &c->root);

	return r == -EBADMSG ? contradicts(e, "what it held before is not its beginning", w, c) : r;
}

static bool is_other_log(const struct ledger_watch *w, const struct checkpoint *c)
{
	return strcmp(w->held.origin, c->origin) != 0;
}

static int compare(const struct ledger_watch *w, const Exhibit__V1__LedgerUpdate *u,
		   const struct checkpoint *c, struct error *e)
{
	if (w->note == NULL)
		return 0;
	if (c->size < w->held.size)
		return contradicts(e, "it was set back", w, c);
	if (c->size == w->held.size)
		return memcmp(&c->root, &w->held.root, sizeof(c->root)) != 0 ?
			       contradicts(e, "two trees of one size", w, c) :
		       is_other_log(w, c) ? 0 :
					    -EALREADY;
	/* From an empty tree everything follows. */
	return w->held.size == 0 ? 0 : check_proof(w, u, c, e);
}

/* ---- a log that was rebuilt ------------------------------------------------------------------------------ */

/* The leaf is in the tree that was offered, and says that this tree was rebuilt from the log that is held. ret_from: at
 * so many entries. */
static bool was_rebuilt(const struct ledger_watch *w, const Exhibit__V1__LedgerRebuild *b,
			const struct checkpoint *c, uint64_t *ret_from)
{
	Exhibit__V1__LedgerEntry *m =
		exhibit__v1__ledger_entry__unpack(NULL, b->entry.len, b->entry.data);
	struct seal_hash proof[TLOG_PROOF_MAX], leaf;
	bool good = m != NULL && m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD &&
		    m->host_id.len == 0 && m->size <= b->index &&
		    m->subject.len == strlen(w->held.origin) &&
		    memcmp(m->subject.data, w->held.origin, m->subject.len) == 0 &&
		    b->n_inclusion <= TLOG_PROOF_MAX &&
		    tlog_leaf_hash(b->entry.data, b->entry.len, &leaf) == 0;

	for (size_t i = 0; good && i < b->n_inclusion; i++) {
		good = b->inclusion[i].len == SEAL_HASH_LEN;
		if (good)
			memcpy(proof[i].b, b->inclusion[i].data, SEAL_HASH_LEN);
	}
	good = good &&
	       tlog_check_inclusion(proof, b->n_inclusion, b->index, c->size, &leaf, &c->root) == 0;
	*ret_from = good ? m->size : 0;
	if (m != NULL)
		exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return good;
}

/* What was held is evidence of what was lost. */
static int keep_held(const struct ledger_watch *w, struct error *e)
{
	char path[4200];

	if (snprintf(path, sizeof(path), "%s.lost-%llu", w->path,
		     (unsigned long long)w->held.size) >= (int)sizeof(path))
		return error_set(e, -ENAMETOOLONG, "the path '%.100s...' is too long", w->path);
	return link(w->path, path) < 0 && errno != EEXIST ?
		       error_set(e, -errno, "cannot keep '%s': %m", path) :
		       0;
}

/* After a contradiction: does a rebuild explain it? As ledger_watch_take, or -ECONNREFUSED and e as it was. */
static int explain(struct ledger_watch *w, const Exhibit__V1__LedgerUpdate *u,
		   const struct checkpoint *c, struct error *e)
{
	const Exhibit__V1__LedgerRebuild *b = u->rebuild;
	uint64_t from;

	if (b == NULL || !was_rebuilt(w, b, c, &from) || from >= w->held.size)
		return -ECONNREFUSED;
	if (!is_other_log(w, c) && w->stated_leaf == b->index + 1)
		return -EALREADY;
	w->stated_leaf = b->index + 1;
	(void)error_set(e, -ESTALE,
			"the collector's ledger was rebuilt from its archive's checkpoint of %llu "
			"entries; this host holds one of %llu: entries %llu to %llu were lost%s",
			(unsigned long long)from, (unsigned long long)w->held.size,
			(unsigned long long)from, (unsigned long long)w->held.size - 1,
			is_other_log(w, c) ?
				"" :
				", and it has its old key: it is followed once the order authority "
				"has certified a new one");
	return is_other_log(w, c) ? 1 : -ESTALE;
}

static int hold(struct ledger_watch *w, const Exhibit__V1__LedgerUpdate *u,
		const struct checkpoint *c, const void *data, size_t len, struct error *e)
{
	int r = files_replace(w->path, data, len, 0600, e);

	return r == 0 ? take_held(w, u, c) : r;
}

int ledger_watch_take(struct ledger_watch *w, const void *data, size_t len, int64_t now_s,
		      struct error *e)
{
	Exhibit__V1__LedgerUpdate *u = len > LEDGER_WATCH_UPDATE_MAX ?
					       NULL :
					       exhibit__v1__ledger_update__unpack(NULL, len, data);
	struct checkpoint c;

	if (u == NULL)
		return error_set(e, -EBADMSG, "a checkpoint cannot be read");
	int r = open_update(w, u, now_s, &c, e);

	if (r == 0)
		r = compare(w, u, &c, e);
	if (r == -ECONNREFUSED)
		r = explain(w, u, &c, e);
	if (r == 0)
		r = hold(w, u, &c, data, len, e);
	if (r == 1) {
		struct error why = { 0 };

		if (keep_held(w, &why) < 0 || hold(w, u, &c, data, len, &why) < 0) {
			*e = why;
			r = -EIO;
		}
	}
	exhibit__v1__ledger_update__free_unpacked(u, NULL);
	return r;
}

const char *ledger_watch_note(const struct ledger_watch *w, size_t *ret_len)
{
	*ret_len = w->note_len;
	return w->note == NULL ? "" : w->note;
}

uint64_t ledger_watch_size(const struct ledger_watch *w)
{
	return w->held.size;
}

bool ledger_watch_hash(const struct ledger_watch *w, struct seal_hash *ret)
{
	*ret = w->hash;
	return w->note != NULL;
}
