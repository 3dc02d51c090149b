/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/s3_sign.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HASH_LEN 32

/* Text that grows in a buffer; sticky when it does not fit. */
struct text {
	char *at;
	size_t size, len;
	bool bad;
};

PRINTF(2, 3)
static void add(struct text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->at + t->len, t->size - t->len, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= t->size - t->len)
		t->bad = true;
	else
		t->len += (size_t)n;
}

/* RFC 3986's unreserved characters stay; a path keeps its slashes. */
static void add_encoded(struct text *t, const char *s, const char *keep)
{
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
			     (c >= '0' && c <= '9') || strchr("-_.~", c) != NULL ||
			     strchr(keep, c) != NULL;

		if (plain)
			add(t, "%c", c);
		else
			add(t, "%%%02X", c);
	}
}

static int by_name(const void *a, const void *b)
{
	const struct s3_pair *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void make_query(const struct s3_call *call, struct text *t)
{
	struct s3_pair sorted[S3_PARAMS_MAX];

	memcpy(sorted, call->params, sizeof(sorted));
	if (call->n_params > 0)
		qsort(sorted, call->n_params, sizeof(sorted[0]), by_name);
	for (size_t i = 0; i < call->n_params; i++) {
		if (i > 0)
			add(t, "&");
		add_encoded(t, sorted[i].name, "");
		add(t, "=");
		add_encoded(t, sorted[i].value, "");
	}
}

static void hex(const uint8_t *data, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", data[i]);
}

static bool hmac(const void *key, size_t key_len, const char *data, size_t len,
		 uint8_t out[static HASH_LEN])
{
	unsigned int n = HASH_LEN;

	return HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)data, len, out, &n) != NULL;
}

static bool signing_key(const struct s3_credentials *c, const char *day,
			uint8_t out[static HASH_LEN])
{
	char first[S3_WORD_MAX + 8];
	uint8_t key[HASH_LEN];
	int n = snprintf(first, sizeof(first), "AWS4%s", c->secret_key);
	bool good = hmac(first, (size_t)n, day, strlen(day), key) &&
		    hmac(key, sizeof(key), c->region, strlen(c->region), out) &&
		    hmac(out, HASH_LEN, "s3", 2, key) &&
		    hmac(key, sizeof(key), "aws4_request", 12, out);

	OPENSSL_cleanse(first, sizeof(first));
	return good;
}

/* All headers that are signed, sorted. Returns how many. */
static size_t all_headers(const struct s3_call *call, const char *date,
			  struct s3_pair out[static S3_HEADERS_MAX + 3])
{
	size_t n = call->n_headers;

	memcpy(out, call->headers, sizeof(call->headers));
	out[n++] = (struct s3_pair){ "host", call->host };
	out[n++] = (struct s3_pair){ "x-amz-content-sha256", call->payload_sha256 };
	out[n++] = (struct s3_pair){ "x-amz-date", date };
	qsort(out, n, sizeof(out[0]), by_name);
	return n;
}

static void add_names(struct text *t, const struct s3_pair *headers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(t, "%s%s", i > 0 ? ";" : "", headers[i].name);
}

static bool hash_request(const struct s3_call *call, const struct s3_signed *s,
			 const struct s3_pair *headers, size_t n, char out[static 2 * HASH_LEN + 1])
{
	char buffer[12288];
	struct text t = { buffer, sizeof(buffer), 0, false };
	uint8_t digest[HASH_LEN];
	unsigned int len = HASH_LEN;

	add(&t, "%s\n%s\n%s\n", call->method, s->path, s->query);
	for (size_t i = 0; i < n; i++)
		add(&t, "%s:%s\n", headers[i].name, headers[i].value);
	add(&t, "\n");
	add_names(&t, headers, n);
	add(&t, "\n%s", call->payload_sha256);
	if (t.bad || EVP_Digest(buffer, t.len, digest, &len, EVP_sha256(), NULL) != 1)
		return false;
	hex(digest, sizeof(digest), out);
	return true;
}

int s3_sign(const struct s3_credentials *c, const struct s3_call *call, int64_t now_s,
	    struct s3_signed *ret, struct error *e)
{
	struct s3_pair headers[S3_HEADERS_MAX + 3];
	struct text path = { ret->path, sizeof(ret->path), 0, false };
	struct text query = { ret->query, sizeof(ret->query), 0, false };
	struct text auth = { ret->authorization, sizeof(ret->authorization), 0, false };
	char day[16], request[2 * HASH_LEN + 1], to_sign[1024], signature[2 * HASH_LEN + 1];
	uint8_t key[HASH_LEN], mac[HASH_LEN];
	time_t when = (time_t)now_s;
	struct tm tm;
	size_t n;

	*ret = (struct s3_signed){ 0 };
	if (gmtime_r(&when, &tm) == NULL)
		return error_set(e, -ERANGE, "cannot sign a request to S3: the clock is wrong");
	(void)strftime(ret->date, sizeof(ret->date), "%Y%m%dT%H%M%SZ", &tm);
	(void)strftime(day, sizeof(day), "%Y%m%d", &tm);
	add_encoded(&path, call->path, "/");
	make_query(call, &query);
	n = all_headers(call, ret->date, headers);
	bool good = !path.bad && !query.bad && hash_request(call, ret, headers, n, request);
	int len = snprintf(to_sign, sizeof(to_sign),
			   "AWS4-HMAC-SHA256\n%s\n%s/%s/s3/aws4_request\n%s", ret->date, day,
			   c->region, request);

	good = good && len > 0 && (size_t)len < sizeof(to_sign) && signing_key(c, day, key) &&
	       hmac(key, sizeof(key), to_sign, (size_t)len, mac);
	if (good) {
		hex(mac, sizeof(mac), signature);
		add(&auth, "AWS4-HMAC-SHA256 Credential=%s/%s/%s/s3/aws4_request,SignedHeaders=",
		    c->access_key, day, c->region);
		add_names(&auth, headers, n);
		add(&auth, ",Signature=%s", signature);
	}
	OPENSSL_cleanse(key, sizeof(key));
	return good && !auth.bad ? 0 :
				   error_set(e, -EMSGSIZE, "cannot sign a request to S3: too long");
}
