/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/isf_names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct isf_names {
	const struct isf_btf *b;
	uint32_t *typedefs; /* of each id: the typedef that names it; 0: none */
	uint32_t *order; /* ids of named types by space, name, most members first */
	uint32_t n;
	uint8_t *chosen; /* of each id */
};

static const enum isf_space spaces[ISF_BTF_KINDS] = {
	[ISF_BTF_INT] = ISF_SPACE_BASE,    [ISF_BTF_FLOAT] = ISF_SPACE_BASE,
	[ISF_BTF_STRUCT] = ISF_SPACE_USER, [ISF_BTF_UNION] = ISF_SPACE_USER,
	[ISF_BTF_ENUM] = ISF_SPACE_ENUM,   [ISF_BTF_ENUM64] = ISF_SPACE_ENUM,
};

enum isf_space isf_space_of(enum isf_btf_kind kind)
{
	return spaces[kind];
}

const char *isf_name(const struct isf_names *n, uint32_t id, char buf[static ISF_NAME_MAX])
{
	struct isf_btf_type t = isf_btf_type(n->b, id);

	if (t.name[0] != '\0')
		return t.name;
	if (id <= isf_btf_count(n->b) && n->typedefs[id] != 0)
		return isf_btf_type(n->b, n->typedefs[id]).name;
	(void)snprintf(buf, ISF_NAME_MAX, "unnamed_%x", id);
	return buf;
}

static int compare(const void *a, const void *b, void *ctx)
{
	const struct isf_names *n = ctx;
	char made_a[ISF_NAME_MAX], made_b[ISF_NAME_MAX];
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	struct isf_btf_type tx = isf_btf_type(n->b, x), ty = isf_btf_type(n->b, y);
	int r = (int)spaces[tx.kind] - (int)spaces[ty.kind];

	if (r == 0)
		r = strcmp(isf_name(n, x, made_a), isf_name(n, y, made_b));
	if (r == 0 && spaces[tx.kind] == ISF_SPACE_USER && tx.n != ty.n)
		r = tx.n > ty.n ? -1 : 1;
	if (r == 0)
		r = x < y ? -1 : x > y;
	return r;
}

static void name_by_typedefs(struct isf_names *n)
{
	for (uint32_t id = 1; id <= isf_btf_count(n->b); id++) {
		struct isf_btf_type t = isf_btf_type(n->b, id);
		uint32_t of = t.kind == ISF_BTF_TYPEDEF ? isf_btf_strip(n->b, t.size) : 0;

		if (of != 0 && t.name[0] != '\0' && n->typedefs[of] == 0)
			n->typedefs[of] = id;
	}
}

static bool same_name(const struct isf_names *n, uint32_t a, uint32_t b)
{
	char made_a[ISF_NAME_MAX], made_b[ISF_NAME_MAX];

	return spaces[isf_btf_type(n->b, a).kind] == spaces[isf_btf_type(n->b, b).kind] &&
	       strcmp(isf_name(n, a, made_a), isf_name(n, b, made_b)) == 0;
}

static void choose(struct isf_names *n)
{
	for (uint32_t id = 1; id <= isf_btf_count(n->b); id++)
		if (spaces[isf_btf_type(n->b, id).kind] != ISF_SPACE_NONE)
			n->order[n->n++] = id;
	qsort_r(n->order, n->n, sizeof(*n->order), compare, n);
	for (uint32_t i = 0; i < n->n; i++)
		n->chosen[n->order[i]] = i == 0 || !same_name(n, n->order[i - 1], n->order[i]);
}

int isf_names_new(const struct isf_btf *b, struct isf_names **ret, struct error *e)
{
	AUTO(isf_names_free_ptr) struct isf_names *n = calloc(1, sizeof(*n));
	size_t room = (size_t)isf_btf_count(b) + 1;

	if (n != NULL) {
		n->b = b;
		n->typedefs = calloc(room, sizeof(*n->typedefs));
		n->order = calloc(room, sizeof(*n->order));
		n->chosen = calloc(room, 1);
	}
	if (n == NULL || n->typedefs == NULL || n->order == NULL || n->chosen == NULL)
		return error_set(e, -ENOMEM, "cannot name the kernel's types: out of memory");
	name_by_typedefs(n);
	choose(n);
	*ret = TAKE(n);
	return 0;
}

void isf_names_free(struct isf_names *n)
{
	if (n == NULL)
		return;
	free(n->typedefs);
	free(n->order);
	free(n->chosen);
	free(n);
}

bool isf_chosen(const struct isf_names *n, uint32_t id)
{
	return id <= isf_btf_count(n->b) && n->chosen[id];
}

uint32_t isf_find(const struct isf_names *n, enum isf_space space, const char *name)
{
	uint32_t low = 0, high = n->n;

	/* The first that is not before it: the chosen one. */
	while (low < high) {
		uint32_t middle = low + (high - low) / 2, id = n->order[middle];
		char made[ISF_NAME_MAX];
		int r = (int)spaces[isf_btf_type(n->b, id).kind] - (int)space;

		if (r == 0)
			r = strcmp(isf_name(n, id, made), name);
		if (r < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == n->n)
		return 0;
	char made[ISF_NAME_MAX];
	uint32_t id = n->order[low];

	return spaces[isf_btf_type(n->b, id).kind] == space &&
			       strcmp(isf_name(n, id, made), name) == 0 ?
		       id :
		       0;
}
