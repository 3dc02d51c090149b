/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ancestors.h"

void ancestors_note(struct ancestors *a, const struct rec_image *parent)
{
	if (parent->pid == 0 || a->n == ANCESTORS_MAX)
		return;
	for (size_t i = a->n; i > 0; i--) /* children of one parent often follow each other */
		if (image_equal(&a->key[i - 1], parent))
			return;
	a->key[a->n++] = *parent;
}

void ancestors_listed(struct ancestors *a, const struct rec_image *key)
{
	for (size_t i = 0; i < a->n; i++)
		if (image_equal(&a->key[i], key)) {
			a->key[i] = a->key[--a->n];
			return;
		}
}

bool ancestors_missing(const struct ancestors *a, struct process_table *t, size_t *at,
		       struct rec_image *ret_key)
{
	while (*at < a->n) {
		const struct rec_image *key = &a->key[(*at)++];
		const struct process *p = process_find(t, key);

		if (p != NULL && p->source >= PROCESS_FORK)
			continue;
		*ret_key = *key;
		return true;
	}
	return false;
}
