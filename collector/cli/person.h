/* SPDX-License-Identifier: Apache-2.0 */
/* The caller's own key for signing orders, as the configuration names it. */
#ifndef CLI_PERSON_H
#define CLI_PERSON_H

#include "collector/cli/args.h"
#include "proto/order.h"

MUST_CHECK int person_signer(const struct args *a, struct order_signer **ret, struct error *e);
static inline void order_signer_free_ptr(struct order_signer **s)
{
	order_signer_free(*s);
}

#endif
