/* SPDX-License-Identifier: Apache-2.0 */
/* The layout is the kernel's ABI: Documentation/bpf/ringbuf.rst. */
#include "agent/acquire/packets_ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define BUSY (1U << 31) /* still being written */
#define DISCARDED (1U << 30)
#define HEAD_LEN 8 /* a word of length and flags, a word for the kernel */
#define RECORD_MIN (HEAD_LEN + sizeof(struct packets_head))

struct waiting {
	uint64_t time_ns, at; /* at: position in the ring */
};

struct packets_ring {
	struct packets_ring_memory m;
	size_t page;
	bool mapped;
	uint64_t next; /* position behind what was found */
	size_t n, max;
	struct waiting *waiting; /* by time */
	uint64_t newest_ns, disorder, disorder_most_ns;
};

/* ---- open ------------------------------------------------------------------------------------------------ */

int packets_ring_over(const struct packets_ring_memory *m, struct packets_ring **ret,
		      struct error *e)
{
	struct packets_ring *r = calloc(1, sizeof(*r));

	if (r != NULL) {
		r->m = *m;
		r->next = *m->consumer;
		r->max = m->bytes / RECORD_MIN + 1;
		r->waiting = calloc(r->max, sizeof(*r->waiting));
	}
	if (r == NULL || r->waiting == NULL) {
		free(r);
		return error_set(e, -ENOMEM, "cannot read the ring of packets: out of memory");
	}
	*ret = r;
	return 0;
}

int packets_ring_open(int map_fd, uint64_t bytes, struct packets_ring **ret, struct error *e)
{
	size_t page = (size_t)getpagesize(), len = page + 2 * bytes;
	void *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	void *producer = MAP_FAILED;

	if (consumer != MAP_FAILED)
		producer = mmap(NULL, len, PROT_READ, MAP_SHARED, map_fd, (off_t)page);
	int r = producer == MAP_FAILED ?
			error_set(e, -errno, "cannot map the ring of packets: %m") :
			packets_ring_over(
				&(struct packets_ring_memory){ .consumer = consumer,
							       .producer = producer,
							       .data = (uint8_t *)producer + page,
							       .bytes = bytes },
				ret, e);
	if (r == 0) {
		(*ret)->mapped = true;
		(*ret)->page = page;
		return 0;
	}
	if (producer != MAP_FAILED)
		(void)munmap(producer, len);
	if (consumer != MAP_FAILED)
		(void)munmap(consumer, page);
	return r;
}

void packets_ring_close(struct packets_ring *r)
{
	if (r == NULL)
		return;
	if (r->mapped) {
		(void)munmap(r->m.consumer, r->page);
		(void)munmap((void *)(uintptr_t)r->m.producer, r->page + 2 * r->m.bytes);
	}
	free(r->waiting);
	free(r);
}

/* ---- find ------------------------------------------------------------------------------------------------ */

static const struct packets_head *head_at(const struct packets_ring *r, uint64_t at)
{
	return (const void *)(r->m.data + (at & (r->m.bytes - 1)) + HEAD_LEN);
}

static int bad_record(struct error *e, uint32_t len)
{
	return error_set(e, -EBADMSG, "a packet's record is %u bytes", len);
}

/* Almost sorted already: the newest goes back a place or two. */
static void insert(struct packets_ring *r, uint64_t at)
{
	uint64_t time_ns = head_at(r, at)->boottime_ns;
	size_t i = r->n++;

	for (; i > 0 && r->waiting[i - 1].time_ns > time_ns; i--)
		r->waiting[i] = r->waiting[i - 1];
	r->waiting[i] = (struct waiting){ time_ns, at };
}

/* What follows is not yet written: 0. */
static int find_next(struct packets_ring *r, uint64_t end, struct error *e)
{
	const uint32_t *word = (const void *)(r->m.data + (r->next & (r->m.bytes - 1)));
	uint32_t flags = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	uint32_t len = flags & ~(BUSY | DISCARDED);
	uint64_t total = (HEAD_LEN + (uint64_t)len + 7) / 8 * 8;

	if (flags & BUSY)
		return 0;
	if (total > end - r->next)
		return bad_record(e, len);
	if (!(flags & DISCARDED)) {
		/* Records are rounded up to their size class. */
		if (len < sizeof(struct packets_head) || r->n == r->max ||
		    head_at(r, r->next)->caplen > len - sizeof(struct packets_head))
			return bad_record(e, len);
		insert(r, r->next);
	}
	r->next += total;
	return 1;
}

int packets_ring_look(struct packets_ring *r, uint64_t *ret_bytes, struct error *e)
{
	uint64_t end = __atomic_load_n(r->m.producer, __ATOMIC_ACQUIRE);
	int found = 1;

	if (end - r->next > r->m.bytes)
		return error_set(e, -EBADMSG, "the ring of packets is not as it was left");
	while (found > 0 && r->next < end)
		found = find_next(r, end, e);
	*ret_bytes = end - *r->m.consumer;
	return found < 0 ? found : 0;
}

/* ---- hand over ------------------------------------------------------------------------------------------- */

/* The kernel may write over what lies before the first that still waits. */
static void release(struct packets_ring *r)
{
	uint64_t first = r->next;

	for (size_t i = 0; i < r->n; i++)
		first = r->waiting[i].at < first ? r->waiting[i].at : first;
	__atomic_store_n(r->m.consumer, first, __ATOMIC_RELEASE);
}

static void note_order(struct packets_ring *r, uint64_t time_ns)
{
	if (time_ns >= r->newest_ns) {
		r->newest_ns = time_ns;
		return;
	}
	r->disorder++;
	if (r->newest_ns - time_ns > r->disorder_most_ns)
		r->disorder_most_ns = r->newest_ns - time_ns;
}

int packets_ring_drain(struct packets_ring *r, uint64_t until_ns, packets_take take, void *ctx,
		       struct error *e)
{
	size_t i = 0;
	int result = 0;

	while (result == 0 && i < r->n && r->waiting[i].time_ns <= until_ns) {
		const struct packets_head *h = head_at(r, r->waiting[i].at);

		note_order(r, r->waiting[i++].time_ns);
		result = take(ctx, h, (const uint8_t *)(h + 1), e);
	}
	r->n -= i;
	memmove(r->waiting, r->waiting + i, r->n * sizeof(*r->waiting));
	release(r);
	return result;
}

int packets_ring_each(const struct packets_ring *r, packets_take take, void *ctx, struct error *e)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < r->n; i++) {
		const struct packets_head *h = head_at(r, r->waiting[i].at);

		result = take(ctx, h, (const uint8_t *)(h + 1), e);
	}
	return result;
}

uint64_t packets_ring_disorder(const struct packets_ring *r, uint64_t *ret_most_ns)
{
	*ret_most_ns = r->disorder_most_ns;
	return r->disorder;
}
