/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define JOIN_MAX MiB(1) /* of untouched memory written as zeros between two stretches */
#define SEGMENTS_MAX (1U << 22)
#define NOTES_MAX MiB(512)
#define PIECE MiB(1)

/* ---- segments -------------------------------------------------------------------------------------- */

struct segments {
	struct core_segment *all;
	size_t n, room;
	bool bad;
};

static void add_segment(struct segments *s, const struct core_map *map, uint64_t start,
			uint64_t end, bool filled)
{
	struct core_segment *last = s->n > 0 ? &s->all[s->n - 1] : NULL;

	if (start == end)
		return;
	if (last != NULL && last->filled == filled && last->start + last->bytes == start &&
	    last->start >= map->start) {
		last->bytes += end - start;
		return;
	}
	if (s->n == s->room) {
		size_t room = s->room == 0 ? 256 : 2 * s->room;
		struct core_segment *all =
			room <= SEGMENTS_MAX ? realloc(s->all, room * sizeof(*all)) : NULL;

		s->bad = s->bad || all == NULL;
		if (all == NULL)
			return;
		s->all = all;
		s->room = room;
	}
	s->all[s->n++] = (struct core_segment){ .start = start,
						.bytes = end - start,
						.filled = filled,
						.read = map->read,
						.write = map->write,
						.execute = map->execute };
}

struct cursor {
	const struct core_index *index;
	size_t run, gap;
};

/* Nothing but untouched memory lies between. */
static bool only_untouched(struct cursor *c, uint64_t start, uint64_t end)
{
	const struct core_index *i = c->index;

	while (c->gap < i->n_gaps && i->gaps[c->gap].start + i->gaps[c->gap].bytes <= start)
		c->gap++;
	return c->gap < i->n_gaps && i->gaps[c->gap].reason == GAP_UNTOUCHED &&
	       i->gaps[c->gap].start <= start &&
	       i->gaps[c->gap].start + i->gaps[c->gap].bytes >= end;
}

static void segments_of(struct segments *s, const struct core_map *map, struct cursor *c)
{
	const struct core_index *i = c->index;
	uint64_t at = map->start;

	while (c->run < i->n_runs && i->runs[c->run].start < map->end) {
		const struct core_run *run = &i->runs[c->run];
		uint64_t end = run->start + run->bytes;
		bool more = end > map->end; /* runs of two mappings may be one */
		uint64_t start = run->start > map->start ? run->start : map->start;

		end = more ? map->end : end;
		bool join = at > map->start && start - at <= JOIN_MAX &&
			    only_untouched(c, at, start);

		add_segment(s, map, at, start, join);
		add_segment(s, map, start, end, true);
		at = end;
		if (more)
			return;
		c->run++;
	}
	add_segment(s, map, at, map->end, false);
}

int core_segments(const struct core_maps *maps, const struct core_index *index,
		  struct core_segment **ret, size_t *ret_n, struct error *e)
{
	struct cursor c = { .index = index };
	struct segments s = { 0 };

	for (size_t i = 0; i < maps->n; i++)
		segments_of(&s, &maps->all[i], &c);
	if (s.bad || index->bad) {
		free(s.all);
		return error_set(e, -ENOMEM, "cannot lay out the core: out of memory");
	}
	*ret = s.all;
	*ret_n = s.n;
	return 0;
}

/* ---- the file -------------------------------------------------------------------------------------- */

struct writing {
	const struct acquire_request *r;
	struct core_facts *f;
	const struct core_target *t;
	const struct core_spool *spool;
	struct core_written *done;
	struct core_index failed; /* what could not be read later */
	uint32_t item;
	size_t run; /* the next one */
	uint64_t reached; /* address up to which memory was written */
	uint8_t buf[PIECE];
};

static int put_later(struct writing *w, uint64_t start, uint64_t bytes, struct error *e)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int r = 0;

	while (bytes > 0 && r == 0) {
		uint64_t want = bytes < PIECE ? bytes : PIECE;
		ssize_t n = pread(w->t->mem, w->buf, want, (off_t)start);
		uint64_t got = n > 0 ? (uint64_t)n / page * page : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (got > 0) {
			r = output_write(w->f->o, w->item, w->buf, got, e);
			w->done->later += got;
		} else {
			/* Where it would lie in the file is laid down already. */
			got = page;
			core_index_gap(&w->failed, start, got, n == 0 ? GAP_ENDED : GAP_UNREADABLE);
			r = output_zeros(w->f->o, w->item, got, e);
		}
		start += got;
		bytes -= got;
		w->reached = start;
	}
	return r;
}

static int put_copied(struct writing *w, uint64_t start, uint64_t bytes, uint64_t at,
		      struct error *e)
{
	for (uint64_t done = 0; done < bytes;) {
		uint64_t n = bytes - done < PIECE ? bytes - done : PIECE;
		int r = output_write(w->f->o, w->item, w->spool->data + at + done, n, e);

		if (r < 0)
			return r;
		done += n;
		w->reached = start + done;
	}
	return 0;
}

static int put_segment(struct writing *w, const struct core_segment *s, struct error *e)
{
	const struct core_index *index = &w->t->index;
	uint64_t at = s->start, end = s->start + s->bytes;
	int r = 0;

	while (at < end && r == 0) {
		while (w->run < index->n_runs &&
		       index->runs[w->run].start + index->runs[w->run].bytes <= at)
			w->run++;
		const struct core_run *run = w->run < index->n_runs ? &index->runs[w->run] : NULL;
		uint64_t start = run != NULL && run->start < end ? run->start : end;

		if (*w->r->stop != 0)
			return error_set(e, -ECANCELED, "the order was told to stop");
		if (start > at) {
			r = output_zeros(w->f->o, w->item, start - at, e);
			at = start;
			continue;
		}
		uint64_t stop = run->start + run->bytes < end ? run->start + run->bytes : end;

		r = run->at == CORE_LATER ?
			    put_later(w, at, stop - at, e) :
			    put_copied(w, at, stop - at, run->at + (at - run->start), e);
		w->done->bytes += stop - at;
		at = stop;
	}
	return r;
}

/* ---- the table of gaps ----------------------------------------------------------------------------- */

static int put_line(struct writing *w, uint64_t start, uint64_t bytes, const char *reason,
		    const char *in_core, struct error *e)
{
	struct core_line l;
	int r = core_line_begin(&l, e);

	if (r < 0)
		return r;
	json_u64(&l.json, "pid", (uint64_t)w->t->pid);
	json_u64(&l.json, "first", start);
	json_u64(&l.json, "last", start + bytes - 1);
	json_text(&l.json, "reason", reason);
	if (in_core != NULL)
		json_text(&l.json, "in_core", in_core);
	return core_line_end(&l, w->f->o, w->f->gaps, e);
}

static bool lacks_content(enum core_gap_reason reason)
{
	return reason == GAP_UNREADABLE || reason == GAP_ENDED || reason == GAP_STOPPED;
}

static int put_gaps(struct writing *w, const struct core_index *i, const char *in_core,
		    struct error *e)
{
	int r = 0;

	for (size_t k = 0; k < i->n_gaps && r == 0; k++) {
		const struct core_gap *g = &i->gaps[k];

		w->done->gaps += lacks_content(g->reason) ? g->bytes : 0;
		r = put_line(w, g->start, g->bytes, core_gap_text(g->reason),
			     g->reason == GAP_UNTOUCHED ? NULL : in_core, e);
	}
	return r;
}

/* start..end but for what failed. */
static int put_read_later(struct writing *w, uint64_t start, uint64_t end, struct error *e)
{
	static const char text[] = "read after the target went on";
	int r = 0;

	for (size_t i = 0; i < w->failed.n_gaps && r == 0; i++) {
		const struct core_gap *g = &w->failed.gaps[i];

		if (g->start + g->bytes <= start || g->start >= end)
			continue;
		if (g->start > start)
			r = put_line(w, start, g->start - start, text, "bytes", e);
		start = g->start + g->bytes;
	}
	return r == 0 && start < end ? put_line(w, start, end - start, text, "bytes", e) : r;
}

/* What was read later, and what not at all since the order ended. */
static int put_runs(struct writing *w, bool stopped, struct error *e)
{
	const struct core_index *i = &w->t->index;
	int r = 0;

	for (size_t k = 0; k < i->n_runs && r == 0; k++) {
		uint64_t start = i->runs[k].start, end = start + i->runs[k].bytes;
		uint64_t read = !stopped || end <= w->reached ? end :
				start < w->reached            ? w->reached :
								start;

		if (read > start && i->runs[k].at == CORE_LATER)
			r = put_read_later(w, start, read, e);
		if (r == 0 && end > read) {
			w->done->gaps += end - read;
			r = put_line(w, read, end - read, core_gap_text(GAP_STOPPED), "no", e);
		}
	}
	return r;
}

static int put_table(struct writing *w, bool stopped, struct error *e)
{
	int r = put_gaps(w, &w->t->index, "no", e);

	if (r == 0)
		r = put_gaps(w, &w->failed, "zeros", e);
	return r == 0 ? put_runs(w, stopped, e) : r;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

static uint64_t expected(const struct core_segment *segments, size_t n, size_t head)
{
	uint64_t bytes = head;

	for (size_t i = 0; i < n; i++)
		bytes += segments[i].filled ? segments[i].bytes : 0;
	return bytes;
}

static int put_file(struct writing *w, const struct core_segment *segments, size_t n,
		    const uint8_t *head, size_t head_len, struct error *e)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "core.%d.elf", (int)w->t->pid);
	int r = output_begin(w->f->o, name, "elf-core", expected(segments, n, head_len), &w->item,
			     e);

	if (r < 0)
		return r;
	r = output_write(w->f->o, w->item, head, head_len, e);
	for (size_t i = 0; i < n && r == 0; i++)
		if (segments[i].filled)
			r = put_segment(w, &segments[i], e);
	bool stopped = r == -ECANCELED;

	if (r < 0 && !stopped)
		return r;
	int ended = output_end(w->f->o, w->item,
			       stopped ? "the order's limit ended it before its end" : NULL, NULL,
			       stopped ? NULL : e);
	int told = ended == 0 ? put_table(w, stopped, stopped ? NULL : e) : ended;

	return told < 0 ? told : r;
}

int core_write(const struct acquire_request *r, struct core_facts *f, const struct core_target *t,
	       const struct core_spool *spool, struct core_written *ret, struct error *e)
{
	AUTO(free_ptr) struct writing *w = calloc(1, sizeof(*w));
	AUTO(free_ptr) struct core_segment *segments = NULL;
	AUTO(free_ptr) uint8_t *head = NULL;
	AUTO(blob_release) struct blob notes = { .max = NOTES_MAX };
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	size_t n = 0, head_len = 0;

	if (w == NULL)
		return error_set(e, -ENOMEM, "cannot write the core: out of memory");
	w->r = r;
	w->f = f;
	w->t = t;
	w->spool = spool;
	w->done = ret;
	core_elf_notes(&notes, &t->id, &t->threads, t->auxv, t->auxv_len, &t->maps, page);
	int result = core_segments(&t->maps, &t->index, &segments, &n, e);

	if (result == 0)
		result = core_elf_head(segments, n, &notes, page, &head, &head_len, e);
	if (result == 0)
		result = put_file(w, segments, n, head, head_len, e);
	core_index_release(&w->failed);
	return result;
}
