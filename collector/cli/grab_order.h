/* SPDX-License-Identifier: Apache-2.0 */
/* From the words of 'exhibit grab' to an order's bytes. Pure, but for the random id. */
#ifndef CLI_GRAB_ORDER_H
#define CLI_GRAB_ORDER_H

#include "collector/cli/args.h"
#include "collector/cli/host_ids.h"
#include "proto/order.h"

/* Order's bytes, malloc'ed, good by order_parse. who: of the signing certificate; the order ends with it at
 * the latest. -EINVAL with a sentence. */
MUST_CHECK int grab_order(const struct args *a, const struct host_ids *hosts,
			  const struct identity *who, int64_t now_ns, uint8_t **ret,
			  size_t *ret_len, struct error *e);
/* What kinds there are, for help: "memory, core, ..." */
const char *grab_kinds(void);

#endif
