/* SPDX-License-Identifier: Apache-2.0 */
/* A streaming JSON writer (RFC 8259). Text that is not valid UTF-8 is shown with U+FFFD and a sibling
 * KEY_base64 carries it exactly; control characters are escaped, C1 and DEL too, so that output cannot
 * drive a terminal. Why not a library: jansson and json-c build a tree in memory for each row, yajl_gen
 * (2.1.0, of 2014) refuses text that is not UTF-8.
 *
 * One owner. Errors of the stream stay in it: ask ferror at the end. Nesting beyond JSON_DEPTH_MAX or
 * a close too many sets bad and writes nothing more. */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include <stdio.h>

#include "proto/base/base.h"

#define JSON_DEPTH_MAX 16

struct json {
	FILE *out; /* borrowed */
	unsigned int depth;
	uint32_t filled; /* bit per depth: something stands there already */
	bool bad;
};

struct json json_init(FILE *out);

/* key: NULL in an array and at the top; else a constant of ours. key_len bytes. */
void json_open(struct json *j, const char *key, size_t key_len, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket); /* '}' or ']' */
void json_u64(struct json *j, const char *key, uint64_t v);
void json_i64(struct json *j, const char *key, int64_t v);
void json_bool(struct json *j, const char *key, bool v);
void json_none(struct json *j, const char *key);
/* NUL-terminated, written as it is but for escapes. */
void json_text(struct json *j, const char *key, const char *text);
/* Any bytes, with the sibling KEY_base64 when they need it. Not in arrays. */
void json_bytes(struct json *j, const char *key, const void *data, size_t len);
/* A list of byte strings: KEY, and KEY_base64 with null where the element is valid, when one is not. */
struct json_item {
	const uint8_t *data;
	size_t len;
};
void json_list(struct json *j, const char *key, const struct json_item *items, size_t n);
/* RFC 3339 in UTC. */
void json_time(struct json *j, const char *key, int64_t wall_ns);
/* The end of one line of JSON lines. */
void json_line(struct json *j);

#endif
