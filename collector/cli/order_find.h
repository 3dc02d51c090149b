/* SPDX-License-Identifier: Apache-2.0 */
/* Orders that the collector has, with their steps, as it lists them. */
#ifndef CLI_ORDER_FIND_H
#define CLI_ORDER_FIND_H

#include "collector/cli/args.h"
#include "proto/order.h"

#define ORDERS_LOOK_MAX 1000 /* the most that a collector lists */

struct found_order {
	Exhibit__V1__SignedOrder *signed_order; /* owned */
	Exhibit__V1__Order *order; /* owned */
	size_t n_steps;
	Exhibit__V1__OrderStep **steps; /* owned, oldest first */
};

struct found_orders {
	size_t n;
	struct found_order *at;
	uint64_t looked; /* the collector had at least so many, and gave no more; 0: that is all */
};

/* The newest that match; prefix: hex, the beginning of the id ("": all), or all of it; --case and --limit of a. */
MUST_CHECK int orders_find(const struct args *a, const char *prefix, struct found_orders *ret,
			   struct error *e);
/* Exactly one, by the beginning of its id. */
MUST_CHECK int orders_find_one(const struct args *a, const char *text, struct found_orders *ret,
			       struct error *e);
void orders_found_release(struct found_orders *f);

#endif
