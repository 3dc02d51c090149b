/* SPDX-License-Identifier: Apache-2.0 */
/* A bucket in memory that keeps versions, locks and legal holds, and fails on request: a transport for s3.h. Any
 * thread. */
#ifndef TESTS_UNIT_FAKE_BUCKET_H
#define TESTS_UNIT_FAKE_BUCKET_H

#include "collector/s3.h"

#define FAKE_OBJECTS_MAX 4096
#define FAKE_PAGE 7 /* versions of one listing */

struct fake_object {
	char key[S3_KEY_MAX + 1], version[16];
	uint8_t *data;
	size_t len;
	bool locked, hold;
	char mode[32], until[64];
};

/* What goes wrong; all of it may be changed at any time. */
struct fake_faults {
	long status; /* every request gets this answer; 0: none */
	int error; /* and this is what the transport returns (-ETIMEDOUT); 0: none */
	bool wrong_etag, forgets_lock, forgets_hold, stuck_listing;
	const char *only; /* these concern only requests whose path holds this; NULL: all */
};

struct fake_bucket;

struct fake_bucket *fake_bucket_new(void);
void fake_bucket_free(struct fake_bucket *f);
/* For s3_config.run and bucket_config.run; ctx is the fake_bucket. */
int fake_bucket_run(void *ctx, struct s3_call *call, const struct s3_body *body, int sink,
		    uint64_t sink_max, struct s3_reply *reply, struct error *e);
void fake_bucket_fail(struct fake_bucket *f,
		      const struct fake_faults *faults); /* NULL: well again */
/* The n-th version of objects whose key holds part, by age. NULL: none. */
struct fake_object *fake_bucket_find(struct fake_bucket *f, const char *part, size_t n);
size_t fake_bucket_requests(struct fake_bucket *f, const char *method);
/* As an attacker: another version of a key. */
void fake_bucket_put(struct fake_bucket *f, const char *key, const void *data, size_t len);

#endif
