/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders_policy.h"

#include <errno.h>

#include "proto/order.h"

_Static_assert(EXHIBIT__V1__ORDER_KIND__ORDER_ARREST + 1 == ORDERS_KINDS, "a kind is missing");
#define ALL (((1U << ORDERS_KINDS) - 1) & ~1U)

/* The bits of a word. */
static int parse_kind(const char *option, const char *word, uint32_t *ret, struct error *e)
{
	Exhibit__V1__OrderKind kind;

	if (strcmp(word, "all") == 0) {
		*ret = ALL;
		return 0;
	}
	if (!order_kind_parse(word, &kind))
		return error_set(e, -EINVAL, "%s: '%s' is not a kind of order, nor 'all'", option,
				 word);
	*ret = 1U << kind;
	return 0;
}

static int parse_kinds(const char *option, const struct option_list *list, uint32_t *ret,
		       struct error *e)
{
	int r = 0;

	*ret = 0;
	for (size_t i = 0; r == 0 && i < list->n; i++) {
		uint32_t bits = 0;

		r = parse_kind(option, list->item[i], &bits, e);
		*ret |= bits;
	}
	return r;
}

static int parse_approvals(const char *text, struct orders_policy *p, struct error *e)
{
	static const char option[] = "orders.require-approvals";
	const char *equals = strchr(text, '=');
	char word[32] = "", *end = NULL;
	uint32_t bits = 0;
	unsigned long n = 0;

	if (equals != NULL && (size_t)(equals - text) < sizeof(word)) {
		memcpy(word, text, (size_t)(equals - text));
		n = strtoul(equals + 1, &end, 10);
	}
	if (end == NULL || equals[1] < '0' || equals[1] > '9' || *end != '\0' ||
	    n > ORDER_APPROVALS_MAX)
		return error_set(e, -EINVAL, "%s: '%s' is not KIND=NUMBER, at most %d", option,
				 text, ORDER_APPROVALS_MAX);
	int r = parse_kind(option, word, &bits, e);

	for (size_t kind = 1; r == 0 && kind < ORDERS_KINDS; kind++)
		if ((bits & 1U << kind) != 0)
			p->approvals[kind] = (uint8_t)n;
	return r;
}

int orders_policy_parse(const struct option_list *allow, const struct option_list *deny,
			const struct option_list *approvals, struct orders_policy *ret,
			struct error *e)
{
	uint32_t allowed, denied = 0;
	int r = parse_kinds("orders.allow", allow, &allowed, e);

	if (r == 0)
		r = parse_kinds("orders.deny", deny, &denied, e);
	memset(ret->approvals, 0, sizeof(ret->approvals));
	for (size_t i = 0; r == 0 && i < approvals->n; i++)
		r = parse_approvals(approvals->item[i], ret, e);
	if (r == 0)
		ret->allowed = (allow->n == 0 ? ALL : allowed) & ~denied;
	return r;
}

int orders_policy_kind(const struct orders_policy *p, Exhibit__V1__OrderKind kind, struct error *e)
{
	if (kind > 0 && kind < ORDERS_KINDS && (p->allowed & 1U << kind) != 0)
		return 0;
	(void)error_set(e, -EPERM, "this host's own policy does not allow orders of kind '%s'",
			order_kind_name(kind) == NULL ? "unknown" : order_kind_name(kind));
	error_hint(e, "see orders.allow and orders.deny in its agent.yaml");
	return -EPERM;
}

int orders_policy_load(const struct orders_policy *p, const struct orders_load *l, struct error *e)
{
	const struct {
		const char *option, *what;
		uint64_t used, limit;
	} rows[] = {
		{ "orders.concurrent", "acquisitions at a time", l->running, p->concurrent },
		{ "orders.per-hour", "orders an hour", l->last_hour, p->per_hour },
		{ "orders.per-hour-caller", "orders an hour of one person", l->last_hour_caller,
		  p->per_hour_caller },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].limit == 0 || rows[i].used < rows[i].limit)
			continue;
		(void)error_set(e, -EDQUOT, "this host takes at most %llu %s (%s)",
				(unsigned long long)rows[i].limit, rows[i].what, rows[i].option);
		error_hint(e, "ask again later, with a new order");
		return -EDQUOT;
	}
	return 0;
}

uint64_t orders_policy_least(uint64_t ours, uint64_t asked)
{
	if (ours == 0 || asked == 0)
		return ours == 0 ? asked : ours;
	return ours < asked ? ours : asked;
}

static bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* Of one target they may ask for different things at a time, and are not in each other's way. */
static const ProtobufCMessage *wish_of(const Exhibit__V1__Order *o)
{
	if (o->detail_case == EXHIBIT__V1__ORDER__DETAIL_FILES)
		return &o->files->base;
	if (o->detail_case == EXHIBIT__V1__ORDER__DETAIL_PACKETS)
		return &o->packets->base;
	return NULL;
}

/* Out of memory: they count as the same. */
static bool same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	size_t len = protobuf_c_message_get_packed_size(a);
	AUTO(free_ptr) uint8_t *x = malloc(len + 1);
	AUTO(free_ptr) uint8_t *y = malloc(len + 1);

	if (len != protobuf_c_message_get_packed_size(b))
		return false;
	return x == NULL || y == NULL ||
	       (protobuf_c_message_pack(a, x) == protobuf_c_message_pack(b, y) &&
		memcmp(x, y, len) == 0);
}

bool orders_policy_same_target(const Exhibit__V1__Order *a, const Exhibit__V1__Order *b)
{
	if (a->kind != b->kind || !same_bytes(&a->container_id, &b->container_id) ||
	    (a->process == NULL) != (b->process == NULL))
		return false;
	if (a->process != NULL && a->process->pid != b->process->pid)
		return false;
	if (a->detail_case == EXHIBIT__V1__ORDER__DETAIL_DISK &&
	    b->detail_case == EXHIBIT__V1__ORDER__DETAIL_DISK)
		return same_bytes(&a->disk->device, &b->disk->device);
	return wish_of(a) == NULL || wish_of(b) == NULL || same_message(wish_of(a), wish_of(b));
}
