/* SPDX-License-Identifier: Apache-2.0 */
/* One signed request to an S3 server, through libcurl. One owner, one thread at a time. */
#ifndef COLLECTOR_S3_HTTP_H
#define COLLECTOR_S3_HTTP_H

#include "collector/s3_sign.h"

#define S3_REPLY_MAX KiB(64) /* of a reply's body that is kept; more is an error */
#define S3_NO_SINK (-1)

/* Strings are copied. */
struct s3_http_config {
	const char *endpoint; /* "https://s3.example:9000": no path, path-style requests */
	const char *ca_file; /* PEM; NULL: the system's */
	struct s3_credentials credentials;
	uint64_t connect_ms, stall_ms; /* a server that moves nothing for so long is given up */
	bool (*cancelled)(void *ctx); /* asked once a second, at least: true ends it; may be NULL */
	void *cancelled_ctx;
};

struct s3_http;

/* A request's body: from memory, or len bytes of fd from offset on. */
struct s3_body {
	const void *data;
	int fd; /* used when data is NULL */
	uint64_t offset, len;
};

struct s3_reply {
	long status;
	char etag[S3_WORD_MAX]; /* without quotes */
	char version_id[S3_WORD_MAX];
	char date[S3_WORD_MAX];
	uint64_t content_length; /* as the header says; HEAD */
	size_t len;
	char body[S3_REPLY_MAX + 1]; /* terminated; not for GET with a sink */
};

MUST_CHECK int s3_http_new(const struct s3_http_config *c, struct s3_http **ret, struct error *e);
void s3_http_free(struct s3_http *h); /* NULL allowed */
/* Any status is a success here: ask reply->status. call->host is set by us. sink: where the body of a reply with
 * status 200 is written, at most sink_max bytes; S3_NO_SINK: it is kept. -EIO, -ETIMEDOUT, -EHOSTUNREACH, -EBADMSG
 * (TLS, a reply that is too long), -ENOSPC (the sink), -ECANCELED with a sentence. */
MUST_CHECK int s3_http_run(struct s3_http *h, struct s3_call *call, const struct s3_body *body,
			   int sink, uint64_t sink_max, struct s3_reply *reply, struct error *e);

#endif
