/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/wire.h"

#include <errno.h>

#define FIELD_NUMBER_MAX ((1u << 29) - 1)

static void read_value(struct reader *r, struct wire_field *f)
{
	uint64_t len;

	switch (f->type) {
	case WIRE_VARINT:
		f->value = reader_varint(r);
		return;
	case WIRE_I64:
		f->value = reader_u64(r);
		return;
	case WIRE_I32:
		f->value = reader_u32(r);
		return;
	case WIRE_LEN:
		len = reader_varint(r);
		if (len > r->left)
			r->bad = true;
		f->bytes = reader_bytes(r, len > r->left ? 0 : (size_t)len);
		f->len = (size_t)len;
		return;
	}
	r->bad = true; /* groups, and types that do not exist */
}

bool wire_next(struct reader *r, struct wire_field *ret_field)
{
	struct wire_field f = { 0 };
	uint64_t tag;

	if (r->bad || r->left == 0)
		return false;
	tag = reader_varint(r);
	if (tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
		r->bad = true;
	f.number = (uint32_t)(tag >> 3);
	f.type = (enum wire_type)(tag & 7);
	read_value(r, &f);
	if (r->bad)
		return false;
	*ret_field = f;
	return true;
}

int wire_once(const struct wire_field *f, const uint8_t **bytes, size_t *len)
{
	if (f->type != WIRE_LEN || *bytes)
		return -EBADMSG;
	*bytes = f->bytes;
	*len = f->len;
	return 0;
}
