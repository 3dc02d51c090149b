/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stocktake.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "proto/base/reader.h"

#define ALIGN 8 /* as ring records are */

struct stocktake {
	const struct hooks *hooks;
	pthread_t thread;
	atomic_bool done;
	uint8_t *at; /* u32 length, u32 zero, record padded to ALIGN, and so on */
	size_t len, size;
	int result;
	struct error error;
};

static int keep_record(void *ctx, const void *record, size_t len)
{
	struct stocktake *s = ctx;
	size_t padded = (len + ALIGN - 1) / ALIGN * ALIGN;
	uint32_t head[2] = { (uint32_t)len, 0 };

	if (s->len + sizeof(head) + padded > STOCKTAKE_BYTES_MAX)
		return -ENOSPC;
	if (s->len + sizeof(head) + padded > s->size) {
		size_t size = 2 * s->size + KiB(64) + padded;
		uint8_t *more = realloc(s->at, size);

		if (more == NULL)
			return -ENOMEM;
		s->at = more;
		s->size = size;
	}
	memcpy(s->at + s->len, head, sizeof(head));
	memcpy(s->at + s->len + sizeof(head), record, len);
	memset(s->at + s->len + sizeof(head) + len, 0, padded - len);
	s->len += sizeof(head) + padded;
	return 0;
}

static void *run_stocktake(void *arg)
{
	struct stocktake *s = arg;

	s->result = stock_processes(s->hooks, keep_record, s, &s->error);
	if (s->result >= 0)
		s->result = stock_sockets(s->hooks, keep_record, s, &s->error);
	atomic_store(&s->done, true);
	return NULL;
}

int stocktake_start(const struct hooks *h, struct stocktake **ret_s, struct error *e)
{
	struct stocktake *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot take stock: out of memory");
	s->hooks = h;
	int r = -pthread_create(&s->thread, NULL, run_stocktake, s);

	if (r < 0) {
		free(s);
		return error_set(e, r, "cannot take stock: %m");
	}
	(void)pthread_setname_np(s->thread, "stock");
	*ret_s = s;
	return 0;
}

bool stocktake_done(const struct stocktake *s)
{
	return atomic_load(&s->done);
}

int stocktake_take(struct stocktake *s, ring_fn fn, void *ctx, struct error *e)
{
	struct reader r = reader_init(s->at, s->len);

	while (r.left > 0 && !r.bad) {
		size_t len = reader_u32(&r);

		reader_skip(&r, 4);
		const uint8_t *record = reader_bytes(&r, len);

		reader_skip(&r, (ALIGN - len % ALIGN) % ALIGN);
		if (record != NULL)
			(void)fn(ctx, record, len);
	}
	if (s->result < 0 && e != NULL)
		*e = s->error;
	return s->result < 0 ? s->result : 0;
}

void stocktake_free(struct stocktake *s)
{
	if (s == NULL)
		return;
	(void)pthread_join(s->thread, NULL);
	free(s->at);
	free(s);
}
