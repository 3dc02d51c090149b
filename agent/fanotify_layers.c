/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fanotify_layers.h"

#include <stdlib.h>
#include <string.h>

#define LAYERS_MAX (2 * FANOTIFY_FS_MAX)

struct layer {
	const char *folder; /* of fs */
	size_t len, order;
	enum fanotify_part part;
	const struct fanotify_fs *fs;
};

struct fanotify_layers {
	const struct fanotify_marks *marks;
	uint64_t generation; /* of marks, from which the table was made */
	size_t n;
	struct layer *layer; /* sorted by folder, each once */
};

struct fanotify_layers *fanotify_layers_new(const struct fanotify_marks *m)
{
	struct fanotify_layers *l = calloc(1, sizeof(*l));

	if (l)
		l->marks = m;
	return l;
}

void fanotify_layers_free(struct fanotify_layers *l)
{
	if (!l)
		return;
	free(l->layer);
	free(l);
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t len = a_len < b_len ? a_len : b_len;
	int r = memcmp(a, b, len);

	return r ? r : (a_len > b_len) - (a_len < b_len);
}

static int compare(const void *a, const void *b)
{
	const struct layer *x = a, *y = b;
	int r = compare_bytes(x->folder, x->len, y->folder, y->len);

	return r ? r : (x->order > y->order) - (x->order < y->order);
}

static void add(struct fanotify_layers *l, const struct fanotify_fs *fs, const char *folder,
		enum fanotify_part part)
{
	l->layer[l->n] = (struct layer){
		.folder = folder, .len = strlen(folder), .order = l->n, .part = part, .fs = fs
	};
	l->n += l->layer[l->n].len > 1;
}

/* The same overlay seen from two namespaces: the first is kept. */
static void sort_out(struct fanotify_layers *l)
{
	size_t kept = 0;

	qsort(l->layer, l->n, sizeof(*l->layer), compare);
	for (size_t i = 0; i < l->n; i++)
		if (!kept || compare_bytes(l->layer[kept - 1].folder, l->layer[kept - 1].len,
					   l->layer[i].folder, l->layer[i].len) != 0)
			l->layer[kept++] = l->layer[i];
	l->n = kept;
}

static void make(struct fanotify_layers *l)
{
	const struct fanotify_fs *fs;
	size_t n = 0;

	l->generation = fanotify_marks_generation(l->marks);
	l->n = 0;
	free(TAKE(l->layer));
	while (n < LAYERS_MAX && fanotify_marks_overlay(l->marks, n))
		n++;
	if (!n)
		return;
	l->layer = calloc(2 * n, sizeof(*l->layer));
	for (size_t i = 0; l->layer && i < n && (fs = fanotify_marks_overlay(l->marks, i)); i++) {
		add(l, fs, fs->upper, FANOTIFY_UPPER);
		add(l, fs, fs->work, FANOTIFY_WORK);
	}
	if (l->layer)
		sort_out(l);
}

static const struct layer *find(const struct fanotify_layers *l, const char *folder, size_t len)
{
	size_t low = 0, high = l->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct layer *at = &l->layer[middle];
		int r = compare_bytes(folder, len, at->folder, at->len);

		if (r == 0)
			return at;
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

enum fanotify_part fanotify_layers_part(struct fanotify_layers *l, struct bytes path,
					const struct fanotify_fs **ret_overlay, size_t *ret_rest)
{
	if (l->generation != fanotify_marks_generation(l->marks))
		make(l);
	/* The innermost folder counts: an overlay may store inside of another one. */
	for (size_t len = path.len; l->n && len > 1; len--) {
		const struct layer *at;

		if (len != path.len && path.at[len] != '/')
			continue;
		at = find(l, (const char *)path.at, len);
		if (!at)
			continue;
		*ret_overlay = at->fs;
		*ret_rest = len;
		return at->part;
	}
	return FANOTIFY_PLAIN;
}
