/* SPDX-License-Identifier: Apache-2.0 */
/* How each kind of value is read from a row. What is not in the row as it is shown is made in its arena. */
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/sysmacros.h>

#include "proto/actions.h"
#include "proto/entity.h"
#include "proto/fields_internal.h"
#include "proto/order.h"

typedef Exhibit__V1__BatchContext context_t;
typedef Exhibit__V1__Process process_t;

/* ---- values that are made ------------------------------------------------------------------------ */

static void *take(struct subject *s, size_t len)
{
	void *p = arena_alloc(s->arena, len ? len : 1);

	if (!p)
		s->failed = true;
	return p;
}

static bool text_copy(struct subject *s, const char *text, struct value *ret)
{
	size_t len = strlen(text);
	uint8_t *p = take(s, len);

	if (!p)
		return false;
	memcpy(p, text, len);
	ret->u.text = (ProtobufCBinaryData){ .len = len, .data = p };
	return true;
}

/* A constant: nothing writes through the pointer. */
static bool text_constant(const char *text, struct value *ret)
{
	union {
		const char *in;
		uint8_t *out;
	} cast = { .in = text };

	ret->u.text = (ProtobufCBinaryData){ .len = strlen(text), .data = cast.out };
	return true;
}

static bool text_hex(struct subject *s, const ProtobufCBinaryData *bytes, bool uuid,
		     struct value *ret)
{
	char text[2 * 64 + 5];
	size_t at = 0;

	if (bytes->len == 0 || bytes->len > 64)
		return false;
	for (size_t i = 0; i < bytes->len; i++) {
		if (uuid && (i == 4 || i == 6 || i == 8 || i == 10))
			text[at++] = '-';
		(void)snprintf(text + at, 3, "%02x", bytes->data[i]);
		at += 2;
	}
	return text_copy(s, text, ret);
}

/* ---- getters --------------------------------------------------------------------------------------- */

#define MEMBER(type) (*(const type *)((const char *)message + f->offset))
#define UNUSED_HERE (void)f, (void)message, (void)s, (void)ret

FIELD_GETTER(field_get_bytes)
{
	UNUSED_HERE;
	ret->u.text = MEMBER(ProtobufCBinaryData);
	return ret->u.text.len > 0;
}

FIELD_GETTER(field_get_u32)
{
	UNUSED_HERE;
	ret->u.number = MEMBER(uint32_t);
	return true;
}

FIELD_GETTER(field_get_u32_set)
{
	return field_get_u32(f, message, s, ret) && ret->u.number;
}

FIELD_GETTER(field_get_u64)
{
	UNUSED_HERE;
	ret->u.number = MEMBER(uint64_t);
	return true;
}

FIELD_GETTER(field_get_u64_set)
{
	return field_get_u64(f, message, s, ret) && ret->u.number;
}

static bool oneof_set(const struct field *f, const void *message)
{
	return *(const int *)((const char *)message + f->presence) != 0;
}

FIELD_GETTER(field_get_u64_oneof)
{
	return oneof_set(f, message) && field_get_u64(f, message, s, ret);
}

FIELD_GETTER(field_get_u32_oneof)
{
	return oneof_set(f, message) && field_get_u32(f, message, s, ret);
}

static bool text_number(struct subject *s, uint64_t number, struct value *ret)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, number);
	return text_copy(s, text, ret);
}

FIELD_GETTER(field_get_id32)
{
	return text_number(s, MEMBER(uint32_t), ret);
}

FIELD_GETTER(field_get_id32_set)
{
	return MEMBER(uint32_t) && field_get_id32(f, message, s, ret);
}

/* Owner and group are known together with the mode, from one stat: 0 is root only where that is set. */
FIELD_GETTER(field_get_owner)
{
	const Exhibit__V1__File *file = message;

	return file->mode != 0 && field_get_id32(f, message, s, ret);
}

FIELD_GETTER(field_get_id64_set)
{
	return MEMBER(uint64_t) && text_number(s, MEMBER(uint64_t), ret);
}

FIELD_GETTER(field_get_device)
{
	char text[24];
	uint64_t device = MEMBER(uint64_t);

	if (!device)
		return false;
	(void)snprintf(text, sizeof(text), "%u:%u", gnu_dev_major(device), gnu_dev_minor(device));
	return text_copy(s, text, ret);
}

FIELD_GETTER(field_get_mode)
{
	char text[16];

	if (!MEMBER(uint32_t))
		return false;
	(void)snprintf(text, sizeof(text), "%04o", MEMBER(uint32_t) & 07777u);
	return text_copy(s, text, ret);
}

FIELD_GETTER(field_get_ip)
{
	UNUSED_HERE;
	ret->u.ip = MEMBER(ProtobufCBinaryData);
	return ret->u.ip.len == 4 || ret->u.ip.len == 16;
}

FIELD_GETTER(field_get_time)
{
	UNUSED_HERE;
	ret->u.time_ns = MEMBER(int64_t);
	return ret->u.time_ns != 0;
}

FIELD_GETTER(field_get_truth)
{
	UNUSED_HERE;
	ret->u.truth = MEMBER(protobuf_c_boolean) != 0;
	return ret->u.truth;
}

/* A boottime shown as wall time. */
FIELD_GETTER(field_get_boottime)
{
	uint64_t boottime = MEMBER(uint64_t);

	ret->u.time_ns = (int64_t)((uint64_t)s->context->offset_ns + boottime);
	return boottime != 0;
}

/* offset is the flag of Event.flags; the event's own and its process's count. */
FIELD_GETTER(field_get_flag)
{
	UNUSED_HERE;
	ret->u.truth = ((s->event->flags | (s->process ? s->process->flags : 0)) & f->offset) != 0;
	return ret->u.truth;
}

FIELD_GETTER(field_get_existing)
{
	UNUSED_HERE;
	ret->u.truth = (s->event->flags & EVENT_EXISTING) ||
		       s->event->action == (int)ACTION_PROCESS ||
		       s->event->action == (int)ACTION_SOCKET;
	return ret->u.truth;
}

FIELD_GETTER(field_get_event_id)
{
	const context_t *c = message;
	char text[512];
	size_t at = 0;

	UNUSED_HERE;
	if (c->host_id.len > 255 || c->boot_id.len > 32 || c->epoch.len > 32)
		return false;
	memcpy(text, c->host_id.data ? (const void *)c->host_id.data : "", c->host_id.len);
	at = c->host_id.len;
	text[at++] = '/';
	for (size_t i = 0; i < c->boot_id.len; i++, at += 2)
		(void)snprintf(text + at, 3, "%02x", c->boot_id.data[i]);
	text[at++] = '/';
	for (size_t i = 0; i < c->epoch.len; i++, at += 2)
		(void)snprintf(text + at, 3, "%02x", c->epoch.data[i]);
	at += (size_t)snprintf(text + at, sizeof(text) - at, "/%s/%" PRIu64, lane_name(c->lane),
			       s->event->sequence);
	ret->u.text.data = take(s, at);
	ret->u.text.len = at;
	if (ret->u.text.data)
		memcpy(ret->u.text.data, text, at);
	return ret->u.text.data != NULL;
}

FIELD_GETTER(field_get_boot)
{
	return text_hex(s, &MEMBER(ProtobufCBinaryData), true, ret);
}

FIELD_GETTER(field_get_hex)
{
	return text_hex(s, &MEMBER(ProtobufCBinaryData), false, ret);
}

FIELD_GETTER(field_get_order_kind)
{
	const Exhibit__V1__OrderInfo *order = message;
	const char *name = order_kind_name(order->kind);

	UNUSED_HERE;
	return name != NULL && text_constant(name, ret);
}

FIELD_GETTER(field_get_order_state)
{
	const Exhibit__V1__OrderInfo *order = message;
	const char *name = order_state_name(order->state);

	UNUSED_HERE;
	return name != NULL && text_constant(name, ret);
}

FIELD_GETTER(field_get_action)
{
	UNUSED_HERE;
	return text_constant(field_action(s->event), ret);
}

static const struct action *action_of(const struct subject *s)
{
	return action_by_number((uint32_t)s->event->action);
}

FIELD_GETTER(field_get_kind)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	return text_constant(a ? a->kind : "event", ret);
}

static bool one_text(struct subject *s, const char *text, struct value *ret)
{
	ProtobufCBinaryData *item = take(s, sizeof(*item));
	struct value v;

	if (!item || !text)
		return false;
	(void)text_constant(text, &v);
	*item = v.u.text;
	ret->u.texts.n = 1;
	ret->u.texts.items = item;
	return true;
}

FIELD_GETTER(field_get_category)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	return one_text(s, a ? a->category : NULL, ret);
}

FIELD_GETTER(field_get_type)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	return one_text(s, a ? a->type : NULL, ret);
}

FIELD_GETTER(field_get_outcome)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	bool order = a && (a->number == ACTION_ORDER || a->number == ACTION_TAMPER);

	if (!a || (a->class == CLASS_AGENT && !order))
		return false;
	if (s->event->error)
		return text_constant("failure", ret);
	/* A connect is recorded when it begins; its disconnect tells how it went. */
	if (s->event->action == EXHIBIT__V1__ACTION__ACTION_CONNECT)
		return text_constant("unknown", ret);
	return text_constant("success", ret);
}

/* offset is not used by the name getters below: each knows its number. */
FIELD_GETTER(field_get_class)
{
	UNUSED_HERE;
	return text_constant(class_name((uint32_t)s->event->class_), ret);
}

FIELD_GETTER(field_get_lane)
{
	UNUSED_HERE;
	return text_constant(lane_name((uint32_t)s->context->lane), ret);
}

FIELD_GETTER(field_get_hook)
{
	UNUSED_HERE;
	return text_constant(hook_name((uint32_t)s->event->hook), ret);
}

FIELD_GETTER(field_get_via)
{
	UNUSED_HERE;
	return text_constant(via_name((uint32_t)s->event->via), ret);
}

FIELD_GETTER(field_get_error)
{
	UNUSED_HERE;
	if (!s->event->error)
		return false;
	return text_copy(s, strerrorname_np((int)s->event->error) ?: "unknown", ret);
}

FIELD_GETTER(field_get_gap_where)
{
	const Exhibit__V1__Gap *gap = message;

	UNUSED_HERE;
	return text_constant(gap_where_name((uint32_t)gap->where), ret);
}

FIELD_GETTER(field_get_gap_class)
{
	const Exhibit__V1__Gap *gap = message;

	UNUSED_HERE;
	return text_constant(class_name((uint32_t)gap->class_), ret);
}

FIELD_GETTER(field_get_entity)
{
	const Exhibit__V1__ImageKey *key = message;
	struct entity id = { .pid = key->pid, .start_ns = key->start_ns, .exec_id = key->exec_id };
	char text[ENTITY_TEXT_MAX];

	UNUSED_HERE;
	if (s->context->boot_id.len != ENTITY_BOOT_LEN || !key->pid)
		return false;
	memcpy(id.boot_id, s->context->boot_id.data, ENTITY_BOOT_LEN);
	return text_copy(s, entity_format(&id, text), ret);
}

FIELD_GETTER(field_get_args)
{
	const process_t *p = message;

	UNUSED_HERE;
	ret->u.texts.n = p->n_args;
	ret->u.texts.items = p->args;
	return p->n_args > 0;
}

FIELD_GETTER(field_get_args_count)
{
	const process_t *p = message;

	UNUSED_HERE;
	ret->u.number = p->n_args;
	return p->n_args > 0;
}

FIELD_GETTER(field_get_command_line)
{
	const process_t *p = message;
	size_t len = 0;
	uint8_t *at;

	UNUSED_HERE;
	for (size_t i = 0; i < p->n_args; i++)
		len += p->args[i].len + 1;
	if (!len)
		return false;
	at = take(s, len);
	if (!at)
		return false;
	ret->u.text = (ProtobufCBinaryData){ .len = len - 1, .data = at };
	for (size_t i = 0; i < p->n_args; i++) {
		if (p->args[i].len)
			memcpy(at, p->args[i].data, p->args[i].len);
		at += p->args[i].len;
		*at++ = ' ';
	}
	return true;
}

FIELD_GETTER(field_get_capabilities)
{
	const process_t *p = message;
	ProtobufCBinaryData *items = take(s, 64 * sizeof(*items));
	size_t n = 0;

	UNUSED_HERE;
	if (!items)
		return false;
	for (unsigned int bit = 0; bit < 64; bit++) {
		struct value v;
		char *name;

		if (!(p->cap_effective >> bit & 1))
			continue;
		name = cap_to_name((cap_value_t)bit);
		if (!name || !text_copy(s, name, &v)) {
			(void)cap_free(name);
			s->failed = true;
			return false;
		}
		(void)cap_free(name);
		for (size_t i = 0; i < v.u.text.len; i++)
			if (v.u.text.data[i] >= 'a' && v.u.text.data[i] <= 'z')
				v.u.text.data[i] = (uint8_t)(v.u.text.data[i] - 'a' + 'A');
		items[n++] = v.u.text;
	}
	ret->u.texts.n = n;
	ret->u.texts.items = items;
	return n > 0;
}

FIELD_GETTER(field_get_exit_code)
{
	const Exhibit__V1__Exit *x = message;

	UNUSED_HERE;
	ret->u.number = x->code;
	return x->signal == 0;
}

FIELD_GETTER(field_get_transport)
{
	const Exhibit__V1__Net *net = message;

	UNUSED_HERE;
	if (net->transport == IPPROTO_TCP)
		return text_constant("tcp", ret);
	if (net->transport == IPPROTO_UDP)
		return text_constant("udp", ret);
	return net->transport && text_number(s, net->transport, ret);
}

FIELD_GETTER(field_get_network_type)
{
	const Exhibit__V1__Net *net = message;
	size_t len = net->source_ip.len ? net->source_ip.len : net->destination_ip.len;

	UNUSED_HERE;
	if (len != 4 && len != 16)
		return false;
	return text_constant(len == 4 ? "ipv4" : "ipv6", ret);
}

FIELD_GETTER(field_get_direction)
{
	const Exhibit__V1__Net *net = message;

	UNUSED_HERE;
	if (net->listening || s->event->action == (int)ACTION_LISTEN)
		return false;
	return text_constant(net->inbound ? "ingress" : "egress", ret);
}

FIELD_GETTER(field_get_coverage)
{
	static const char *const states[] = { "unknown", "attached", "failed", "partial" };
	const Exhibit__V1__Coverage *c = message;
	ProtobufCBinaryData *items = take(s, c->n_rows * sizeof(*items));

	UNUSED_HERE;
	if (!items)
		return false;
	for (size_t i = 0; i < c->n_rows; i++) {
		const Exhibit__V1__CoverageRow *row = c->rows[i];
		unsigned int state = (unsigned int)row->state;
		char text[256];
		struct value v;

		(void)snprintf(text, sizeof(text), "%s %s T%u %.*s",
			       class_name((uint32_t)row->class_),
			       states[state < ARRAY_LEN(states) ? state : 0], row->tier,
			       (int)(row->hook.len < 128 ? row->hook.len : 128),
			       row->hook.data ? (const char *)row->hook.data : "");
		if (!text_copy(s, text, &v))
			return false;
		items[i] = v.u.text;
	}
	ret->u.texts.n = c->n_rows;
	ret->u.texts.items = items;
	return c->n_rows > 0;
}
