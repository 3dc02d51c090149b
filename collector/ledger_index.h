/* SPDX-License-Identifier: Apache-2.0 */
/* Which leaves name a case or an exhibit: DIR/index.sqlite, derived from the entries and built again when it is
 * missing, damaged or ahead of them. Most leaves name neither and are not in it. Any thread. */
#ifndef COLLECTOR_LEDGER_INDEX_H
#define COLLECTOR_LEDGER_INDEX_H

#include "proto/base/base.h"
#include "proto/base/error.h"

struct ledger_index;

/* Over the first size leaves of the log in dir (dirfd: the same). */
MUST_CHECK int ledger_index_open(const char *dir, int dirfd, uint64_t size,
				 struct ledger_index **ret, struct error *e);
void ledger_index_close(struct ledger_index *i); /* NULL allowed */
/* The log has grown to size. Reads what is new; on an error the next call tries again. */
MUST_CHECK int ledger_index_grow(struct ledger_index *i, uint64_t size, struct error *e);
/* As ledger_find, over what is indexed. */
MUST_CHECK int ledger_index_find(struct ledger_index *i, const void *case_id, size_t case_len,
				 const void *exhibit_id, size_t exhibit_len, uint64_t size,
				 size_t max, uint64_t **ret, size_t *ret_n, struct error *e);

#endif
