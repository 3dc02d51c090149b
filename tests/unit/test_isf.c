/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/isf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after those */
#include <cmocka.h>

#include "collector/isf_btf.h"
#include "proto/base/writer.h"

#define STRINGS                                                                                    \
	"\0int\0char\0list\0next\0bits\0low\0high\0shape_t\0color\0RED\0BLUE\0count\0cpu\0task_struct"
enum { INT = 1, CHAR = 5, LIST = 10, NEXT = 15, BITS = 20, LOW = 25, HIGH = 29, SHAPE_T = 34 };
enum { COLOR = 42, RED = 48, BLUE = 52, COUNT = 57, CPU = 63, TASK = 67 };

static const char listing[] = "0000000000012340 A cpu\n"
			      "ffffffff91000000 T _text\n"
			      "ffffffff91000100 T start\n"
			      "ffffffff92000000 D init_task\n"
			      "ffffffff92001000 D init_task\n"
			      "ffffffff92002000 D count\n"
			      "ffffffff92002100 D sys_call_table\n"
			      "ffffffff92002120 R linux_banner\n"
			      "ffffffffc0000000 t inside\t[module]\n";
static const char note[] = "OSRELEASE=6\nKERNELOFFSET=10000000\nSYMBOL(kallsyms_names)="
			   "ffffffff92003000\n";
static const char banner[] = "Linux version 6\n";

/* One type: head, then n words. */
static void put(struct writer *w, uint32_t name, unsigned int kind, unsigned int n, bool flag,
		uint32_t size, size_t words, const uint32_t *more)
{
	writer_u32(w, name);
	writer_u32(w, (uint32_t)flag << 31 | kind << 24 | n);
	writer_u32(w, size);
	for (size_t i = 0; i < words; i++)
		writer_u32(w, more[i]);
}

#define WORDS(...)                                                                                 \
	sizeof((uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t), (uint32_t[])                       \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static size_t make_types(uint8_t *buf, size_t size)
{
	struct writer w = writer_init(buf, size);

	put(&w, INT, ISF_BTF_INT, 0, false, 4, WORDS(1U << 24 | 32)); /* 1 */
	put(&w, CHAR, ISF_BTF_INT, 0, false, 1, WORDS(8)); /* 2 */
	put(&w, LIST, ISF_BTF_STRUCT, 1, false, 8, WORDS(NEXT, 4, 0)); /* 3 */
	put(&w, 0, ISF_BTF_PTR, 0, false, 3, 0, NULL); /* 4: struct list * */
	put(&w, BITS, ISF_BTF_STRUCT, 3, true, 12,
	    WORDS(LOW, 1, 3U << 24 | 0, HIGH, 7, 2U << 24 | 35, 0, 6, 64)); /* 5 */
	put(&w, 0, ISF_BTF_UNION, 1, false, 4, WORDS(COLOR, 9, 0)); /* 6: without a name */
	put(&w, SHAPE_T, ISF_BTF_TYPEDEF, 0, false, 1, 0, NULL); /* 7: int */
	put(&w, SHAPE_T, ISF_BTF_TYPEDEF, 0, false, 6, 0, NULL); /* 8: names 6 */
	put(&w, COLOR, ISF_BTF_ENUM, 2, true, 4, WORDS(RED, 0, BLUE, 0xffffffff)); /* 9 */
	put(&w, LIST, ISF_BTF_STRUCT, 0, false, 8, 0, NULL); /* 10: the same name, fewer members */
	put(&w, CPU, ISF_BTF_VAR, 0, false, 12, WORDS(1)); /* 11 */
	put(&w, 0, ISF_BTF_ARRAY, 0, false, 0, WORDS(2, 1, 16)); /* 12: char[16] */
	put(&w, TASK, ISF_BTF_STRUCT, 0, false, 64, 0, NULL); /* 13 */
	assert_false(w.bad);
	return w.done;
}

static size_t make_btf(uint8_t *buf, size_t size)
{
	uint8_t types[1024];
	size_t len = make_types(types, sizeof(types));
	struct writer w = writer_init(buf, size);

	writer_u16(&w, 0xeb9f);
	writer_u8(&w, 1);
	writer_u8(&w, 0);
	writer_u32(&w, 24);
	writer_u32(&w, 0);
	writer_u32(&w, (uint32_t)len);
	writer_u32(&w, (uint32_t)len);
	writer_u32(&w, sizeof(STRINGS));
	writer_bytes(&w, types, len);
	writer_bytes(&w, STRINGS, sizeof(STRINGS));
	assert_false(w.bad);
	return w.done;
}

static struct isf_inputs make_inputs(uint8_t *btf, size_t size)
{
	return (struct isf_inputs){ .btf = btf,
				    .btf_len = make_btf(btf, size),
				    .kallsyms = listing,
				    .kallsyms_len = sizeof(listing) - 1,
				    .vmcoreinfo = note,
				    .vmcoreinfo_len = sizeof(note) - 1,
				    .banner = banner,
				    .banner_len = sizeof(banner) - 1 };
}

static int run(const struct isf_inputs *in, char **ret, struct error *e)
{
	size_t len = 0;
	FILE *out = open_memstream(ret, &len);

	assert_non_null(out);
	int r = isf_write(in, out, e);

	assert_int_equal(fclose(out), 0);
	return r;
}

static void refuses_damage(void **state)
{
	static const struct {
		size_t at; /* in the BTF */
		uint8_t value;
		const char *says;
	} rows[] = {
		{ 0, 0, "no BTF" },
		{ 2, 2, "no BTF" },
		{ 24 + 16 + 16 + 4, 0xff, "a type ends behind the data" },
		{ 15, 0xff, "a section ends" },
		{ 23, 0xff, "a section ends" },
		{ 24 + 7, 31, "kind of type" },
		{ 24 + 3, 1, "name is none" },
	};
	uint8_t btf[2048];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct isf_inputs in = make_inputs(btf, sizeof(btf));
		struct error e = { 0 };
		AUTO(free_ptr) char *text = NULL;

		btf[rows[i].at] = rows[i].value;
		assert_int_equal(run(&in, &text, &e), -EBADMSG);
		assert_non_null(strstr(e.text, rows[i].says));
	}
}

static void refuses_symbols(void **state)
{
	static const struct {
		const char *kallsyms, *banner;
		int result;
		const char *says;
	} rows[] = {
		{ "0000000000000000 T _text\n", banner, -ENODATA, "no addresses" },
		{ "ffffffff91000000 T\n", banner, -EBADMSG, "line 1" },
		{ "ffffffff91000000 T _text\nxyz T a\n", banner, -EBADMSG, "line 2" },
		{ "ffffffff91000000 T a\"b\n", banner, -EBADMSG, "no name" },
		{ "fffffffff91000000 T _text\n", banner, -EBADMSG, "line 1" },
		{ listing, "Windows", -EBADMSG, "version text" },
	};
	uint8_t btf[2048];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct isf_inputs in = make_inputs(btf, sizeof(btf));
		struct error e = { 0 };
		AUTO(free_ptr) char *text = NULL;

		in.kallsyms = rows[i].kallsyms;
		in.kallsyms_len = strlen(rows[i].kallsyms);
		in.banner = rows[i].banner;
		in.banner_len = strlen(rows[i].banner);
		assert_int_equal(run(&in, &text, &e), rows[i].result);
		assert_non_null(strstr(e.text, rows[i].says));
	}
}

static void writes_what_the_schema_wants(void **state)
{
	static const char *const parts[] = {
		"\"int\":{\"size\":4,\"signed\":true,\"kind\":\"int\",\"endian\":\"little\"}",
		"\"char\":{\"size\":1,\"signed\":false,\"kind\":\"char\",\"endian\":\"little\"}",
		"\"void\":{\"size\":0",
		"\"pointer\":{\"size\":8",
		/* the definition with more members */
		"\"list\":{\"kind\":\"struct\",\"size\":8,\"fields\":{\"next\":{\"type\":{\"kind\":\"pointer\","
		"\"subtype\":{\"kind\":\"struct\",\"name\":\"list\"}},\"offset\":0}}}",
		"\"low\":{\"type\":{\"kind\":\"bitfield\",\"bit_position\":0,\"bit_length\":3,\"type\":"
		"{\"kind\":\"base\",\"name\":\"int\"}},\"offset\":0}",
		/* bit 35 lies in the second int */
		"\"high\":{\"type\":{\"kind\":\"bitfield\",\"bit_position\":3,\"bit_length\":2,\"type\":"
		"{\"kind\":\"base\",\"name\":\"int\"}},\"offset\":4}",
		"\"unnamed_field_2\":{\"type\":{\"kind\":\"union\",\"name\":\"shape_t\"},\"offset\":8,"
		"\"anonymous\":true}",
		"\"color\":{\"size\":4,\"base\":\"int\",\"constants\":{\"RED\":0,\"BLUE\":-1}}",
		/* KASLR taken off, not from per-CPU offsets; the first of two; to the next symbol */
		"\"cpu\":{\"address\":74560,\"type\":{\"kind\":\"array\",\"count\":16,\"subtype\":"
		"{\"kind\":\"base\",\"name\":\"char\"}}}",
		"\"start\":{\"address\":18446744071578845440,\"type\":{\"kind\":\"function\"}}",
		"\"init_task\":{\"address\":18446744071595622400,\"type\":{\"kind\":\"struct\",\"name\":"
		"\"task_struct\"}}",
		"\"sys_call_table\":{\"address\":18446744071595630848,\"type\":{\"kind\":\"array\",\"count\":4,"
		"\"subtype\":{\"kind\":\"pointer\",\"subtype\":{\"kind\":\"base\",\"name\":\"void\"}}}}",
		"\"kallsyms_names\":{\"address\":18446744071595634688",
		"\"constant_data\":\"TGludXggdmVyc2lvbiA2CgA=\"",
		"\"count\":17,",
	};
	uint8_t btf[2048];
	struct isf_inputs in = make_inputs(btf, sizeof(btf));
	AUTO(free_ptr) char *text = NULL;
	struct error e = { 0 };

	(void)state;
	assert_int_equal(run(&in, &text, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (strstr(text, parts[i]) == NULL)
			fail_msg("not there: %s\nin: %s", parts[i], text);
	assert_null(strstr(text, "inside"));
	/* Known symbols whose type this kernel does not have are not there at all. */
	assert_null(strstr(text, "tk_core"));
	assert_non_null(strstr(text, "\"name\":\"exhibit\""));
}

static void names_another_producer_when_asked(void **state)
{
	uint8_t btf[2048];
	struct isf_inputs in = make_inputs(btf, sizeof(btf));
	AUTO(free_ptr) char *text = NULL;
	struct error e = { 0 };

	(void)state;
	in.as_dwarf2json = true;
	assert_int_equal(run(&in, &text, &e), 0);
	assert_non_null(strstr(text, "\"name\":\"dwarf2json\""));
	assert_non_null(strstr(text, "\"generator\":\"exhibit "));
}

/* Types that lead to themselves have no end. */
static void survives_circles(void **state)
{
	uint8_t types[256], btf[512];
	struct writer w = writer_init(types, sizeof(types));

	(void)state;
	put(&w, 0, ISF_BTF_CONST, 0, false, 1, 0, NULL); /* 1: const of itself */
	put(&w, 0, ISF_BTF_ARRAY, 0, false, 0, WORDS(2, 1, 0xffffffff)); /* 2: array of itself */
	put(&w, LIST, ISF_BTF_STRUCT, 3, true, 4,
	    WORDS(LOW, 1, 3U << 24, HIGH, 2, 0, NEXT, 99, 0)); /* 3 */
	size_t len = w.done;

	w = writer_init(btf, sizeof(btf));
	writer_u32(&w, 0x1eb9f);
	writer_u32(&w, 24);
	writer_u32(&w, 0);
	writer_u32(&w, (uint32_t)len);
	writer_u32(&w, (uint32_t)len);
	writer_u32(&w, sizeof(STRINGS));
	writer_bytes(&w, types, len);
	writer_bytes(&w, STRINGS, sizeof(STRINGS));
	struct isf_inputs in = make_inputs((uint8_t[2048]){ 0 }, 2048);
	AUTO(free_ptr) char *text = NULL;
	struct error e = { 0 };

	in.btf = btf;
	in.btf_len = w.done;
	assert_int_equal(run(&in, &text, &e), 0);
	assert_non_null(strstr(text, "\"next\":{\"type\":{\"kind\":\"base\",\"name\":\"void\"}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_damage),
		cmocka_unit_test(refuses_symbols),
		cmocka_unit_test(writes_what_the_schema_wants),
		cmocka_unit_test(names_another_producer_when_asked),
		cmocka_unit_test(survives_circles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
