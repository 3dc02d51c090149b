/* SPDX-License-Identifier: Apache-2.0 */
/* One value: text to field, bounds, and back to text for messages. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/options_internal.h"

#define HOST_NAME_MAX_LEN 253 /* RFC 1035, as text */

struct unit {
	const char *name;
	uint64_t size;
};

static const struct unit size_units[] = { { "TiB", TiB(1) }, { "GiB", GiB(1) }, { "MiB", MiB(1) },
					  { "KiB", KiB(1) }, { "", 1 },         { 0 } };
static const struct unit duration_units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 },
					      { "s", 1000 },     { "ms", 1 },      { 0 } };
static const struct unit no_units[] = { { "", 1 }, { 0 } };

/* What a type of number looks like. */
static const struct number_type {
	const struct unit *units;
	const char *what, *spelling;
} number_types[] = {
	[OPT_BYTES] = { size_units, "a size", "write 512, 64KiB, 10MiB or 1GiB" },
	[OPT_DURATION_MS] = { duration_units, "a duration", "write 500ms, 10s, 5m, 2h or 7d" },
	[OPT_U64] = { no_units, "a whole number", "write digits only" },
};

static const char *const metavars[] = {
	[OPT_STRING] = "TEXT",       [OPT_BYTES] = "SIZE", [OPT_DURATION_MS] = "DURATION",
	[OPT_U64] = "NUMBER",        [OPT_BOOL] = "BOOL",  [OPT_STRINGS] = "TEXT",
	[OPT_ADDRESS] = "HOST:PORT",
};

const char *option_metavar(const struct option *row)
{
	return row->metavar ? row->metavar : metavars[row->type];
}

int option_fail(const struct option_source *s, int code, struct error *e, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!s->file)
		return error_set(e, code, "--%s", text);
	return error_set(e, code, "%s:%zu:%zu: %s", s->file, s->line, s->column, text);
}

static void *field(const struct option *row, void *opts)
{
	return (uint8_t *)opts + row->offset;
}

struct option_list *option_list(const struct option *row, void *opts)
{
	return field(row, opts);
}

const char *option_format(const struct option *row, uint64_t v,
			  char buf[static OPTION_VALUE_TEXT_MAX])
{
	const struct unit *u = row->type == OPT_BYTES || row->type == OPT_DURATION_MS ?
				       number_types[row->type].units :
				       no_units;

	/* The last unit divides everything; 0 takes it too. */
	while (u[1].name && (v == 0 || v % u->size))
		u++;
	(void)snprintf(buf, OPTION_VALUE_TEXT_MAX, "%" PRIu64 "%s", v / u->size, u->name);
	return buf;
}

/* Digits, then one of the units. */
static int parse_number(const struct unit *units, const char *text, uint64_t *ret)
{
	uint64_t v = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
			return -ERANGE;
	for (; units->name; units++) {
		if (strcmp(units->name, text) == 0)
			return __builtin_mul_overflow(v, units->size, ret) ? -ERANGE : 0;
	}
	return -EINVAL;
}

static int check_range(const struct option *row, uint64_t v, const struct option_source *s,
		       struct error *e)
{
	char given[OPTION_VALUE_TEXT_MAX], bound[OPTION_VALUE_TEXT_MAX];

	if (v < row->min)
		return option_fail(s, -ERANGE, e, "%s: %s is below the minimum of %s", row->name,
				   option_format(row, v, given),
				   option_format(row, row->min, bound));
	if (row->max && v > row->max)
		return option_fail(s, -ERANGE, e, "%s: %s is above the maximum of %s", row->name,
				   option_format(row, v, given),
				   option_format(row, row->max, bound));
	return 0;
}

static int set_number(const struct option *row, void *opts, const char *text,
		      const struct option_source *s, struct error *e)
{
	const struct number_type *type = &number_types[row->type];
	uint64_t v;
	int r = parse_number(type->units, text, &v);

	if (r == -ERANGE)
		return option_fail(s, r, e, "%s: '%.64s' is too large", row->name, text);
	if (r < 0) {
		r = option_fail(s, r, e, "%s: '%.64s' is not %s", row->name, text, type->what);
		error_hint(e, "%s", type->spelling);
		return r;
	}
	r = check_range(row, v, s, e);
	if (r == 0)
		*(uint64_t *)field(row, opts) = v;
	return r;
}

static int set_bool(const struct option *row, void *opts, const char *text,
		    const struct option_source *s, struct error *e)
{
	bool yes = strcmp(text, "true") == 0;

	if (!yes && strcmp(text, "false") != 0)
		return option_fail(s, -EINVAL, e, "%s: '%.64s' is neither true nor false",
				   row->name, text);
	*(bool *)field(row, opts) = yes;
	return 0;
}

static int keep_string(const struct option *row, void *opts, const char *text,
		       const struct option_source *s, struct error *e)
{
	char **to = field(row, opts), *copy = strdup(text);

	if (!copy)
		return option_fail(s, -ENOMEM, e, "%s: out of memory", row->name);
	free(*to);
	*to = copy;
	return 0;
}

static int set_string(const struct option *row, void *opts, const char *text,
		      const struct option_source *s, struct error *e)
{
	size_t len = strlen(text),
	       max = row->max && row->max < OPTION_STRING_MAX ? row->max : OPTION_STRING_MAX;

	if (len < row->min)
		return option_fail(s, -ERANGE, e,
				   "%s: %zu bytes are fewer than the minimum of %" PRIu64,
				   row->name, len, row->min);
	if (len > max)
		return option_fail(s, -ERANGE, e, "%s: %zu bytes are more than the maximum of %zu",
				   row->name, len, max);
	return keep_string(row, opts, text, s, e);
}

static bool is_ipv6(const char *text, size_t len)
{
	char copy[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return inet_pton(AF_INET6, copy, &address) == 1;
}

/* A name or IPv4 address; whether it resolves is for those who dial. Locale-free on purpose. */
static bool is_name(const char *text, size_t len)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

	return len > 0 && len <= HOST_NAME_MAX_LEN && strspn(text, allowed) == len;
}

static bool is_host(const char *text, size_t len)
{
	if (len > 2 && text[0] == '[' && text[len - 1] == ']')
		return is_ipv6(text + 1, len - 2);
	return is_name(text, len);
}

static int set_address(const struct option *row, void *opts, const char *text,
		       const struct option_source *s, struct error *e)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;
	int r = 0;

	if (!colon || !is_host(text, (size_t)(colon - text)))
		r = option_fail(s, -EINVAL, e, "%s: '%.64s' is not HOST:PORT", row->name, text);
	else if (parse_number(no_units, colon + 1, &port) < 0 || port < row->min || port > row->max)
		r = option_fail(s, -ERANGE, e,
				"%s: '%.64s' does not end in a port from %" PRIu64 " to %" PRIu64,
				row->name, text, row->min, row->max);
	if (r < 0) {
		error_hint(e, "write collector.example:7443, 10.0.0.5:7443 or [2001:db8::1]:7443");
		return r;
	}
	return keep_string(row, opts, text, s, e);
}

static size_t list_max(const struct option *row)
{
	return row->max && row->max < OPTION_LIST_MAX ? (size_t)row->max : OPTION_LIST_MAX;
}

static int append_string(const struct option *row, void *opts, const char *text,
			 const struct option_source *s, struct error *e)
{
	struct option_list *list = field(row, opts);

	if (list->n >= list_max(row))
		return option_fail(s, -ERANGE, e, "%s: more than %zu items", row->name,
				   list_max(row));
	if (strlen(text) > OPTION_STRING_MAX)
		return option_fail(s, -ERANGE, e, "%s: an item is longer than %d bytes", row->name,
				   OPTION_STRING_MAX);
	list->item[list->n] = strdup(text);
	if (!list->item[list->n])
		return option_fail(s, -ENOMEM, e, "%s: out of memory", row->name);
	list->n++;
	return 0;
}

int option_set(const struct option *row, void *opts, const char *text,
	       const struct option_source *s, struct error *e)
{
	switch (row->type) {
	case OPT_STRING:
		return set_string(row, opts, text, s, e);
	case OPT_BYTES:
	case OPT_DURATION_MS:
	case OPT_U64:
		return set_number(row, opts, text, s, e);
	case OPT_BOOL:
		return set_bool(row, opts, text, s, e);
	case OPT_ADDRESS:
		return set_address(row, opts, text, s, e);
	case OPT_STRINGS:
		return append_string(row, opts, text, s, e);
	}
	return option_fail(s, -EINVAL, e, "%s: the option has an unknown type", row->name);
}

void option_list_clear(struct option_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->item[i]);
	list->n = 0;
}

int option_list_check(const struct option *row, const void *opts, const struct option_source *s,
		      struct error *e)
{
	const struct option_list *list = (const void *)((const uint8_t *)opts + row->offset);

	if (list->n < row->min)
		return option_fail(s, -ERANGE, e,
				   "%s: %zu items are fewer than the minimum of %" PRIu64,
				   row->name, list->n, row->min);
	return 0;
}

void option_release(const struct option *row, void *opts)
{
	if (row->type == OPT_STRINGS)
		option_list_clear(field(row, opts));
	if (row->type == OPT_STRING || row->type == OPT_ADDRESS) {
		char **text = field(row, opts);

		free(*text);
		*text = NULL;
	}
}

static const size_t field_sizes[] = {
	[OPT_STRING] = sizeof(char *),
	[OPT_ADDRESS] = sizeof(char *),
	[OPT_BYTES] = sizeof(uint64_t),
	[OPT_DURATION_MS] = sizeof(uint64_t),
	[OPT_U64] = sizeof(uint64_t),
	[OPT_BOOL] = sizeof(bool),
	[OPT_STRINGS] = sizeof(struct option_list),
};

void option_zero(const struct option *row, void *opts)
{
	memset(field(row, opts), 0, field_sizes[row->type]);
}

int option_set_default(const struct option *row, void *opts, struct error *e)
{
	const struct option_source builtin = { 0 };
	struct option unbounded = *row;

	unbounded.min = 0;
	if (row->def)
		return option_set(row, opts, row->def, &builtin, e);
	if (row->type == OPT_STRING)
		return option_set(&unbounded, opts, "", &builtin, e);
	return 0;
}
