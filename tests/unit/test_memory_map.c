/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/memory_map.h"

#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after those */
#include <cmocka.h>

#define NOTE_OFFSET 1024

static void reads_iomem(void **state)
{
	static const char text[] = "00000000-00000fff : Reserved\n"
				   "00001000-0009fbff : System RAM\n"
				   "  00001000-00001fff : Kernel code\n"
				   "000f0000-000fffff : System ROM\n"
				   "00100000-1ffdefff : System RAM\n"
				   "100000000-17fffffff : System RAM (kmem)\n";
	AUTO(free_ptr) struct memory_range *all = NULL;
	struct error e = { 0 };
	size_t n = 0;

	(void)state;
	assert_int_equal(memory_ranges_parse(text, sizeof(text) - 1, &all, &n, &e), 0);
	assert_int_equal(n, 3);
	assert_int_equal(all[0].first, 0x1000);
	assert_int_equal(all[0].last, 0x9fbff);
	assert_int_equal(all[2].last, 0x17fffffffULL);
}

static void refuses_iomem(void **state)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		{ "", -EBADMSG },
		{ "00000000-00000000 : System RAM\n", -EPERM },
		{ "00000000-00000fff : Reserved\n", -EBADMSG },
		{ "x\n", -EBADMSG },
		{ "00001000-00000fff : System RAM\n", -EBADMSG },
		{ "00001000-00002fff : System RAM\n00002000-00003fff : System RAM\n", -EBADMSG },
		{ "00001000-00002fff:System RAM\n", -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(free_ptr) struct memory_range *all = NULL;
		struct error e = { 0 };
		size_t n = 0;

		assert_int_equal(memory_ranges_parse(rows[i].text, strlen(rows[i].text), &all, &n,
						     &e),
				 rows[i].result);
		assert_true(e.text[0] != '\0');
	}
}

struct head {
	Elf64_Ehdr file;
	Elf64_Phdr parts[5];
};

/* As a guest's: notes, the text alias, modules, two pieces of the direct map out of order. */
static size_t make_head(uint8_t buf[static 4096], struct head *h)
{
	static const char note[] = "OSRELEASE=6.1\nNUMBER(phys_base)=-1\n";
	Elf64_Nhdr other = { 5, 4, 1 }, ours = { 11, sizeof(note) - 1, 0 };
	uint8_t *at = buf + NOTE_OFFSET;

	*h = (struct head){ .file = { .e_type = ET_CORE,
				      .e_phoff = offsetof(struct head, parts),
				      .e_phentsize = sizeof(Elf64_Phdr),
				      .e_phnum = 5 } };
	memcpy(h->file.e_ident, ELFMAG, SELFMAG);
	h->file.e_ident[EI_CLASS] = ELFCLASS64;
	h->file.e_ident[EI_DATA] = ELFDATA2LSB;
	h->parts[0] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = NOTE_OFFSET, .p_filesz = 1024 };
	h->parts[1] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_vaddr = 0xffffffff81000000,
				    .p_paddr = 0x1000000,
				    .p_memsz = 0x1000 };
	h->parts[2] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_vaddr = 0xffffc90000000000,
				    .p_paddr = UINT64_MAX,
				    .p_memsz = 0x1000 };
	h->parts[3] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_vaddr = 0xffff888000100000,
				    .p_paddr = 0x100000,
				    .p_memsz = 0x200000,
				    .p_offset = 0x500000 };
	h->parts[4] = (Elf64_Phdr){ .p_type = PT_LOAD,
				    .p_vaddr = 0xffff888000001000,
				    .p_paddr = 0x1000,
				    .p_memsz = 0x9e000,
				    .p_offset = 0x401000 };
	memset(buf, 0, 4096);
	memcpy(at, &other, sizeof(other));
	memcpy(at + 12, "CORE", 5);
	at += 12 + 8 + 4;
	memcpy(at, &ours, sizeof(ours));
	memcpy(at + 12, "VMCOREINFO", 11);
	memcpy(at + 24, note, sizeof(note) - 1);
	return 4096;
}

static int parse(uint8_t buf[static 4096], const struct head *h, struct memory_kcore *k,
		 struct error *e)
{
	memcpy(buf, h, sizeof(*h));
	return memory_kcore_parse(buf, 4096, k, e);
}

static void reads_kcore(void **state)
{
	struct memory_kcore k = { 0 };
	struct error e = { 0 };
	uint8_t buf[4096];
	struct head h;
	size_t len = 0;

	(void)state;
	(void)make_head(buf, &h);
	assert_int_equal(parse(buf, &h, &k, &e), 0);
	assert_int_equal(k.n, 2);
	assert_int_equal(k.segments[0].first, 0x1000);
	assert_int_equal(k.segments[0].last, 0x9efff);
	assert_int_equal(k.segments[1].offset, 0x500000);
	assert_int_equal(k.direct_map, 0xffff888000000000);
	assert_string_equal(k.note, "OSRELEASE=6.1\nNUMBER(phys_base)=-1\n");
	const char *value = memory_note_find(k.note, k.note_len, "NUMBER(phys_base)=", &len);

	assert_non_null(value);
	assert_int_equal(len, 2);
	assert_memory_equal(value, "-1", 2);
	assert_null(memory_note_find(k.note, k.note_len, "phys_base", &len));
	assert_ptr_equal(memory_segment_at(&k, 0x9f000), &k.segments[1]);
	assert_ptr_equal(memory_segment_at(&k, 0x9efff), &k.segments[0]);
	assert_null(memory_segment_at(&k, 0x300000));
	memory_kcore_release(&k);
}

static void refuses_kcore(void **state)
{
	uint8_t buf[4096];
	struct head h;

	(void)state;
	for (int i = 0; i < 9; i++) {
		struct memory_kcore k = { 0 };
		struct error e = { 0 };
		int want = -EBADMSG;

		(void)make_head(buf, &h);
		switch (i) {
		case 0:
			h.file.e_ident[0] = 0;
			break;
		case 1:
			h.file.e_phoff = 4000;
			break;
		case 2:
			h.file.e_phnum = 1000;
			break;
		case 3:
			h.parts[0].p_offset = 4000;
			break;
		case 4:
			h.parts[4].p_vaddr += 0x1000;
			break;
		case 5:
			h.parts[4].p_paddr = 0x100000;
			h.parts[4].p_vaddr = 0xffff888000100000;
			break;
		case 6:
			h.parts[3].p_memsz = UINT64_MAX;
			break;
		case 7:
			h.parts[3].p_type = h.parts[4].p_type = PT_NULL;
			break;
		default:
			h.parts[3].p_paddr = 0;
			want = -EOPNOTSUPP;
		}
		assert_int_equal(parse(buf, &h, &k, &e), want);
		assert_null(k.segments);
		assert_null(k.note);
		assert_true(e.text[0] != '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_iomem),
		cmocka_unit_test(refuses_iomem),
		cmocka_unit_test(reads_kcore),
		cmocka_unit_test(refuses_kcore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
