/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ring.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>

struct ring {
	struct ring_buffer *buffer;
	ring_fn fn;
	void *ctx;
	size_t max, done;
	int stopped; /* what fn returned */
};

/* libbpf goes on until the ring is empty or this returns negative; it then has consumed the
 * record. */
static int one(void *ctx, void *data, size_t len)
{
	struct ring *r = ctx;

	r->stopped = r->fn(r->ctx, data, len);
	if (r->stopped < 0)
		return r->stopped;
	r->stopped = 0;
	return ++r->done >= r->max ? -ECANCELED : 0;
}

int ring_open(int map_fd, ring_fn fn, void *ctx, struct ring **ret, struct error *e)
{
	AUTO(ring_close_ptr) struct ring *r = calloc(1, sizeof(*r));

	if (!r)
		return error_set(e, -ENOMEM, "cannot open a ring: %m");
	r->fn = fn;
	r->ctx = ctx;
	r->buffer = ring_buffer__new(map_fd, one, r, NULL);
	if (!r->buffer)
		return error_set(e, -errno, "cannot map a ring of the kernel: %m");
	*ret = TAKE(r);
	return 0;
}

void ring_close(struct ring *r)
{
	if (!r)
		return;
	ring_buffer__free(r->buffer);
	free(r);
}

int ring_drain(struct ring *r, size_t max)
{
	r->max = max < 1 ? 1 : max;
	if (r->max > INT_MAX)
		r->max = INT_MAX;
	r->done = 0;
	r->stopped = 0;
	int n = ring_buffer__consume(r->buffer);

	if (r->stopped < 0)
		return r->stopped;
	if (n < 0 && n != -ECANCELED)
		return n;
	return (int)r->done;
}
