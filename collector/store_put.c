/* SPDX-License-Identifier: Apache-2.0 */
/* One group of items: plan (what is new, what is refused), write, and only when that is durable, apply. */
#include "collector/store_internal.h"

#include <errno.h>
#include <string.h>

/* What becomes of one item. */
struct plan {
	struct store_item *item;
	struct tenant *tenant; /* NULL: done with (refused) */
	struct stream *stream; /* batch, tombstone */
	struct stream_host *host; /* host record */
	struct stream_key key;
	struct row row;
	struct token_row tokens;
	uint8_t *copy; /* of a host record */
	uint64_t order; /* of its frame in the group */
	bool accepted;
};

struct group {
	struct store *s;
	struct plan *plans;
	size_t n;
};

static void group_release(struct group *g)
{
	for (size_t i = 0; i < g->n && g->plans; i++) {
		free(g->plans[i].tokens.hashes);
		free(g->plans[i].copy);
	}
	free(g->plans);
}

static void refuse(struct plan *p)
{
	p->item->result = STORE_REFUSED;
	p->accepted = false;
	p->tenant = NULL;
}

/* A bound that a host reached concerns that host alone; anything else concerns the group. */
static int bound(struct plan *p, int r, struct error *e)
{
	if (r == -EDQUOT) {
		refuse(p);
		return 0;
	}
	return r ? error_set(e, r, "cannot make room for a batch: %m") : 0;
}

static bool numbers_sane(const struct row *row)
{
	return row->numbers > 0 && row->number > 0 &&
	       row->number <= (uint64_t)INT64_MAX - row->numbers;
}

static void describe(struct plan *p)
{
	struct store_item *item = p->item;

	switch (item->kind) {
	case STORE_BATCH:
		row_of_batch(item->view, &p->row, &p->key);
		break;
	case STORE_TOMBSTONE:
		if (item->tombstone->n_dropped > 0)
			row_of_tombstone(item->tombstone, &p->row, &p->key);
		break;
	case STORE_HOST_RECORD:
		p->row = (struct row){ .kind = FRAME_HOST_RECORD, .stream = ROW_NO_STREAM };
		p->key.tenant = *item->tenant;
		p->key.host_id = *item->host_id;
		break;
	case STORE_RETENTION:
		break;
	}
	p->row.length = (uint32_t)item->len;
	p->row.received_ns = item->received_ns;
}

static int take_tokens(struct plan *p, struct error *e)
{
	const struct store_item *item = p->item;
	size_t n = item->kind == STORE_BATCH ? item->n_tokens : 1;
	uint32_t last = TOKEN_ANY;

	p->tokens.hashes = malloc((n ? n : 1) * sizeof(uint32_t));
	if (!p->tokens.hashes)
		return error_set(e, -ENOMEM, "cannot allocate the tokens of a batch");
	if (item->kind == STORE_TOMBSTONE) {
		p->tokens.hashes[p->tokens.n++] = TOKEN_ANY;
		return 0;
	}
	for (size_t i = 0; i < item->n_tokens; i++) {
		uint32_t hash = token_index_hash(item->tokens[i]);

		if (hash != last)
			p->tokens.hashes[p->tokens.n++] = hash;
		last = hash;
	}
	return 0;
}

/* Records of the same host that come before in the group. */
static uint32_t pending(const struct group *g, const struct plan *p)
{
	uint32_t n = 0;

	for (const struct plan *o = g->plans; o < p; o++)
		n += o->host == p->host;
	return n;
}

/* How many items of the stream, up to this one, will stand beyond a hole when their turn comes. */
static uint32_t holes(const struct group *g, const struct plan *p)
{
	uint64_t next = p->stream->contiguous + 1;
	uint32_t n = 0;

	for (const struct plan *o = g->plans; o <= p; o++) {
		if (o->stream != p->stream)
			continue;
		n += o->row.number > next;
		if (o->row.number == next)
			next += o->row.numbers;
	}
	return n;
}

/* Under the lock: everything that the item will need exists afterwards. */
static int prepare(struct group *g, struct plan *p, struct error *e)
{
	struct store *s = g->s;
	bool known = false;
	int r;

	if (p->row.kind == FRAME_HOST_RECORD) {
		r = streams_host_get(s->streams, &p->key.tenant, &p->key.host_id, &p->host);
		if (!r)
			r = host_record_plan(p->host, p->item->bytes, p->item->len, pending(g, p),
					     &known);
		p->accepted = !known;
		if (!r && known)
			p->item->result = STORE_DUPLICATE;
		return bound(p, r, e);
	}
	r = streams_get(s->streams, &p->key, &p->stream);
	if (!r)
		r = stream_reserve(p->stream, holes(g, p));
	p->accepted = true;
	return bound(p, r, e);
}

static int begin_plan(struct group *g, struct plan *p, struct error *e)
{
	struct store_item *item = p->item;
	int r;

	describe(p);
	if (p->row.kind == 0 || !store_tenant_valid(&p->key.tenant) ||
	    item->len > BATCH_MESSAGE_MAX || item->n_tokens > STORE_TOKENS_MAX ||
	    (p->row.stream != ROW_NO_STREAM && !numbers_sane(&p->row))) {
		refuse(p);
		return 0;
	}
	r = store_tenant_get(g->s, &p->key.tenant, &p->tenant, e);
	if (r == -EDQUOT) {
		refuse(p);
		return 0;
	}
	if (!r)
		r = take_tokens(p, e);
	if (!r && p->row.kind == FRAME_HOST_RECORD) {
		p->copy = malloc(item->len + 1);
		if (!p->copy)
			return error_set(e, -ENOMEM, "cannot allocate a host record");
		memcpy(p->copy, item->bytes, item->len);
	}
	if (r)
		return r;
	(void)pthread_rwlock_wrlock(&g->s->lock);
	r = prepare(g, p, e);
	(void)pthread_rwlock_unlock(&g->s->lock);
	return r;
}

/* Twins within the group, which nothing stored knows of yet. */
static enum twin group_twin(const struct group *g, const struct plan *p)
{
	enum twin twin = TWIN_NONE;

	for (const struct plan *o = g->plans; o < p; o++) {
		if (!o->accepted || o->stream != p->stream || o->row.kind != p->row.kind ||
		    o->row.number != p->row.number)
			continue;
		if (memcmp(o->row.hash.b, p->row.hash.b, SEAL_HASH_LEN) == 0)
			return TWIN_SAME;
		twin = TWIN_OTHER;
	}
	return twin;
}

static int find_twin(const struct group *g, const struct plan *p, enum twin *ret, struct error *e)
{
	enum twin within = group_twin(g, p);
	int r = 0;

	*ret = within;
	if (within == TWIN_SAME || !stream_knows(p->stream, p->row.number))
		return 0;
	if (p->row.number + p->row.numbers - 1 <= p->stream->removed_last) {
		*ret = TWIN_SAME;
		return 0;
	}
	r = store_twin(g->s, p->stream, &p->row, ret, e);
	if (*ret == TWIN_NONE)
		*ret = within;
	return r;
}

static int classify(struct group *g, struct plan *p, struct error *e)
{
	static const enum store_result result[] = {
		[TWIN_NONE] = STORE_STORED,
		[TWIN_SAME] = STORE_DUPLICATE,
		[TWIN_OTHER] = STORE_CONFLICT,
		[TWIN_TOO_MANY] = STORE_REFUSED,
	};
	enum twin twin = TWIN_NONE;
	int r = 0;

	if (!p->accepted)
		return 0;
	if (p->stream)
		r = find_twin(g, p, &twin, e);
	p->item->result = result[twin];
	p->accepted = twin == TWIN_NONE || twin == TWIN_OTHER;
	if (twin == TWIN_OTHER)
		p->row.flags |= ROW_CONFLICT;
	return r;
}

/* ---- one tenant's part ---- */

static size_t make_frames(struct group *g, const struct tenant *t,
			  struct frame frames[static STORE_PUT_MAX], uint64_t *ret_bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < g->n; i++) {
		struct plan *p = &g->plans[i];

		if (p->tenant != t || !p->accepted)
			continue;
		p->order = n;
		frames[n++] = (struct frame){
			.kind = (enum frame_kind)p->row.kind,
			.flags = p->row.flags & ROW_CONFLICT ? FRAME_CONFLICT : 0,
			.length = (uint32_t)p->item->len,
			.received_ns = p->item->received_ns,
			.body = p->item->bytes,
		};
		*ret_bytes += SEGMENT_HEAD + p->item->len;
	}
	return n;
}

static void apply(struct store *s, struct segment *g, struct plan *p, const struct frame *f)
{
	struct segment_table *table = segment_writer_table(g->writer);

	(void)s;
	p->row.offset = f->offset;
	p->row.stream = ROW_NO_STREAM;
	if (p->stream)
		p->row.stream = segment_table_stream(table, &p->key, p->stream->key_hash);
	segment_table_add(table, &p->row,
			  (struct token_row){ TAKE(p->tokens.hashes), p->tokens.n });
	if (p->stream)
		stream_add(p->stream, &p->row, g->sequence);
	else
		host_record_add(p->host, TAKE(p->copy), p->item->len, p->item->received_ns,
				g->sequence);
}

static void tell(struct group *g, const struct segment *segment, const struct tenant *t)
{
	for (size_t i = 0; i < g->n; i++) {
		struct plan *p = &g->plans[i];
		struct store_ref ref;

		if (p->tenant != t || !p->accepted)
			continue;
		if (g->s->c.on_frame)
			g->s->c.on_frame(g->s->c.ctx, p->item->kind, &t->name, p->item->bytes,
					 p->item->len);
		if (p->row.kind != FRAME_BATCH || !g->s->c.on_stored)
			continue;
		store_ref_make(segment, &p->row, &p->key, &ref);
		g->s->c.on_stored(g->s->c.ctx, &ref, p->item);
	}
}

static int put_tenant(struct group *g, struct tenant *t, struct error *e)
{
	struct frame frames[STORE_PUT_MAX];
	struct store *s = g->s;
	struct segment *segment;
	uint64_t bytes = 0;
	uint32_t first;
	size_t n = make_frames(g, t, frames, &bytes);
	int r;

	if (n == 0)
		return 0;
	r = store_room(s, bytes, e);
	if (!r)
		r = tenant_open_segment(s, t, frames[0].received_ns, &segment, e);
	if (r)
		return r;
	(void)pthread_rwlock_wrlock(&s->lock);
	r = segment_table_reserve(segment_writer_table(segment->writer), (uint32_t)n);
	(void)pthread_rwlock_unlock(&s->lock);
	if (r)
		return error_set(e, r, "cannot make room for a group of batches: %m");
	r = tenant_write(s, t, frames, n, e);
	if (r)
		return r;
	first = segment_writer_table(segment->writer)->n_rows;
	(void)pthread_rwlock_wrlock(&s->lock);
	for (size_t i = 0; i < g->n; i++)
		if (g->plans[i].tenant == t && g->plans[i].accepted)
			apply(s, segment, &g->plans[i], &frames[g->plans[i].order]);
	(void)pthread_rwlock_unlock(&s->lock);
	segment_writer_note(segment->writer, first);
	tell(g, segment, t);
	return 0;
}

int store_put(struct store *s, struct store_item *items, size_t n, struct error *e)
{
	AUTO(group_release) struct group g = { .s = s, .n = n };
	int r = 0;

	if (n > STORE_PUT_MAX)
		return error_set(e, -E2BIG, "a group of %zu items is too large", n);
	g.plans = calloc(n + 1, sizeof(*g.plans));
	if (!g.plans)
		return error_set(e, -ENOMEM, "cannot allocate a group of %zu items", n);
	for (size_t i = 0; i < n; i++)
		g.plans[i].item = &items[i];
	for (size_t i = 0; i < n && !r; i++)
		r = begin_plan(&g, &g.plans[i], e);
	for (size_t i = 0; i < n && !r; i++)
		r = classify(&g, &g.plans[i], e);
	for (size_t i = 0; i < s->n_tenants && !r; i++)
		r = put_tenant(&g, s->tenants[i], e);
	return r;
}
