/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/isf_btf.h"

#include <errno.h>

#include "proto/base/reader.h"

#define MAGIC 0xeb9f
#define HEADER_LEN 24
#define CHAIN_MAX 64 /* typedef of const of typedef ... */

struct isf_btf {
	const uint8_t *types;
	size_t types_len;
	const char *strings;
	size_t strings_len;
	uint32_t *offsets; /* of type id in types */
	uint32_t count;
};

/* What follows the 12 bytes of a type's head: so much, and so much for each of its n. */
static const struct shape {
	bool known;
	uint8_t once, each;
} shapes[ISF_BTF_KINDS] = {
	[ISF_BTF_INT] = { true, 4, 0 },        [ISF_BTF_PTR] = { true, 0, 0 },
	[ISF_BTF_ARRAY] = { true, 12, 0 },     [ISF_BTF_STRUCT] = { true, 0, 12 },
	[ISF_BTF_UNION] = { true, 0, 12 },     [ISF_BTF_ENUM] = { true, 0, 8 },
	[ISF_BTF_FWD] = { true, 0, 0 },        [ISF_BTF_TYPEDEF] = { true, 0, 0 },
	[ISF_BTF_VOLATILE] = { true, 0, 0 },   [ISF_BTF_CONST] = { true, 0, 0 },
	[ISF_BTF_RESTRICT] = { true, 0, 0 },   [ISF_BTF_FUNC] = { true, 0, 0 },
	[ISF_BTF_FUNC_PROTO] = { true, 0, 8 }, [ISF_BTF_VAR] = { true, 4, 0 },
	[ISF_BTF_DATASEC] = { true, 0, 12 },   [ISF_BTF_FLOAT] = { true, 0, 0 },
	[ISF_BTF_DECL_TAG] = { true, 4, 0 },   [ISF_BTF_TYPE_TAG] = { true, 0, 0 },
	[ISF_BTF_ENUM64] = { true, 0, 12 },
};

static uint32_t word(const uint8_t *at)
{
	struct reader r = reader_init(at, 4);

	return reader_u32(&r);
}

/* Names go into JSON as they are. */
static bool plain(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
			return false;
	return true;
}

static const char *name_at(const struct isf_btf *b, uint32_t offset)
{
	return offset < b->strings_len ? b->strings + offset : "";
}

static int bad(struct error *e, size_t at, const char *why)
{
	return error_set(e, -EBADMSG,
			 "the kernel's type information (BTF) is damaged at byte %zu: %s", at, why);
}

/* The sections that the header names. */
static int find_sections(struct isf_btf *b, const uint8_t *data, size_t len, struct error *e)
{
	struct reader r = reader_init(data, len);
	uint16_t magic = reader_u16(&r);
	uint8_t version = reader_u8(&r);

	(void)reader_u8(&r); /* flags: none are defined */
	uint64_t head = reader_u32(&r), types = reader_u32(&r), types_len = reader_u32(&r),
		 strings = reader_u32(&r), strings_len = reader_u32(&r);

	if (r.bad || magic != MAGIC || version != 1 || head < HEADER_LEN)
		return bad(e, 0, "this is no BTF of version 1, little-endian");
	if (head + types > len || types_len > len - head - types || head + strings > len ||
	    strings_len > len - head - strings)
		return bad(e, 8, "a section ends behind the data");
	b->types = data + head + types;
	b->types_len = types_len;
	b->strings = (const char *)data + head + strings;
	b->strings_len = strings_len;
	if (strings_len == 0 || b->strings[0] != '\0' || b->strings[strings_len - 1] != '\0')
		return bad(e, head + strings, "the names are not terminated");
	return 0;
}

/* One type at the reader: its length is known from its head, its names are names. */
static const char *scan_type(const struct isf_btf *b, struct reader *r)
{
	uint32_t name = reader_u32(r), info = reader_u32(r);
	uint32_t kind = info >> 24 & 0x1f, n = info & 0xffff;

	reader_skip(r, 4);
	if (r->bad || kind >= ISF_BTF_KINDS || !shapes[kind].known)
		return "a kind of type that is not known";
	if (name >= b->strings_len || !plain(b->strings + name))
		return "a type's name is none";
	size_t each = shapes[kind].each;
	const uint8_t *more = reader_bytes(r, shapes[kind].once + each * n);

	if (more == NULL)
		return "a type ends behind the data";
	/* Members and values begin with their name; the entries of sections with a type. */
	if (each > 0 && kind != ISF_BTF_DATASEC)
		for (uint32_t i = 0; i < n; i++) {
			uint32_t at = word(more + each * i);

			if (at >= b->strings_len || !plain(b->strings + at))
				return "a member's name is none";
		}
	return NULL;
}

static int scan_types(struct isf_btf *b, const uint8_t *data, struct error *e)
{
	struct reader r = reader_init(b->types, b->types_len);
	size_t room = b->types_len / 12 + 2;

	if (room > ISF_BTF_TYPES_MAX)
		room = ISF_BTF_TYPES_MAX;
	b->offsets = calloc(room, sizeof(*b->offsets));
	if (b->offsets == NULL)
		return error_set(e, -ENOMEM, "cannot read the kernel's types: out of memory");
	while (r.left > 0) {
		size_t at = b->types_len - r.left;
		const char *why = b->count + 1 < room ? scan_type(b, &r) : "too many types";

		if (why != NULL)
			return bad(e, (size_t)(b->types - data) + at, why);
		b->offsets[++b->count] = (uint32_t)at;
	}
	return 0;
}

int isf_btf_open(const void *data, size_t len, struct isf_btf **ret, struct error *e)
{
	AUTO(isf_btf_free_ptr) struct isf_btf *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return error_set(e, -ENOMEM, "cannot read the kernel's types: out of memory");
	if (len > ISF_BTF_MAX)
		return bad(e, ISF_BTF_MAX, "it is larger than any kernel's");
	int r = find_sections(b, data, len, e);

	if (r == 0)
		r = scan_types(b, data, e);
	if (r == 0)
		*ret = TAKE(b);
	return r;
}

void isf_btf_free(struct isf_btf *b)
{
	if (b == NULL)
		return;
	free(b->offsets);
	free(b);
}

uint32_t isf_btf_count(const struct isf_btf *b)
{
	return b->count;
}

struct isf_btf_type isf_btf_type(const struct isf_btf *b, uint32_t id)
{
	struct isf_btf_type t = { .kind = ISF_BTF_VOID, .name = "" };

	if (id == 0 || id > b->count)
		return t;
	const uint8_t *at = b->types + b->offsets[id];
	uint32_t info = word(at + 4);

	t.name = name_at(b, word(at));
	t.kind = info >> 24 & 0x1f;
	t.n = info & 0xffff;
	t.flag = info >> 31 != 0;
	t.size = word(at + 8);
	t.more = at + 12;
	return t;
}

struct isf_btf_array isf_btf_array(const struct isf_btf_type *t)
{
	return (struct isf_btf_array){ .of = word(t->more), .count = word(t->more + 8) };
}

struct isf_btf_member isf_btf_member(const struct isf_btf *b, const struct isf_btf_type *t,
				     uint32_t i)
{
	const uint8_t *at = t->more + 12 * (size_t)i;
	uint32_t offset = word(at + 8);

	return (struct isf_btf_member){
		.name = name_at(b, word(at)),
		.type = word(at + 4),
		.bit_offset = t->flag ? offset & 0xffffff : offset,
		.bit_size = t->flag ? offset >> 24 : 0,
	};
}

const char *isf_btf_value(const struct isf_btf *b, const struct isf_btf_type *t, uint32_t i,
			  uint64_t *ret_value)
{
	bool wide = t->kind == ISF_BTF_ENUM64;
	const uint8_t *at = t->more + (wide ? 12 : 8) * (size_t)i;
	uint64_t value = word(at + 4);

	if (wide)
		value |= (uint64_t)word(at + 8) << 32;
	else if (t->flag)
		value = (uint64_t)(int64_t)(int32_t)value;
	*ret_value = value;
	return name_at(b, word(at));
}

uint32_t isf_btf_encoding(const struct isf_btf_type *t)
{
	return word(t->more) >> 24 & 0xf;
}

uint32_t isf_btf_strip(const struct isf_btf *b, uint32_t id)
{
	for (int i = 0; i < CHAIN_MAX; i++) {
		struct isf_btf_type t = isf_btf_type(b, id);

		switch (t.kind) {
		case ISF_BTF_TYPEDEF:
		case ISF_BTF_VOLATILE:
		case ISF_BTF_CONST:
		case ISF_BTF_RESTRICT:
		case ISF_BTF_TYPE_TAG:
			id = t.size;
			break;
		case ISF_BTF_VOID:
			return 0;
		default:
			return id;
		}
	}
	return 0;
}

uint64_t isf_btf_size(const struct isf_btf *b, uint32_t id)
{
	uint64_t times = 1;

	for (int i = 0; i < CHAIN_MAX; i++) {
		struct isf_btf_type t = isf_btf_type(b, isf_btf_strip(b, id));

		if (t.kind == ISF_BTF_PTR)
			return 8 * times;
		if (t.kind != ISF_BTF_ARRAY)
			return t.kind == ISF_BTF_FUNC || t.kind == ISF_BTF_FUNC_PROTO ||
					       t.kind == ISF_BTF_FWD ?
				       0 :
				       t.size * times;
		struct isf_btf_array a = isf_btf_array(&t);

		if (a.count != 0 && times > UINT32_MAX / a.count)
			return 0;
		times *= a.count;
		id = a.of;
	}
	return 0;
}
