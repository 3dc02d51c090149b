/* SPDX-License-Identifier: Apache-2.0 */
/* Physical memory as a LiME file (version 1: header of 32 bytes, bytes, repeated), read through a source in
 * ascending order. What an examiner needs to make sense of it goes first, so that a broken transfer is still of
 * use: the kernel's types, symbols, notes. Beside the image three side tables: memory.chunks.jsonl says of each
 * chunk when it was read and what its bytes hash to, memory.pageflags.bin of each page what the kernel thought of it,
 * memory.gaps.jsonl of each byte of RAM that is not in the image why.
 *
 * Segments of the image are runs of readable pages inside a chunk: a page that cannot be read is left out, never
 * filled. */
#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/acquire/memory_flags.h"
#include "agent/acquire/memory_inputs.h"
#include "agent/acquire/memory_source.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/writer.h"
#include "proto/json.h"

#define CHUNK OUTPUT_CHUNK_BYTES
#define LIME_MAGIC 0x4c694d45U
#define LIME_HEADER 32

struct memory {
	const struct acquire_request *r;
	struct output *o;
	const struct memory_source_ops *ops;
	void *source;
	struct memory_flags *flags;
	uint32_t image, chunks, gaps; /* items */
	uint8_t *buf; /* CHUNK */
	EVP_MD_CTX *hash; /* of the chunk's bytes */
	uint64_t ram, read, gap_bytes, n_gaps;
	uint64_t gap_first, gap_last; /* one that still grows */
	const char *gap_reason; /* NULL: none */
	struct error stopped; /* code 0: it goes on; else why the image ends here */
	bool cut; /* and that there was more */
};

/* One line of memory.chunks.jsonl. */
struct chunk {
	uint64_t first, last, from_ns, image_offset, flags_offset;
	size_t flags_len;
	bool whole;
	struct seal_hash hash;
};

/* All of it, also when the order's limits end in the middle: half a segment or half a line would spoil its file.
 * m->stopped tells that it was the last. */
static int put_whole(struct memory *m, uint32_t item, const void *data, size_t len, struct error *e)
{
	struct error why = { 0 };
	uint64_t before = output_bytes(m->o, item);
	int r = output_write(m->o, item, data, len, &why);

	if (r == -ECANCELED) {
		size_t done = (size_t)(output_bytes(m->o, item) - before);

		if (m->stopped.code == 0)
			m->stopped = why;
		r = output_write(m->o, item, (const uint8_t *)data + done, len - done, &why);
	}
	if (r < 0 && e != NULL)
		*e = why;
	return r == -ECANCELED ? error_set(e, -EIO, "an item ends in the middle of an entry") : r;
}

/* ---- lines of the side tables ---------------------------------------------------------------------- */

static int put_line(struct memory *m, uint32_t item, FILE *line, char **text, const size_t *len,
		    struct error *e)
{
	int r = fclose(line) != 0 ?
			error_set(e, -ENOMEM, "cannot tell of the memory: out of memory") :
			put_whole(m, item, *text, *len, e);

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

static void write_hash(struct json *j, const struct seal_hash *hash)
{
	char hex[2 * SEAL_HASH_LEN + 1];

	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", hash->b[i]);
	json_text(j, "sha256", hex);
}

static int tell_chunk(struct memory *m, const struct chunk *c, struct error *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *line = open_line(&text, &len, e);

	if (line == NULL)
		return -ENOMEM;
	struct json j = json_init(line);

	json_open(&j, NULL, 0, '{');
	json_u64(&j, "first", c->first);
	json_u64(&j, "last", c->last);
	json_u64(&j, "from_boottime_ns", c->from_ns);
	json_u64(&j, "to_boottime_ns", clock_boottime_ns());
	json_text(&j, "source", m->ops->name);
	json_bool(&j, "whole", c->whole);
	json_u64(&j, "image_offset", c->image_offset);
	write_hash(&j, &c->hash);
	if (memory_flags_known(m->flags)) {
		json_u64(&j, "flags_offset", c->flags_offset);
		json_u64(&j, "flags_bytes", c->flags_len);
	}
	json_close(&j, '}');
	json_line(&j);
	return put_line(m, m->chunks, line, &text, &len, e);
}

/* ---- one chunk ------------------------------------------------------------------------------------- */

/* The end of the page that holds phys, or last. */
static uint64_t page_end(uint64_t phys, uint64_t last)
{
	uint64_t end = phys | (MEMORY_PAGE - 1);

	return end < last ? end : last;
}

/* One run of readable bytes from first on: until a page that holds nothing or cannot be read. Returns bytes; 0:
 * not even the first page, *ret_reason says why. */
static size_t read_run(struct memory *m, uint64_t first, uint64_t last, const char **ret_reason)
{
	uint64_t stop = first;

	while (stop <= last && (*ret_reason = memory_flags_empty(m->flags, stop)) == NULL)
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

static int put_segment(struct memory *m, uint64_t first, size_t len, struct error *e)
{
	uint8_t header[LIME_HEADER];
	struct writer w = writer_init(header, sizeof(header));

	writer_u32(&w, LIME_MAGIC);
	writer_u32(&w, 1);
	writer_u64(&w, first);
	writer_u64(&w, first + len - 1);
	writer_u64(&w, 0);
	int r = put_whole(m, m->image, header, sizeof(header), e);

	if (r == 0)
		r = put_whole(m, m->image, m->buf, len, e);
	if (r == 0 && EVP_DigestUpdate(m->hash, m->buf, len) != 1)
		r = error_set(e, -ENOMEM, "cannot hash a chunk of memory: out of memory");
	if (r == 0)
		m->read += len;
	return r;
}

/* Segments and gaps of c->first..c->last. When it is told to stop, c->last is where it did. */
static int read_chunk(struct memory *m, struct chunk *c, struct error *e)
{
	uint64_t at = c->first, last = c->last;
	int r = 0;

	while (r == 0 && at <= last && m->stopped.code == 0) {
		const char *reason = NULL;
		size_t got = read_run(m, at, last, &reason);

		if (got > 0)
			r = put_segment(m, at, got, e);
		at += got;
		if (r < 0 || at > last || reason == NULL || m->stopped.code != 0)
			continue;
		c->whole = false;
		r = add_gap(m, at, page_end(at, last), reason, e);
		at = page_end(at, last) + 1;
	}
	c->last = at - 1;
	return r;
}

/* c->first..c->last lie in one chunk and in one stretch that the source has. */
static int take_chunk(struct memory *m, struct chunk *c, struct error *e)
{
	uint32_t table = memory_flags_item(m->flags);

	c->whole = true;
	c->from_ns = clock_boottime_ns();
	c->image_offset = output_bytes(m->o, m->image);
	memory_flags_read(m->flags, c->first, c->last);
	int r = EVP_DigestInit_ex(m->hash, EVP_sha256(), NULL) != 1 ?
			error_set(e, -ENOMEM, "cannot hash a chunk of memory: out of memory") :
			read_chunk(m, c, e);

	if (r == 0 && EVP_DigestFinal_ex(m->hash, c->hash.b, NULL) != 1)
		r = error_set(e, -ENOMEM, "cannot hash a chunk of memory: out of memory");
	if (r == 0 && table != 0) {
		const uint8_t *raw = memory_flags_raw(m->flags, c->last, &c->flags_len);

		c->flags_offset = output_bytes(m->o, table);
		r = put_whole(m, table, raw, c->flags_len, e);
	}
	return r == 0 ? tell_chunk(m, c, e) : r;
}

static int take_range(struct memory *m, const struct memory_range *range, struct error *e)
{
	uint64_t at = range->first;
	int r = 0;

	while (r == 0 && at <= range->last && m->stopped.code == 0) {
		uint64_t first = 0, last = 0;
		bool there = m->ops->next(m->source, at, &first, &last) && first <= range->last;

		if (!there)
			return add_gap(m, at, range->last, "not offered by the source", e);
		if (first > at)
			r = add_gap(m, at, first - 1, "not offered by the source", e);
		last = last < range->last ? last : range->last;
		for (at = first; r == 0 && at <= last && m->stopped.code == 0;) {
			uint64_t end = at | (CHUNK - 1);
			struct chunk c = { .first = at, .last = end < last ? end : last };

			r = take_chunk(m, &c, e);
			at = c.last + 1;
		}
	}
	if (r < 0 || at > range->last)
		return r;
	m->cut = true;
	return add_gap(m, at, range->last, "stopped before", e);
}

/* ---- before and after ------------------------------------------------------------------------------ */

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
	if (r == 0 && !memory_flags_known(m->flags))
		r = output_warn(
			m->o, true, e,
			"cannot read page flags (/proc/kpageflags): pages that the kernel gives as zeros, such as poisoned ones, cannot be told from true zeros");
	return r;
}

static int note_result(struct memory *m, struct error *e)
{
	int r = output_note_u64(m->o, "memory.ram_bytes", m->ram, e);

	if (r == 0)
		r = output_note_u64(m->o, "memory.read_bytes", m->read, e);
	if (r == 0)
		r = output_note_u64(m->o, "memory.gap_bytes", m->gap_bytes, e);
	if (r == 0)
		r = output_note_u64(m->o, "memory.gaps", m->n_gaps, e);
	if (r == 0 && m->cut)
		r = output_warn(m->o, true, e, "the image is not whole: %s", m->stopped.text);
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
	return r == 0 ? memory_flags_begin(m->flags, m->o, e) : r;
}

static int end_items(struct memory *m, struct error *e)
{
	int r = end_gap(m, e);

	if (r == 0)
		r = output_end(m->o, m->image, m->cut ? m->stopped.text : NULL, NULL, e);
	if (r == 0)
		r = output_end(m->o, m->chunks, NULL, NULL, e);
	if (r == 0)
		r = output_end(m->o, m->gaps, NULL, NULL, e);
	return r == 0 ? memory_flags_end(m->flags, m->o, e) : r;
}

static int take_image(struct memory *m, const struct memory_range *ranges, size_t n,
		      struct error *e)
{
	for (size_t i = 0; i < n; i++)
		m->ram += ranges[i].last - ranges[i].first + 1;
	int r = begin_items(m, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = take_range(m, &ranges[i], e);
	if (r == 0)
		r = end_items(m, e);
	return r == 0 ? note_result(m, e) : r;
}

/* The order's limits may end here already: then all of the image is a gap. */
static int take_inputs(struct memory *m, struct error *e)
{
	size_t len = 0;
	const char *note = m->ops->note(m->source, &len);
	struct error why = { 0 };
	int r = memory_inputs_take(m->r, m->o, note, len, &why);

	if (r == -ECANCELED) {
		m->stopped = why;
		return 0;
	}
	if (r < 0 && e != NULL)
		*e = why;
	return r;
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
	memory_flags_free(m->flags);
	EVP_MD_CTX_free(m->hash);
	if (m->buf != NULL)
		(void)munmap(m->buf, CHUNK);
}

static int make(struct memory *m, struct error *e)
{
	/* Not malloc: one mapping, so that the footprint that the manifest states is this and little else. */
	void *buf = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED)
		return error_set(e, -ENOMEM, "cannot read memory: out of memory");
	m->buf = buf;
	m->hash = EVP_MD_CTX_new();
	if (m->hash == NULL)
		return error_set(e, -ENOMEM, "cannot hash memory: out of memory");
	return memory_flags_open(m->r->proc, &m->flags, e);
}

int acquire_memory(const struct acquire_request *r, struct output *o, struct error *e)
{
	AUTO(release) struct memory m = { .r = r, .o = o };
	AUTO(free_ptr) struct memory_range *ranges = NULL;
	size_t n = 0;
	int result = list_ranges(r, &ranges, &n, e);

	if (result == 0)
		result = make(&m, e);
	if (result == 0)
		result = open_source(&m, e);
	if (result == 0)
		result = note_facts(&m, e);
	if (result == 0)
		result = take_inputs(&m, e);
	return result == 0 ? take_image(&m, ranges, n, e) : result;
}
