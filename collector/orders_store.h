/* SPDX-License-Identifier: Apache-2.0 */
/* Orders at rest: the signed bytes, the steps, the newest revocation list of each tenant. SQLite in
 * DIR/orders.sqlite; what a function reported as done survives a kill and a loss of power. Any thread: one
 * lock of its own. */
#ifndef COLLECTOR_ORDERS_STORE_H
#define COLLECTOR_ORDERS_STORE_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/batch.h"
#include "proto/order.h"

#define ORDERS_FILE "orders.sqlite" /* in DIR */
#define ORDERS_FOLDER ".orders" /* in the store's folder; no tenant's name begins with a dot */

struct orders_store;

/* dir: made when missing. -EBADMSG: damaged, or of a later version. */
MUST_CHECK int orders_store_open(const char *dir, struct orders_store **ret, struct error *e);
void orders_store_close(struct orders_store *s); /* NULL allowed */

/* One order as it is handed to callbacks: borrowed. seq rises with each order and is its name in here. */
struct orders_row {
	int64_t seq;
	struct batch_name tenant;
	uint8_t id[ORDER_ID_LEN];
	const uint8_t *signed_order; /* SignedOrder */
	size_t len;
	bool open; /* something may still happen */
};
typedef int orders_row_fn(void *ctx, const struct orders_row *row);
typedef int orders_step_fn(void *ctx, const uint8_t *step, size_t len);

/* Which: all with NULLs. The newest `limit` of those that match, oldest first. */
struct orders_which {
	const struct batch_name *tenant; /* NULL: any */
	const uint8_t *id; /* NULL: any */
	const void *case_id; /* NULL: any */
	size_t case_len;
	bool open; /* only these */
	uint64_t limit; /* 0: all */
};

/* case_id: for asking. ret_seq. -EEXIST: the tenant has an order of this id. step: its first, packed. */
MUST_CHECK int orders_store_put(struct orders_store *s, const struct orders_row *row,
				const void *case_id, size_t case_len, const uint8_t *step,
				size_t step_len, int64_t *ret_seq, struct error *e);
/* Replace the signed order (by one with another approval) and add a step, or neither. */
MUST_CHECK int orders_store_approve(struct orders_store *s, int64_t seq,
				    const uint8_t *signed_order, size_t len, const uint8_t *step,
				    size_t step_len, struct error *e);
/* host: empty for the order as a whole. open false: that was the last. */
MUST_CHECK int orders_store_step(struct orders_store *s, int64_t seq, const void *host,
				 size_t host_len, Exhibit__V1__OrderState state,
				 const uint8_t *step, size_t step_len, bool open, struct error *e);
/* fn not 0 ends it and is returned. fn must not call the store. */
MUST_CHECK int orders_store_each(struct orders_store *s, const struct orders_which *w,
				 orders_row_fn *fn, void *ctx, struct error *e);
MUST_CHECK int orders_store_steps(struct orders_store *s, int64_t seq, orders_step_fn *fn,
				  void *ctx, struct error *e);
/* Whether the order was sent to this host. ret: SignedOrder, malloc'ed. ret_over: the host said what became of it:
 * done, failed or refused. -ENOENT. */
MUST_CHECK int orders_store_sent(struct orders_store *s, const struct batch_name *tenant,
				 const uint8_t id[static ORDER_ID_LEN],
				 const struct batch_name *host, uint8_t **ret, size_t *ret_len,
				 bool *ret_over, struct error *e);

MUST_CHECK int orders_store_put_list(struct orders_store *s, const struct batch_name *tenant,
				     const uint8_t *list, size_t len, struct error *e);
/* Of every tenant. */
MUST_CHECK int orders_store_lists(struct orders_store *s,
				  int (*fn)(void *ctx, const struct batch_name *tenant,
					    const uint8_t *list, size_t len),
				  void *ctx, struct error *e);

#endif
