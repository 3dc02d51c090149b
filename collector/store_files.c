/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "collector/store_internal.h"

int store_files(struct store *s, struct store_file **ret, size_t *ret_n, struct error *e)
{
	struct store_file *all;
	size_t n = 0, most = 1;

	(void)pthread_rwlock_rdlock(&s->lock);
	for (size_t i = 0; i < s->n_tenants; i++)
		most += s->tenants[i]->n_segments;
	all = calloc(most, sizeof(*all));
	for (size_t i = 0; all && i < s->n_tenants; i++) {
		const struct tenant *t = s->tenants[i];

		for (size_t k = 0; k < t->n_segments; k++) {
			const struct segment *g = t->segments[k];

			all[n].tenant = t->name;
			memcpy(all[n].segment, g->id.b, SEGMENT_ID_LEN);
			all[n].sealed = g->state == SEGMENT_SEALED;
			all[n].bytes = all[n].sealed ? g->summary.segment_bytes :
						       segment_writer_bytes(g->writer);
			n++;
		}
	}
	(void)pthread_rwlock_unlock(&s->lock);
	if (!all)
		return error_set(e, -ENOMEM, "cannot list segments: %m");
	*ret = all;
	*ret_n = n;
	return 0;
}
