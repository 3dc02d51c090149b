/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/entity.h"

#define BOOT "00112233445566778899aabbccddeeff"

static const struct row {
	const char *name;
	const char *text;
	bool good;
	uint32_t pid;
	uint64_t start_ns, exec_id;
} rows[] = {
	{ "empty", "", .good = false },
	{ "boot id alone", BOOT, .good = false },
	{ "upper-case hex", "00112233445566778899AABBCCDDEEFF-1-2-3", .good = false },
	{ "short boot id", "0011-1-2-3", .good = false },
	{ "one part missing", BOOT "-1-2", .good = false },
	{ "empty part", BOOT "-1--3", .good = false },
	{ "part too many", BOOT "-1-2-3-4", .good = false },
	{ "leading zero", BOOT "-01-2-3", .good = false },
	{ "pid above 32 bits", BOOT "-4294967296-2-3", .good = false },
	{ "start above 64 bits", BOOT "-1-18446744073709551616-3", .good = false },
	{ "sign", BOOT "--1-2-3", .good = false },
	{ "blank behind", BOOT "-1-2-3 ", .good = false },
	{ "zeros", BOOT "-0-0-0", .good = true },
	{ "ordinary", BOOT "-4711-123456789-7", .good = true, .pid = 4711, .start_ns = 123456789,
	  .exec_id = 7 },
	{ "largest", BOOT "-4294967295-18446744073709551615-18446744073709551615", .good = true,
	  .pid = UINT32_MAX, .start_ns = UINT64_MAX, .exec_id = UINT64_MAX },
};

static void run_row(void **state)
{
	const struct row *row = *state;
	struct entity id;
	char text[ENTITY_TEXT_MAX];
	int r = entity_parse(row->text, strlen(row->text), &id);

	assert_int_equal(r, row->good ? 0 : -EINVAL);
	if (!row->good)
		return;
	assert_int_equal(id.pid, row->pid);
	assert_true(id.start_ns == row->start_ns && id.exec_id == row->exec_id);
	assert_int_equal(id.boot_id[15], 0xff);
	assert_string_equal(entity_format(&id, text), row->text);
}

static void images_of_one_process_are_the_same_process(void **state)
{
	struct entity a = { .pid = 1, .start_ns = 2, .exec_id = 3 }, b = a;
	uint8_t encoded[2][ENTITY_ENCODED_LEN];

	(void)state;
	b.exec_id = 4;
	assert_true(entity_same_process(&a, &b));
	assert_false(entity_equal(&a, &b));
	entity_encode(&a, encoded[0]);
	entity_encode(&b, encoded[1]);
	assert_memory_not_equal(encoded[0], encoded[1], ENTITY_ENCODED_LEN);
	b = a;
	b.start_ns++;
	assert_false(entity_same_process(&a, &b));
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, run_row, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] =
		(struct CMUnitTest)cmocka_unit_test(images_of_one_process_are_the_same_process);
	return cmocka_run_group_tests_name("entity", tests, NULL, NULL);
}
