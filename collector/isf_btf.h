/* SPDX-License-Identifier: Apache-2.0 */
/* BTF as a host sent it (Documentation/bpf/btf.rst of the kernel): hostile bytes, so read with the bounded
 * reader and checked as a whole before anything is asked of it. Little-endian, without a base (vmlinux's
 * own). Pure. */
#ifndef COLLECTOR_ISF_BTF_H
#define COLLECTOR_ISF_BTF_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define ISF_BTF_MAX MiB(64)
#define ISF_BTF_TYPES_MAX (1U << 20)

enum isf_btf_kind {
	ISF_BTF_VOID = 0,
	ISF_BTF_INT = 1,
	ISF_BTF_PTR = 2,
	ISF_BTF_ARRAY = 3,
	ISF_BTF_STRUCT = 4,
	ISF_BTF_UNION = 5,
	ISF_BTF_ENUM = 6,
	ISF_BTF_FWD = 7,
	ISF_BTF_TYPEDEF = 8,
	ISF_BTF_VOLATILE = 9,
	ISF_BTF_CONST = 10,
	ISF_BTF_RESTRICT = 11,
	ISF_BTF_FUNC = 12,
	ISF_BTF_FUNC_PROTO = 13,
	ISF_BTF_VAR = 14,
	ISF_BTF_DATASEC = 15,
	ISF_BTF_FLOAT = 16,
	ISF_BTF_DECL_TAG = 17,
	ISF_BTF_TYPE_TAG = 18,
	ISF_BTF_ENUM64 = 19,
	ISF_BTF_KINDS,
};

struct isf_btf_type {
	enum isf_btf_kind kind;
	const char *name; /* "" without one; printable ASCII that needs no escape in JSON */
	uint32_t n; /* members, values, parameters */
	bool flag;
	uint32_t size; /* or the type that it leads to */
	const uint8_t *more; /* what follows the head */
};

struct isf_btf_array {
	uint32_t of, count;
};

struct isf_btf_member {
	const char *name;
	uint32_t type;
	uint32_t bit_offset, bit_size; /* bit_size 0: no bit field */
};

struct isf_btf;

/* data: borrowed as long as ret lives. -EBADMSG: not BTF, with the offset; -ENOMEM. */
MUST_CHECK int isf_btf_open(const void *data, size_t len, struct isf_btf **ret, struct error *e);
void isf_btf_free(struct isf_btf *b); /* NULL allowed */
static inline void isf_btf_free_ptr(struct isf_btf **b)
{
	isf_btf_free(*b);
}
/* Ids are 1..count. */
uint32_t isf_btf_count(const struct isf_btf *b);
/* A type of kind ISF_BTF_VOID for 0 and for an id that is none. */
struct isf_btf_type isf_btf_type(const struct isf_btf *b, uint32_t id);
/* Of an ISF_BTF_ARRAY; i below t->n for the others. */
struct isf_btf_array isf_btf_array(const struct isf_btf_type *t);
struct isf_btf_member isf_btf_member(const struct isf_btf *b, const struct isf_btf_type *t,
				     uint32_t i);
/* Of an ISF_BTF_ENUM or ISF_BTF_ENUM64. value: its bits, sign-extended when t->flag. */
const char *isf_btf_value(const struct isf_btf *b, const struct isf_btf_type *t, uint32_t i,
			  uint64_t *ret_value);
/* Of an ISF_BTF_INT: bits 1 signed, 2 char, 4 bool. */
uint32_t isf_btf_encoding(const struct isf_btf_type *t);
/* Past typedefs, const, volatile, restrict and tags; 0: void, or a chain without end. */
uint32_t isf_btf_strip(const struct isf_btf *b, uint32_t id);
/* In bytes; 0: none, or not known. */
uint64_t isf_btf_size(const struct isf_btf *b, uint32_t id);

#endif
