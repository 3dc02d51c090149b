/* SPDX-License-Identifier: Apache-2.0 */
/* The layout is the kernel's ABI (Documentation/bpf/ringbuf.rst): a page with the consumer's position,
 * a page with the producer's, then the data. libbpf maps the data twice in a row, so that a record that
 * wraps around lies in one piece, and thereby doubles the resident set; here it is mapped once, and the
 * rare record that wraps is copied. */
#include "agent/ring.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf/record.h"

#define BUSY (1U << 31) /* still being written */
#define DISCARDED (1U << 30)
#define HEAD_LEN 8 /* a word of length and flags, a word for the kernel */

struct ring {
	ring_fn fn;
	void *ctx;
	size_t page, size;
	uint64_t *consumer;
	const uint64_t *producer; /* the data follow a page later */
	const uint8_t *data;
	_Alignas(8) uint8_t whole[REC_MAX]; /* a record that wraps, in one piece */
};

static int map_ring(struct ring *r, int map_fd)
{
	void *p = mmap(NULL, r->page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	r->consumer = p;
	p = mmap(NULL, r->page + r->size, PROT_READ, MAP_SHARED, map_fd, (off_t)r->page);
	if (p == MAP_FAILED)
		return -errno;
	r->producer = p;
	r->data = (const uint8_t *)p + r->page;
	return 0;
}

int ring_open(int map_fd, ring_fn fn, void *ctx, struct ring **ret, struct error *e)
{
	AUTO(ring_close_ptr) struct ring *r = calloc(1, sizeof(*r));
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (!r)
		return error_set(e, -ENOMEM, "cannot open a ring: %m");
	r->fn = fn;
	r->ctx = ctx;
	r->page = (size_t)getpagesize();
	if (bpf_obj_get_info_by_fd(map_fd, &info, &len) < 0)
		return error_set(e, -errno, "cannot ask the kernel how large a ring is: %m");
	if (info.type != BPF_MAP_TYPE_RINGBUF)
		return error_set(e, -EINVAL, "cannot map a ring of the kernel: it is none");
	r->size = info.max_entries;
	int code = map_ring(r, map_fd);

	if (code < 0)
		return error_set(e, code, "cannot map a ring of the kernel: %m");
	*ret = TAKE(r);
	return 0;
}

void ring_close(struct ring *r)
{
	if (!r)
		return;
	if (r->producer)
		(void)munmap((void *)(uintptr_t)r->producer, r->page + r->size);
	if (r->consumer)
		(void)munmap(r->consumer, r->page);
	free(r);
}

/* In one piece. What is longer than any record and wraps is handed over cut: no decoder takes it. */
static const uint8_t *in_one_piece(struct ring *r, size_t at, size_t *len)
{
	size_t until_end = r->size - at;

	if (*len <= until_end)
		return r->data + at;
	if (*len > sizeof(r->whole))
		*len = sizeof(r->whole);
	if (until_end > *len)
		until_end = *len;
	memcpy(r->whole, r->data + at, until_end);
	memcpy(r->whole + until_end, r->data, *len - until_end);
	return r->whole;
}

/* Take the record at *position, which moves on behind it. Returns 1 when it was handed over, 0 when it
 * was discarded, -EAGAIN when it is still being written, or what fn returned. */
static int take_one(struct ring *r, uint64_t *position)
{
	size_t at = *position & (r->size - 1);
	uint32_t word =
		__atomic_load_n((const uint32_t *)(const void *)(r->data + at), __ATOMIC_ACQUIRE);
	size_t len = word & ~(BUSY | DISCARDED);
	int code = 0;

	if (word & BUSY)
		return -EAGAIN;
	*position += (HEAD_LEN + len + 7) & ~(uint64_t)7;
	if (!(word & DISCARDED)) {
		const uint8_t *record = in_one_piece(r, (at + HEAD_LEN) & (r->size - 1), &len);

		code = r->fn(r->ctx, record, len);
	}
	/* Only now may the kernel write over it. */
	__atomic_store_n(r->consumer, *position, __ATOMIC_RELEASE);
	return code < 0 ? code : !(word & DISCARDED);
}

int ring_drain(struct ring *r, size_t max)
{
	uint64_t position = __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);
	int done = 0;

	if (max < 1)
		max = 1;
	if (max > INT_MAX)
		max = INT_MAX;
	while ((size_t)done < max && position < __atomic_load_n(r->producer, __ATOMIC_ACQUIRE)) {
		int n = take_one(r, &position);

		if (n == -EAGAIN)
			break;
		if (n < 0)
			return n;
		done += n;
	}
	return done;
}
