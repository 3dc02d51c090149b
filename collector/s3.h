/* SPDX-License-Identifier: Apache-2.0 */
/* Objects that an S3 server keeps under Object Lock: put, lock, read the lock back. A server that does not
 * enforce the lock is refused (s3_prove_lock). One thread.
 *
 * Errors say what to do: -EAGAIN come again (503, 429, timeouts, refused connections), -EACCES 403,
 * -ENOENT 404, -EBADMSG the server's answer is not what was stored, -ENOTSUP no lock. */
#ifndef COLLECTOR_S3_H
#define COLLECTOR_S3_H

#include "collector/s3_http.h"

#define S3_PART_BYTES MiB(64) /* at most 10,000 parts: 625 GiB; larger objects get larger parts */
#define S3_PARTS_MAX 10000

enum s3_lock_mode { S3_LOCK_GOVERNANCE, S3_LOCK_COMPLIANCE };

struct s3_lock {
	enum s3_lock_mode mode;
	int64_t until_s; /* Unix time */
};

struct s3;

struct s3_config {
	struct s3_http_config http;
	const char *bucket; /* copied */
	uint64_t part_bytes; /* 0: S3_PART_BYTES */
	/* Instead of libcurl, for tests: as s3_http_run. NULL: libcurl. */
	int (*run)(void *ctx, struct s3_call *call, const struct s3_body *body, int sink,
		   uint64_t sink_max, struct s3_reply *reply, struct error *e);
	void *run_ctx;
};

MUST_CHECK int s3_new(const struct s3_config *c, struct s3 **ret, struct error *e);
void s3_free(struct s3 *s); /* NULL allowed */
/* "compliance", "governance". */
MUST_CHECK bool s3_lock_parse(const char *word, enum s3_lock_mode *ret);
const char *s3_lock_name(enum s3_lock_mode mode); /* as S3 spells it: "COMPLIANCE" */

/* Store size bytes of fd as key, locked; the lock was read back when this returns 0. sha256: of the bytes, hex.
 * Each part goes with its own SHA-256 and MD5, so that the server checks what it takes; what it says to have
 * stored is compared. ret_version: the version that is locked. */
MUST_CHECK int s3_put(struct s3 *s, const char *key, int fd, uint64_t size, const char *sha256,
		      const struct s3_lock *lock, char ret_version[static S3_WORD_MAX],
		      struct error *e);
/* Is this version there, with this length and locked at least so? 0; -ENOENT; -ENOTSUP: not locked so. */
MUST_CHECK int s3_verify(struct s3 *s, const char *key, const char *version, uint64_t size,
			 const struct s3_lock *lock, struct error *e);
/* Lock what is locked already for longer; read back. */
MUST_CHECK int s3_extend(struct s3 *s, const char *key, const char *version,
			 const struct s3_lock *lock, struct error *e);
/* Legal hold on this version on or off; read back. -ENOTSUP: the server does not keep it. */
MUST_CHECK int s3_hold(struct s3 *s, const char *key, const char *version, bool hold,
		       struct error *e);
/* Whether this version is under legal hold. */
MUST_CHECK int s3_held(struct s3 *s, const char *key, const char *version, bool *ret,
		       struct error *e);
/* This version (NULL: the newest) into fd, which is empty: its bytes have this SHA-256 (hex; NULL: not compared), and
 * are at most max. ret_sha256: hex, of what came; may be NULL. -EBADMSG: other bytes. */
MUST_CHECK int s3_get(struct s3 *s, const char *key, const char *version, int fd, uint64_t max,
		      const char *sha256, char *ret_sha256, struct error *e);

struct s3_version {
	char key[S3_KEY_MAX + 1], version[S3_WORD_MAX];
	uint64_t size;
};
/* Every version of every object whose key begins with prefix, by key, of one key the newest first. Markers of deletion
 * are passed over: what they hide is still there. Stops at fn's error. */
MUST_CHECK int s3_list(struct s3 *s, const char *prefix,
		       int (*fn)(void *ctx, const struct s3_version *v, struct error *e), void *ctx,
		       struct error *e);
/* Put a canary, lock it for two minutes, try to delete the locked version: the server must refuse. -ENOTSUP with a
 * sentence when it ignores the lock. */
MUST_CHECK int s3_prove_lock(struct s3 *s, const char *key, enum s3_lock_mode mode,
			     struct error *e);

#endif
