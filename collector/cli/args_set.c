/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/args_set.h"

#include <errno.h>
#include <string.h>

#include "proto/base/clock.h"

struct args_unit {
	const char *name;
	uint64_t factor;
};

#define UNUSED_HERE (void)f, (void)value, (void)a, (void)now_ns, (void)e
#define MEMBER(type) (*(type *)((char *)a + f->offset))

static int bad_value(const struct flag *f, const char *value, struct error *e, const char *want)
{
	(void)error_set(e, -EINVAL, "'%s' is not a value for --%s", value, f->name);
	error_hint(e, "give %s", want);
	return -EINVAL;
}

ARGS_SETTER(args_set_true)
{
	UNUSED_HERE;
	MEMBER(bool) = true;
	return 0;
}

ARGS_SETTER(args_set_text)
{
	UNUSED_HERE;
	MEMBER(const char *) = value;
	return 0;
}

ARGS_SETTER(args_set_time)
{
	UNUSED_HERE;
	if (clock_parse(value, now_ns, &MEMBER(int64_t)) < 0)
		return bad_value(
			f, value, e,
			"a time such as 2026-11-24T14:00:00Z, or an age such as 15m, 2h or 7d");
	return 0;
}

static bool parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
	char *end = NULL;
	unsigned long long n;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	*ret = n;
	return errno == 0 && *end == '\0' && n <= max;
}

ARGS_SETTER(args_set_limit)
{
	UNUSED_HERE;
	if (!parse_u64(value, UINT64_MAX, &a->limit))
		return bad_value(f, value, e, "a number, or 0 for everything");
	a->has_limit = true;
	return 0;
}

ARGS_SETTER(args_set_pid)
{
	uint64_t pid;

	UNUSED_HERE;
	if (!parse_u64(value, UINT32_MAX, &pid) || pid == 0)
		return bad_value(f, value, e, "a process id");
	a->pid = (uint32_t)pid;
	return 0;
}

ARGS_SETTER(args_set_hours)
{
	UNUSED_HERE;
	if (!parse_u64(value, 12, &a->hours) || a->hours == 0)
		return bad_value(f, value, e, "1 to 12: people's certificates live no longer");
	return 0;
}

/* A number with one of the units; 0: none of them. */
static uint64_t parse_scaled(const char *value, const struct args_unit *units)
{
	size_t digits = strspn(value, "0123456789");
	char number[24];
	uint64_t n, scaled;

	if (digits == 0 || digits >= sizeof(number))
		return 0;
	memcpy(number, value, digits);
	number[digits] = '\0';
	if (!parse_u64(number, UINT64_MAX, &n))
		return 0;
	for (; units->name; units++)
		if (strcmp(value + digits, units->name) == 0)
			return __builtin_mul_overflow(n, units->factor, &scaled) ? 0 : scaled;
	return 0;
}

ARGS_SETTER(args_set_bytes)
{
	static const struct args_unit units[] = { { "", 1 },         { "KiB", KiB(1) },
						  { "MiB", MiB(1) }, { "GiB", GiB(1) },
						  { "TiB", TiB(1) }, { NULL, 0 } };

	UNUSED_HERE;
	MEMBER(uint64_t) = parse_scaled(value, units);
	return MEMBER(uint64_t) ? 0 : bad_value(f, value, e, "a size such as 512MiB or 20GiB");
}

ARGS_SETTER(args_set_seconds)
{
	static const struct args_unit units[] = { { "", 1 },     { "s", 1 },     { "m", 60 },
						  { "h", 3600 }, { "d", 86400 }, { NULL, 0 } };

	UNUSED_HERE;
	MEMBER(uint64_t) = parse_scaled(value, units);
	return MEMBER(uint64_t) ? 0 : bad_value(f, value, e, "a time such as 30s, 10m or 2h");
}

ARGS_SETTER(args_set_count)
{
	UNUSED_HERE;
	if (!parse_u64(value, UINT32_MAX, &MEMBER(uint64_t)) || MEMBER(uint64_t) == 0)
		return bad_value(f, value, e, "a number above 0");
	return 0;
}

ARGS_SETTER(args_set_grab_path)
{
	UNUSED_HERE;
	if (a->grab.n_paths == ARGS_PATHS_MAX)
		return error_set(e, -EINVAL, "--path is given more than %d times", ARGS_PATHS_MAX);
	a->grab.paths[a->grab.n_paths++] = value;
	return 0;
}

static ProtobufCBinaryData bytes_of(const char *text, size_t len)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)text };
}

ARGS_SETTER(args_set_host)
{
	UNUSED_HERE;
	if (a->n_hosts == ARGS_HOSTS_MAX)
		return error_set(e, -EINVAL, "--host is given more than %d times", ARGS_HOSTS_MAX);
	a->hosts[a->n_hosts++] = bytes_of(value, strlen(value));
	return 0;
}

/* VALUE, VALUE* (begins with), *VALUE and *VALUE* (contains: rather too much than nothing). */
static int op_of(const char **value, size_t *len)
{
	size_t n = *len;

	if (n >= 2 && (*value)[0] == '*' && (n > 2 || (*value)[1] != '*')) {
		(*value)++;
		*len = n - 1 - (size_t)((*value)[n - 2] == '*');
		return EXHIBIT__V1__FILTER_OP__FILTER_CONTAINS;
	}
	if (n >= 2 && (*value)[n - 1] == '*') {
		*len = n - 1;
		return EXHIBIT__V1__FILTER_OP__FILTER_PREFIX;
	}
	return EXHIBIT__V1__FILTER_OP__FILTER_EQUALS;
}

static int add_term(struct args *a, const char *field, size_t field_len, int op, const char *value,
		    uint32_t group, struct error *e)
{
	size_t len = strlen(value);
	Exhibit__V1__FilterTerm *t;

	if (a->n_terms == ARGS_TERMS_MAX)
		return error_set(e, -EINVAL, "more than %d conditions are given", ARGS_TERMS_MAX);
	if (op == ARGS_BY_VALUE)
		op = op_of(&value, &len);
	t = &a->terms[a->n_terms++];
	exhibit__v1__filter_term__init(t);
	t->field = bytes_of(field, field_len);
	t->op = (Exhibit__V1__FilterOp)op;
	t->value = bytes_of(value, len);
	t->group = group;
	return 0;
}

/* A flag that is repeated gives alternatives; different flags must all hold. */
static uint32_t group_of(const struct flag *f)
{
	uint32_t i = 0;

	while (flag_at(i) != f)
		i++;
	return i;
}

ARGS_SETTER(args_set_filter)
{
	bool number = value[0] && value[strspn(value, "0123456789")] == '\0';
	const char *field = f->second && !number ? f->second : f->field;

	UNUSED_HERE;
	return add_term(a, field, strlen(field), f->op, value, group_of(f), e);
}

#define POD_GROUP 900 /* names; the next: their namespaces */

/* NAME, or NAMESPACE/NAME: two conditions, so that pairs cannot be alternatives of each other. */
ARGS_SETTER(args_set_pod)
{
	static const char by_name[] = "orchestrator.resource.name",
			  by_namespace[] = "orchestrator.namespace";
	const char *slash = strchr(value, '/');
	int r;

	UNUSED_HERE;
	if (!value[0] || slash == value || (slash && (!slash[1] || strchr(slash + 1, '/'))))
		return bad_value(f, value, e, "NAME or NAMESPACE/NAME");
	for (size_t i = 0; i < a->n_terms; i++) {
		if (!(slash && a->terms[i].group == POD_GROUP) &&
		    a->terms[i].group != POD_GROUP + 1)
			continue;
		(void)error_set(e, -EINVAL, "--pod NAMESPACE/NAME goes alone");
		error_hint(e, "ask for one pod after the other, or by --namespace");
		return -EINVAL;
	}
	r = add_term(a, by_name, sizeof(by_name) - 1, f->op, slash ? slash + 1 : value, POD_GROUP,
		     e);
	if (r < 0 || !slash)
		return r;
	r = add_term(a, by_namespace, sizeof(by_namespace) - 1,
		     EXHIBIT__V1__FILTER_OP__FILTER_EQUALS, value, POD_GROUP + 1, e);
	if (r == 0)
		a->terms[a->n_terms - 1].value.len = (size_t)(slash - value);
	return r;
}

#define WHERE_GROUP 1000

ARGS_SETTER(args_set_where)
{
	const char *equals = strchr(value, '=');
	size_t len = equals ? (size_t)(equals - value) : 0;
	uint32_t group = WHERE_GROUP + (uint32_t)a->n_terms;
	bool network;

	UNUSED_HERE;
	if (!len)
		return bad_value(f, value, e, "FIELD=VALUE");
	/* The same field again is an alternative. */
	for (size_t i = 0; i < a->n_terms; i++)
		if (a->terms[i].group >= WHERE_GROUP && a->terms[i].field.len == len &&
		    memcmp(a->terms[i].field.data, value, len) == 0)
			group = a->terms[i].group;
	network = len >= 3 && memcmp(equals - 3, ".ip", 3) == 0;
	return add_term(a, value, len,
			network ? (int)EXHIBIT__V1__FILTER_OP__FILTER_CIDR : ARGS_BY_VALUE,
			equals + 1, group, e);
}
