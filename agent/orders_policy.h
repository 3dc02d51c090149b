/* SPDX-License-Identifier: Apache-2.0 */
/* What the owner of this host says about orders, whoever signed them: kinds that are allowed or denied, how
 * many approvals a kind takes, how much one acquisition may cost, how many there may be. Pure. */
#ifndef AGENT_ORDERS_POLICY_H
#define AGENT_ORDERS_POLICY_H

#include "order.pb-c.h"
#include "proto/base/options.h"

#define ORDERS_KINDS 9 /* one past the last */

struct orders_policy {
	uint32_t allowed; /* bit per kind */
	uint8_t approvals[ORDERS_KINDS];
	uint64_t max_bytes, max_seconds, bytes_per_second; /* of one order; 0: no limit */
	uint64_t concurrent, per_hour, per_hour_caller;
};

/* allow: kinds, or "all"; empty: all. deny: likewise, and it wins; empty: none. approvals: "KIND=N" or
 * "all=N", N at most ORDER_APPROVALS_MAX. The other members of ret are left as they are. -EINVAL names the
 * word and the option. */
MUST_CHECK int orders_policy_parse(const struct option_list *allow, const struct option_list *deny,
				   const struct option_list *approvals, struct orders_policy *ret,
				   struct error *e);
/* -EPERM with the option that forbids it. */
MUST_CHECK int orders_policy_kind(const struct orders_policy *p, Exhibit__V1__OrderKind kind,
				  struct error *e);
/* What is under way and was begun, for the limits. */
struct orders_load {
	uint64_t running, last_hour, last_hour_caller;
};
/* -EDQUOT with the option that is used up. */
MUST_CHECK int orders_policy_load(const struct orders_policy *p, const struct orders_load *l,
				  struct error *e);
/* The stricter of the two; 0 in both: none. */
uint64_t orders_policy_least(uint64_t ours, uint64_t asked);
/* The same target: process, container, or the host as a whole (packets of one host and files of one container are
 * different targets, a disk is one per device). Files and packets of one target are the same only when the two ask
 * for the very same. */
bool orders_policy_same_target(const Exhibit__V1__Order *a, const Exhibit__V1__Order *b);

#endif
