/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of field names (those of the Elastic Common Schema where it has one, ours under
 * exhibit.): how to read each from a row, which is an event with its batch's context and its process.
 * The collector's filter, the CLI's JSON and its tables all read rows through it; a new field is one
 * row in fields.c. Pure functions, any thread. */
#ifndef PROTO_FIELDS_H
#define PROTO_FIELDS_H

#include "proto/base/arena.h"
#include "proto/base/base.h"
#include "service.pb-c.h"

enum value_type {
	VALUE_TEXT, /* ECS keyword: any bytes */
	VALUE_TEXTS, /* list of keywords */
	VALUE_NUMBER,
	VALUE_IP,
	VALUE_TIME, /* Unix time in ns */
	VALUE_BOOL, /* present only when true, but for exhibit.truncated and the like */
};

struct value {
	union {
		ProtobufCBinaryData text; /* borrowed from the row or in its arena */
		struct {
			size_t n;
			const ProtobufCBinaryData *items;
		} texts;
		uint64_t number;
		ProtobufCBinaryData ip; /* 4 or 16 bytes */
		int64_t time_ns;
		bool truth;
	} u;
};

/* One row, borrowed. */
struct subject {
	const Exhibit__V1__BatchContext *context;
	const Exhibit__V1__Event *event;
	const Exhibit__V1__Process *process; /* NULL: none */
	struct arena *arena; /* for values that are made; reset it between rows */
	bool failed; /* the arena was full: what was absent may not have been */
	const Exhibit__V1__Row *row; /* of a tree: depth, focus, exit; NULL: none */
};

/* Groups that a filter may ask at once: "any.ip" and so on. Bits. */
enum {
	FIELD_ANY_IP = 1 << 0,
	FIELD_ANY_PORT = 1 << 1,
	FIELD_ANY_PATH = 1 << 2,
	FIELD_ANY_TEXT = 1 << 3,
	/* The value's bytes stand in the stored entry as they are. */
	FIELD_VERBATIM = 1 << 4,
};

struct field;

/* NULL past the end. The order keeps what ECS nests together together. */
const struct field *field_at(size_t i);
const struct field *field_by_name(const char *name, size_t len);
const char *field_name(const struct field *f);
enum value_type field_type(const struct field *f);
unsigned int field_groups(const struct field *f);
/* false: absent in this row. ret_value: set when true. */
bool field_get(const struct field *f, struct subject *s, struct value *ret_value);
/* The nearest name within three edits, NULL: none. For "did you mean". */
const char *field_nearest(const char *name, size_t len);

/* What event.action shows: stock-taking appears under the action that it stands for. */
const char *field_action(const Exhibit__V1__Event *e);

struct json;
/* The whole row as one JSON object, nested as ECS nests it. */
void fields_write_json(struct json *j, struct subject *s);
/* The same as a member of an object that is open. key: NULL at the top. */
void fields_write_json_at(struct json *j, const char *key, struct subject *s);
/* Canonical text of an address of 4 or 16 bytes; "" for any other. */
#define FIELDS_IP_TEXT_MAX 46
const char *fields_ip_text(ProtobufCBinaryData ip, char buf[static FIELDS_IP_TEXT_MAX]);

#endif
