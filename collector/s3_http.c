/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/s3_http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/base/clock.h"
#include "proto/base/files.h"

#define SLOW_BYTES 4096L /* a second: at that rate an image of memory would take months */

struct s3_http {
	CURL *curl;
	char *endpoint, *ca_file, *host;
	struct s3_credentials credentials;
	uint64_t connect_ms, stall_ms;
	bool (*cancelled)(void *ctx);
	void *cancelled_ctx;
};

struct transfer {
	const struct s3_body *body;
	uint64_t sent;
	struct s3_reply *reply;
	CURL *curl;
	int sink; /* S3_NO_SINK: none */
	uint64_t sink_left, limit;
	bool too_long, unwritable;
};

/* ---- what curl calls ------------------------------------------------------------------------------------- */

static size_t on_read(char *out, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	uint64_t left = t->body->len - t->sent;
	size_t len = size * n < left ? size * n : (size_t)left;

	if (t->body->data != NULL) {
		memcpy(out, (const char *)t->body->data + t->sent, len);
	} else if (len > 0) {
		ssize_t got = pread(t->body->fd, out, len, (off_t)(t->body->offset + t->sent));

		if (got <= 0)
			return CURL_READFUNC_ABORT;
		len = (size_t)got;
	}
	t->sent += len;
	return len;
}

/* A request that has to be sent again. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
	struct transfer *t = ctx;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->body->len)
		return CURL_SEEKFUNC_FAIL;
	t->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t sink_write(struct transfer *t, const char *data, size_t len)
{
	struct error e = { 0 };

	if (len > t->sink_left) {
		t->too_long = true;
		return 0;
	}
	t->sink_left -= len;
	t->unwritable = files_write_all(t->sink, data, len, &e) < 0;
	return t->unwritable ? 0 : len;
}

static size_t on_write(char *data, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	size_t len = size * n;
	long status = 0;

	/* What a server says of an error is kept, not taken for the object. */
	if (t->sink != S3_NO_SINK) {
		(void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
		if (status == 200)
			return sink_write(t, data, len);
	}
	if (len > S3_REPLY_MAX - t->reply->len) {
		t->too_long = true;
		return 0;
	}
	memcpy(t->reply->body + t->reply->len, data, len);
	t->reply->len += len;
	t->reply->body[t->reply->len] = '\0';
	return len;
}

/* Copy a header's value, without spaces and quotes around it. */
static void take_value(const char *line, size_t len, char out[static S3_WORD_MAX])
{
	while (len > 0 && strchr(" \t\"", *line) != NULL)
		line++, len--;
	while (len > 0 && strchr(" \t\r\n\"", line[len - 1]) != NULL)
		len--;
	if (len >= S3_WORD_MAX)
		len = S3_WORD_MAX - 1;
	memcpy(out, line, len);
	out[len] = '\0';
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	struct s3_reply *r = t->reply;
	const struct {
		const char *name;
		char *out;
	} rows[] = { { "etag:", r->etag },
		     { "x-amz-version-id:", r->version_id },
		     { "date:", r->date } };
	size_t len = size * n;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t name = strlen(rows[i].name);

		if (len > name && strncasecmp(line, rows[i].name, name) == 0)
			take_value(line + name, len - name, rows[i].out);
	}
	return len;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total,
		       curl_off_t up_now)
{
	const struct s3_http *h = ctx;

	(void)total, (void)now, (void)up_total, (void)up_now;
	return h->cancelled(h->cancelled_ctx);
}

/* ---- one request ----------------------------------------------------------------------------------------- */

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
	char line[2048];
	struct curl_slist *longer;

	if ((size_t)snprintf(line, sizeof(line), "%s: %s", name, value) >= sizeof(line))
		return false;
	longer = curl_slist_append(*list, line);
	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

static bool make_headers(const struct s3_call *call, const struct s3_signed *s,
			 struct curl_slist **list)
{
	bool good = add_header(list, "x-amz-content-sha256", call->payload_sha256) &&
		    add_header(list, "x-amz-date", s->date) &&
		    add_header(list, "Authorization", s->authorization) &&
		    /* curl's own for a POST would not be signed, but is not wanted either. */
		    add_header(list, "Content-Type", "application/octet-stream");

	for (size_t i = 0; good && i < call->n_headers; i++)
		good = add_header(list, call->headers[i].name, call->headers[i].value);
	return good;
}

static void set_body(struct s3_http *h, const struct s3_call *call, struct transfer *t)
{
	bool sends = strcmp(call->method, "PUT") == 0 || strcmp(call->method, "POST") == 0;

	if (sends) {
		(void)curl_easy_setopt(h->curl, CURLOPT_UPLOAD, 1L);
		(void)curl_easy_setopt(h->curl, CURLOPT_READFUNCTION, on_read);
		(void)curl_easy_setopt(h->curl, CURLOPT_READDATA, t);
		(void)curl_easy_setopt(h->curl, CURLOPT_SEEKFUNCTION, on_seek);
		(void)curl_easy_setopt(h->curl, CURLOPT_SEEKDATA, t);
		(void)curl_easy_setopt(h->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->body->len);
	}
	if (strcmp(call->method, "HEAD") == 0)
		(void)curl_easy_setopt(h->curl, CURLOPT_NOBODY, 1L);
	(void)curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, call->method);
}

static void set_options(struct s3_http *h, const char *url, struct curl_slist *headers,
			struct transfer *t)
{
	curl_easy_reset(h->curl);
	(void)curl_easy_setopt(h->curl, CURLOPT_URL, url);
	(void)curl_easy_setopt(h->curl, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(h->curl, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(h->curl, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, t);
	(void)curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_write);
	(void)curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)h->connect_ms);
	(void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES);
	(void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, (long)((h->stall_ms + 999) / 1000));
	if (h->cancelled != NULL) {
		(void)curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
		(void)curl_easy_setopt(h->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
		(void)curl_easy_setopt(h->curl, CURLOPT_XFERINFODATA, h);
	}
	if (h->ca_file != NULL)
		(void)curl_easy_setopt(h->curl, CURLOPT_CAINFO, h->ca_file);
}

static int code_of(CURLcode code)
{
	switch ((int)code) {
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
		return -EHOSTUNREACH;
	case CURLE_ABORTED_BY_CALLBACK:
		return -ECANCELED;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

static int perform(struct s3_http *h, const struct s3_call *call, struct transfer *t,
		   struct error *e)
{
	curl_off_t length = 0;
	CURLcode code = curl_easy_perform(h->curl);

	if (t->too_long)
		return error_set(e, -EBADMSG, "'%s' answers %s %s with more than %llu bytes",
				 h->endpoint, call->method, call->path,
				 (unsigned long long)t->limit);
	if (t->unwritable)
		return error_set(e, -ENOSPC,
				 "cannot keep what S3 sends of %s: the disk is full or "
				 "cannot be written",
				 call->path);
	if (code != CURLE_OK)
		return error_set(e, code_of(code), "%s %s%s: %s", call->method, h->endpoint,
				 call->path, curl_easy_strerror(code));
	(void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &t->reply->status);
	if (curl_easy_getinfo(h->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length) == CURLE_OK &&
	    length > 0)
		t->reply->content_length = (uint64_t)length;
	return 0;
}

int s3_http_run(struct s3_http *h, struct s3_call *call, const struct s3_body *body, int sink,
		uint64_t sink_max, struct s3_reply *reply, struct error *e)
{
	static const struct s3_body nothing = { .data = "" };
	struct transfer t = { .body = body != NULL ? body : &nothing,
			      .reply = reply,
			      .curl = h->curl,
			      .sink = sink,
			      .sink_left = sink_max,
			      .limit = sink == S3_NO_SINK ? S3_REPLY_MAX : sink_max };
	AUTO(free_ptr) struct s3_signed *s = calloc(1, sizeof(*s));
	AUTO(free_ptr) char *url = NULL;
	struct curl_slist *headers = NULL;
	int r;

	memset(reply, 0, offsetof(struct s3_reply, body) + 1);
	call->host = h->host;
	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot ask S3: out of memory");
	r = s3_sign(&h->credentials, call, clock_wall_ns() / (int64_t)NSEC_PER_SEC, s, e);
	if (r < 0)
		return r;
	if (asprintf(&url, "%s%s%s%s", h->endpoint, s->path, s->query[0] ? "?" : "", s->query) <
	    0) {
		url = NULL;
		return error_set(e, -ENOMEM, "cannot ask S3: out of memory");
	}
	if (make_headers(call, s, &headers)) {
		set_options(h, url, headers, &t);
		set_body(h, call, &t);
		r = perform(h, call, &t, e);
	} else {
		r = error_set(e, -ENOMEM, "cannot ask S3: out of memory");
	}
	curl_slist_free_all(headers);
	return r;
}

/* ---- the object ------------------------------------------------------------------------------------------ */

int s3_http_new(const struct s3_http_config *c, struct s3_http **ret, struct error *e)
{
	const char *host = strstr(c->endpoint, "://");
	struct s3_http *h;

	if ((strncmp(c->endpoint, "http://", 7) != 0 && strncmp(c->endpoint, "https://", 8) != 0) ||
	    strpbrk(host + 3, "/?#@ ") != NULL || host[3] == '\0')
		return error_set(e, -EINVAL,
				 "'%s' is not an endpoint; give http://HOST:PORT or https://HOST",
				 c->endpoint);
	h = calloc(1, sizeof(*h));
	if (h == NULL)
		return error_set(e, -ENOMEM, "cannot speak to S3: out of memory");
	h->endpoint = strdup(c->endpoint);
	h->host = strdup(host + 3);
	h->ca_file = c->ca_file != NULL && c->ca_file[0] != '\0' ? strdup(c->ca_file) : NULL;
	h->credentials = c->credentials;
	h->connect_ms = c->connect_ms;
	h->stall_ms = c->stall_ms;
	h->cancelled = c->cancelled;
	h->cancelled_ctx = c->cancelled_ctx;
	h->curl = curl_easy_init();
	if (h->endpoint == NULL || h->host == NULL || h->curl == NULL) {
		s3_http_free(h);
		return error_set(e, -ENOMEM, "cannot speak to S3: out of memory");
	}
	*ret = h;
	return 0;
}

void s3_http_free(struct s3_http *h)
{
	if (h == NULL)
		return;
	if (h->curl != NULL)
		curl_easy_cleanup(h->curl);
	free(h->endpoint);
	free(h->host);
	free(h->ca_file);
	explicit_bzero(&h->credentials, sizeof(h->credentials));
	free(h);
}
