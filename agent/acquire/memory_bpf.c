/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory through the kernel's direct map, copied by a BPF program (bpf/memory.bpf.c) into a window that
 * we have mapped, where there is no /proc/kcore. Where the direct map begins is found without symbols: the page
 * tables of this very process lie in it, so from their address down in steps of 1 GiB a page of ours, whose
 * frame /proc/self/pagemap tells, reads back at one base only. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "agent/acquire/memory_source.h"
#include "bpf/memory.h"
#include "memory.skel.h"
#include "proto/base/files.h"
#include "proto/base/reader.h"

#define MARKER_LEN 64
#define STEPS_MAX 65536 /* GiB between the page tables and physical 0 */
#define PFN_MASK ((1ULL << 55) - 1)
#define PRESENT (1ULL << 63)

struct memory_bpf_source {
	struct memory_bpf *object;
	int program;
	const uint8_t *window; /* mapped; NULL: not yet */
	uint64_t direct_map;
};

/* ---- hosts that must not be read so ---------------------------------------------------------------- */

static bool file_has(const char *root, const char *name, const char *text)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	return files_read(path, KiB(64), &data, &len, NULL) == 0 &&
	       strstr((const char *)data, text) != NULL;
}

/* Pages of a confidential guest that it has not accepted yet: reading one ends the guest. */
static bool has_unaccepted(const struct acquire_request *r)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/meminfo", r->proc);
	if (files_read(path, KiB(64), &data, &len, NULL) < 0)
		return false;
	const char *line = strstr((const char *)data, "Unaccepted:");

	return line != NULL && strtoull(line + strlen("Unaccepted:"), NULL, 10) > 0;
}

static int check_host(const struct acquire_request *r, struct error *e)
{
	char path[PATH_MAX];

	if (has_unaccepted(r))
		return error_set(
			e, -EPERM,
			"BPF must not read memory that this confidential guest has not accepted yet");
	if (file_has(r->sys, "hypervisor/guest_type", "PV\n"))
		return error_set(e, -EPERM, "BPF must not read the memory of a Xen PV guest");
	(void)snprintf(path, sizeof(path), "%s/kpageflags", r->proc);
	if (access(path, R_OK) < 0)
		return error_set(e, -errno, "BPF cannot avoid poisoned pages: cannot read %s: %m",
				 path);
	return 0;
}

/* ---- the program ----------------------------------------------------------------------------------- */

/* -EIO: not even the first byte. */
static int ask(struct memory_bpf_source *s, struct memory_ask *a)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = a, .ctx_size_in = sizeof(*a));

	/* The answer stands in ctx_in: a syscall program's context is written back there. */
	if (bpf_prog_test_run_opts(s->program, &opts) < 0)
		return -errno;
	return opts.retval != 0 || a->good == 0 ? -EIO : 0;
}

static int load(struct memory_bpf_source *s, struct error *e)
{
	(void)libbpf_set_print(NULL);
	s->object = memory_bpf__open_and_load();
	if (s->object == NULL)
		return error_set(e, -errno, "cannot load the BPF program that reads memory: %m");
	s->program = bpf_program__fd(s->object->progs.read_memory);
	void *at = mmap(NULL, MEMORY_WINDOW, PROT_READ, MAP_SHARED,
			bpf_map__fd(s->object->maps.window), 0);

	if (at == MAP_FAILED)
		return error_set(e, -errno, "cannot map the window of the BPF program: %m");
	s->window = at;
	return 0;
}

/* ---- where the direct map is ------------------------------------------------------------------------- */

static int own_frame(const void *page, uint64_t *ret_frame, struct error *e)
{
	AUTO(close_fd) int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint8_t raw[8];
	off_t at = (off_t)((uintptr_t)page / MEMORY_PAGE * sizeof(raw));

	if (fd < 0 || pread(fd, raw, sizeof(raw), at) != (ssize_t)sizeof(raw))
		return error_set(e, -errno, "cannot read /proc/self/pagemap: %m");
	struct reader r = reader_init(raw, sizeof(raw));
	uint64_t entry = reader_u64(&r);

	*ret_frame = entry & PFN_MASK;
	if (!(entry & PRESENT) || *ret_frame == 0)
		return error_set(e, -EPERM,
				 "/proc/self/pagemap hides frames: CAP_SYS_ADMIN is missing");
	return 0;
}

static int search(struct memory_bpf_source *s, const uint8_t *marker, struct error *e)
{
	struct memory_ask a = { .address = (uint64_t)(uintptr_t)marker, .bytes = 1 };
	uint64_t frame = 0;
	int r = own_frame(marker, &frame, e);

	if (r < 0)
		return r;
	(void)ask(s, &a); /* for the page tables' address alone */
	uint64_t base = a.pgd & ~(GiB(1) - 1);

	for (uint64_t i = 0; a.pgd != 0 && i < STEPS_MAX; i++, base -= GiB(1)) {
		struct memory_ask probe = { .address = base + frame * MEMORY_PAGE,
					    .bytes = MARKER_LEN };

		if (ask(s, &probe) == 0 && probe.good == MARKER_LEN &&
		    memcmp(s->window, marker, MARKER_LEN) == 0) {
			s->direct_map = base;
			return 0;
		}
	}
	return error_set(e, -ENXIO, "cannot find where the kernel maps memory");
}

static int find_direct_map(struct memory_bpf_source *s, struct error *e)
{
	uint8_t *page = mmap(NULL, MEMORY_PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);

	if (page == MAP_FAILED)
		return error_set(e, -errno, "cannot lock a page of memory: %m");
	int r = getrandom(page, MARKER_LEN, 0) == MARKER_LEN ?
			search(s, page, e) :
			error_set(e, -EIO, "cannot get random bytes");

	(void)munmap(page, MEMORY_PAGE);
	return r;
}

/* ---- the source -------------------------------------------------------------------------------------- */

static void source_close(void *ctx)
{
	struct memory_bpf_source *s = ctx;

	if (s == NULL)
		return;
	if (s->window != NULL)
		(void)munmap((void *)(uintptr_t)s->window, MEMORY_WINDOW);
	memory_bpf__destroy(s->object);
	free(s);
}

static int source_open(const struct acquire_request *r, void **ret, struct error *e)
{
	struct memory_bpf_source *s = calloc(1, sizeof(*s));
	int result = s == NULL ? error_set(e, -ENOMEM, "cannot read memory by BPF: out of memory") :
				 check_host(r, e);

	if (result == 0)
		result = load(s, e);
	if (result == 0)
		result = find_direct_map(s, e);
	if (result < 0)
		source_close(s);
	else
		*ret = s;
	return result;
}

static int64_t source_read(void *ctx, uint64_t phys, void *buf, size_t len)
{
	struct memory_bpf_source *s = ctx;
	struct memory_ask a = { .address = s->direct_map + phys };
	uint64_t in_page = MEMORY_PAGE - phys % MEMORY_PAGE;

	/* Pieces are pages only from the start of one. */
	if (in_page != MEMORY_PAGE && len > in_page)
		len = (size_t)in_page;
	a.bytes = len < MEMORY_WINDOW ? (uint32_t)len : MEMORY_WINDOW;
	a.whole = a.bytes == MEMORY_WINDOW;
	int r = ask(s, &a);

	/* A granule has a page that cannot be read: which one, the pieces tell. */
	if (a.whole && a.good < a.bytes) {
		a.whole = 0;
		r = ask(s, &a);
	}
	if (r < 0)
		return -EIO;
	memcpy(buf, s->window, a.good);
	return a.good;
}

/* What iomem calls RAM is in the direct map, or fails when it is read. */
static bool source_next(void *ctx, uint64_t phys, uint64_t *ret_first, uint64_t *ret_last)
{
	(void)ctx;
	*ret_first = phys;
	*ret_last = UINT64_MAX;
	return true;
}

static const char *source_note(void *ctx, size_t *ret_len)
{
	(void)ctx;
	*ret_len = 0;
	return NULL;
}

static uint64_t source_direct_map(void *ctx)
{
	return ((struct memory_bpf_source *)ctx)->direct_map;
}

const struct memory_source_ops memory_bpf_ops = {
	.name = "bpf",
	.open = source_open,
	.read = source_read,
	.next = source_next,
	.note = source_note,
	.direct_map = source_direct_map,
	.close = source_close,
};
