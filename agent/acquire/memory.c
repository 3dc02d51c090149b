/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory as a LiME file (version 1: header of 32 bytes, bytes, repeated), read through a source in
 * ascending order. What an examiner needs to make sense of it goes first, so that a broken transfer is still of
 * use: the kernel's types, symbols, notes. Beside the image two side tables: memory.chunks.jsonl says of each
 * chunk when it was read, memory.gaps.jsonl of each byte of RAM that is not in the image why.
 *
 * Segments of the image are runs of readable pages inside a chunk: a page that cannot be read is left out, never
 * filled. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/acquire/memory_source.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/writer.h"
#include "proto/json.h"

#define CHUNK OUTPUT_CHUNK_BYTES
#define PAGES (CHUNK / MEMORY_PAGE)
#define LIME_MAGIC 0x4c694d45U
#define LIME_HEADER 32
#define SYMBOLS_MAX MiB(64) /* of one raw input */
#define READ_BYTES MiB(1)

/* Bits of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst) whose pages hold nothing to be read: the
 * kernel gives zeros for them. */
static const struct page_flag {
	unsigned int bit;
	const char *name;
} empty_pages[] = {
	{ 19, "hwpoison" },
	{ 20, "nopage" },
	{ 23, "offline" },
};

struct memory {
	const struct acquire_request *r;
	struct output *o;
	const struct memory_source_ops *ops;
	void *source;
	int kpageflags; /* -1: not to be had */
	uint32_t image, chunks, gaps; /* items */
	uint8_t *buf; /* CHUNK */
	uint64_t flags[PAGES + 1];
	uint64_t ram, read, gap_bytes, n_gaps, empty;
	uint64_t gap_first, gap_last; /* one that still grows */
	const char *gap_reason; /* NULL: none */
	uint64_t reached; /* everything below is in the image or a gap */
};

/* ---- lines of the side tables ---------------------------------------------------------------------- */

static int put_line(struct memory *m, uint32_t item, FILE *line, char **text, const size_t *len,
		    struct error *e)
{
	int r = fclose(line) != 0 ?
			error_set(e, -ENOMEM, "cannot tell of the memory: out of memory") :
			output_write(m->o, item, *text, *len, e);

	free(*text);
	*text = NULL;
	return r;
}

static FILE *open_line(char **text, size_t *len, struct error *e)
{
	FILE *line = open_memstream(text, len);

	if (line == NULL)
		(void)error_set(e, -ENOMEM, "cannot tell of the memory: out of memory");
	return line;
}

static int end_gap(struct memory *m, struct error *e)
{
	char *text = NULL;
	size_t len = 0;

	if (m->gap_reason == NULL)
		return 0;
	FILE *line = open_line(&text, &len, e);

	if (line == NULL)
		return -ENOMEM;
	struct json j = json_init(line);

	json_open(&j, NULL, 0, '{');
	json_u64(&j, "first", m->gap_first);
	json_u64(&j, "last", m->gap_last);
	json_text(&j, "reason", m->gap_reason);
	json_close(&j, '}');
	json_line(&j);
	m->n_gaps++;
	m->gap_bytes += m->gap_last - m->gap_first + 1;
	m->gap_reason = NULL;
	return put_line(m, m->gaps, line, &text, &len, e);
}

/* Runs with one reason are one line. */
static int add_gap(struct memory *m, uint64_t first, uint64_t last, const char *reason,
		   struct error *e)
{
	if (m->gap_reason != NULL && strcmp(m->gap_reason, reason) == 0 &&
	    m->gap_last + 1 == first) {
		m->gap_last = last;
		return 0;
	}
	int r = end_gap(m, e);

	m->gap_first = first;
	m->gap_last = last;
	m->gap_reason = reason;
	return r;
}

static int tell_chunk(struct memory *m, uint64_t first, uint64_t last, uint64_t from_ns,
		      uint64_t to_ns, bool whole, struct error *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *line = open_line(&text, &len, e);

	if (line == NULL)
		return -ENOMEM;
	struct json j = json_init(line);

	json_open(&j, NULL, 0, '{');
	json_u64(&j, "first", first);
	json_u64(&j, "last", last);
	json_u64(&j, "from_boottime_ns", from_ns);
	json_u64(&j, "to_boottime_ns", to_ns);
	json_text(&j, "source", m->ops->name);
	json_bool(&j, "whole", whole);
	json_close(&j, '}');
	json_line(&j);
	return put_line(m, m->chunks, line, &text, &len, e);
}

/* ---- one chunk ------------------------------------------------------------------------------------- */

/* Why the page at phys is not to be read; NULL: it may be. */
static const char *empty_reason(const struct memory *m, uint64_t phys, uint64_t chunk)
{
	uint64_t flags = m->flags[(phys - (chunk & ~(uint64_t)(MEMORY_PAGE - 1))) / MEMORY_PAGE];

	for (size_t i = 0; i < ARRAY_LEN(empty_pages); i++)
		if (flags >> empty_pages[i].bit & 1)
			return empty_pages[i].name;
	return NULL;
}

static void read_flags(struct memory *m, uint64_t first, uint64_t last)
{
	size_t n = (size_t)(last / MEMORY_PAGE - first / MEMORY_PAGE) + 1;

	memset(m->flags, 0, sizeof(m->flags));
	if (m->kpageflags < 0)
		return;
	if (pread(m->kpageflags, m->flags, n * sizeof(m->flags[0]),
		  (off_t)(first / MEMORY_PAGE * sizeof(m->flags[0]))) < 0)
		memset(m->flags, 0, sizeof(m->flags));
}

/* The end of the page that holds phys, or last. */
static uint64_t page_end(uint64_t phys, uint64_t last)
{
	uint64_t end = phys | (MEMORY_PAGE - 1);

	return end < last ? end : last;
}

/* One run of readable bytes from first on: until a page that holds nothing or cannot be read. Returns bytes; 0:
 * not even the first page, *ret_reason says why. */
static size_t read_run(struct memory *m, uint64_t chunk, uint64_t first, uint64_t last,
		       const char **ret_reason)
{
	uint64_t stop = first;

	while (stop <= last && (*ret_reason = empty_reason(m, stop, chunk)) == NULL)
		stop = page_end(stop, last) + 1;
	size_t want = (size_t)(stop - first), got = 0;

	while (got < want) {
		int64_t n = m->ops->read(m->source, first + got, m->buf + got, want - got);

		if (n <= 0) {
			*ret_reason = "not readable";
			break;
		}
		got += (size_t)n;
	}
	return got;
}

/* All of it, also when the order's limits end in the middle: half a segment would spoil the image. -ECANCELED:
 * it is whole, and was the last. */
static int put_whole(struct memory *m, const uint8_t *data, size_t len, struct error *e)
{
	uint64_t before = output_bytes(m->o, m->image);
	int r = output_write(m->o, m->image, data, len, e);

	if (r != -ECANCELED)
		return r;
	size_t done = (size_t)(output_bytes(m->o, m->image) - before);
	int rest = output_write(m->o, m->image, data + done, len - done, NULL);

	return rest == 0 ? r : error_set(e, -EIO, "the image ends in the middle of a segment");
}

static int put_segment(struct memory *m, uint64_t first, size_t len, struct error *e)
{
	uint8_t header[LIME_HEADER];
	struct writer w = writer_init(header, sizeof(header));

	writer_u32(&w, LIME_MAGIC);
	writer_u32(&w, 1);
	writer_u64(&w, first);
	writer_u64(&w, first + len - 1);
	writer_u64(&w, 0);
	int r = put_whole(m, header, sizeof(header), e);
	int r_data = r == 0 || r == -ECANCELED ? put_whole(m, m->buf, len, e) : r;

	if (r_data == 0 || r_data == -ECANCELED)
		m->read += len;
	return r_data < 0 ? r_data : r;
}

/* first..last lie in one chunk and in one stretch that the source has. */
static int take_chunk(struct memory *m, uint64_t first, uint64_t last, struct error *e)
{
	uint64_t from_ns = clock_boottime_ns(), at = first;
	bool whole = true;
	int r = 0;

	read_flags(m, first, last);
	while (r == 0 && at <= last) {
		const char *reason = NULL;
		size_t got = read_run(m, first, at, last, &reason);

		if (got > 0)
			r = put_segment(m, at, got, e);
		at += got;
		m->reached = at;
		if (r < 0 || at > last || reason == NULL)
			continue;
		uint64_t end = page_end(at, last);

		whole = false;
		if (strcmp(reason, "not readable") != 0)
			m->empty += end - at + 1;
		r = add_gap(m, at, end, reason, e);
		at = end + 1;
		m->reached = at;
	}
	int told = r == 0 || r == -ECANCELED ?
			   tell_chunk(m, first, last, from_ns, clock_boottime_ns(), whole, e) :
			   r;

	return told < 0 ? told : r;
}

static int take_range(struct memory *m, const struct memory_range *range, struct error *e)
{
	uint64_t at = range->first;
	int r = 0;

	while (r == 0 && at <= range->last) {
		uint64_t first = 0, last = 0;
		bool there = m->ops->next(m->source, at, &first, &last) && first <= range->last;

		if (!there)
			return add_gap(m, at, range->last, "not offered by the source", e);
		if (first > at)
			r = add_gap(m, at, first - 1, "not offered by the source", e);
		last = last < range->last ? last : range->last;
		for (at = first; r == 0 && at <= last;) {
			uint64_t end = at | (CHUNK - 1);

			end = end < last ? end : last;
			r = take_chunk(m, at, end, e);
			at = m->reached;
		}
	}
	/* Told to stop: what is left of this range is a gap, and the caller tells of the others. */
	if (r == -ECANCELED && at <= range->last) {
		int told = add_gap(m, at, range->last, "stopped before", e);

		return told < 0 ? told : r;
	}
	return r;
}

/* ---- before and after ------------------------------------------------------------------------------ */

/* A file of /proc or /sys as an item, whatever its size. Missing ones are told of, and are no failure. */
static int take_input(struct memory *m, const char *root, const char *name, const char *item,
		      const char *format, struct error *e)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *buf = malloc(READ_BYTES);
	uint32_t number = 0;
	uint64_t total = 0;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (buf == NULL)
		return error_set(e, -ENOMEM, "cannot read %s: out of memory", path);
	if (fd < 0)
		return output_warn(m->o, false, e, "cannot open %s: %s", path, strerror(errno));
	int r = output_begin(m->o, item, format, 0, &number, e);

	while (r == 0 && total < SYMBOLS_MAX) {
		ssize_t n = read(fd, buf, READ_BYTES);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			r = output_warn(m->o, true, e, "cannot read %s: %s", path, strerror(errno));
		if (n <= 0)
			break;
		total += (uint64_t)n;
		r = output_write(m->o, number, buf, (size_t)n, e);
	}
	return r == 0 ? output_end(m->o, number, NULL, NULL, e) : r;
}

static int take_note(struct memory *m, struct error *e)
{
	size_t len = 0;
	const char *note = m->ops->note(m->source, &len);
	uint32_t number = 0;

	if (note == NULL)
		return output_warn(m->o, false, e, "this source does not tell VMCOREINFO");
	int r = output_begin(m->o, "vmcoreinfo.txt", "text", len, &number, e);

	if (r == 0)
		r = output_write(m->o, number, note, len, e);
	return r == 0 ? output_end(m->o, number, NULL, NULL, e) : r;
}

static int take_inputs(struct memory *m, struct error *e)
{
	static const struct {
		const char *name, *item, *format;
		bool sys;
	} inputs[] = {
		{ "version", "version.txt", "text", false },
		{ "kernel/btf/vmlinux", "vmlinux.btf", "btf", true },
		{ "kallsyms", "kallsyms.txt", "text", false },
		{ "iomem", "iomem.txt", "text", false },
		{ "modules", "modules.txt", "text", false },
		{ "kernel/notes", "kernel-notes.bin", "raw", true },
		{ "cmdline", "cmdline.txt", "text", false },
	};
	int r = take_note(m, e);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(inputs); i++)
		r = take_input(m, inputs[i].sys ? m->r->sys : m->r->proc, inputs[i].name,
			       inputs[i].item, inputs[i].format, e);
	return r;
}

static int note_facts(struct memory *m, struct error *e)
{
	char lockdown[32];
	size_t len = 0, found = 0;
	const char *note = m->ops->note(m->source, &len);
	const char *five =
		note != NULL ? memory_note_find(note, len, "NUMBER(pgtable_l5_enabled)=", &found) :
			       NULL;
	/* Without the note: with five levels the direct map lies below 0xffff.... */
	bool la57 = five != NULL ? found > 0 && five[0] == '1' :
				   m->ops->direct_map(m->source) >> 48 != 0xffff;
	int r = output_note(m->o, "memory.source", m->ops->name, e);

	if (r == 0)
		r = output_note(m->o, "memory.lockdown", memory_lockdown(m->r, lockdown), e);
	if (r == 0)
		r = output_note_u64(m->o, "memory.page_table_levels", la57 ? 5 : 4, e);
	if (r == 0 && m->kpageflags < 0)
		r = output_warn(
			m->o, true, e,
			"cannot read page flags (/proc/kpageflags): pages that the kernel gives as zeros, such as poisoned ones, cannot be told from true zeros");
	return r;
}

static int note_result(struct memory *m, const struct error *why, struct error *e)
{
	int r = output_note_u64(m->o, "memory.ram_bytes", m->ram, e);

	if (r == 0)
		r = output_note_u64(m->o, "memory.read_bytes", m->read, e);
	if (r == 0)
		r = output_note_u64(m->o, "memory.gap_bytes", m->gap_bytes, e);
	if (r == 0)
		r = output_note_u64(m->o, "memory.gaps", m->n_gaps, e);
	if (r == 0 && why != NULL)
		r = output_warn(m->o, true, e, "the image is not whole: %s", why->text);
	return r;
}

/* ---- the acquirer ---------------------------------------------------------------------------------- */

static int open_source(struct memory *m, struct error *e)
{
	struct error why = { 0 };
	char lockdown[32], all[2 * ERROR_TEXT_MAX] = "";

	for (size_t i = 0; memory_source_at(i) != NULL; i++) {
		size_t used = strlen(all);

		m->ops = memory_source_at(i);
		if (m->ops->open(m->r, &m->source, &why) == 0)
			return 0;
		(void)snprintf(all + used, sizeof(all) - used, "%s%s", used > 0 ? "; " : "",
			       why.text);
	}
	int r = error_set(e, -EOPNOTSUPP, "cannot read this host's memory: %s (lockdown: %s)", all,
			  memory_lockdown(m->r, lockdown)[0] != '\0' ? lockdown : "not known");

	error_hint(e, "take a snapshot of the machine's memory in its hypervisor instead");
	return r;
}

static int begin_items(struct memory *m, struct error *e)
{
	int r = output_begin(m->o, "memory.lime", "lime", m->ram, &m->image, e);

	if (r == 0)
		r = output_begin(m->o, "memory.chunks.jsonl", "jsonl", 0, &m->chunks, e);
	if (r == 0)
		r = output_begin(m->o, "memory.gaps.jsonl", "jsonl", 0, &m->gaps, e);
	return r;
}

static int end_items(struct memory *m, const struct error *why, struct error *e)
{
	int r = end_gap(m, e);

	if (r == 0)
		r = output_end(m->o, m->image, why != NULL ? why->text : NULL, NULL, e);
	if (r == 0)
		r = output_end(m->o, m->chunks, NULL, NULL, e);
	if (r == 0)
		r = output_end(m->o, m->gaps, NULL, NULL, e);
	return r;
}

static int take_image(struct memory *m, const struct memory_range *ranges, size_t n,
		      struct error *e)
{
	struct error stopped = { 0 };

	for (size_t i = 0; i < n; i++)
		m->ram += ranges[i].last - ranges[i].first + 1;
	int r = begin_items(m, e);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (stopped.code == 0)
			r = take_range(m, &ranges[i], e);
		else
			r = add_gap(m, ranges[i].first, ranges[i].last, "stopped before", e);
		if (r == -ECANCELED) {
			stopped = *e;
			r = 0;
		}
	}
	const struct error *why = stopped.code != 0 ? &stopped : NULL;

	if (r == 0)
		r = end_items(m, why, e);
	return r == 0 ? note_result(m, why, e) : r;
}

static int list_ranges(const struct acquire_request *r, struct memory_range **ret, size_t *ret_n,
		       struct error *e)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/iomem", r->proc);
	int result = files_read(path, MEMORY_IOMEM_MAX, &text, &len, e);

	return result < 0 ? result : memory_ranges_parse((const char *)text, len, ret, ret_n, e);
}

static void release(struct memory *m)
{
	if (m->source != NULL)
		m->ops->close(m->source);
	close_fd(&m->kpageflags);
	if (m->buf != NULL)
		(void)munmap(m->buf, CHUNK);
}

int acquire_memory(const struct acquire_request *r, struct output *o, struct error *e)
{
	AUTO(release) struct memory m = { .r = r, .o = o, .kpageflags = -1 };
	AUTO(free_ptr) struct memory_range *ranges = NULL;
	char path[PATH_MAX];
	size_t n = 0;

	/* Not malloc: one mapping, so that the footprint that the manifest states is this and little else. */
	void *buf = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED)
		return error_set(e, -ENOMEM, "cannot read memory: out of memory");
	m.buf = buf;
	int result = list_ranges(r, &ranges, &n, e);

	if (result == 0)
		result = open_source(&m, e);
	if (result < 0)
		return result;
	(void)snprintf(path, sizeof(path), "%s/kpageflags", r->proc);
	m.kpageflags = open(path, O_RDONLY | O_CLOEXEC);
	result = note_facts(&m, e);
	if (result == 0)
		result = take_inputs(&m, e);
	return result == 0 ? take_image(&m, ranges, n, e) : result;
}
