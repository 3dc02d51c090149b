/* SPDX-License-Identifier: Apache-2.0 */
/* What a question asks of events: compiled once, then asked of each row, of a whole batch's bytes, and of
 * the index. Alternatives within a group, all groups must hold. Immutable once compiled; any thread. */
#ifndef COLLECTOR_FILTER_H
#define COLLECTOR_FILTER_H

#include "collector/store.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/fields.h"

#define FILTER_TERMS_MAX 256
#define FILTER_VALUE_MAX 4096 /* bytes */

struct filter;

/* terms: borrowed for the call. No term: everything matches. -EINVAL with one sentence, and a hint where a
 * name is nearly right. Fuzzed. */
MUST_CHECK int filter_compile(Exhibit__V1__FilterTerm *const *terms, size_t n, struct filter **ret,
			      struct error *e);
void filter_free(struct filter *f); /* NULL allowed */
static inline void filter_free_ptr(struct filter **f)
{
	filter_free(*f);
}

/* Whether the row matches. Values are made in s->arena; ask s->failed after false. */
bool filter_match(const struct filter *f, struct subject *s);
/* false: no entry among raw (an opened batch) can match, known from its bytes alone. Saves unpacking where
 * a text is searched for that is not indexed. */
bool filter_may_match(const struct filter *f, const uint8_t *raw, size_t len);
/* The groups that the index can narrow, for store_find: each a superset of what matches. Owned by f. */
const struct store_group *filter_groups(const struct filter *f, size_t *ret_n);
/* Classes of events that can match, as bits (1 << class); all bits when every class can. */
uint32_t filter_classes(const struct filter *f);

#endif
