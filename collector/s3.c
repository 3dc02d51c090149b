/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/s3.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "collector/s3_internal.h"
#include "collector/s3_xml.h"
#include "proto/base/clock.h"
#include "proto/openssl_util.h"

#define PIECE MiB(1)
#define MD5_LEN 16
#define CANARY_S 120

static const char *const modes[] = {
	[S3_LOCK_GOVERNANCE] = "GOVERNANCE", [S3_LOCK_COMPLIANCE] = "COMPLIANCE"
};

const char *s3_lock_name(enum s3_lock_mode mode)
{
	return modes[mode];
}

bool s3_lock_parse(const char *word, enum s3_lock_mode *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcasecmp(modes[i], word) == 0) {
			*ret = (enum s3_lock_mode)i;
			return true;
		}
	return false;
}

int s3_new(const struct s3_config *c, struct s3 **ret, struct error *e)
{
	struct s3 *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL || (s->bucket = strdup(c->bucket)) == NULL) {
		free(s);
		return error_set(e, -ENOMEM, "cannot speak to S3: out of memory");
	}
	s->part_bytes = c->part_bytes != 0 ? c->part_bytes : S3_PART_BYTES;
	s->run = c->run;
	s->run_ctx = c->run_ctx;
	r = c->run == NULL ? s3_http_new(&c->http, &s->http, e) : 0;
	if (r < 0) {
		s3_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void s3_free(struct s3 *s)
{
	if (s == NULL)
		return;
	s3_http_free(s->http);
	free(s->bucket);
	free(s);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

void s3_hex(const uint8_t *data, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", data[i]);
}

int s3_sum_body(const struct s3_body *b, struct s3_sums *ret, struct error *e)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *sha = EVP_MD_CTX_new(), *md5 = EVP_MD_CTX_new();
	AUTO(free_ptr) uint8_t *buffer = malloc(PIECE);
	uint8_t digest[EVP_MAX_MD_SIZE];
	bool good = sha != NULL && md5 != NULL && buffer != NULL &&
		    EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1 &&
		    EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1;

	for (uint64_t done = 0; good && done < b->len;) {
		size_t n = b->len - done < PIECE ? (size_t)(b->len - done) : PIECE;
		const uint8_t *at = buffer;

		if (b->data != NULL)
			at = (const uint8_t *)b->data + done;
		else if (pread(b->fd, buffer, n, (off_t)(b->offset + done)) != (ssize_t)n)
			return error_set(e, -EIO, "cannot read what is to be sent to S3");
		good = EVP_DigestUpdate(sha, at, n) == 1 && EVP_DigestUpdate(md5, at, n) == 1;
		done += n;
	}
	if (!good || EVP_DigestFinal_ex(sha, digest, NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash what is to be sent to S3: %s",
				 openssl_reason());
	s3_hex(digest, 32, ret->sha256);
	if (EVP_DigestFinal_ex(md5, digest, NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash what is to be sent to S3: %s",
				 openssl_reason());
	s3_hex(digest, MD5_LEN, ret->md5_hex);
	(void)EVP_EncodeBlock((uint8_t *)ret->md5_base64, digest, MD5_LEN);
	return 0;
}

struct s3_call s3_call_of(struct s3 *s, const char *method, const char *key)
{
	(void)snprintf(s->path, sizeof(s->path), key != NULL ? "/%s/%s" : "/%s", s->bucket, key);
	return (struct s3_call){ .method = method,
				 .path = s->path,
				 .payload_sha256 = S3_EMPTY_SHA256 };
}

void s3_add_param(struct s3_call *c, const char *name, const char *value)
{
	c->params[c->n_params++] = (struct s3_pair){ name, value };
}

void s3_add_header(struct s3_call *c, const char *name, const char *value)
{
	c->headers[c->n_headers++] = (struct s3_pair){ name, value };
}

/* What a status is to whoever asked; the server's own word for it stands in the sentence. */
static int judge(struct s3 *s, const struct s3_call *c, struct error *e)
{
	static const struct {
		long status;
		int code;
	} rows[] = { { 403, -EACCES }, { 404, -ENOENT }, { 429, -EAGAIN }, { 500, -EAGAIN },
		     { 502, -EAGAIN }, { 503, -EAGAIN }, { 504, -EAGAIN } };
	char why[128] = "no reason given";
	int code = -EBADMSG;

	if (s->reply.status >= 200 && s->reply.status < 300)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].status == s->reply.status)
			code = rows[i].code;
	if (!s3_xml_text(s->reply.body, s->reply.len, "Code", why, sizeof(why)))
		(void)snprintf(why, sizeof(why), "no reason given");
	(void)error_set(e, code, "S3 answers %s %s with %ld (%s)", c->method, c->path,
			s->reply.status, why);
	if (code == -EACCES)
		error_hint(e, "check the key's rights, and the clock of this machine");
	return code;
}

int s3_run_into(struct s3 *s, struct s3_call *c, const struct s3_body *body, int sink,
		uint64_t sink_max, struct error *e)
{
	int r = s->run != NULL ? s->run(s->run_ctx, c, body, sink, sink_max, &s->reply, e) :
				 s3_http_run(s->http, c, body, sink, sink_max, &s->reply, e);

	if (r == -ETIMEDOUT || r == -EHOSTUNREACH || r == -EIO)
		return error_wrap(e, -EAGAIN, "S3 cannot be reached");
	return r < 0 ? r : judge(s, c, e);
}

int s3_run(struct s3 *s, struct s3_call *c, const struct s3_body *body, struct error *e)
{
	return s3_run_into(s, c, body, S3_NO_SINK, 0, e);
}

/* PUT with checksums that the server compares; what it says to have is compared here as well. */
static int put_body(struct s3 *s, struct s3_call *c, const struct s3_body *body,
		    struct s3_sums *sums, struct error *e)
{
	int r = s3_sum_body(body, sums, e);

	if (r < 0)
		return r;
	c->payload_sha256 = sums->sha256;
	s3_add_header(c, "content-md5", sums->md5_base64);
	r = s3_run(s, c, body, e);
	if (r < 0)
		return r;
	if (strcmp(s->reply.etag, sums->md5_hex) != 0)
		return error_set(e, -EBADMSG,
				 "S3 stored something else as %s: its ETag is '%s' instead of '%s'",
				 c->path, s->reply.etag, sums->md5_hex);
	return 0;
}

/* ---- the lock -------------------------------------------------------------------------------------------- */

static void format_until(int64_t until_s, char out[static 32])
{
	time_t when = (time_t)until_s;
	struct tm tm = { 0 };

	(void)gmtime_r(&when, &tm);
	(void)strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Some servers answer with fractions of a second, or an offset of 0. */
static bool lasts(const char *text, int64_t until_s)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	return rest != NULL && (int64_t)timegm(&tm) >= until_s;
}

static int read_lock(struct s3 *s, const char *key, const char *version, const struct s3_lock *lock,
		     struct error *e)
{
	struct s3_call c = s3_call_of(s, "GET", key);
	char mode[32] = "", until[64] = "";
	int r;

	s3_add_param(&c, "retention", "");
	s3_add_param(&c, "versionId", version);
	r = s3_run(s, &c, NULL, e);
	if (r < 0)
		return r == -EAGAIN || r == -EACCES ?
			       r :
			       error_wrap(e, -ENOTSUP, "the lock cannot be read back");
	if (s3_xml_text(s->reply.body, s->reply.len, "Mode", mode, sizeof(mode)) &&
	    s3_xml_text(s->reply.body, s->reply.len, "RetainUntilDate", until, sizeof(until)) &&
	    (strcmp(mode, modes[lock->mode]) == 0 ||
	     strcmp(mode, modes[S3_LOCK_COMPLIANCE]) == 0) &&
	    lasts(until, lock->until_s))
		return 0;
	return error_set(e, -ENOTSUP,
			 "S3 does not hold the lock of %s: it says mode '%s' until '%s'", c.path,
			 mode, until);
}

int s3_put_small(struct s3 *s, struct s3_call *c, const char *xml, struct error *e)
{
	struct s3_body body = { .data = xml, .len = strlen(xml) };
	struct s3_sums sums;
	int r = s3_sum_body(&body, &sums, e);

	if (r < 0)
		return r;
	c->payload_sha256 = sums.sha256;
	s3_add_header(c, "content-md5", sums.md5_base64);
	return s3_run(s, c, &body, e);
}

/* Also after a PUT with lock headers: radosgw 16.2 ignores those of a multipart upload without a word. */
static int set_lock(struct s3 *s, const char *key, const char *version, const struct s3_lock *lock,
		    struct error *e)
{
	struct s3_call c = s3_call_of(s, "PUT", key);
	char until[32], xml[512];
	int r;

	format_until(lock->until_s, until);
	(void)snprintf(xml, sizeof(xml),
		       "<Retention xmlns=\"" S3_XMLNS "\"><Mode>%s</Mode>"
		       "<RetainUntilDate>%s</RetainUntilDate></Retention>",
		       modes[lock->mode], until);
	s3_add_param(&c, "retention", "");
	s3_add_param(&c, "versionId", version);
	r = s3_put_small(s, &c, xml, e);
	if (r == -EBADMSG || r == -ENOENT)
		r = error_wrap(e, -ENOTSUP, "the lock cannot be set");
	return r < 0 ? r : read_lock(s, key, version, lock, e);
}

int s3_extend(struct s3 *s, const char *key, const char *version, const struct s3_lock *lock,
	      struct error *e)
{
	return set_lock(s, key, version, lock, e);
}

static int take_version(struct s3 *s, const char *key, char ret[static S3_WORD_MAX],
			struct error *e)
{
	int r;

	(void)snprintf(ret, S3_WORD_MAX, "%s", s->reply.version_id);
	if (ret[0] != '\0' && strcmp(ret, "null") != 0)
		return 0;
	r = error_set(e, -ENOTSUP, "S3 keeps no versions in bucket '%s' ('%s' got none)", s->bucket,
		      key);
	error_hint(e, "make the bucket with Object Lock");
	return r;
}

/* ---- putting --------------------------------------------------------------------------------------------- */

static int put_whole(struct s3 *s, const char *key, const struct s3_body *body,
		     const struct s3_lock *lock, char ret_version[static S3_WORD_MAX],
		     struct error *e)
{
	struct s3_call c = s3_call_of(s, "PUT", key);
	struct s3_sums sums;
	char until[32];
	int r;

	format_until(lock->until_s, until);
	s3_add_header(&c, "x-amz-object-lock-mode", modes[lock->mode]);
	s3_add_header(&c, "x-amz-object-lock-retain-until-date", until);
	r = put_body(s, &c, body, &sums, e);
	return r == 0 ? take_version(s, key, ret_version, e) : r;
}

static int begin_parts(struct s3 *s, const char *key, char ret_id[static S3_WORD_MAX],
		       struct error *e)
{
	struct s3_call c = s3_call_of(s, "POST", key);
	int r;

	s3_add_param(&c, "uploads", "");
	r = s3_run(s, &c, NULL, e);
	if (r == 0 && !s3_xml_text(s->reply.body, s->reply.len, "UploadId", ret_id, S3_WORD_MAX))
		r = error_set(e, -EBADMSG, "S3 begins an upload of %s without an id", c.path);
	return r;
}

static void abort_parts(struct s3 *s, const char *key, const char *id)
{
	struct s3_call c = s3_call_of(s, "DELETE", key);

	s3_add_param(&c, "uploadId", id);
	(void)!s3_run(s, &c, NULL, NULL); /* what is left the bucket's lifecycle removes */
}

static int put_part(struct s3 *s, const char *key, const char *id, unsigned int number,
		    const struct s3_body *body, FILE *list, struct error *e)
{
	struct s3_call c = s3_call_of(s, "PUT", key);
	struct s3_sums sums;
	char text[16];
	int r;

	(void)snprintf(text, sizeof(text), "%u", number);
	s3_add_param(&c, "partNumber", text);
	s3_add_param(&c, "uploadId", id);
	r = put_body(s, &c, body, &sums, e);
	if (r == 0)
		(void)fprintf(list,
			      "<Part><PartNumber>%u</PartNumber><ETag>&quot;%s&quot;</ETag></Part>",
			      number, sums.md5_hex);
	return r;
}

static int end_parts(struct s3 *s, const char *key, const char *id, const char *xml, size_t len,
		     struct error *e)
{
	struct s3_call c = s3_call_of(s, "POST", key);
	struct s3_body body = { .data = xml, .len = len };
	struct s3_sums sums;
	char code[64];
	int r = s3_sum_body(&body, &sums, e);

	if (r < 0)
		return r;
	c.payload_sha256 = sums.sha256;
	s3_add_param(&c, "uploadId", id);
	r = s3_run(s, &c, &body, e);
	/* 200 may still carry an error: the answer begins before the work is done. */
	if (r == 0 && s3_xml_text(s->reply.body, s->reply.len, "Code", code, sizeof(code)))
		r = error_set(e, -EAGAIN, "S3 cannot put the parts of %s together: %s", c.path,
			      code);
	return r;
}

static int put_parts_listed(struct s3 *s, const char *key, const char *id, int fd, uint64_t size,
			    FILE *list, struct error *e)
{
	uint64_t part = s->part_bytes;
	unsigned int number = 1;
	int r = 0;

	while (size / part >= S3_PARTS_MAX)
		part *= 2;
	(void)fprintf(list, "<CompleteMultipartUpload>");
	for (uint64_t at = 0; r == 0 && at < size; at += part, number++) {
		struct s3_body body = { .fd = fd,
					.offset = at,
					.len = size - at < part ? size - at : part };

		r = put_part(s, key, id, number, &body, list, e);
	}
	(void)fprintf(list, "</CompleteMultipartUpload>");
	return r;
}

static int put_parts(struct s3 *s, const char *key, int fd, uint64_t size,
		     char ret_version[static S3_WORD_MAX], struct error *e)
{
	AUTO(free_ptr) char *xml = NULL;
	char id[S3_WORD_MAX] = "";
	size_t len = 0;
	FILE *list;
	int r = begin_parts(s, key, id, e);

	if (r < 0)
		return r;
	list = open_memstream(&xml, &len);
	r = list != NULL ? put_parts_listed(s, key, id, fd, size, list, e) :
			   error_set(e, -ENOMEM, "cannot put an object: out of memory");
	if (list != NULL && fclose(list) != 0 && r == 0)
		r = error_set(e, -ENOMEM, "cannot put an object: out of memory");
	if (r == 0)
		r = end_parts(s, key, id, xml, len, e);
	if (r < 0) {
		abort_parts(s, key, id);
		return r;
	}
	return take_version(s, key, ret_version, e);
}

int s3_verify(struct s3 *s, const char *key, const char *version, uint64_t size,
	      const struct s3_lock *lock, struct error *e)
{
	struct s3_call c = s3_call_of(s, "HEAD", key);
	int r;

	s3_add_param(&c, "versionId", version);
	r = s3_run(s, &c, NULL, e);
	if (r < 0)
		return r;
	if (s->reply.content_length != size)
		return error_set(e, -EBADMSG, "S3 holds %llu bytes of %s instead of %llu",
				 (unsigned long long)s->reply.content_length, c.path,
				 (unsigned long long)size);
	return read_lock(s, key, version, lock, e);
}

int s3_put(struct s3 *s, const char *key, int fd, uint64_t size, const char *sha256,
	   const struct s3_lock *lock, char ret_version[static S3_WORD_MAX], struct error *e)
{
	struct s3_body body = { .fd = fd, .len = size };
	struct s3_sums sums;
	int r;

	/* What is sent is what was sealed, or nothing is. */
	r = s3_sum_body(&body, &sums, e);
	if (r == 0 && strcmp(sums.sha256, sha256) != 0)
		r = error_set(e, -EUCLEAN, "the bytes of '%s' are damaged on disk: run check", key);
	if (r < 0)
		return r;
	r = size <= s->part_bytes ? put_whole(s, key, &body, lock, ret_version, e) :
				    put_parts(s, key, fd, size, ret_version, e);
	if (r == 0)
		r = set_lock(s, key, ret_version, lock, e);
	return r == 0 ? s3_verify(s, key, ret_version, size, lock, e) : r;
}

/* ---- the proof ------------------------------------------------------------------------------------------- */

int s3_prove_lock(struct s3 *s, const char *key, enum s3_lock_mode mode, struct error *e)
{
	static const char text[] =
		"whether this version can be deleted shows whether the lock holds\n";
	struct s3_lock lock = { mode, clock_wall_ns() / (int64_t)NSEC_PER_SEC + CANARY_S };
	struct s3_body body = { .data = text, .len = sizeof(text) - 1 };
	char version[S3_WORD_MAX];
	struct error why = { 0 };
	int r = put_whole(s, key, &body, &lock, version, e);

	if (r == 0)
		r = set_lock(s, key, version, &lock, e);
	if (r < 0)
		return error_wrap(e, r, "Object Lock is not proven");
	struct s3_call c = s3_call_of(s, "DELETE", key);

	s3_add_param(&c, "versionId", version);
	r = s3_run(s, &c, NULL, &why);
	if (r == -EACCES)
		return 0;
	if (r == 0)
		r = error_set(
			e, -ENOTSUP,
			"Object Lock is not proven: S3 let a locked version be deleted in bucket '%s'",
			s->bucket);
	else
		r = error_set(e, r, "Object Lock is not proven: %s", why.text);
	error_hint(e, "use a server and a bucket that enforce Object Lock, or leave vault.s3 out");
	return r;
}
