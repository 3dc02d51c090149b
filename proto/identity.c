/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/identity.h"

#include "proto/base/reader.h"

#include <errno.h>
#include <stdio.h>

static const char *const kind_names[] = {
	[IDENTITY_HOST] = "host",
	[IDENTITY_RESPONDER] = "responder",
	[IDENTITY_COLLECTOR] = "collector",
};

const char *identity_kind_name(enum identity_kind kind)
{
	return (size_t)kind < ARRAY_LEN(kind_names) ? kind_names[kind] : "unknown";
}

const char *identity_issuer_name(enum identity_issuer issuer)
{
	return issuer == IDENTITY_FLEET ? "fleet" : "order";
}

/* Locale-free on purpose: isalnum would follow the environment. */
static bool part_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

bool identity_part_valid(const char *part, size_t len)
{
	if (len == 0 || len > IDENTITY_PART_MAX || part[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!part_char(part[i]) || (part[i] == '.' && part[i - 1] == '.'))
			return false;
	}
	return true;
}

/* The bytes up to the next '/' or the end, and past the '/'; *ret_last: the end was met. */
static const char *next_part(struct reader *r, size_t *ret_len, bool *ret_last)
{
	const char *start = (const char *)r->at;
	const uint8_t *slash = r->left > 0 ? memchr(r->at, '/', r->left) : NULL;

	*ret_last = slash == NULL;
	*ret_len = slash != NULL ? (size_t)(slash - r->at) : r->left;
	reader_skip(r, slash != NULL ? *ret_len + 1 : *ret_len);
	return start;
}

static bool copy_part(char out[static IDENTITY_PART_MAX + 1], const char *part, size_t len)
{
	if (!identity_part_valid(part, len))
		return false;
	memcpy(out, part, len);
	out[len] = '\0';
	return true;
}

static bool parse_kind(const char *part, size_t len, enum identity_kind *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(kind_names); i++) {
		if (len == strlen(kind_names[i]) && memcmp(part, kind_names[i], len) == 0) {
			*ret = (enum identity_kind)i;
			return true;
		}
	}
	return false;
}

static bool parse_parts(struct reader *r, struct identity *id)
{
	const char *part[4];
	size_t len[4];
	bool last;

	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		part[i] = next_part(r, &len[i], &last);
		if (last != (i == ARRAY_LEN(part) - 1))
			return false;
	}
	return copy_part(id->domain, part[0], len[0]) && copy_part(id->tenant, part[1], len[1]) &&
	       parse_kind(part[2], len[2], &id->kind) && copy_part(id->name, part[3], len[3]) &&
	       reader_done(r);
}

int identity_parse_spiffe(const char *text, size_t len, struct identity *ret, struct error *e)
{
	static const char scheme[] = "spiffe://";
	struct reader r = reader_init(text, len);
	const uint8_t *head = reader_bytes(&r, sizeof(scheme) - 1);
	struct identity id = { 0 };

	if (head == NULL || memcmp(head, scheme, sizeof(scheme) - 1) != 0 ||
	    !parse_parts(&r, &id)) {
		return error_set(e, -EINVAL,
				 "'%.*s' is not a name of the form "
				 "spiffe://DOMAIN/TENANT/{host|responder|collector}/NAME",
				 (int)(len < 160 ? len : 160), text != NULL ? text : "");
	}
	*ret = id;
	return 0;
}

const char *identity_spiffe(const struct identity *id, char buf[static IDENTITY_SPIFFE_MAX])
{
	int n = snprintf(buf, IDENTITY_SPIFFE_MAX, "spiffe://%s/%s/%s/%s", id->domain, id->tenant,
			 identity_kind_name(id->kind), id->name);

	if (n < 0)
		buf[0] = '\0';
	return buf;
}

bool identity_same_name(const struct identity *a, const struct identity *b)
{
	return a->kind == b->kind && strcmp(a->domain, b->domain) == 0 &&
	       strcmp(a->tenant, b->tenant) == 0 && strcmp(a->name, b->name) == 0;
}

bool identity_has_role(const struct identity *id, const char *role)
{
	for (size_t i = 0; i < id->n_roles; i++) {
		if (strcmp(id->roles[i], role) == 0)
			return true;
	}
	return false;
}

bool identity_role_valid(const char *role, size_t len)
{
	if (len == 0 || len > IDENTITY_ROLE_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!((role[i] >= 'a' && role[i] <= 'z') || (role[i] >= '0' && role[i] <= '9') ||
		      role[i] == '-'))
			return false;
	}
	return true;
}

bool identity_role_known(const char *role)
{
	static const char *const roles[] = { "viewer", "acquirer", "approver" };

	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(roles[i], role) == 0)
			return true;
	}
	return false;
}
