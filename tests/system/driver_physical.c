/* SPDX-License-Identifier: Apache-2.0 */
/* driver_physical MIB: reads back memory that it allocated itself, by its physical addresses, through the BPF
 * route, and compares. Nothing else of this machine's memory is read. Prints one JSON object: pages, equal,
 * nanoseconds. An error is one sentence on standard error and exit status 1.
 *
 * driver_physical MIB PROC OUT: the acquirer itself, of the same pages: it finds them, and no others, in PROC/iomem,
 * which is written first. PROC stands for /proc and /sys; it has a link to kpageflags, and no kcore. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/acquire/memory_map.h"
#include "agent/acquire/memory_source.h"
#include "proto/base/clock.h"

struct run {
	uint8_t *memory, *copy;
	size_t bytes;
	void *source;
	uint64_t pages, equal, ns;
};

static int frame_of(int pagemap, const void *at, uint64_t *ret)
{
	uint64_t entry = 0;

	if (pread(pagemap, &entry, sizeof(entry),
		  (off_t)((uintptr_t)at / MEMORY_PAGE * sizeof(entry))) != (ssize_t)sizeof(entry))
		return -errno;
	*ret = entry & ((1ULL << 55) - 1);
	return *ret != 0 ? 0 : -EPERM;
}

/* Frames that follow each other are asked for together, as an acquirer does. */
static int compare(struct run *r, struct error *e)
{
	AUTO(close_fd) int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	for (size_t at = 0; at < r->bytes;) {
		uint64_t first = 0, next = 0;
		size_t run = MEMORY_PAGE;

		if (frame_of(pagemap, r->memory + at, &first) < 0)
			return error_set(e, -EPERM, "cannot read frames of own memory");
		while (at + run < r->bytes && run < MiB(1) &&
		       frame_of(pagemap, r->memory + at + run, &next) == 0 &&
		       next == first + run / MEMORY_PAGE)
			run += MEMORY_PAGE;
		uint64_t begin = clock_monotonic_ns();
		int64_t got = memory_bpf_ops.read(r->source, first * MEMORY_PAGE, r->copy, run);

		r->ns += clock_monotonic_ns() - begin;
		if (got <= 0)
			return error_set(e, -EIO, "cannot read a page of own memory");
		for (size_t i = 0; i < (size_t)got; i += MEMORY_PAGE, r->pages++)
			r->equal += memcmp(r->copy + i, r->memory + at + i, MEMORY_PAGE) == 0;
		at += (size_t)got;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* As the kernel lists RAM: ascending, neighbours in one line. */
static void list_frames(FILE *iomem, uint64_t *frames, size_t n)
{
	qsort(frames, n, sizeof(frames[0]), by_number);
	for (size_t i = 0, next; i < n; i = next) {
		for (next = i + 1; next < n && frames[next] == frames[next - 1] + 1; next++)
			;
		(void)fprintf(iomem, "%08llx-%08llx : System RAM\n",
			      (unsigned long long)frames[i] * MEMORY_PAGE,
			      (unsigned long long)(frames[next - 1] + 1) * MEMORY_PAGE - 1);
	}
}

static int write_iomem(const struct run *r, const char *proc, struct error *e)
{
	AUTO(close_fd) int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t n = r->bytes / MEMORY_PAGE;
	AUTO(free_ptr) uint64_t *frames = calloc(n, sizeof(*frames));
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/iomem", proc);
	for (size_t i = 0; frames != NULL && i < n; i++)
		if (frame_of(pagemap, r->memory + i * MEMORY_PAGE, &frames[i]) < 0)
			return error_set(e, -EPERM, "cannot read frames of own memory");
	FILE *iomem = frames != NULL ? fopen(path, "we") : NULL;

	if (iomem == NULL)
		return error_set(e, -EIO, "cannot write %s", path);
	list_frames(iomem, frames, n);
	return fclose(iomem) == 0 ? 0 : error_set(e, -EIO, "cannot write %s", path);
}

static int take_image(const struct run *r, const char *proc, const char *out, struct error *e)
{
	Exhibit__V1__MemoryOrder memory = EXHIBIT__V1__MEMORY_ORDER__INIT;
	Exhibit__V1__Order order = EXHIBIT__V1__ORDER__INIT;
	struct acquire_request request = {
		.order = &order, .proc = proc, .sys = proc, .cgroup = ""
	};
	struct output *o = NULL;
	int result = write_iomem(r, proc, e);

	order.kind = EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY;
	order.detail_case = EXHIBIT__V1__ORDER__DETAIL_MEMORY;
	order.memory = &memory;
	if (result == 0)
		result = output_folder(out, 0, &o, e);
	if (result == 0)
		result = acquire_memory(&request, o, e);
	output_free(o);
	return result;
}

int main(int argc, char **argv)
{
	struct acquire_request request = { .proc = "/proc", .sys = "/sys", .cgroup = "" };
	struct run r = { .bytes = argc == 2 || argc == 4 ? strtoul(argv[1], NULL, 10) * MiB(1) :
							   0 };
	struct error e = { 0 };

	if (r.bytes == 0 || r.bytes > MiB(256)) {
		(void)fprintf(stderr, "driver_physical MIB (at most 256) [PROC OUT]\n");
		return 2;
	}
	r.memory = mmap(NULL, r.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.copy = malloc(MiB(1));
	if (r.memory == MAP_FAILED || r.copy == NULL)
		return 1;
	(void)madvise(r.memory, r.bytes, MADV_HUGEPAGE);
	for (size_t i = 0; i < r.bytes; i += sizeof(i))
		memcpy(r.memory + i, &i, sizeof(i));
	if (argc == 4) {
		int result = take_image(&r, argv[2], argv[3], &e);

		if (result < 0)
			(void)fprintf(stderr, "driver_physical: %s\n", e.text);
		return result < 0 ? 1 : 0;
	}
	if (memory_bpf_ops.open(&request, &r.source, &e) < 0 || compare(&r, &e) < 0) {
		(void)fprintf(stderr, "driver_physical: %s\n", e.text);
		return 1;
	}
	printf("{\"pages\": %llu, \"equal\": %llu, \"ns\": %llu}\n", (unsigned long long)r.pages,
	       (unsigned long long)r.equal, (unsigned long long)r.ns);
	memory_bpf_ops.close(r.source);
	return 0;
}
