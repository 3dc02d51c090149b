/* SPDX-License-Identifier: Apache-2.0 */
/* The S3 bucket of the configuration: opened, its lock proven once. One thread. */
#ifndef COLLECTOR_BUCKET_H
#define COLLECTOR_BUCKET_H

#include "collector/s3.h"

struct bucket_config {
	const char *endpoint, *name, *region, *prefix, *access_key_file, *ca_file,
		*lock_mode; /* copied */
	uint64_t retain_days; /* of locks */
	uint64_t part_bytes; /* 0: the default */
	uint64_t stall_ms; /* 0: 60 s */
	bool (*cancelled)(void *ctx); /* as s3_http_config's */
	void *cancelled_ctx;
	/* As s3_config's, for tests: the endpoint and the key's file are not looked at then. */
	int (*run)(void *ctx, struct s3_call *call, const struct s3_body *body, int sink,
		   uint64_t sink_max, struct s3_reply *reply, struct error *e);
	void *run_ctx;
};

struct bucket {
	struct s3 *s3;
	char *name;
	char *prefix; /* "" or ends with a slash */
	enum s3_lock_mode mode;
	uint64_t retain_days;
	bool proven;
};

/* Nothing is sent. -EINVAL, -ENOENT (the key's file). */
MUST_CHECK int bucket_open(const struct bucket_config *c, struct bucket **ret, struct error *e);
void bucket_close(struct bucket *b); /* NULL allowed */
static inline void bucket_close_ptr(struct bucket **b)
{
	bucket_close(*b);
}
/* The lock holds (s3_prove_lock); asked once. */
MUST_CHECK int bucket_prove(struct bucket *b, struct error *e);
/* A lock from from_s (Unix time) on, but never one that ends within a day: a lock in the past is none. */
struct s3_lock bucket_lock(const struct bucket *b, int64_t from_s);

#endif
