/* SPDX-License-Identifier: Apache-2.0 */
/* The streams at a start: from the catalog when it fits the folder, else from the sealed segments, and
 * then into a new catalog. */
#include "collector/store_internal.h"

#include "proto/base/log.h"

#include <errno.h>

struct fit {
	const struct store *s;
	size_t matched;
};

static int fits_segment(void *ctx, const struct catalog_segment *c)
{
	struct fit *f = ctx;
	const struct tenant *t = store_tenant(f->s, &c->tenant);
	const struct segment *g = t ? tenant_segment(t, &c->id) : NULL;

	if (!g || g->summary.segment_bytes != c->bytes)
		return -EBADMSG;
	f->matched++;
	return 0;
}

/* The catalog lists exactly the sealed segments that are there. */
static bool catalog_fits(struct store *s)
{
	struct fit f = { .s = s };
	size_t total = 0;

	for (size_t i = 0; i < s->n_tenants; i++)
		total += s->tenants[i]->n_segments;
	return catalog_each_segment(s->catalog, fits_segment, &f, NULL) == 0 && f.matched == total;
}

struct save {
	struct catalog *catalog;
	struct error *e;
	int r;
};

static bool save_host(void *ctx, struct stream_host *h)
{
	struct save *v = ctx;

	for (const struct stream *s = h->streams; s && !v->r; s = s->next)
		if (s->stored)
			v->r = catalog_put_stream(v->catalog, s, v->e);
	for (uint32_t i = 0; i < h->n_records && !v->r; i++)
		v->r = catalog_put_record(v->catalog, h, &h->records[i], v->e);
	return !v->r;
}

static int save_all(struct store *s, struct error *e)
{
	struct save v = { .catalog = s->catalog, .e = e };

	v.r = catalog_begin(s->catalog, e);
	for (size_t i = 0; i < s->n_tenants; i++)
		for (size_t k = 0; k < s->tenants[i]->n_segments && !v.r; k++) {
			const struct segment *g = s->tenants[i]->segments[k];

			v.r = catalog_put_segment(s->catalog, &g->tenant->name, &g->id,
						  g->summary.segment_bytes, e);
		}
	for (size_t i = 0; i < s->n_tenants && !v.r; i++)
		v.r = catalog_put_removed(s->catalog, &s->tenants[i]->name, &s->tenants[i]->removed,
					  e);
	if (!v.r)
		streams_each_host(s->streams, save_host, &v);
	return v.r ? v.r : catalog_commit(s->catalog, e);
}

static int rebuild_catalog(struct store *s, struct error *e)
{
	struct error why = { 0 };
	struct streams *fresh = streams_new();
	int r = 0;

	if (!fresh)
		return error_set(e, -ENOMEM, "cannot allocate the table of streams");
	streams_free(s->streams);
	s->streams = fresh;
	catalog_close(TAKE(s->catalog));
	catalog_remove(s->dirfd);
	for (size_t i = 0; i < s->n_tenants; i++)
		s->tenants[i]->removed = (struct store_removed){ 0 };
	for (size_t i = 0; i < s->n_tenants; i++)
		for (size_t k = 0; k < s->tenants[i]->n_segments && !r; k++)
			r = store_replay_sealed(s, s->tenants[i]->segments[k], e);
	if (r)
		return r;
	if (catalog_open(s->dir, &s->catalog, &why) || save_all(s, &why))
		store_drop_catalog(s, &why);
	return 0;
}

static int load_removed(void *ctx, const struct catalog_removed *m)
{
	struct tenant *t = store_tenant(ctx, &m->tenant);

	if (t)
		t->removed = m->removed;
	return 0;
}

int store_load_catalog(struct store *s, struct error *e)
{
	struct error why = { 0 };
	int r = catalog_open(s->dir, &s->catalog, &why);

	if (r == -ENOMEM) {
		if (e)
			*e = why;
		return r;
	}
	if (!r && catalog_fits(s)) {
		r = catalog_load(s->catalog, s->streams, &why);
		if (!r)
			r = catalog_each_removed(s->catalog, load_removed, s, &why);
		if (!r)
			return 0;
	}
	log_info("catalog is built anew",
		 KV_STR("reason", r ? why.text : "it does not list the segments that are there"));
	return rebuild_catalog(s, e);
}
