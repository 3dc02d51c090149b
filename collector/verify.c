/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/verify.h"

#include <errno.h>

#include "collector/entries.h"
#include "collector/tokens.h"
#include "proto/envelope.h"

/* A batch of 8,192 entries unpacked, with its tokens: what one message may cost a worker. */
#define VERIFY_ARENA_MAX MiB(16)

struct verify {
	struct hosts *hosts;
	struct batch_opener *opener;
	struct arena *arena;
};

int verify_new(struct hosts *hosts, struct verify **ret_v, struct error *e)
{
	struct verify *v = calloc(1, sizeof(*v));
	int r = -ENOMEM;

	if (v != NULL) {
		v->hosts = hosts;
		v->arena = arena_new(VERIFY_ARENA_MAX, MiB(1));
		r = v->arena == NULL ? -ENOMEM : batch_opener_new(&v->opener, e);
	}
	if (r < 0) {
		verify_free(v);
		return error_set(e, r, "cannot start a verifier: %m");
	}
	*ret_v = v;
	return 0;
}

void verify_free(struct verify *v)
{
	if (v == NULL)
		return;
	batch_opener_free(v->opener);
	arena_free(v->arena);
	free(v);
}

void verify_peer_release(struct verify_peer *p)
{
	seal_verifier_free(p->key);
	p->key = NULL;
}

static bool same_name(const struct batch_name *a, const struct batch_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

/* What a host says must be about itself. */
static int check_names(const struct verify_peer *p, const struct batch_name *tenant,
		       const struct batch_name *host, struct error *e)
{
	if (!same_name(&p->tenant, tenant))
		return error_set(e, -EACCES,
				 "the message names tenant '%.*s', the certificate '%.*s'",
				 tenant->len, (const char *)tenant->b, p->tenant.len,
				 (const char *)p->tenant.b);
	if (!same_name(&p->host_id, host))
		return error_set(e, -EACCES,
				 "the message names host '%.*s', the certificate '%.*s'", host->len,
				 (const char *)host->b, p->host_id.len, (const char *)p->host_id.b);
	return 0;
}

/* Have p->key be the registered sealing key with this id. */
static int take_key(struct verify *v, struct verify_peer *p,
		    const uint8_t key_id[static SEAL_KEY_ID_LEN], struct error *e)
{
	uint8_t public[SEAL_PUBLIC_LEN];

	if (p->key != NULL && memcmp(p->key_id, key_id, SEAL_KEY_ID_LEN) == 0)
		return 0;
	if (!hosts_sealing_key(v->hosts, &p->tenant, &p->host_id, key_id, public)) {
		error_set(e, -EACCES,
			  "no host record of '%.*s' names the sealing key of this message",
			  p->host_id.len, (const char *)p->host_id.b);
		error_hint(e, "the host must enrol again with its present key");
		return -EACCES;
	}
	verify_peer_release(p);
	memcpy(p->key_id, key_id, SEAL_KEY_ID_LEN);
	return seal_verifier_new(public, &p->key, e);
}

static int verify_batch(struct verify *v, struct verify_peer *p, struct writer_item *w,
			const uint8_t *body, size_t len, struct error *e)
{
	const uint8_t *raw;
	size_t raw_len;
	uint64_t *tokens;
	int r = batch_parse(body, len, v->arena, &w->view, e);

	if (r == 0)
		r = check_names(p, &w->view.header.tenant, &w->view.header.host_id, e);
	if (r == 0)
		r = take_key(v, p, w->view.header.key_id, e);
	if (r == 0)
		r = batch_open(v->opener, &w->view, p->key, &raw, &raw_len, e);
	if (r == 0)
		r = entries_check(&w->view.header, raw, raw_len, e);
	if (r == 0)
		r = tokens_extract(&w->view.header, raw, raw_len, v->arena, &tokens,
				   &w->item.n_tokens, e);
	if (r < 0)
		return r;
	/* Rings are the only part of a view that lies in the arena; the store does not ask for them. */
	w->view.header.rings = NULL;
	w->view.header.n_rings = 0;
	w->tokens = malloc(w->item.n_tokens * sizeof(*tokens) + 1);
	if (w->tokens == NULL)
		return error_set(e, -ENOMEM, "cannot take a batch: out of memory");
	if (w->item.n_tokens > 0)
		memcpy(w->tokens, tokens, w->item.n_tokens * sizeof(*tokens));
	w->item.kind = STORE_BATCH;
	w->item.view = &w->view;
	w->item.tokens = w->tokens;
	return 0;
}

/* The key id of a tombstone or idle message is only known once it is parsed: parse, find the key, verify. */
static int verify_tombstone(struct verify *v, struct verify_peer *p, struct writer_item *w,
			    const uint8_t *body, size_t len, struct error *e)
{
	struct batch_tombstone *t = &w->tombstone;
	int r = batch_open_tombstone(body, len, NULL, v->arena, t, e);

	if (r == 0)
		r = check_names(p, &t->tenant, &t->host_id, e);
	if (r == 0)
		r = take_key(v, p, t->key_id, e);
	if (r == 0)
		r = batch_open_tombstone(body, len, p->key, v->arena, t, e);
	struct batch_dropped *copy = NULL;

	if (r == 0 && (copy = calloc(t->n_dropped + 1, sizeof(*copy))) == NULL)
		r = error_set(e, -ENOMEM, "cannot take a tombstone: out of memory");
	if (r == 0)
		memcpy(copy, t->dropped, t->n_dropped * sizeof(*copy));
	t->dropped = copy;
	t->reason = NULL; /* it lies in the arena, and in the bytes that are stored */
	w->item.kind = STORE_TOMBSTONE;
	w->item.tombstone = t;
	return r;
}

static int verify_idle(struct verify *v, struct verify_peer *p, struct writer_item *w,
		       const uint8_t *body, size_t len, struct error *e)
{
	int r = batch_open_idle(body, len, NULL, v->arena, &w->told, e);

	if (r == 0)
		r = check_names(p, &w->told.tenant, &w->told.host_id, e);
	if (r == 0)
		r = take_key(v, p, w->told.key_id, e);
	if (r == 0)
		r = batch_open_idle(body, len, p->key, v->arena, &w->told, e);
	w->idle = true;
	return r;
}

int verify_message(struct verify *v, struct verify_peer *p, uint32_t field, uint8_t *data,
		   const uint8_t *body, size_t len, int64_t received_ns,
		   struct writer_item **ret_item, struct error *e)
{
	struct writer_item *w = calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return error_set(e, -ENOMEM, "cannot take a message: out of memory");
	arena_reset(v->arena);
	w->item.bytes = body;
	w->item.len = len;
	w->item.received_ns = received_ns;
	if (field == ENVELOPE_BATCH)
		r = verify_batch(v, p, w, body, len, e);
	else if (field == ENVELOPE_TOMBSTONE)
		r = verify_tombstone(v, p, w, body, len, e);
	else
		r = verify_idle(v, p, w, body, len, e);
	if (r < 0) {
		writer_item_free(w); /* data stays the caller's: w does not hold it yet */
		return r;
	}
	w->tenant = p->tenant;
	w->host_id = p->host_id;
	w->data = data;
	*ret_item = w;
	return 0;
}
