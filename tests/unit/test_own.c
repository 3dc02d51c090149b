/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agent/bootid.h"
#include "agent/own.h"
#include "tests/unit/rows.h"

static const struct path_row {
	const char *name; /* the path too */
	bool want;
} path_rows[] = {
	{ "/var/lib/exhibit", false }, /* the folder itself is not inside */
	{ "/var/lib/exhibitor/x", false },
	{ "/var/lib", false },
	{ "", false },
	{ "var/lib/exhibit/x", false },
	{ "/var/lib/exhibit/x", true },
	{ "/var/lib/exhibit/journal/1.jnl", true },
};

static void covers(void **state)
{
	const struct path_row *row = *state;
	struct own o = { .n = 1, .folder = { (char[]){ "/var/lib/exhibit" } } };
	struct bytes path = { (const uint8_t *)row->name, strlen(row->name) };

	assert_int_equal(own_covers(&o, path), row->want);
}

static const struct boot_row {
	const char *name; /* the text too */
	int want;
} boot_rows[] = {
	{ "", -22 },
	{ "00112233-4455-6677-8899-aabbccddeef", -22 },
	{ "00112233-4455-6677-8899-aabbccddeeff0", -22 },
	{ "00112233x4455-6677-8899-aabbccddeeff", -22 },
	{ "0011223g-4455-6677-8899-aabbccddeeff", -22 },
	{ "00112233-4455-6677-8899-AABBCCDDEEFF", -22 },
	{ "00112233-4455-6677-8899-aabbccddeeff", 0 },
	{ "00112233-4455-6677-8899-aabbccddeeff\n", 0 },
};

static void boot_ids(void **state)
{
	static const uint8_t want[] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
					0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
	const struct boot_row *row = *state;
	uint8_t id[BOOTID_LEN] = { 1 };

	assert_int_equal(bootid_parse(row->name, strlen(row->name), id), row->want);
	if (row->want == 0)
		assert_memory_equal(id, want, sizeof(want));
	else
		assert_int_equal(id[0], 1);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, covers, path_rows);
	ADD_ROWS(&t, boot_ids, boot_rows);
	return tests_run(&t, "own");
}
