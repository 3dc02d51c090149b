/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ledger_watch.h"

#include <errno.h>
#include <string.h>

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

static int compare(const struct ledger_watch *w, const Exhibit__V1__LedgerUpdate *u,
		   const struct checkpoint *c, struct error *e)
{
	if (w->note == NULL)
		return 0;
	if (strcmp(w->held.origin, c->origin) != 0)
		return contradicts(e, "it is another log", w, c);
	if (c->size < w->held.size)
		return contradicts(e, "it was set back", w, c);
	if (c->size == w->held.size)
		return memcmp(&c->root, &w->held.root, sizeof(c->root)) == 0 ?
			       -EALREADY :
			       contradicts(e, "two trees of one size", w, c);
	/* From an empty tree everything follows. */
	return w->held.size == 0 ? 0 : check_proof(w, u, c, e);
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
	if (r == 0)
		r = files_replace(w->path, data, len, 0600, e);
	if (r == 0)
		r = take_held(w, u, &c);
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
