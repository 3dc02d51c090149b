/* SPDX-License-Identifier: Apache-2.0 */
/* One row per kind of order: what it may be of, and what its own fields must be. Private to proto/order*. */
#ifndef PROTO_ORDER_SHAPE_H
#define PROTO_ORDER_SHAPE_H

#include "proto/order.h"

#define ORDER_PATH_MAX 4096

enum { /* bits */
       ORDER_OF_HOST = 1 << 0,
       ORDER_OF_CONTAINER = 1 << 1,
       ORDER_OF_PROCESS = 1 << 2,
};

struct order_shape {
	const char *name;
	Exhibit__V1__Order__DetailCase detail;
	unsigned int of; /* ORDER_OF_* */
	/* -EBADMSG. NULL: there is nothing to check. */
	int (*check)(const Exhibit__V1__Order *o, struct error *e);
};

/* NULL: not a kind. */
const struct order_shape *order_shape(Exhibit__V1__OrderKind kind);

#endif
