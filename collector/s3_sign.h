/* SPDX-License-Identifier: Apache-2.0 */
/* AWS Signature Version 4 for S3, in the Authorization header. Pure. Source: "Signature Calculations for the
 * Authorization Header", Amazon S3 API reference; its four examples are rows of test_s3_sign. Measured against
 * radosgw: every parameter with its "=", sorted, percent-encoded by us; x-amz-content-sha256 always. */
#ifndef COLLECTOR_S3_SIGN_H
#define COLLECTOR_S3_SIGN_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define S3_KEY_MAX 1024 /* bytes of an object's name, S3's own limit */
#define S3_PARAMS_MAX 8
#define S3_HEADERS_MAX 16
#define S3_WORD_MAX 256

struct s3_credentials {
	char access_key[S3_WORD_MAX], secret_key[S3_WORD_MAX], region[S3_WORD_MAX];
};

struct s3_pair {
	const char *name, *value; /* headers: lower case */
};

struct s3_call {
	const char *method;
	const char *host; /* "s3.example:9000", as the Host header says it */
	const char *path; /* "/bucket/key", not encoded */
	size_t n_params, n_headers;
	struct s3_pair params[S3_PARAMS_MAX];
	struct s3_pair
		headers[S3_HEADERS_MAX]; /* signed and sent, beside the three that signing adds */
	const char *payload_sha256; /* 64 hex digits */
};

struct s3_signed {
	char path[3 * S3_KEY_MAX + 256]; /* encoded */
	char query[2048]; /* encoded, without "?" */
	char date[20]; /* value of x-amz-date */
	char authorization[1024];
};

/* -EMSGSIZE: too long for these buffers. */
MUST_CHECK int s3_sign(const struct s3_credentials *c, const struct s3_call *call, int64_t now_s,
		       struct s3_signed *ret, struct error *e);

#endif
