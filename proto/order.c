/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/order.h"

#include <errno.h>
#include <string.h>

#include "proto/base/utf8.h"
#include "proto/order_shape.h"

#define CONTAINER_MAX 128
#define REASON_MAX 1000
#define PID_MAX 4194304U /* the kernel's PID_MAX_LIMIT */
#define BOOT_ID_LEN 16
#define SECONDS_MAX (7U * 86400)

static int bad(struct error *e, const char *why)
{
	return error_set(e, -EBADMSG, "the order is malformed: %s", why);
}

/* ---- what nobody here knows -------------------------------------------------------------------- */

static const ProtobufCMessage *message_at(const ProtobufCMessage *m,
					  const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)m;
	const ProtobufCMessage *sub;

	if (field->type != PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED)
		return NULL;
	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
		uint32_t which;

		memcpy(&which, base + field->quantifier_offset, sizeof(which));
		if (which != field->id)
			return NULL;
	}
	memcpy(&sub, base + field->offset, sizeof(sub));
	return sub;
}

/* A field that this version does not know may be a restriction: an order that holds one is not understood.
 * As deep as order.proto nests. */
static bool has_unknown(const ProtobufCMessage *m)
{
	if (m->n_unknown_fields > 0)
		return true;
	for (unsigned int i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCMessage *sub = message_at(m, &m->descriptor->fields[i]);

		if (sub != NULL && has_unknown(sub))
			return true;
	}
	return false;
}

/* ---- parts of the shape ------------------------------------------------------------------------ */

static bool part_good(const ProtobufCBinaryData *part)
{
	return part->len > 0 && identity_part_valid((const char *)part->data, part->len);
}

/* One line that any terminal and any log can show. */
static bool sentence_good(const ProtobufCBinaryData *text)
{
	if (text->len == 0 || text->len > REASON_MAX || !utf8_valid(text->data, text->len))
		return false;
	for (size_t i = 0; i < text->len; i++) {
		if (text->data[i] < ' ' || text->data[i] == 127)
			return false;
		/* C1 controls, U+0080 to U+009F, which some terminals obey */
		if (text->data[i] == 0xc2 && text->data[i + 1] < 0xa0)
			return false;
	}
	return true;
}

static bool same(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static int check_hosts(const Exhibit__V1__Order *o, struct error *e)
{
	if (o->n_hosts < 1 || o->n_hosts > ORDER_HOSTS_MAX)
		return bad(e, "it must name 1 to 64 hosts");
	for (size_t i = 0; i < o->n_hosts; i++) {
		if (!part_good(&o->hosts[i]))
			return bad(e, "a host's id cannot be one");
		for (size_t j = 0; j < i; j++) {
			if (same(&o->hosts[i], &o->hosts[j]))
				return bad(e, "it names a host twice");
		}
	}
	return 0;
}

static int check_names(const Exhibit__V1__Order *o, struct error *e)
{
	struct identity who;

	if (!part_good(&o->tenant))
		return bad(e, "its tenant cannot be one");
	if (o->order_id.len != ORDER_ID_LEN)
		return bad(e, "its id is not 16 bytes long");
	if (identity_parse_spiffe((const char *)o->requester.data, o->requester.len, &who, NULL) <
		    0 ||
	    who.kind != IDENTITY_RESPONDER)
		return bad(e, "its requester is not the name of a responder");
	if (!part_good(&o->case_id))
		return bad(e, "its case must be 1 to 96 letters, digits, '.', '_' or '-'");
	if (!sentence_good(&o->reason))
		return bad(e, "its reason must be one line of 1 to 1000 bytes");
	return 0;
}

static bool container_good(const ProtobufCBinaryData *id)
{
	for (size_t i = 0; i < id->len; i++) {
		uint8_t c = id->data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      (i > 0 && (c == '-' || c == '_' || c == '.'))))
			return false;
	}
	return id->len <= CONTAINER_MAX;
}

static bool process_good(const Exhibit__V1__ProcessTarget *p)
{
	if (p->pid < 1 || p->pid > PID_MAX)
		return false;
	if (p->boot_id.len == 0)
		return p->start_ns == 0 && p->exec_id == 0;
	return p->boot_id.len == BOOT_ID_LEN;
}

static int check_target(const Exhibit__V1__Order *o, const struct order_shape *shape,
			struct error *e)
{
	unsigned int of = o->process != NULL      ? ORDER_OF_PROCESS :
			  o->container_id.len > 0 ? ORDER_OF_CONTAINER :
						    ORDER_OF_HOST;

	if (o->process != NULL && o->container_id.len > 0)
		return bad(e, "it names both a container and a process");
	if (!container_good(&o->container_id))
		return bad(e, "its container's id cannot be one");
	if (o->process != NULL && !process_good(o->process))
		return bad(e, "its process is not a pid, alone or with its whole key");
	if ((shape->of & of) != 0)
		return 0;
	return error_set(e, -EBADMSG, "the order is malformed: '%s' cannot be of %s", shape->name,
			 of == ORDER_OF_PROCESS   ? "one process" :
			 of == ORDER_OF_CONTAINER ? "a container" :
						    "a whole host");
}

static int check_times(const Exhibit__V1__Order *o, struct error *e)
{
	if (o->made_ns <= 0 || o->not_before_ns < 0 || o->expires_ns <= o->made_ns ||
	    o->expires_ns <= o->not_before_ns)
		return bad(e, "its times are not in order");
	if ((uint64_t)(o->expires_ns - o->made_ns) > ORDER_LIFE_MAX_NS)
		return bad(e, "it is good for longer than 24 hours");
	if (o->limits != NULL && o->limits->max_seconds > SECONDS_MAX)
		return bad(e, "it may run for longer than 7 days");
	return 0;
}

static int check_shape(const Exhibit__V1__Order *o, struct error *e)
{
	const struct order_shape *shape = order_shape(o->kind);
	int r;

	if (o->version != 1)
		return error_set(e, -EBADMSG, "the order is of version %u, this one knows 1",
				 o->version);
	if (shape == NULL || has_unknown(&o->base)) {
		(void)error_set(e, -EBADMSG,
				"the order holds what this version does not know, so it cannot be "
				"followed to the letter");
		error_hint(e, "update this side, or order with the older exhibit");
		return -EBADMSG;
	}
	if (o->detail_case != shape->detail)
		return bad(e, "its kind and its fields do not agree");
	r = check_names(o, e);
	if (r == 0)
		r = check_hosts(o, e);
	if (r == 0)
		r = check_target(o, shape, e);
	if (r == 0)
		r = check_times(o, e);
	return r == 0 && shape->check != NULL ? shape->check(o, e) : r;
}

int order_parse(const void *data, size_t len, Exhibit__V1__Order **ret, struct error *e)
{
	Exhibit__V1__Order *o = NULL;
	int r;

	if (len > 0 && len <= ORDER_BYTES_MAX)
		o = exhibit__v1__order__unpack(NULL, len, data);
	if (o == NULL)
		return bad(e, "it cannot be read");
	r = check_shape(o, e);
	if (r == 0)
		*ret = o;
	else
		exhibit__v1__order__free_unpacked(o, NULL);
	return r;
}
