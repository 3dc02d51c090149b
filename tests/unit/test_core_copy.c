/* SPDX-License-Identifier: Apache-2.0 */
/* Copying within one process, ourselves: files of ours stand for mem and pagemap. */
#include "agent/acquire/core_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/acquire/core_shared.h"
#include "rows.h"

#define PAGE 4096UL
#define PAGES 64UL

struct world {
	int mem, pagemap;
	uint64_t entries[PAGES];
	struct core_map map;
	struct core_maps maps;
	struct core_source s;
	struct core_spool spool;
	struct core_index index;
	size_t over_after; /* pieces */
};

static void set_page(struct world *w, size_t page, uint64_t entry, uint8_t content)
{
	uint8_t bytes[PAGE];

	memset(bytes, content, sizeof(bytes));
	w->entries[page] = entry;
	assert_int_equal(pwrite(w->mem, bytes, PAGE, (off_t)(page * PAGE)), PAGE);
	assert_int_equal(pwrite(w->pagemap, w->entries, sizeof(w->entries), 0), sizeof(w->entries));
}

static bool over(void *ctx)
{
	struct world *w = ctx;

	return w->over_after-- == 0;
}

static void open_world(struct world *w, uint64_t spool, bool share)
{
	struct error e = { 0 };

	memset(w, 0, sizeof(*w));
	w->mem = memfd_create("mem", 0);
	w->pagemap = memfd_create("pagemap", 0);
	assert_true(w->mem >= 0 && w->pagemap >= 0);
	w->map = (struct core_map){ .start = PAGE, .end = PAGES * PAGE };
	w->maps = (struct core_maps){ .all = &w->map, .n = 1 };
	w->over_after = SIZE_MAX;
	w->s = (struct core_source){
		.mem = w->mem, .pagemap = w->pagemap, .maps = &w->maps, .over = over, .ctx = w
	};
	assert_int_equal(core_spool_open(spool, share, &w->spool, &e), 0);
}

static void close_world(struct world *w)
{
	core_index_release(&w->index);
	core_spool_close(&w->spool);
	(void)close(w->mem);
	(void)close(w->pagemap);
}

/* What the copy has of a page; -1: not copied, -2: later. */
static int page_of(const struct world *w, const struct core_index *i, size_t page)
{
	for (size_t k = 0; k < i->n_runs; k++) {
		const struct core_run *r = &i->runs[k];

		if (page * PAGE < r->start || page * PAGE >= r->start + r->bytes)
			continue;
		return r->at == CORE_LATER ? -2 : w->spool.data[r->at + (page * PAGE - r->start)];
	}
	return -1;
}

static void copies_what_has_content(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, MiB(1), false);
	set_page(&w, 3, PAGEMAP_PRESENT, 'a');
	set_page(&w, 4, PAGEMAP_SWAPPED, 'b');
	set_page(&w, 9, 0, 'c');
	set_page(&w, 63, PAGEMAP_PRESENT, 'd');
	assert_int_equal(core_copy_measure(&w.s, &w.index), 3 * PAGE);
	core_copy(&w.s, &w.spool, NULL, &w.index);
	assert_int_equal(w.index.n_runs, 2);
	assert_int_equal(page_of(&w, &w.index, 3), 'a');
	assert_int_equal(page_of(&w, &w.index, 4), 'b');
	assert_int_equal(page_of(&w, &w.index, 9), -1);
	assert_int_equal(page_of(&w, &w.index, 63), 'd');
	assert_int_equal(w.index.n_gaps, 2);
	assert_int_equal(w.index.gaps[0].start, PAGE);
	assert_int_equal(w.index.gaps[0].bytes, 2 * PAGE);
	assert_int_equal(w.index.gaps[0].reason, GAP_UNTOUCHED);
	close_world(&w);
}

static void devices_are_not_read(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, MiB(1), false);
	set_page(&w, 3, PAGEMAP_PRESENT, 'a');
	w.map.device = true;
	core_copy(&w.s, &w.spool, NULL, &w.index);
	assert_int_equal(w.index.n_runs, 0);
	assert_int_equal(w.index.gaps[0].reason, GAP_DEVICE);
	close_world(&w);
}

/* The file that stands for mem ends before the page. */
static void unreadable_pages_are_gaps(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, MiB(1), false);
	set_page(&w, 4, PAGEMAP_PRESENT, 'a');
	set_page(&w, 5, PAGEMAP_PRESENT, 'b');
	assert_int_equal(ftruncate(w.mem, 5 * PAGE), 0);
	core_copy(&w.s, &w.spool, NULL, &w.index);
	assert_int_equal(page_of(&w, &w.index, 4), 'a');
	assert_int_equal(page_of(&w, &w.index, 5), -1);
	assert_int_equal(w.index.gaps[1].reason, GAP_ENDED);
	assert_int_equal(w.index.gaps[1].start, 5 * PAGE);
	close_world(&w);
}

static void what_does_not_fit_is_later(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, MiB(1), false);
	w.spool.bytes = 2 * PAGE;
	for (size_t i = 10; i < 15; i++)
		set_page(&w, i, PAGEMAP_PRESENT, (uint8_t)i);
	core_copy(&w.s, &w.spool, NULL, &w.index);
	assert_int_equal(page_of(&w, &w.index, 11), 11);
	assert_int_equal(page_of(&w, &w.index, 12), -2);
	assert_int_equal(page_of(&w, &w.index, 14), -2);
	w.spool.bytes = MiB(1);
	close_world(&w);
}

static void after_the_deadline_is_later(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, MiB(1), false);
	set_page(&w, 3, PAGEMAP_PRESENT, 'a');
	set_page(&w, 5, PAGEMAP_PRESENT, 'b');
	w.over_after = 1;
	core_copy(&w.s, &w.spool, NULL, &w.index);
	assert_int_equal(page_of(&w, &w.index, 3), 'a');
	assert_int_equal(page_of(&w, &w.index, 5), -2);
	close_world(&w);
}

/* What was copied first counts where it is clean and nobody else's. */
static void second_pass(void **state)
{
	struct core_index before = { 0 };
	struct world w;

	(void)state;
	open_world(&w, MiB(1), false);
	set_page(&w, 3, PAGEMAP_PRESENT, 'a');
	set_page(&w, 4, PAGEMAP_PRESENT, 'b');
	set_page(&w, 5, PAGEMAP_PRESENT, 'c');
	set_page(&w, 6, PAGEMAP_PRESENT | PAGEMAP_SHARED, 'd');
	core_copy_first(&w.s, &w.spool, &before);
	assert_int_equal(page_of(&w, &before, 6), -1);
	uint64_t used = w.spool.used;

	assert_int_equal(used, 3 * PAGE);
	set_page(&w, 3, PAGEMAP_PRESENT,
		 'A'); /* changed, and the kernel does not say so: the old one is kept */
	set_page(&w, 4, PAGEMAP_PRESENT | PAGEMAP_SOFT_DIRTY, 'B');
	set_page(&w, 5, 0, 'C');
	set_page(&w, 7, PAGEMAP_PRESENT | PAGEMAP_SOFT_DIRTY, 'E');
	core_copy(&w.s, &w.spool, &before, &w.index);
	assert_int_equal(page_of(&w, &w.index, 3), 'a');
	assert_int_equal(page_of(&w, &w.index, 4), 'B');
	assert_int_equal(page_of(&w, &w.index, 5), -1);
	assert_int_equal(page_of(&w, &w.index, 6), 'd');
	assert_int_equal(page_of(&w, &w.index, 7), 'E');
	assert_int_equal(w.spool.used, used + 2 * PAGE);
	core_index_release(&before);
	close_world(&w);
}

static void shared_pages_once(void **state)
{
	struct core_index second = { 0 };
	struct world w;

	(void)state;
	open_world(&w, MiB(1), true);
	w.map.inode = 9;
	set_page(&w, 3, PAGEMAP_PRESENT | PAGEMAP_SHARED | 77, 'a');
	set_page(&w, 4, PAGEMAP_PRESENT | 78, 'b');
	set_page(&w, 5, PAGEMAP_PRESENT | PAGEMAP_SHARED | 79, 'c');
	core_copy(&w.s, &w.spool, NULL, &w.index);
	assert_int_equal(w.spool.used, 3 * PAGE);
	set_page(&w, 5, PAGEMAP_PRESENT | PAGEMAP_SHARED | 80, 'd'); /* another frame */
	core_copy(&w.s, &w.spool, NULL, &second);
	assert_int_equal(w.spool.used, 5 * PAGE);
	assert_int_equal(w.spool.shared_bytes, PAGE);
	assert_int_equal(second.runs[0].at, w.index.runs[0].at);
	assert_int_equal(page_of(&w, &second, 5), 'd');
	/* The same frame in another file: another page by now. */
	w.map.inode = 10;
	core_index_release(&second);
	core_copy(&w.s, &w.spool, NULL, &second);
	assert_int_equal(w.spool.shared_bytes, PAGE);
	core_index_release(&second);
	close_world(&w);
}

static void shared_is_bounded(void **state)
{
	struct core_shared *s = core_shared_new(1);
	struct core_map map = { .inode = 1 };

	(void)state;
	assert_non_null(s);
	for (uint64_t i = 1; i < 10000; i++)
		core_shared_put(s, PAGEMAP_PRESENT | i, &map, i * PAGE, i);
	assert_int_equal(core_shared_get(s, PAGEMAP_PRESENT | 1, &map, PAGE), 1);
	assert_int_equal(core_shared_get(s, PAGEMAP_PRESENT | 9999, &map, 9999 * PAGE), UINT64_MAX);
	assert_int_equal(core_shared_get(s, PAGEMAP_SWAPPED | 1, &map, PAGE), UINT64_MAX);
	core_shared_free(s);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, copies_what_has_content);
	ADD_TEST(&t, devices_are_not_read);
	ADD_TEST(&t, unreadable_pages_are_gaps);
	ADD_TEST(&t, what_does_not_fit_is_later);
	ADD_TEST(&t, after_the_deadline_is_later);
	ADD_TEST(&t, second_pass);
	ADD_TEST(&t, shared_pages_once);
	ADD_TEST(&t, shared_is_bounded);
	return tests_run(&t, "core_copy");
}
