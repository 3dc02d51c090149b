/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_bucket.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "collector/s3_xml.h"
#include "proto/base/files.h"

struct fake_bucket {
	pthread_mutex_t lock;
	struct fake_object at[FAKE_OBJECTS_MAX];
	size_t n;
	struct fake_faults faults;
	size_t puts, reads, deletes;
};

struct fake_bucket *fake_bucket_new(void)
{
	struct fake_bucket *f = calloc(1, sizeof(*f));

	if (f != NULL)
		(void)pthread_mutex_init(&f->lock, NULL);
	return f;
}

void fake_bucket_free(struct fake_bucket *f)
{
	for (size_t i = 0; f != NULL && i < f->n; i++)
		free(f->at[i].data);
	free(f);
}

void fake_bucket_fail(struct fake_bucket *f, const struct fake_faults *faults)
{
	(void)pthread_mutex_lock(&f->lock);
	f->faults = faults != NULL ? *faults : (struct fake_faults){ 0 };
	(void)pthread_mutex_unlock(&f->lock);
}

struct fake_object *fake_bucket_find(struct fake_bucket *f, const char *part, size_t n)
{
	struct fake_object *found = NULL;

	(void)pthread_mutex_lock(&f->lock);
	for (size_t i = 0; found == NULL && i < f->n; i++)
		if (strstr(f->at[i].key, part) != NULL && n-- == 0)
			found = &f->at[i];
	(void)pthread_mutex_unlock(&f->lock);
	return found;
}

size_t fake_bucket_requests(struct fake_bucket *f, const char *method)
{
	(void)pthread_mutex_lock(&f->lock);
	size_t n = strcmp(method, "PUT") == 0 ? f->puts :
		   strcmp(method, "GET") == 0 ? f->reads :
						f->deletes;
	(void)pthread_mutex_unlock(&f->lock);
	return n;
}

static struct fake_object *add(struct fake_bucket *f, const char *key, uint8_t *data, size_t len)
{
	struct fake_object *o = &f->at[f->n];

	if (f->n == FAKE_OBJECTS_MAX)
		return NULL;
	(void)snprintf(o->key, sizeof(o->key), "%s", key);
	(void)snprintf(o->version, sizeof(o->version), "v%zu", ++f->n);
	o->data = data;
	o->len = len;
	return o;
}

void fake_bucket_put(struct fake_bucket *f, const char *key, const void *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	(void)pthread_mutex_lock(&f->lock);
	if (copy != NULL) {
		memcpy(copy, data, len);
		(void)add(f, key, copy, len);
	}
	(void)pthread_mutex_unlock(&f->lock);
}

/* ---- requests ---------------------------------------------------------------------------------------------- */

struct request {
	struct fake_bucket *f;
	const struct s3_call *call;
	const char *key, *version;
	uint8_t *body;
	size_t len;
	int sink;
	uint64_t sink_max;
	struct s3_reply *reply;
	struct error *e;
};

static const char *param(const struct s3_call *c, const char *name)
{
	for (size_t i = 0; i < c->n_params; i++)
		if (strcmp(c->params[i].name, name) == 0)
			return c->params[i].value;
	return NULL;
}

static int answer(struct request *r, long status, const char *code)
{
	r->reply->status = status;
	r->reply->len = (size_t)snprintf(r->reply->body, sizeof(r->reply->body),
					 "<Error><Code>%s</Code></Error>", code);
	return 0;
}

static int give(struct request *r, const void *data, size_t len)
{
	r->reply->status = 200;
	r->reply->content_length = len;
	if (r->sink != S3_NO_SINK)
		return len > r->sink_max ? error_set(r->e, -EBADMSG, "too long") :
					   files_write_all(r->sink, data, len, r->e);
	if (len > S3_REPLY_MAX)
		return error_set(r->e, -EBADMSG, "too long");
	memcpy(r->reply->body, data, len);
	r->reply->body[len] = '\0';
	r->reply->len = len;
	return 0;
}

static struct fake_object *object_of(const struct request *r)
{
	for (size_t i = r->f->n; i-- > 0;)
		if (strcmp(r->f->at[i].key, r->key) == 0 &&
		    (r->version == NULL || strcmp(r->f->at[i].version, r->version) == 0))
			return &r->f->at[i];
	return NULL;
}

static int put_object(struct request *r)
{
	struct fake_object *o = add(r->f, r->key, r->body, r->len);
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (o == NULL)
		return answer(r, 500, "Full");
	r->reply->status = 200;
	(void)snprintf(r->reply->version_id, sizeof(r->reply->version_id), "%s", o->version);
	(void)EVP_Digest(r->body, r->len, digest, &n, EVP_md5(), NULL);
	r->body = NULL;
	for (size_t i = 0; i < n; i++)
		(void)snprintf(r->reply->etag + 2 * i, 3, "%02x",
			       r->f->faults.wrong_etag ? 0U : digest[i]);
	return 0;
}

static int put(struct request *r)
{
	struct fake_object *o = object_of(r);
	char status[8] = "";

	r->f->puts++;
	if (param(r->call, "retention") != NULL) {
		if (o == NULL)
			return answer(r, 404, "NoSuchKey");
		o->locked =
			!r->f->faults.forgets_lock &&
			s3_xml_text((char *)r->body, r->len, "Mode", o->mode, sizeof(o->mode)) &&
			s3_xml_text((char *)r->body, r->len, "RetainUntilDate", o->until,
				    sizeof(o->until));
		r->reply->status = 200;
		return 0;
	}
	if (param(r->call, "legal-hold") == NULL)
		return put_object(r);
	if (o == NULL || !s3_xml_text((char *)r->body, r->len, "Status", status, sizeof(status)))
		return answer(r, 404, "NoSuchKey");
	o->hold = strcmp(status, "ON") == 0 && !r->f->faults.forgets_hold;
	r->reply->status = 200;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	const struct fake_object *const *x = a, *const *y = b;
	int r = strcmp((*x)->key, (*y)->key);

	/* The newest first: it stands behind. */
	return r != 0 ? r : (*x < *y) - (*x > *y);
}

static int list(struct request *r)
{
	const struct fake_object *all[FAKE_OBJECTS_MAX];
	const char *prefix = param(r->call, "prefix"), *key = param(r->call, "key-marker"),
		   *version = param(r->call, "version-id-marker");
	char *text = NULL;
	size_t n = 0, at = 0, len = 0;
	FILE *out = open_memstream(&text, &len);
	int result;

	for (size_t i = 0; i < r->f->n; i++)
		if (strncmp(r->f->at[i].key, prefix, strlen(prefix)) == 0)
			all[n++] = &r->f->at[i];
	qsort(all, n, sizeof(const struct fake_object *), by_key);
	while (key != NULL && !r->f->faults.stuck_listing && at < n &&
	       (strcmp(all[at]->key, key) < 0 ||
		(strcmp(all[at]->key, key) == 0 &&
		 strcmp(all[at]->version, version != NULL ? version : "") != 0)))
		at++;
	at += key != NULL && !r->f->faults.stuck_listing;
	(void)fprintf(out, "<ListVersionsResult><Prefix>x</Prefix>");
	size_t end = at + FAKE_PAGE < n ? at + FAKE_PAGE : n;

	for (; at < end; at++)
		(void)fprintf(
			out,
			"<Version><Key>%s</Key><VersionId>%s</VersionId><Size>%zu</Size></Version>",
			all[at]->key, all[at]->version, all[at]->len);
	(void)fprintf(out, "<DeleteMarker><Key>gone</Key><VersionId>v0</VersionId></DeleteMarker>");
	(void)fprintf(out, "<IsTruncated>%s</IsTruncated>", at < n ? "true" : "false");
	if (at < n)
		(void)fprintf(out,
			      "<NextKeyMarker>%s</NextKeyMarker>"
			      "<NextVersionIdMarker>%s</NextVersionIdMarker>",
			      all[at - 1]->key, all[at - 1]->version);
	(void)fprintf(out, "</ListVersionsResult>");
	(void)fclose(out);
	result = give(r, text, len);
	free(text);
	return result;
}

static int get(struct request *r)
{
	const struct fake_object *o = object_of(r);
	char text[256];
	int n;

	r->f->reads++;
	if (param(r->call, "versions") != NULL)
		return list(r);
	if (o == NULL)
		return answer(r, 404, "NoSuchVersion");
	if (param(r->call, "retention") != NULL) {
		n = snprintf(
			text, sizeof(text),
			"<Retention><Mode>%s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>",
			o->mode, o->until);
		return o->locked ? give(r, text, (size_t)n) : answer(r, 404, "NoLock");
	}
	if (param(r->call, "legal-hold") == NULL)
		return give(r, o->data, o->len);
	n = snprintf(text, sizeof(text), "<LegalHold><Status>%s</Status></LegalHold>",
		     o->hold ? "ON" : "OFF");
	return give(r, text, (size_t)n);
}

static int head(struct request *r)
{
	const struct fake_object *o = object_of(r);

	if (o == NULL)
		return answer(r, 404, "NoSuchVersion");
	r->reply->status = 200;
	r->reply->content_length = o->len;
	return 0;
}

static int remove_version(struct request *r)
{
	const struct fake_object *o = object_of(r);

	r->f->deletes++;
	return answer(r, o != NULL && (o->locked || o->hold) ? 403 : 204, "AccessDenied");
}

static int take_body(struct request *r, const struct s3_body *body)
{
	if (body == NULL)
		return 0;
	r->len = (size_t)body->len;
	r->body = malloc(r->len + 1);
	if (r->body == NULL)
		return -ENOMEM;
	r->body[r->len] = '\0';
	if (body->data != NULL)
		memcpy(r->body, body->data, r->len);
	else if (pread(body->fd, r->body, r->len, (off_t)body->offset) != (ssize_t)r->len)
		return -EIO;
	return 0;
}

static int serve(struct request *r)
{
	static const struct {
		const char *method;
		int (*fn)(struct request *r);
	} rows[] = {
		{ "PUT", put }, { "GET", get }, { "HEAD", head }, { "DELETE", remove_version }
	};
	const struct fake_faults *x = &r->f->faults;

	if (x->only == NULL || strstr(r->call->path, x->only) != NULL) {
		if (x->error != 0)
			return error_set(r->e, x->error, "the line is dead");
		if (x->status != 0)
			return answer(r, x->status, "Injected");
	}
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strcmp(rows[i].method, r->call->method) == 0)
			return rows[i].fn(r);
	return answer(r, 400, "BadMethod");
}

int fake_bucket_run(void *ctx, struct s3_call *call, const struct s3_body *body, int sink,
		    uint64_t sink_max, struct s3_reply *reply, struct error *e)
{
	struct request r = { .f = ctx,
			     .call = call,
			     .version = param(call, "versionId"),
			     .sink = sink,
			     .sink_max = sink_max,
			     .reply = reply,
			     .e = e };
	const char *slash = strchr(call->path + 1, '/');
	int result;

	memset(reply, 0, offsetof(struct s3_reply, body) + 1);
	r.key = slash != NULL ? slash + 1 : "";
	result = take_body(&r, body);
	(void)pthread_mutex_lock(&r.f->lock);
	if (result == 0)
		result = serve(&r);
	(void)pthread_mutex_unlock(&r.f->lock);
	free(r.body);
	return result;
}
