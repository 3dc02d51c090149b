/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_maps.h"

#include <errno.h>
#include <string.h>

#include "agent/acquire/pagemap.h"
#include "rows.h"

static int parse(const char *text, struct core_maps *ret, struct error *e)
{
	size_t len = strlen(text);
	char *copy = malloc(len + 1);

	assert_non_null(copy);
	memcpy(copy, text, len + 1);
	return core_maps_parse(copy, len, ret, e);
}

static const struct bad_row {
	const char *name, *text;
} bad[] = {
	{ "empty line", "\n" },
	{ "no end", "1000- r-xp 0 8:1 5 /x\n" },
	{ "end before start", "2000-1000 r-xp 0 8:1 5 /x\n" },
	{ "nothing in it", "1000-1000 r-xp 0 8:1 5 /x\n" },
	{ "other letters", "1000-2000 rwzp 0 8:1 5 /x\n" },
	{ "no device", "1000-2000 r-xp 0 5 /x\n" },
	{ "17 digits", "1000-10000000000000000 r-xp 0 8:1 5 /x\n" },
	{ "descending", "2000-3000 r-xp 0 8:1 5 /x\n1000-2000 r-xp 0 8:1 5 /x\n" },
	{ "overlap", "1000-3000 r-xp 0 8:1 5 /x\n2000-4000 r-xp 0 8:1 5 /x\n" },
	{ "cut", "1000-2000 r-" },
	{ "bad before a name as long as the vdso's", "1000-2000 r-xp 0 8:1 x[vdso]\n" },
	{ "no inode, six bytes left", "1000-2000 r-xp 0 8:1 [vdso]\n" },
};

static void refuses(void **state)
{
	const struct bad_row *row = *state;
	struct core_maps m = { 0 };
	struct error e = { 0 };

	assert_int_equal(parse(row->text, &m, &e), -EBADMSG);
	assert_true(e.text[0] != '\0');
}

static void reads(void **state)
{
	static const char text[] =
		"55d0a0000000-55d0a0002000 r-xp 00001000 fe:00 1234                       /usr/bin/a b (deleted)\n"
		"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
		"7f0000001000-7f0000003000 rw-s 00002000 00:01 77 /dev/zero (deleted)\n"
		"7fff00000000-7fff00002000 r-xp 00000000 00:00 0                          [vdso]\n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
	struct core_maps m = { 0 };
	struct error e = { 0 };

	(void)state;
	assert_int_equal(parse(text, &m, &e), 0);
	assert_int_equal(m.n, 5);
	assert_true(m.all[0].read && !m.all[0].write && m.all[0].execute && !m.all[0].shared);
	assert_int_equal(m.all[0].major, 0xfe);
	assert_int_equal(m.all[0].inode, 1234);
	assert_int_equal(m.all[0].offset, 0x1000);
	assert_int_equal(m.all[0].name_len, strlen("/usr/bin/a b (deleted)"));
	assert_int_equal(m.all[1].name_len, 0);
	assert_true(m.all[2].shared);
	assert_true(m.all[3].vdso && !m.all[3].device);
	assert_true(m.all[4].device && !m.all[4].vdso);
	core_maps_release(&m);
	assert_int_equal(parse("", &m, &e), 0);
	assert_int_equal(m.n, 0);
	core_maps_release(&m);
}

static void marks_devices(void **state)
{
	static const char text[] = "1000-2000 rw-p 0 0:0 0 \n2000-3000 rw-s 0 0:6 9 /dev/uio0\n"
				   "3000-4000 rw-s 0 0:6 9 /dev/uio0\n4000-5000 rw-p 0 0:0 0 \n";
	static const char smaps[] =
		"1000-2000 rw-p 00000000 00:00 0 \nRss: 4 kB\nVmFlags: rd wr mr mw me ac \n"
		"2000-4000 rw-s 00000000 00:06 9 /dev/uio0\nRss: 0 kB\nVmFlags: rd wr sh mr mw me ms pf io de dd \n"
		"4000-5000 rw-p 00000000 00:00 0 \nVmFlags: rd iox pfx i o\n";
	struct core_maps m = { 0 }, later = { 0 };
	struct error e = { 0 };

	(void)state;
	assert_int_equal(parse(text, &m, &e), 0);
	core_maps_mark(&m, smaps, strlen(smaps));
	assert_false(m.all[0].device);
	assert_true(m.all[1].device);
	assert_true(m.all[2].device);
	assert_false(m.all[3].device);
	/* Two became one meanwhile. */
	assert_int_equal(parse("1800-2800 rw-s 0 0:6 9 /x\n4000-5000 rw-p 0 0:0 0 \n", &later, &e),
			 0);
	core_maps_mark_as(&later, &m);
	assert_true(later.all[0].device);
	assert_false(later.all[1].device);
	core_maps_release(&m);
	core_maps_release(&later);
}

static const struct kind_row {
	const char *name;
	uint64_t entry;
	bool file, shared, vdso;
	enum page_kind want;
} kinds[] = {
	{ "present", PAGEMAP_PRESENT | 5, false, false, false, PAGE_READ },
	{ "swapped", PAGEMAP_SWAPPED, false, false, false, PAGE_READ },
	{ "present, of a file", PAGEMAP_PRESENT | PAGEMAP_SHARED, true, false, false, PAGE_READ },
	{ "nothing", 0, false, false, false, PAGE_UNTOUCHED },
	{ "nothing but soft-dirty", PAGEMAP_SOFT_DIRTY, false, false, false, PAGE_UNTOUCHED },
	{ "nothing of a file", 0, true, false, false, PAGE_NOT_RESIDENT },
	{ "nothing, shared", 0, false, true, false, PAGE_NOT_RESIDENT },
	{ "guard", PAGEMAP_GUARD, false, false, false, PAGE_GUARD },
	{ "guard that looks swapped", PAGEMAP_GUARD | PAGEMAP_SWAPPED, false, false, false,
	  PAGE_GUARD },
	{ "vdso", 0, false, false, true, PAGE_READ },
};

static void tells_kinds(void **state)
{
	const struct kind_row *row = *state;
	struct core_map map = { .inode = row->file, .shared = row->shared, .vdso = row->vdso };
	uint64_t entries[3] = { row->entry, row->entry, PAGEMAP_PRESENT | 77 };
	enum page_kind kind = PAGE_GUARD;

	assert_int_equal(pagemap_kind(row->entry, &map), row->want);
	assert_int_equal(pagemap_run(entries, 3, &map, &kind), row->want == PAGE_READ ? 3 : 2);
	assert_int_equal(kind, row->want);
	assert_int_equal(pagemap_run(entries, 1, &map, &kind), 1);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, refuses, bad);
	ADD_TEST(&t, reads);
	ADD_TEST(&t, marks_devices);
	ADD_ROWS(&t, tells_kinds, kinds);
	return tests_run(&t, "core_maps");
}
