/* SPDX-License-Identifier: Apache-2.0 */
/* Rows kept in memory after their batch is closed: event bytes, and once per batch the context and each
 * process. One owner, no locks. */
#ifndef COLLECTOR_ROW_SET_H
#define COLLECTOR_ROW_SET_H

#include "collector/row_key.h"
#include "collector/scan.h"
#include "proto/base/base.h"

/* Shared by the rows of one batch. */
struct row_context {
	size_t users;
	struct store_ref ref;
	struct batch_name host_name;
	Exhibit__V1__BatchContext message; /* borrowed from the above */
};

struct row_process {
	size_t users;
	size_t len;
	uint8_t bytes[];
};

struct kept_row {
	struct row_key key;
	struct row_context *context;
	struct row_process *process; /* NULL: none */
	size_t event_len;
	uint8_t event[];
};

/* The rows of one batch, sorted by key; next is the first that is still there. */
struct row_set {
	struct kept_row **rows;
	size_t n, cap, next;
	size_t bytes; /* memory that its rows hold */
	struct row_context *context;
	const struct store_ref *ref; /* borrowed while rows are added */
	const uint8_t *last_process; /* identity of the process bytes seen last, while adding */
	struct row_process *last;
};

/* Add what scan shows. -ENOMEM. */
MUST_CHECK int row_set_add(struct row_set *s, const struct scan_row *row,
			   const struct row_key *key);
/* After the batch's last row. */
void row_set_sort(struct row_set *s);
/* Take the first row out; the caller frees it with kept_row_free. NULL: none left. */
struct kept_row *row_set_take(struct row_set *s);
/* Drop the rows from key on. */
void row_set_cut(struct row_set *s, const struct row_key *key);
void row_set_release(struct row_set *s);
void kept_row_free(struct kept_row *r); /* NULL allowed */
static inline size_t row_set_left(const struct row_set *s)
{
	return s->n - s->next;
}

#endif
