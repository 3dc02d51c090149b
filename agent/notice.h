/* SPDX-License-Identifier: Apache-2.0 */
/* An event about an order on its way to the drain thread, with texts of its own. */
#ifndef AGENT_NOTICE_H
#define AGENT_NOTICE_H

#include "agent/event.h"

#define NOTICE_TEXT_MAX 1024 /* of each text; longer ones are cut */

struct notice {
	struct event_order order; /* points into text */
	uint32_t action, error;
	uint64_t boottime_ns;
	uint8_t text[];
};

/* NULL: out of memory. */
struct notice *notice_new(const struct event_order *order, uint32_t action, uint32_t error,
			  uint64_t boottime_ns);
void notice_free(struct notice *n); /* NULL allowed */

#endif
