/* SPDX-License-Identifier: Apache-2.0 */
/* Inside S3: s3.c puts, locks and proves, s3_objects.c reads back, lists and holds. */
#ifndef COLLECTOR_S3_INTERNAL_H
#define COLLECTOR_S3_INTERNAL_H

#include "collector/s3.h"

#define S3_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"

struct s3 {
	struct s3_http *http; /* NULL: run is used */
	int (*run)(void *ctx, struct s3_call *call, const struct s3_body *body, int sink,
		   uint64_t sink_max, struct s3_reply *reply, struct error *e);
	void *run_ctx;
	char *bucket;
	uint64_t part_bytes;
	struct s3_reply reply; /* of the last request */
	char path[S3_KEY_MAX + 256];
};

/* The checksums of a request's body, as they are sent. */
struct s3_sums {
	char sha256[65], md5_hex[33], md5_base64[32];
};

void s3_hex(const uint8_t *data, size_t len, char *out); /* 2 * len and NUL */
MUST_CHECK int s3_sum_body(const struct s3_body *b, struct s3_sums *ret, struct error *e);
/* key NULL: the bucket itself. */
struct s3_call s3_call_of(struct s3 *s, const char *method, const char *key);
void s3_add_param(struct s3_call *c, const char *name, const char *value);
void s3_add_header(struct s3_call *c, const char *name, const char *value);
/* One request; a status that is no success is an error. */
MUST_CHECK int s3_run(struct s3 *s, struct s3_call *c, const struct s3_body *body, struct error *e);
MUST_CHECK int s3_run_into(struct s3 *s, struct s3_call *c, const struct s3_body *body, int sink,
			   uint64_t sink_max, struct error *e);
/* PUT of a text with its checksums. */
MUST_CHECK int s3_put_small(struct s3 *s, struct s3_call *c, const char *xml, struct error *e);

#endif
