/* SPDX-License-Identifier: Apache-2.0 */
/* Logs to standard error, one line per message: constant message, typed fields.
 * Text form:  2026-11-24T14:00:00.123Z info  batch acknowledged batch=17 path="a\nb"
 * JSON form:  {"@timestamp":"...","log.level":"info","message":"...","log.logger":"NAME","batch":17}
 * The printer escapes; callers never do. Any thread; each line is one write(2). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "proto/base/base.h"
#include "proto/base/error.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum kv_type { KV_TYPE_END, KV_TYPE_U64, KV_TYPE_I64, KV_TYPE_STR, KV_TYPE_BYTES };

struct kv {
	const char *key;
	enum kv_type type;
	union {
		uint64_t u64;
		int64_t i64;
		const char *str; /* borrowed, may be NULL (shown as empty) */
		const void *bytes; /* borrowed, len bytes */
	} v;
	size_t len;
};

#define KV_U64(k, n) ((struct kv){ .key = (k), .type = KV_TYPE_U64, .v.u64 = (n) })
#define KV_I64(k, n) ((struct kv){ .key = (k), .type = KV_TYPE_I64, .v.i64 = (n) })
#define KV_STR(k, s) ((struct kv){ .key = (k), .type = KV_TYPE_STR, .v.str = (s) })
#define KV_BYTES(k, p, n)                                                                          \
	((struct kv){ .key = (k), .type = KV_TYPE_BYTES, .v.bytes = (p), .len = (n) })

/* Set once at start, before threads. name: program name, borrowed for ever. */
void log_init(const char *name, enum log_level min, bool json);
/* "debug", "info", "warn" or "error"; -EINVAL with a sentence otherwise. */
MUST_CHECK int log_level_parse(const char *name, enum log_level *ret_level, struct error *e);
void log_write(enum log_level level, const char *message, const struct kv *fields);

#define log_at(level, message, ...)                                                                \
	log_write((level), (message),                                                              \
		  (const struct kv[]){ __VA_ARGS__ __VA_OPT__(,) { .type = KV_TYPE_END } })
#define log_debug(message, ...) log_at(LOG_LEVEL_DEBUG, message __VA_OPT__(,) __VA_ARGS__)
#define log_info(message, ...) log_at(LOG_LEVEL_INFO, message __VA_OPT__(,) __VA_ARGS__)
#define log_warn(message, ...) log_at(LOG_LEVEL_WARN, message __VA_OPT__(,) __VA_ARGS__)
#define log_error(message, ...) log_at(LOG_LEVEL_ERROR, message __VA_OPT__(,) __VA_ARGS__)
/* The end of an error's journey inside a daemon: message, then error="TEXT; HINT". */
void log_failure(enum log_level level, const char *message, const struct error *e);

#endif
