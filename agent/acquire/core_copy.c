/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_copy.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/acquire/core_shared.h"

#define PIECE MiB(1) /* of one read */
#define WINDOW 4096 /* pagemap entries at once */
#define ROOM_FIRST 1024
#define ROOM_MAX (1U << 22)

const char *core_gap_text(enum core_gap_reason reason)
{
	static const char *const texts[] = {
		[GAP_UNTOUCHED] = "never touched, reads as zeros",
		[GAP_NOT_RESIDENT] = "of a file or of shared memory, not mapped in",
		[GAP_GUARD] = "guard pages",
		[GAP_DEVICE] = "memory of a device or of the kernel",
		[GAP_UNREADABLE] = "not readable",
		[GAP_ENDED] = "the process had ended or started another program",
		[GAP_STOPPED] = "stopped before",
	};

	return texts[reason];
}

/* ---- the spool ------------------------------------------------------------------------------------- */

int core_spool_open(uint64_t bytes, bool share, struct core_spool *ret, struct error *e)
{
	struct core_spool s = { .bytes = (bytes + PIECE - 1) / PIECE * PIECE };

	if (s.bytes == 0)
		s.bytes = PIECE;
	void *at = mmap(NULL, s.bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return error_set(e, -errno, "cannot make room for %llu bytes of the target: %m",
				 (unsigned long long)s.bytes);
	s.data = at;
	(void)madvise(at, s.bytes, MADV_HUGEPAGE);
	(void)madvise(at, s.bytes, MADV_DONTDUMP);
	s.locked = mlock(at, s.bytes) == 0;
	if (!s.locked)
		memset(at, 0, s.bytes);
	if (share)
		s.shared = core_shared_new(s.bytes / (uint64_t)sysconf(_SC_PAGESIZE));
	*ret = s;
	return 0;
}

void core_spool_close(struct core_spool *s)
{
	if (s->data != NULL)
		(void)munmap(s->data, s->bytes);
	core_shared_free(s->shared);
	*s = (struct core_spool){ 0 };
}

/* ---- the index ------------------------------------------------------------------------------------- */

/* Room for one more of size bytes. */
static bool make_room(void **array, size_t *room, size_t n, size_t size)
{
	size_t more = *room == 0 ? ROOM_FIRST : *room * 2;

	if (n < *room)
		return true;
	void *grown = more <= ROOM_MAX ? realloc(*array, more * size) : NULL;

	if (grown == NULL)
		return false;
	*array = grown;
	*room = more;
	return true;
}

static void add_run(struct core_index *i, uint64_t start, uint64_t bytes, uint64_t at)
{
	struct core_run *last = i->n_runs > 0 ? &i->runs[i->n_runs - 1] : NULL;

	if (last != NULL && last->start + last->bytes == start &&
	    (at == CORE_LATER ? last->at == CORE_LATER :
				last->at != CORE_LATER && last->at + last->bytes == at)) {
		last->bytes += bytes;
		return;
	}
	if (!make_room((void **)&i->runs, &i->runs_room, i->n_runs, sizeof(*i->runs)) ||
	    i->runs == NULL) {
		i->bad = true;
		return;
	}
	i->runs[i->n_runs++] = (struct core_run){ .start = start, .bytes = bytes, .at = at };
}

void core_index_gap(struct core_index *i, uint64_t start, uint64_t bytes,
		    enum core_gap_reason reason)
{
	struct core_gap *last = i->n_gaps > 0 ? &i->gaps[i->n_gaps - 1] : NULL;

	if (last != NULL && last->reason == reason && last->start + last->bytes == start) {
		last->bytes += bytes;
		return;
	}
	if (!make_room((void **)&i->gaps, &i->gaps_room, i->n_gaps, sizeof(*i->gaps)) ||
	    i->gaps == NULL) {
		i->bad = true;
		return;
	}
	i->gaps[i->n_gaps++] =
		(struct core_gap){ .start = start, .bytes = bytes, .reason = reason };
}

void core_index_release(struct core_index *i)
{
	free(i->runs);
	free(i->gaps);
	*i = (struct core_index){ 0 };
}

/* ---- walking what has content ---------------------------------------------------------------------- */

struct walk {
	const struct core_source *s;
	struct core_spool *spool;
	const struct core_index *before;
	size_t before_at;
	struct core_index *to;
	uint64_t page;
	bool measuring, first;
	uint64_t bytes; /* with content */
	uint64_t entries[WINDOW];
	/* What is being gathered: pages that are read in one go. */
	uint64_t start, len, at; /* at: CORE_LATER: at the spool's end */
};

/* Into the spool at `at`; returns bytes, 0: not even the first page, *ret_reason says why. */
static uint64_t read_piece(struct walk *w, uint64_t start, uint64_t len, uint64_t at,
			   enum core_gap_reason *ret_reason)
{
	for (;;) {
		ssize_t n = pread(w->s->mem, w->spool->data + at, len, (off_t)start);

		if (n < 0 && errno == EINTR)
			continue;
		*ret_reason = n == 0 ? GAP_ENDED : GAP_UNREADABLE;
		return n <= 0 ? 0 : (uint64_t)n / w->page * w->page;
	}
}

/* What of start..+len can be placed at `at` (CORE_LATER: at the end). */
static uint64_t fitting(const struct walk *w, uint64_t len, uint64_t at)
{
	uint64_t left = w->spool->bytes - w->spool->used;

	len = len < PIECE ? len : PIECE;
	return at != CORE_LATER || len <= left ? len : left / w->page * w->page;
}

static void remember_shared(struct walk *w, uint64_t start, uint64_t len, uint64_t at,
			    const struct core_map *map, const uint64_t *entries)
{
	if (w->first || w->spool->shared == NULL)
		return;
	for (uint64_t i = 0; i < len / w->page; i++)
		if (entries[i] & PAGEMAP_SHARED)
			core_shared_put(w->spool->shared, entries[i], map,
					start + i * w->page - map->start, at + i * w->page);
}

/* entries: of start. */
static void copy_run(struct walk *w, uint64_t start, uint64_t len, uint64_t at,
		     const struct core_map *map, const uint64_t *entries)
{
	while (len > 0) {
		enum core_gap_reason reason = GAP_UNREADABLE;
		bool over = w->s->over != NULL && w->s->over(w->s->ctx);
		uint64_t want = over ? 0 : fitting(w, len, at);

		if (want == 0) {
			add_run(w->to, start, len, CORE_LATER);
			return;
		}
		uint64_t to = at == CORE_LATER ? w->spool->used : at;
		uint64_t got = read_piece(w, start, want, to, &reason);

		if (got > 0) {
			add_run(w->to, start, got, to);
			remember_shared(w, start, got, to, map, entries);
			w->spool->used += at == CORE_LATER ? got : 0;
		} else {
			got = w->page;
			core_index_gap(w->to, start, got, reason);
		}
		start += got;
		len -= got;
		entries += got / w->page;
		at = at == CORE_LATER ? CORE_LATER : at + got;
	}
}

/* Where the earlier pass put the page; CORE_LATER: nowhere. Asked in ascending order. */
static uint64_t placed_before(struct walk *w, uint64_t start)
{
	while (w->before_at < w->before->n_runs &&
	       w->before->runs[w->before_at].start + w->before->runs[w->before_at].bytes <= start)
		w->before_at++;
	if (w->before_at == w->before->n_runs)
		return CORE_LATER;
	const struct core_run *r = &w->before->runs[w->before_at];

	return start < r->start || r->at == CORE_LATER ? CORE_LATER : r->at + (start - r->start);
}

/* Whether the page need not be read; else *ret_at says where to. What several processes map may have been written
 * by another one, which leaves no mark here. */
static bool page_known(struct walk *w, uint64_t start, uint64_t entry, const struct core_map *map,
		       uint64_t *ret_at)
{
	*ret_at = CORE_LATER;
	if (w->before != NULL) {
		*ret_at = placed_before(w, start);
		if (*ret_at != CORE_LATER && !(entry & (PAGEMAP_SOFT_DIRTY | PAGEMAP_SHARED)))
			return true;
	}
	if (w->spool->shared == NULL || !(entry & PAGEMAP_SHARED))
		return false;
	uint64_t at = core_shared_get(w->spool->shared, entry, map, start - map->start);

	if (at == CORE_LATER)
		return false;
	w->spool->shared_bytes += w->page;
	*ret_at = at;
	return true;
}

/* Page by page, where that can save reading. */
static void copy_pages(struct walk *w, uint64_t start, size_t n, const struct core_map *map,
		       const uint64_t *entries)
{
	uint64_t from = 0, len = 0, from_at = CORE_LATER;
	const uint64_t *from_entries = entries;

	for (size_t i = 0; i < n; i++) {
		uint64_t page = start + i * w->page, at = CORE_LATER;
		bool skip = w->first && (entries[i] & PAGEMAP_SHARED);
		bool known = !w->first && page_known(w, page, entries[i], map, &at);
		bool goes_on = len > 0 && !known && !skip &&
			       (at == CORE_LATER ? from_at == CORE_LATER :
						   from_at != CORE_LATER && from_at + len == at);

		if (len > 0 && !goes_on) {
			copy_run(w, from, len, from_at, map, from_entries);
			len = 0;
		}
		if (known)
			add_run(w->to, page, w->page, at);
		if (known || skip)
			continue;
		if (len == 0) {
			from = page;
			from_at = at;
			from_entries = entries + i;
		}
		len += w->page;
	}
	if (len > 0)
		copy_run(w, from, len, from_at, map, from_entries);
}

static const enum core_gap_reason gap_of_kind[] = {
	[PAGE_UNTOUCHED] = GAP_UNTOUCHED,
	[PAGE_NOT_RESIDENT] = GAP_NOT_RESIDENT,
	[PAGE_GUARD] = GAP_GUARD,
};

static void take_pages(struct walk *w, uint64_t start, size_t n, const struct core_map *map,
		       const uint64_t *entries, enum page_kind kind)
{
	if (kind != PAGE_READ) {
		core_index_gap(w->to, start, n * w->page, gap_of_kind[kind]);
		return;
	}
	w->bytes += n * w->page;
	if (w->measuring)
		add_run(w->to, start, n * w->page, CORE_LATER);
	else if (!w->first && w->before == NULL && w->spool->shared == NULL)
		copy_run(w, start, n * w->page, CORE_LATER, map, entries);
	else
		copy_pages(w, start, n, map, entries);
}

/* Whole windows without content are jumped over where the kernel can tell how far. */
static uint64_t jump(struct walk *w, uint64_t at, uint64_t end, const struct core_map *map)
{
	static const uint64_t nothing;
	uint64_t next = pagemap_skip(w->s->pagemap, at, end);

	if (next > at)
		core_index_gap(w->to, at, next - at, gap_of_kind[pagemap_kind(nothing, map)]);
	return next;
}

static void take_map(struct walk *w, const struct core_map *map)
{
	uint64_t at = map->start;

	if (map->device) {
		core_index_gap(w->to, at, map->end - at, GAP_DEVICE);
		return;
	}
	while (at < map->end) {
		uint64_t left = (map->end - at) / w->page;
		size_t n = left < WINDOW ? (size_t)left : WINDOW, runs = 0;

		(void)pagemap_read(w->s->pagemap, at / w->page, w->entries, n);
		enum page_kind kind = PAGE_READ;

		for (size_t i = 0, len; i < n; i += len, runs++) {
			len = pagemap_run(w->entries + i, n - i, map, &kind);
			take_pages(w, at + i * w->page, len, map, w->entries + i, kind);
		}
		at += n * w->page;
		if (runs == 1 && kind != PAGE_READ && at < map->end)
			at = jump(w, at, map->end, map);
	}
}

static uint64_t walk_all(struct walk *w)
{
	w->page = (uint64_t)sysconf(_SC_PAGESIZE);
	for (size_t i = 0; i < w->s->maps->n; i++)
		take_map(w, &w->s->maps->all[i]);
	return w->bytes;
}

uint64_t core_copy_measure(const struct core_source *s, struct core_index *i)
{
	struct walk w = { .s = s, .to = i, .measuring = true };
	uint64_t bytes = walk_all(&w);

	/* The room is what is wanted. */
	i->n_runs = 0;
	i->n_gaps = 0;
	return bytes;
}

void core_copy_first(const struct core_source *s, struct core_spool *spool, struct core_index *ret)
{
	struct walk w = { .s = s, .spool = spool, .to = ret, .first = true };

	(void)walk_all(&w);
}

void core_copy(const struct core_source *s, struct core_spool *spool,
	       const struct core_index *before, struct core_index *ret)
{
	struct walk w = { .s = s, .spool = spool, .before = before, .to = ret };

	(void)walk_all(&w);
}

void core_copy_nothing(const struct core_source *s, struct core_index *ret)
{
	struct walk w = { .s = s, .to = ret, .measuring = true };

	(void)walk_all(&w);
}
