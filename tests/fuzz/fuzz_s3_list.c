/* SPDX-License-Identifier: Apache-2.0 */
/* What a server says when it is asked for the versions of a bucket: one answer, or the same again and again. */
#include <errno.h>
#include <string.h>

#include "collector/s3.h"
#include "proto/base/files.h"
#include "tests/fuzz/fuzz.h"

struct server {
	const uint8_t *data;
	size_t size;
	unsigned int asked;
};

static int answer(void *ctx, struct s3_call *call, const struct s3_body *body, int sink,
		  uint64_t sink_max, struct s3_reply *reply, struct error *e)
{
	struct server *s = ctx;

	(void)call, (void)body;
	memset(reply, 0, offsetof(struct s3_reply, body) + 1);
	reply->status = ++s->asked > 3 ? 503 : 200;
	return s->size > sink_max ? -E2BIG : files_write_all(sink, s->data, s->size, e);
}

static int take(void *ctx, const struct s3_version *v, struct error *e)
{
	size_t *n = ctx;

	(void)e;
	*n += strlen(v->key) + strlen(v->version);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct server server = { data, size, 0 };
	struct s3_config c = { .bucket = "b", .run = answer, .run_ctx = &server };
	struct s3 *s = NULL;
	size_t n = 0;

	if (s3_new(&c, &s, NULL) < 0)
		return 0;
	(void)!s3_list(s, "p/", take, &n, NULL);
	s3_free(s);
	return 0;
}
