/* SPDX-License-Identifier: Apache-2.0 */
/* What the ledger is told. A leaf goes before what it speaks of: after a crash between the two the leaf speaks
 * of something that was never confirmed to anybody. */
#include <string.h>

#include "collector/orders_internal.h"

static int append(struct orders *o, Exhibit__V1__LedgerEntry *entry, struct error *e)
{
	entry->version = 1;
	entry->wall_ns = o->c.now();
	return o->c.leaf ? o->c.leaf(o->c.ledger_ctx, entry, e) : 0;
}

int orders_leaf_order(struct orders *o, Exhibit__V1__LedgerKind kind,
		      const struct batch_name *tenant, const char *subject,
		      const struct seal_hash *object, size_t size, const Exhibit__V1__Order *order,
		      struct error *e)
{
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;

	entry.kind = kind;
	entry.tenant = orders_name_bytes(tenant);
	entry.subject = orders_bytes(subject, strlen(subject));
	entry.object = orders_bytes(object->b, sizeof(object->b));
	entry.size = size;
	entry.case_id = order->case_id;
	entry.order_id = order->order_id;
	entry.text = order->reason;
	return append(o, &entry, e);
}

int orders_leaf_step(struct orders *o, const struct batch_name *tenant,
		     const struct seal_hash *object, const Exhibit__V1__OrderStep *step,
		     struct error *e)
{
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;

	entry.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_STEP;
	entry.tenant = orders_name_bytes(tenant);
	entry.host_id = step->host_id;
	entry.subject = step->actor;
	entry.object = orders_bytes(object->b, sizeof(object->b));
	entry.size = step->bytes_done;
	entry.case_id = step->case_id;
	entry.order_id = step->order_id;
	entry.exhibit_id = step->exhibit_id;
	entry.text = step->reason;
	entry.state = (uint32_t)step->state;
	return append(o, &entry, e);
}

int orders_leaf_list(struct orders *o, const struct batch_name *tenant, const char *subject,
		     const struct seal_hash *object, size_t size, uint64_t number, struct error *e)
{
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	char text[64];
	int n = snprintf(text, sizeof(text), "revocation list %llu", (unsigned long long)number);

	entry.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_REVOCATIONS;
	entry.tenant = orders_name_bytes(tenant);
	entry.subject = orders_bytes(subject, strlen(subject));
	entry.object = orders_bytes(object->b, sizeof(object->b));
	entry.size = size;
	entry.text = orders_bytes(text, (size_t)n);
	return append(o, &entry, e);
}
