/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to segments with time: sealed by age, removed by age and size, indexes that turned out
 * damaged built again. A removal is first recorded, signed and durable, in the segment being written,
 * with everything of the removed one that must live on (host records, how far streams reached); only
 * then the file goes. Per tenant the oldest goes first, always: so the newest record proves that all
 * before it went lawfully too. */
#include "collector/retention_record.h"
#include "collector/store_internal.h"

#include "proto/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ARENA_MAX MiB(64)

struct removal {
	struct store *s;
	struct segment *g;
	const char *reason;
	int64_t now_ns;
	struct arena *arena;
	struct retention_stream *streams;
	size_t n_streams, max_streams;
	struct stream_host **hosts; /* of the records that move */
	struct host_record **records;
	size_t n_records, max_records;
	int r;
};

static void removal_release(struct removal *m)
{
	arena_free(m->arena);
	free(m->streams);
	free(m->records);
	free(m->hosts);
}

/* ---- collecting ---- */

static int want_stream(struct removal *m, const struct stream *s, uint64_t first, uint64_t last,
		       const struct seal_hash *hash)
{
	struct retention_stream *to;

	if (m->n_streams == m->max_streams) {
		size_t max = m->max_streams ? 2 * m->max_streams : 256;
		struct retention_stream *all = realloc(m->streams, max * sizeof(*all));

		if (!all)
			return -ENOMEM;
		m->streams = all;
		m->max_streams = max;
	}
	to = &m->streams[m->n_streams++];
	stream_key_of(s, &to->key);
	to->first_number = s->removed_first && s->removed_first < first ? s->removed_first : first;
	to->last_number = last;
	to->last_hash = *hash;
	return 0;
}

/* The newest row of a stream in the segment that its contiguous part covers: its hash goes on. */
static int last_covered(const struct segment_index *i, const struct index_stream *in,
			const struct stream *s, struct retention_stream *to)
{
	AUTO(row_cursor_release) struct row_cursor c;
	struct row row;
	uint32_t ordinal;

	row_cursor_init(&c, i);
	for (uint32_t k = in->rows; k-- > 0;) {
		int r = segment_index_by_stream(i, in->first + k, &ordinal);

		if (!r)
			r = row_cursor_get(&c, ordinal, &row);
		if (r)
			return r;
		if (row.flags & ROW_CONFLICT || row.number + row.numbers - 1 > s->contiguous)
			continue;
		to->last_number = row.number + row.numbers - 1;
		to->last_hash = row.hash;
		return 0;
	}
	return -ENOENT;
}

static int collect_streams(struct removal *m, struct error *e)
{
	AUTO(segment_index_close_ptr) struct segment_index *i = NULL;
	AUTO(free_ptr) struct index_stream *in = NULL;
	char name[SEGMENT_NAME_MAX];
	size_t n = 0;
	int r = segment_index_open(m->g->tenant->dirfd, segment_name_index(&m->g->id, name), &i, e);

	if (!r)
		r = segment_index_streams(i, &in, &n);
	for (size_t k = 0; k < n && !r; k++) {
		const struct stream *s = streams_find(m->s->streams, &in[k].key);
		struct retention_stream to = { 0 };

		if (!s)
			continue;
		r = last_covered(i, &in[k], s, &to);
		if (!r && to.last_number > s->removed_last)
			r = want_stream(m, s, in[k].first_number, to.last_number, &to.last_hash);
		if (r == -ENOENT)
			r = 0;
	}
	if (r == -EBADMSG)
		atomic_store(&m->g->index, INDEX_DAMAGED);
	return r ? error_set(e, r, "cannot read index '%s' to remove its segment: %m", name) : 0;
}

static int want_record(struct removal *m, struct stream_host *h, struct host_record *record)
{
	if (m->n_records == m->max_records) {
		size_t max = m->max_records ? 2 * m->max_records : 64;
		struct host_record **records =
			realloc(m->records, max * sizeof(struct host_record *));
		struct stream_host **hosts;

		if (!records)
			return -ENOMEM;
		m->records = records;
		hosts = realloc(m->hosts, max * sizeof(struct stream_host *));
		if (!hosts)
			return -ENOMEM;
		m->hosts = hosts;
		m->max_records = max;
	}
	m->hosts[m->n_records] = h;
	m->records[m->n_records++] = record;
	return 0;
}

/* What only this segment tells of a host: its records, and how far older removals went. */
static bool collect_host(void *ctx, struct stream_host *h)
{
	struct removal *m = ctx;

	if (!batch_name_equal(&h->tenant, &m->g->tenant->name))
		return true;
	for (uint32_t i = 0; i < h->n_records && !m->r; i++)
		if (h->records[i].segment == m->g->sequence)
			m->r = want_record(m, h, &h->records[i]);
	for (const struct stream *s = h->streams; s && !m->r; s = s->next)
		if (s->removed_last > 0 && s->removed_segment == m->g->sequence)
			m->r = want_stream(m, s, s->removed_first, s->removed_last,
					   &s->removed_hash);
	return !m->r;
}

/* ---- recording ---- */

static int write_group(struct removal *m, struct frame *frames, size_t n, struct error *e)
{
	struct store *s = m->s;
	struct tenant *t = m->g->tenant;
	struct segment *to = NULL;
	int r = tenant_open_segment(s, t, m->now_ns, &to, e);

	if (r)
		return r;
	(void)pthread_rwlock_wrlock(&s->lock);
	r = segment_table_reserve(segment_writer_table(to->writer), (uint32_t)n);
	(void)pthread_rwlock_unlock(&s->lock);
	if (r)
		return error_set(e, r, "cannot make room for a retention record: %m");
	r = tenant_write(s, t, frames, n, e);
	if (r)
		return r;
	(void)pthread_rwlock_wrlock(&s->lock);
	for (size_t i = 0; i < n; i++) {
		struct row row = { .kind = (uint8_t)frames[i].kind,
				   .stream = ROW_NO_STREAM,
				   .offset = frames[i].offset,
				   .length = frames[i].length,
				   .received_ns = frames[i].received_ns };

		segment_table_add(segment_writer_table(to->writer), &row, (struct token_row){ 0 });
	}
	(void)pthread_rwlock_unlock(&s->lock);
	for (size_t i = 0; i < n && s->c.on_frame; i++)
		s->c.on_frame(s->c.ctx, (enum store_kind)frames[i].kind, &t->name, frames[i].body,
			      frames[i].length);
	return 0;
}

static int move_records(struct removal *m, struct error *e)
{
	for (size_t at = 0; at < m->n_records;) {
		struct frame frames[STORE_PUT_MAX];
		size_t n = 0;
		int r;

		for (; at + n < m->n_records && n < STORE_PUT_MAX; n++) {
			const struct host_record *h = m->records[at + n];

			frames[n] = (struct frame){ .kind = FRAME_HOST_RECORD,
						    .length = (uint32_t)h->len,
						    .received_ns = h->received_ns,
						    .body = h->bytes };
		}
		r = write_group(m, frames, n, e);
		if (r)
			return r;
		for (size_t i = 0; i < n; i++)
			m->records[at + i]->segment = m->g->tenant->open->sequence;
		at += n;
	}
	return 0;
}

/* With g gone too. */
static struct store_removed removed_with(const struct segment *g, const char *reason)
{
	const struct index_summary *sum = &g->summary;
	struct store_removed all = g->tenant->removed;
	int64_t last = sum->last_wall_ns < sum->last_received_ns ? sum->last_wall_ns :
								   sum->last_received_ns;
	int64_t first = sum->first_wall_ns < last ? sum->first_wall_ns : last;

	if (!all.events || first < all.first_wall_ns)
		all.first_wall_ns = first;
	if (!all.events || last > all.last_wall_ns)
		all.last_wall_ns = last;
	all.segments++;
	all.events += sum->events;
	(void)snprintf(all.reason, sizeof(all.reason), "%s", reason);
	return all;
}

/* Records about streams alone first, the one that names the segment last: it makes the removal true. */
static int record(struct removal *m, struct error *e)
{
	const struct index_summary *sum = &m->g->summary;
	struct retention_info info = {
		.tenant = m->g->tenant->name,
		.segment = m->g->id,
		.sha256 = sum->segment_sha256,
		.bytes = sum->segment_bytes,
		.batches = sum->batches,
		.events = sum->events,
		.first_wall_ns = sum->first_wall_ns,
		.last_wall_ns = sum->last_wall_ns,
		.removed_wall_ns = m->now_ns,
		.reason = m->reason,
		.all = removed_with(m->g, m->reason),
	};
	size_t at = 0;

	do {
		size_t left = m->n_streams - at;
		struct frame f = { .kind = FRAME_RETENTION, .received_ns = m->now_ns };
		size_t len = 0;
		int r;

		info.streams = m->streams ? m->streams + at : NULL;
		info.n_streams = left < RETENTION_STREAMS_MAX ? left : RETENTION_STREAMS_MAX;
		at += info.n_streams;
		info.has_segment = at == m->n_streams;
		arena_reset(m->arena);
		r = retention_record_make(&info, m->s->c.ledger_key, m->arena, &f.body, &len, e);
		f.length = (uint32_t)len;
		if (!r)
			r = write_group(m, &f, 1, e);
		if (r)
			return r;
		(void)pthread_rwlock_wrlock(&m->s->lock);
		for (size_t i = 0; info.streams && i < info.n_streams; i++) {
			const struct retention_stream *rs = &info.streams[i];
			struct stream *s = streams_find(m->s->streams, &rs->key);

			if (s)
				stream_removed(s, rs->first_number, rs->last_number, &rs->last_hash,
					       m->g->tenant->open->sequence);
		}
		if (info.has_segment)
			m->g->tenant->removed = info.all;
		(void)pthread_rwlock_unlock(&m->s->lock);
	} while (!info.has_segment);
	return 0;
}

/* ---- removing ---- */

/* Nothing of it is left, and a newer boot or epoch of the host's lane has taken its place. */
static bool forgettable(const struct stream *s)
{
	if (s->removed_last == 0 || s->removed_last < s->newest || s->n_runs > 0)
		return false;
	for (const struct stream *o = s->host->streams; o; o = o->next)
		if (o != s && o->lane == s->lane && o->stored && o->received_ns > s->received_ns)
			return true;
	return false;
}

static int forget(struct removal *m, struct error *e)
{
	for (size_t i = 0; i < m->n_streams; i++) {
		struct stream *s = streams_find(m->s->streams, &m->streams[i].key);
		int r = 0;

		if (!s || !forgettable(s))
			continue;
		if (m->s->catalog)
			r = catalog_remove_stream(m->s->catalog, s, e);
		(void)pthread_rwlock_wrlock(&m->s->lock);
		streams_forget(m->s->streams, s);
		(void)pthread_rwlock_unlock(&m->s->lock);
		if (r)
			return r;
	}
	return 0;
}

static void note_in_catalog(struct removal *m)
{
	struct catalog *c = m->s->catalog;
	struct error e = { 0 };
	int r = c ? catalog_begin(c, &e) : 0;

	if (!r)
		r = forget(m, &e);
	if (!r && c)
		r = catalog_put_removed(c, &m->g->tenant->name, &m->g->tenant->removed, &e);
	if (!r && c)
		r = catalog_remove_segment(c, &m->g->id, &e);
	if (!r && c)
		r = catalog_commit(c, &e);
	if (r)
		store_drop_catalog(m->s, &e);
}

/* Out of the list and off the disk. What stays for want of a working disk goes at the next start. */
static void unlink_segment(struct store *s, struct segment *g)
{
	struct tenant *t = g->tenant;
	char name[SEGMENT_NAME_MAX];
	size_t at = 0;

	(void)pthread_rwlock_wrlock(&s->lock);
	while (t->segments[at] != g)
		at++;
	t->n_segments--;
	memmove(t->segments + at, t->segments + at + 1,
		(t->n_segments - at) * sizeof(struct segment *));
	(void)pthread_rwlock_unlock(&s->lock);
	if (unlinkat(t->dirfd, segment_name_sealed(&g->id, name), 0) < 0 && errno != ENOENT)
		log_error("removed segment not unlinked", KV_STR("segment", name),
			  KV_STR("error", strerror(errno)));
	else
		log_info("segment removed", KV_STR("segment", name),
			 KV_U64("events", g->summary.events));
	(void)unlinkat(t->dirfd, segment_name_index(&g->id, name), 0);
	(void)pthread_rwlock_wrlock(&s->lock);
	cut_off_remove(t->dirfd, g->sequence, &t->cut_off);
	(void)pthread_rwlock_unlock(&s->lock);
	if (fsync(t->dirfd) < 0)
		log_error("folder of segments not synced", KV_STR("error", strerror(errno)));
	segment_free(g);
}

static int remove_segment(struct store *s, struct segment *g, const char *reason, int64_t now_ns,
			  struct error *e)
{
	AUTO(removal_release)
	struct removal m = { .s = s, .g = g, .reason = reason, .now_ns = now_ns };
	int r;

	m.arena = arena_new(ARENA_MAX, 0);
	if (!m.arena)
		return error_set(e, -ENOMEM, "cannot allocate a retention record");
	r = collect_streams(&m, e);
	if (r)
		return r;
	streams_each_host(s->streams, collect_host, &m);
	if (m.r)
		return error_set(e, m.r, "cannot allocate a retention record");
	r = move_records(&m, e);
	if (!r)
		r = record(&m, e);
	if (r)
		return error_wrap(e, r, "cannot record a removal");
	note_in_catalog(&m);
	unlink_segment(s, g);
	return 0;
}

/* ---- from the log ---- */

int retention_apply(struct store *s, struct tenant *t, const uint8_t *body, size_t len,
		    uint64_t segment, struct error *e)
{
	struct arena *a = arena_new(ARENA_MAX, 0);
	struct retention_info info;
	struct segment *g;
	int r = 0;

	if (!a)
		return error_set(e, -ENOMEM, "cannot allocate memory for a retention record");
	/* Twice: protobuf-c does not tell short memory from bad bytes, and what is stored was good. */
	if ((retention_record_open(body, len, NULL, a, &info, NULL) &&
	     retention_record_open(body, len, NULL, a, &info, NULL)) ||
	    !batch_name_equal(&info.tenant, &t->name)) {
		log_error("stored retention record not understood");
		arena_free(a);
		return 0;
	}
	for (size_t i = 0; i < info.n_streams && !r; i++) {
		const struct retention_stream *rs = &info.streams[i];
		struct stream *stream;

		r = streams_get(s->streams, &rs->key, &stream);
		if (!r)
			stream_removed(stream, rs->first_number, rs->last_number, &rs->last_hash,
				       segment);
		if (r == -EDQUOT)
			r = 0;
	}
	if (info.has_segment)
		t->removed = info.all;
	g = info.has_segment ? tenant_segment(t, &info.segment) : NULL;
	if (g && g->state == SEGMENT_SEALED)
		g->removed = true;
	arena_free(a);
	return r ? error_set(e, r, "cannot keep a stream: %m") : 0;
}

int retention_finish(struct store *s, struct error *e)
{
	for (size_t i = 0; i < s->n_tenants; i++) {
		struct tenant *t = s->tenants[i];

		for (size_t k = t->n_segments; k-- > 0;) {
			struct segment *g = t->segments[k];
			struct removal m = { .s = s, .g = g };

			if (!g->removed)
				continue;
			note_in_catalog(&m);
			unlink_segment(s, g);
		}
	}
	(void)e;
	return 0;
}

bool store_removed(struct store *s, const struct batch_name *tenant, struct store_removed *ret)
{
	const struct tenant *t;

	*ret = (struct store_removed){ 0 };
	(void)pthread_rwlock_rdlock(&s->lock);
	t = store_tenant(s, tenant);
	if (t)
		*ret = t->removed;
	(void)pthread_rwlock_unlock(&s->lock);
	return ret->segments > 0;
}

/* ---- the rules ---- */

static void totals(const struct store *s, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	for (size_t i = 0; i < s->n_tenants; i++)
		for (size_t k = 0; k < s->tenants[i]->n_segments; k++) {
			const struct segment *g = s->tenants[i]->segments[k];

			*ret_bytes += g->state == SEGMENT_SEALED ?
					      g->summary.segment_bytes + g->summary.index_bytes :
					      segment_writer_bytes(g->writer);
		}
}

/* The sealed segment that was filled first of all that are the oldest of their tenant. */
static struct segment *oldest(const struct store *s)
{
	struct segment *first = NULL;

	for (size_t i = 0; i < s->n_tenants; i++) {
		struct segment *g = s->tenants[i]->n_segments ? s->tenants[i]->segments[0] : NULL;

		if (g && g->state == SEGMENT_SEALED &&
		    (!first || g->summary.last_received_ns < first->summary.last_received_ns))
			first = g;
	}
	return first;
}

/* NULL, or why the segment has to go. By receipt: a host's clock must not keep a segment for ever, and
 * what was received before a time happened before it. */
static const char *reason_for(const struct store *s, const struct segment *g, int64_t now_ns)
{
	uint64_t bytes;

	if (s->c.retain_ms > 0 && g->summary.last_received_ns < now_ns &&
	    (uint64_t)(now_ns - g->summary.last_received_ns) / NSEC_PER_MSEC >= s->c.retain_ms)
		return "age";
	totals(s, &bytes);
	return s->c.retain_bytes > 0 && bytes > s->c.retain_bytes ? "size" : NULL;
}

static int seal_old(struct store *s, int64_t now_ns, struct error *e)
{
	int r = 0;

	for (size_t i = 0; i < s->n_tenants; i++) {
		struct tenant *t = s->tenants[i];

		/* With records alone it waits for batches, or sealing and removing would go round for ever. */
		if (!t->open || segment_writer_table(t->open->writer)->n_streams == 0)
			continue;
		if (t->seal_now || (now_ns > t->open->created_ns &&
				    (uint64_t)(now_ns - t->open->created_ns) / NSEC_PER_MSEC >=
					    s->c.segment_age_ms)) {
			int one = tenant_seal(s, t, e);

			r = one ? one : r;
		}
	}
	return r;
}

static void heal_indexes(struct store *s)
{
	for (size_t i = 0; i < s->n_tenants; i++)
		for (size_t k = 0; k < s->tenants[i]->n_segments; k++) {
			struct segment *g = s->tenants[i]->segments[k];
			struct error e = { 0 };

			if (g->state != SEGMENT_SEALED || atomic_load(&g->index) != INDEX_DAMAGED)
				continue;
			if (store_rebuild_index(s, g, &e)) {
				atomic_store(&g->index, INDEX_LOST);
				log_failure(LOG_LEVEL_ERROR, "damaged index not built again", &e);
			}
		}
}

int store_retain(struct store *s, int64_t now_ns, struct error *e)
{
	struct segment *g;
	int r = seal_old(s, now_ns, e);

	heal_indexes(s);
	while ((g = oldest(s)) != NULL) {
		const char *reason = reason_for(s, g, now_ns);
		int one;

		if (!reason)
			break;
		one = remove_segment(s, g, reason, now_ns, e);
		if (one)
			return one;
	}
	return r;
}
