/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/bucket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define CONNECT_MS 10000
#define STALL_MS 60000
#define DAY_S 86400
#define KEY_FILE_MAX KiB(4)

/* Two lines: access key, secret key. */
static int read_key(const char *path, struct s3_credentials *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len;
	int n = 0;
	int r = files_read(path, KEY_FILE_MAX, &data, &len, e);

	if (r < 0)
		return r;
	if (sscanf((const char *)data, "%255s %255s %n", ret->access_key, ret->secret_key, &n) !=
		    2 ||
	    (size_t)n != len)
		r = error_set(e, -EINVAL,
			      "'%s' does not hold two lines, the access key and the secret key",
			      path);
	explicit_bzero(data, len);
	return r;
}

static int open_s3(struct bucket *b, const struct bucket_config *c, struct error *e)
{
	struct s3_config s3 = {
		.bucket = c->name, .part_bytes = c->part_bytes, .run = c->run, .run_ctx = c->run_ctx
	};
	int r;

	if (!s3_lock_parse(c->lock_mode, &b->mode)) {
		(void)error_set(e, -EINVAL, "'%s' is not a mode of Object Lock", c->lock_mode);
		error_hint(e, "give vault.s3.lock-mode compliance or governance");
		return -EINVAL;
	}
	if (c->name == NULL || c->name[0] == '\0')
		return error_set(e, -EINVAL, "vault.s3.bucket is missing");
	r = c->run != NULL ? 0 : read_key(c->access_key_file, &s3.http.credentials, e);
	if (r < 0)
		return r;
	(void)snprintf(s3.http.credentials.region, sizeof(s3.http.credentials.region), "%s",
		       c->region != NULL ? c->region : "");
	s3.http.endpoint = c->endpoint;
	s3.http.ca_file = c->ca_file;
	s3.http.connect_ms = CONNECT_MS;
	s3.http.cancelled = c->cancelled;
	s3.http.cancelled_ctx = c->cancelled_ctx;
	s3.http.stall_ms = c->stall_ms != 0 ? c->stall_ms : STALL_MS;
	r = s3_new(&s3, &b->s3, e);
	explicit_bzero(&s3.http.credentials, sizeof(s3.http.credentials));
	return r;
}

int bucket_open(const struct bucket_config *c, struct bucket **ret, struct error *e)
{
	struct bucket *b = calloc(1, sizeof(*b));
	const char *prefix = c->prefix != NULL ? c->prefix : "";
	bool slash = prefix[0] != '\0' && prefix[strlen(prefix) - 1] != '/';
	int r;

	if (b == NULL)
		return error_set(e, -ENOMEM, "cannot open the bucket: out of memory");
	b->retain_days = c->retain_days;
	b->name = strdup(c->name != NULL ? c->name : "");
	if (asprintf(&b->prefix, "%s%s", prefix, slash ? "/" : "") < 0)
		b->prefix = NULL;
	r = b->name == NULL || b->prefix == NULL ? error_set(e, -ENOMEM, "out of memory") :
						   open_s3(b, c, e);
	if (r < 0) {
		bucket_close(b);
		return r;
	}
	*ret = b;
	return 0;
}

void bucket_close(struct bucket *b)
{
	if (b == NULL)
		return;
	s3_free(b->s3);
	free(b->name);
	free(b->prefix);
	free(b);
}

int bucket_prove(struct bucket *b, struct error *e)
{
	char key[S3_KEY_MAX];
	int r;

	if (b->proven)
		return 0;
	(void)snprintf(key, sizeof(key), "%sexhibit-lock-canary", b->prefix);
	r = s3_prove_lock(b->s3, key, b->mode, e);
	b->proven = r == 0;
	if (r == 0)
		log_info("the bucket enforces Object Lock", KV_STR("bucket", b->name),
			 KV_STR("mode", s3_lock_name(b->mode)));
	return r;
}

struct s3_lock bucket_lock(const struct bucket *b, int64_t from_s)
{
	int64_t until = from_s + (int64_t)b->retain_days * DAY_S;
	int64_t soon = clock_wall_ns() / (int64_t)NSEC_PER_SEC + DAY_S;

	return (struct s3_lock){ b->mode, until > soon ? until : soon };
}
