/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of orders: what the collector says on it goes to sense byte for byte, still signed; sense's steps go
 * to the collector. Owned by the uplink's main thread. */
#ifndef AGENT_UPLINK_ORDERS_H
#define AGENT_UPLINK_ORDERS_H

#include "agent/uplink_wire.h"

struct uplink_orders;

/* wire: borrowed. hello: a Hello message, packed, copied. */
MUST_CHECK int uplink_orders_new(struct uplink_wire *wire, const uint8_t *hello, size_t len,
				 struct uplink_orders **ret, struct error *e);
void uplink_orders_free(struct uplink_orders *o); /* NULL allowed */
/* LINK_HELD, LINK_STEP or LINK_CONTRADICTION came. */
void uplink_orders_take(struct uplink_orders *o, const struct link_message *m);
/* false: it is of another stream. */
bool uplink_orders_inbox(struct uplink_orders *o, struct inbox_item *i);
/* connected: the collector answered the hello of events. A few times a second. */
void uplink_orders_tick(struct uplink_orders *o, bool connected);

#endif
