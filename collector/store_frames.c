/* SPDX-License-Identifier: Apache-2.0 */
/* Everything stored, frame by frame, from a mark on: for who has to compare the store with something else. */
#include "collector/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int store_marks(struct store *s, struct store_mark **ret, size_t *ret_n, struct error *e)
{
	struct store_mark *all = calloc(s->n_tenants + 1, sizeof(*all));

	if (!all)
		return error_set(e, -ENOMEM, "cannot mark a place in the store: %m");
	for (size_t i = 0; i < s->n_tenants; i++) {
		const struct tenant *t = s->tenants[i];

		all[i].tenant = t->name;
		if (t->open) {
			all[i].sequence = t->open->sequence;
			all[i].offset = segment_writer_bytes(t->open->writer);
		} else if (t->n_segments > 0) {
			all[i].sequence = t->segments[t->n_segments - 1]->sequence + 1;
		}
	}
	*ret = all;
	*ret_n = s->n_tenants;
	return 0;
}

/* One segment's frames from offset on; what is damaged is passed over, the store names it elsewhere. */
static int each_in_segment(const struct segment *g, uint64_t from, store_frame_fn fn, void *ctx,
			   struct error *e)
{
	AUTO(segment_scan_free_ptr) struct segment_scan *scan = NULL;
	char name[SEGMENT_NAME_MAX];
	bool sealed = g->state == SEGMENT_SEALED;
	AUTO(close_fd)
	int fd =
		openat(g->tenant->dirfd,
		       sealed ? segment_name_sealed(&g->id, name) : segment_name_open(&g->id, name),
		       O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open segment '%s': %m", name);
	r = segment_scan_new(segment_pread, &fd, &g->id,
			     sealed ? (uint64_t)st.st_size : segment_writer_bytes(g->writer), &scan,
			     e);
	while (r >= 0) {
		struct error why = { 0 };
		struct frame f;

		r = segment_scan_next(scan, &f, &why);
		if (r == 0)
			return 0;
		if (r == -EBADMSG)
			r = segment_scan_skip(scan, e);
		else if (r < 0)
			return error_set(e, r, "%s", why.text);
		else if (f.offset >= from && f.kind < FRAME_BEGIN)
			r = fn(ctx, (enum store_kind)f.kind, &g->tenant->name, f.body, f.length, e);
	}
	return r;
}

static const struct store_mark *mark_of(const struct store_mark *marks, size_t n,
					const struct batch_name *tenant)
{
	for (size_t i = 0; i < n; i++)
		if (batch_name_equal(&marks[i].tenant, tenant))
			return &marks[i];
	return NULL;
}

int store_each_frame(struct store *s, const struct store_mark *marks, size_t n, store_frame_fn fn,
		     void *ctx, struct error *e)
{
	for (size_t i = 0; i < s->n_tenants; i++) {
		const struct tenant *t = s->tenants[i];
		const struct store_mark *m = mark_of(marks, n, &t->name);

		for (size_t k = 0; k < t->n_segments; k++) {
			const struct segment *g = t->segments[k];
			uint64_t from = m && g->sequence == m->sequence ? m->offset : 0;
			int r;

			if (m && g->sequence < m->sequence)
				continue;
			r = each_in_segment(g, from, fn, ctx, e);
			if (r < 0)
				return r;
		}
	}
	return 0;
}
