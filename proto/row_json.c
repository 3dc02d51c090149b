/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "proto/fields.h"
#include "proto/json.h"

#define NEST_MAX 8

/* What is open while names are written one after the other: "process.parent.pid" stands two deep. */
struct nest {
	const char *name; /* the last one written */
	unsigned int depth; /* objects open for it */
};

/* Bytes that two names share, up to and with their last common dot; ret_dots: dots among them. */
static size_t common(const char *a, const char *b, unsigned int *ret_dots)
{
	size_t shared = 0;

	*ret_dots = 0;
	for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
		if (a[i] == '.') {
			shared = i + 1;
			(*ret_dots)++;
		}
	}
	return shared;
}

/* Close and open objects until name's last part is to be written; returns that part. */
static const char *enter(struct json *j, struct nest *nest, const char *name)
{
	unsigned int dots;
	const char *rest = name + common(nest->name, name, &dots);
	const char *dot;

	for (; nest->depth > dots; nest->depth--)
		json_close(j, '}');
	for (; (dot = strchr(rest, '.')); rest = dot + 1, nest->depth++)
		json_open(j, rest, (size_t)(dot - rest), '{');
	nest->name = name;
	return rest;
}

static void write_list(struct json *j, const char *key, const struct value *v, struct subject *s)
{
	struct json_item *items = arena_alloc(s->arena, (v->u.texts.n + 1) * sizeof(*items));

	if (!items) {
		s->failed = true;
		return;
	}
	for (size_t i = 0; i < v->u.texts.n; i++)
		items[i] = (struct json_item){ v->u.texts.items[i].data, v->u.texts.items[i].len };
	json_list(j, key, items, v->u.texts.n);
}

static void write_value(struct json *j, const char *key, enum value_type type,
			const struct value *v, struct subject *s)
{
	char ip[FIELDS_IP_TEXT_MAX];

	switch (type) {
	case VALUE_TEXT:
		json_bytes(j, key, v->u.text.data, v->u.text.len);
		break;
	case VALUE_TEXTS:
		write_list(j, key, v, s);
		break;
	case VALUE_NUMBER:
		json_u64(j, key, v->u.number);
		break;
	case VALUE_IP:
		json_text(j, key, fields_ip_text(v->u.ip, ip));
		break;
	case VALUE_TIME:
		json_time(j, key, v->u.time_ns);
		break;
	case VALUE_BOOL:
		json_bool(j, key, v->u.truth);
		break;
	}
}

void fields_write_json(struct json *j, struct subject *s)
{
	fields_write_json_at(j, NULL, s);
}

void fields_write_json_at(struct json *j, const char *key, struct subject *s)
{
	struct nest nest = { .name = "" };
	const struct field *f;

	json_open(j, key, key ? strlen(key) : 0, '{');
	for (size_t i = 0; (f = field_at(i)); i++) {
		struct value v;

		if (field_get(f, s, &v))
			write_value(j, enter(j, &nest, field_name(f)), field_type(f), &v, s);
	}
	for (; nest.depth; nest.depth--)
		json_close(j, '}');
	json_close(j, '}');
}
