/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/memory_flags.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#include "agent/acquire/memory_source.h"
#include "proto/base/reader.h"

#define ENTRY 8
#define PAGES_MAX (OUTPUT_CHUNK_BYTES / MEMORY_PAGE)

/* Pages that hold nothing to be read. */
static const struct page_flag {
	unsigned int bit;
	const char *name;
} empty_pages[] = {
	{ 19, "hwpoison" },
	{ 20, "nopage" },
	{ 23, "offline" },
};

struct memory_flags {
	int fd; /* -1: not to be had */
	uint32_t item;
	uint64_t frame; /* of the first page read */
	size_t known; /* pages from there on */
	uint8_t raw[PAGES_MAX * ENTRY];
};

int memory_flags_open(const char *proc, struct memory_flags **ret, struct error *e)
{
	struct memory_flags *f = calloc(1, sizeof(*f));
	char path[PATH_MAX];

	if (f == NULL)
		return error_set(e, -ENOMEM, "cannot read page flags: out of memory");
	(void)snprintf(path, sizeof(path), "%s/kpageflags", proc);
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	*ret = f;
	return 0;
}

void memory_flags_free(struct memory_flags *f)
{
	if (f != NULL)
		close_fd(&f->fd);
	free(f);
}

bool memory_flags_known(const struct memory_flags *f)
{
	return f->fd >= 0;
}

int memory_flags_begin(struct memory_flags *f, struct output *o, struct error *e)
{
	return f->fd < 0 ? 0 : output_begin(o, "memory.pageflags.bin", "raw", 0, &f->item, e);
}

int memory_flags_end(struct memory_flags *f, struct output *o, struct error *e)
{
	return f->item == 0 ? 0 : output_end(o, f->item, NULL, NULL, e);
}

void memory_flags_read(struct memory_flags *f, uint64_t first, uint64_t last)
{
	size_t want, got = 0;

	f->frame = first / MEMORY_PAGE;
	want = (size_t)(last / MEMORY_PAGE - f->frame + 1) * ENTRY;
	if (want > sizeof(f->raw))
		want = sizeof(f->raw);
	while (f->fd >= 0 && got < want) {
		ssize_t n = pread(f->fd, f->raw + got, want - got, (off_t)(f->frame * ENTRY + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	f->known = got / ENTRY;
}

const char *memory_flags_empty(const struct memory_flags *f, uint64_t phys)
{
	uint64_t page = phys / MEMORY_PAGE - f->frame;

	if (page >= f->known)
		return NULL;
	struct reader r = reader_init(f->raw + page * ENTRY, ENTRY);
	uint64_t flags = reader_u64(&r);

	for (size_t i = 0; i < ARRAY_LEN(empty_pages); i++)
		if (flags >> empty_pages[i].bit & 1)
			return empty_pages[i].name;
	return NULL;
}

const uint8_t *memory_flags_raw(struct memory_flags *f, uint64_t last, size_t *ret_len)
{
	uint64_t pages = last / MEMORY_PAGE - f->frame + 1;

	*ret_len = (size_t)(pages < f->known ? pages : f->known) * ENTRY;
	return f->raw;
}

uint32_t memory_flags_item(const struct memory_flags *f)
{
	return f->item;
}
