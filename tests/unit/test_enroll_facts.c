/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agent/enroll_facts.h"
#include "tests/unit/rows.h"

static const struct row {
	const char *name, *held, *now, *differs; /* NULL: the same machine */
} table[] = {
	{ "another machine-id", "machine-id=a\n", "machine-id=b\n", "the machine-id" },
	{ "another DMI uuid", "machine-id=a\ndmi-uuid=1\n", "machine-id=a\ndmi-uuid=2\n",
	  "the DMI uuid" },
	{ "another cloud instance", "cloud-instance=i-1\n", "cloud-instance=i-2\n",
	  "the cloud instance" },
	{ "the same", "machine-id=a\ndmi-uuid=1\n", "machine-id=a\ndmi-uuid=1\n", NULL },
	{ "not known then", "machine-id=a\ndmi-uuid=\n", "machine-id=a\ndmi-uuid=2\n", NULL },
	{ "not known now", "machine-id=a\ndmi-uuid=2\n", "machine-id=a\n", NULL },
	{ "a name of a later version", "machine-id=a\nvat=9\n", "machine-id=a\nvat=8\n", NULL },
};

static void test_differ(void **state)
{
	const struct row *row = *state;
	struct enroll_facts held, now;
	const char *differs;

	assert_true(enroll_facts_parse(row->held, strlen(row->held), &held));
	assert_true(enroll_facts_parse(row->now, strlen(row->now), &now));
	differs = enroll_facts_differ(&held, &now);
	if (row->differs == NULL)
		assert_null(differs);
	else
		assert_string_equal(differs, row->differs);
}

static const char *const bad[] = { "machine-id=a", "machine-id\n", "\n", "=x" };

static void test_bad(void **state)
{
	struct enroll_facts f;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(enroll_facts_parse(bad[i], strlen(bad[i]), &f));
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_bad);
	ADD_ROWS(&t, test_differ, table);
	return tests_run(&t, "enroll_facts");
}
