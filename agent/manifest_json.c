/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/manifest_json.h"

#define NUL_SHOWN "\xe2\x90\x80" /* U+2400 */

void manifest_put_text(struct json *j, const char *key, const void *data, size_t len, size_t max)
{
	const char *from = data;
	size_t used = len < max ? len : max, n = 0;
	AUTO(free_ptr) char *copy = malloc(3 * used + 4);

	if (copy == NULL) {
		json_none(j, key);
		return;
	}
	for (size_t i = 0; i < used; i++) {
		if (from[i] != '\0') {
			copy[n++] = from[i];
			continue;
		}
		memcpy(copy + n, NUL_SHOWN, 3);
		n += 3;
	}
	if (used < len) {
		memcpy(copy + n, "...", 3);
		n += 3;
	}
	json_bytes(j, key, copy, n);
}

void manifest_put_u64(struct json *j, const char *key, uint64_t v)
{
	char text[24];

	if (v <= INT64_MAX) {
		json_u64(j, key, v);
		return;
	}
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	json_text(j, key, text);
}

void manifest_put_hex(struct json *j, const char *key, const void *data, size_t len)
{
	char hex[2 * 64 + 1] = "";
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len && i < 64; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	json_text(j, key, hex);
}

#define MEMBER(type) (*(const type *)((const char *)m + f->offset))

static void put_repeated(struct json *j, const ProtobufCMessage *m,
			 const ProtobufCFieldDescriptor *f)
{
	size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);

	if (f->type != PROTOBUF_C_TYPE_BYTES || n == 0)
		return; /* orders have no other lists */
	const ProtobufCBinaryData *list = MEMBER(ProtobufCBinaryData *);
	AUTO(free_ptr) struct json_item *items = calloc(n, sizeof(*items));

	for (size_t i = 0; items != NULL && i < n; i++)
		items[i] = (struct json_item){ .data = list[i].data, .len = list[i].len };
	if (items != NULL)
		json_list(j, f->name, items, n);
}

static void put_field(struct json *j, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_ENUM:
		if (MEMBER(uint32_t) != 0)
			manifest_put_u64(j, f->name, MEMBER(uint32_t));
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		if (MEMBER(uint64_t) != 0)
			manifest_put_u64(j, f->name, MEMBER(uint64_t));
		break;
	case PROTOBUF_C_TYPE_BOOL:
		if (MEMBER(protobuf_c_boolean))
			json_bool(j, f->name, true);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		if (MEMBER(ProtobufCBinaryData).len > 0)
			manifest_put_text(j, f->name, MEMBER(ProtobufCBinaryData).data,
					  MEMBER(ProtobufCBinaryData).len, SIZE_MAX);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		if (MEMBER(ProtobufCMessage *) != NULL)
			manifest_put_message(j, f->name, MEMBER(ProtobufCMessage *));
		break;
	default:
		break; /* order.proto has no other types */
	}
}

/* Of a oneof only the member that is set. */
static bool chosen(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	return (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0 ||
	       *(const uint32_t *)((const char *)m + f->quantifier_offset) == f->id;
}

void manifest_put_message(struct json *j, const char *key, const ProtobufCMessage *m)
{
	if (m == NULL) {
		json_none(j, key);
		return;
	}
	json_open(j, key, strlen(key), '{');
	for (unsigned int i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			put_repeated(j, m, f);
		else if (chosen(m, f))
			put_field(j, m, f);
	}
	json_close(j, '}');
}
