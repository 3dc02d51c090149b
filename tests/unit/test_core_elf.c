/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_elf.h"

#include <elf.h>
#include <string.h>

#include "agent/acquire/core_write.h"
#include "proto/base/reader.h"
#include "rows.h"

#define PAGE 4096

struct elf {
	uint8_t *head;
	size_t len;
	Elf64_Ehdr h;
};

static struct elf lay_out(const struct core_segment *segments, size_t n, const char *note)
{
	struct blob b = { .max = KiB(64) };
	struct error e = { 0 };
	struct elf f = { 0 };

	blob_add(&b, note, strlen(note));
	assert_int_equal(core_elf_head(segments, n, &b, PAGE, &f.head, &f.len, &e), 0);
	memcpy(&f.h, f.head, sizeof(f.h));
	blob_release(&b);
	return f;
}

static Elf64_Phdr header_at(const struct elf *f, size_t i)
{
	Elf64_Phdr p;

	memcpy(&p, f->head + f->h.e_phoff + i * sizeof(p), sizeof(p));
	return p;
}

static void lays_out(void **state)
{
	static const struct core_segment segments[] = {
		{ 0x1000, 0x2000, true, true, false, true },
		{ 0x3000, 0x5000, false, true, true, false },
		{ 0x8000, 0x1000, true, false, false, false },
	};
	struct elf f = lay_out(segments, 3, "abcd");

	(void)state;
	assert_memory_equal(f.head, ELFMAG "\x02\x01\x01", 7);
	assert_int_equal(f.h.e_type, ET_CORE);
	assert_int_equal(f.h.e_phnum, 4);
	assert_int_equal(f.h.e_shoff, 0);
	assert_int_equal(f.len % PAGE, 0);
	assert_int_equal(header_at(&f, 0).p_type, PT_NOTE);
	assert_memory_equal(f.head + header_at(&f, 0).p_offset, "abcd", 4);
	assert_int_equal(header_at(&f, 1).p_offset, f.len);
	assert_int_equal(header_at(&f, 1).p_flags, PF_R | PF_X);
	assert_int_equal(header_at(&f, 1).p_filesz, 0x2000);
	assert_int_equal(header_at(&f, 2).p_filesz, 0);
	assert_int_equal(header_at(&f, 2).p_memsz, 0x5000);
	assert_int_equal(header_at(&f, 3).p_offset, f.len + 0x2000);
	assert_int_equal(header_at(&f, 3).p_flags, 0);
	free(f.head);
}

/* gABI: 0xffff headers and more are counted in section header 0. */
static void more_than_a_half_word(void **state)
{
	static const size_t counts[] = { PN_XNUM - 2, PN_XNUM - 1, 70000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		struct core_segment *segments = calloc(counts[i], sizeof(*segments));
		Elf64_Shdr s = { 0 };

		assert_non_null(segments);
		for (size_t k = 0; k < counts[i]; k++)
			segments[k] = (struct core_segment){ .start = k * PAGE, .bytes = PAGE };
		struct elf f = lay_out(segments, counts[i], "abcd");

		if (counts[i] + 1 < PN_XNUM) {
			assert_int_equal(f.h.e_phnum, counts[i] + 1);
		} else {
			assert_int_equal(f.h.e_phnum, PN_XNUM);
			assert_int_equal(f.h.e_shnum, 1);
			memcpy(&s, f.head + f.h.e_shoff, sizeof(s));
			assert_int_equal(s.sh_info, counts[i] + 1);
		}
		assert_int_equal(header_at(&f, counts[i]).p_vaddr, (counts[i] - 1) * PAGE);
		free(f.head);
		free(segments);
	}
}

static void blob_is_bounded(void **state)
{
	struct blob b = { .max = 10 };

	(void)state;
	blob_add(&b, "123456789", 9);
	assert_false(b.bad);
	blob_add(&b, "12", 2);
	assert_true(b.bad);
	blob_add(&b, "1", 1);
	assert_int_equal(b.len, 9);
	blob_release(&b);
}

struct note {
	uint32_t type;
	const uint8_t *desc;
	size_t len;
};

static struct note next_note(struct reader *r)
{
	uint32_t name = reader_u32(r), len = reader_u32(r);
	struct note n = { .type = reader_u32(r), .len = len };

	reader_skip(r, (name + 3) & ~3U);
	n.desc = reader_bytes(r, len);
	reader_skip(r, -len & 3);
	return n;
}

static void notes_in_order(void **state)
{
	static uint8_t more[] = "xyz!";
	struct core_thread threads[] = {
		{ .tid = 7,
		  .has_registers = true,
		  .has_floating = true,
		  .more = { { 0x202, 4, more } } },
		{ .tid = 8 }, /* gone */
		{ .tid = 9, .has_registers = true },
	};
	struct core_threads t = { .pid = 7, .all = threads, .n = 3 };
	struct core_map maps[] = {
		{ .start = 0x1000,
		  .end = 0x3000,
		  .offset = 0x2000,
		  .inode = 5,
		  .name = (const uint8_t *)"/a (deleted)",
		  .name_len = 12 },
		{ .start = 0x3000, .end = 0x4000 },
	};
	struct core_maps m = { .all = maps, .n = 2 };
	struct core_identity id = {
		.pid = 7, .parent = 3, .uid = 1000, .state = 'S', .name = "odd"
	};
	static const uint32_t wanted[] = { NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO, NT_AUXV,
					   NT_FILE,     NT_FPREGSET, 0x202,      NT_PRSTATUS };
	struct blob b = { .max = KiB(64) };

	(void)state;
	core_elf_notes(&b, &id, &t, "AUXV", 4, &m, PAGE);
	assert_false(b.bad);
	struct reader r = reader_init(b.data, b.len);

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		struct note n = next_note(&r);

		assert_int_equal(n.type, wanted[i]);
		if (n.type == NT_FILE) {
			struct reader f = reader_init(n.desc, n.len);

			assert_int_equal(reader_u64(&f), 1);
			assert_int_equal(reader_u64(&f), PAGE);
			assert_int_equal(reader_u64(&f), 0x1000);
			assert_int_equal(reader_u64(&f), 0x3000);
			assert_int_equal(reader_u64(&f), 2);
			assert_memory_equal(reader_bytes(&f, 13), "/a (deleted)", 13);
			assert_true(reader_done(&f));
		}
#ifdef __x86_64__
		if (n.type == NT_PRSTATUS) {
			assert_int_equal(n.len, 336);
			assert_int_equal(n.desc[32], i == 0 ? 7 : 9);
		}
#endif
	}
	assert_true(reader_done(&r));
	blob_release(&b);
}

static const struct segment_row {
	const char *name;
	struct core_run runs[3];
	size_t n_runs;
	struct core_gap gaps[3];
	size_t n_gaps;
	const char *want; /* "start+pages" with "-" for no bytes */
} segment_rows[] = {
	{ "all", { { 0x10000, 0x4000, 0 } }, 1, { { 0 } }, 0, "10+4" },
	{ "nothing", { { 0 } }, 0, { { 0x10000, 0x4000, GAP_NOT_RESIDENT } }, 1, "10-4" },
	{ "untouched between is zeros",
	  { { 0x10000, 0x1000, 0 }, { 0x12000, 0x2000, 0x1000 } },
	  2,
	  { { 0x11000, 0x1000, GAP_UNTOUCHED } },
	  1,
	  "10+4" },
	{ "untouched at the ends is not",
	  { { 0x11000, 0x1000, 0 } },
	  1,
	  { { 0x10000, 0x1000, GAP_UNTOUCHED }, { 0x12000, 0x2000, GAP_UNTOUCHED } },
	  2,
	  "10-1 11+1 12-2" },
	{ "of a file between is not",
	  { { 0x10000, 0x1000, 0 }, { 0x12000, 0x2000, CORE_LATER } },
	  2,
	  { { 0x11000, 0x1000, GAP_NOT_RESIDENT } },
	  1,
	  "10+1 11-1 12+2" },
	{ "unreadable in the untouched",
	  { { 0x10000, 0x1000, 0 }, { 0x13000, 0x1000, 0x1000 } },
	  2,
	  { { 0x11000, 0x1000, GAP_UNTOUCHED }, { 0x12000, 0x1000, GAP_UNREADABLE } },
	  2,
	  "10+1 11-2 13+1" },
};

static void tells_segments(void **state)
{
	const struct segment_row *row = *state;
	struct core_map map = { .start = 0x10000, .end = 0x14000, .read = true };
	struct core_maps maps = { .all = &map, .n = 1 };
	struct core_run runs[3];
	struct core_gap gaps[3];
	struct core_index index = {
		.runs = runs, .n_runs = row->n_runs, .gaps = gaps, .n_gaps = row->n_gaps
	};
	struct core_segment *all = NULL;
	struct error e = { 0 };
	char text[200] = "";
	size_t n = 0;

	memcpy(runs, row->runs, sizeof(runs));
	memcpy(gaps, row->gaps, sizeof(gaps));
	assert_int_equal(core_segments(&maps, &index, &all, &n, &e), 0);
	for (size_t i = 0; i < n; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llx%c%llu",
			       i > 0 ? " " : "", (unsigned long long)all[i].start >> 12,
			       all[i].filled ? '+' : '-', (unsigned long long)all[i].bytes >> 12);
	assert_string_equal(text, row->want);
	free(all);
}

/* One run over two mappings that touch is a segment in each. */
static void a_run_over_two_mappings(void **state)
{
	struct core_map maps[] = { { .start = 0x1000, .end = 0x3000, .read = true },
				   { .start = 0x3000, .end = 0x5000, .write = true } };
	struct core_maps m = { .all = maps, .n = 2 };
	struct core_run run = { 0x2000, 0x2000, 0 };
	struct core_index index = { .runs = &run, .n_runs = 1 };
	struct core_segment *all = NULL;
	struct error e = { 0 };
	size_t n = 0;

	(void)state;
	assert_int_equal(core_segments(&m, &index, &all, &n, &e), 0);
	assert_int_equal(n, 4);
	assert_true(!all[0].filled && all[1].filled && all[2].filled && !all[3].filled);
	assert_true(all[1].read && all[2].write && !all[2].read);
	assert_int_equal(all[2].start, 0x3000);
	assert_int_equal(all[2].bytes, 0x1000);
	free(all);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, lays_out);
	ADD_TEST(&t, more_than_a_half_word);
	ADD_TEST(&t, blob_is_bounded);
	ADD_TEST(&t, notes_in_order);
	ADD_ROWS(&t, tells_segments, segment_rows);
	ADD_TEST(&t, a_run_over_two_mappings);
	return tests_run(&t, "core_elf");
}
