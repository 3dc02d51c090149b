/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/enroll_facts.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/files.h"

static const struct {
	const char *name, *what, *path;
	size_t offset;
} rows[] = {
	{ "machine-id", "the machine-id", "/etc/machine-id",
	  offsetof(struct enroll_facts, machine_id) },
	{ "dmi-uuid", "the DMI uuid", "/sys/class/dmi/id/product_uuid",
	  offsetof(struct enroll_facts, dmi_uuid) },
	{ "cloud-instance", "the cloud instance", "/var/lib/cloud/data/instance-id",
	  offsetof(struct enroll_facts, cloud_instance) },
};

static char *at(const struct enroll_facts *f, size_t i)
{
	return (char *)(uintptr_t)f + rows[i].offset;
}

static void take(char *out, const char *text, size_t len)
{
	size_t n = 0;

	while (n < len && n < ENROLL_FACT_MAX - 1 && text[n] > ' ' && text[n] < 127)
		n++;
	memcpy(out, text, n);
	out[n] = '\0';
}

void enroll_facts_read(const char *root, struct enroll_facts *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(free_ptr) uint8_t *text = NULL;
		char path[PATH_MAX];
		size_t len;

		if (snprintf(path, sizeof(path), "%s%s", root, rows[i].path) < (int)sizeof(path) &&
		    files_read(path, KiB(4), &text, &len, NULL) == 0)
			take(at(ret, i), (const char *)text, len);
	}
}

bool enroll_facts_parse(const char *text, size_t len, struct enroll_facts *ret)
{
	memset(ret, 0, sizeof(*ret));
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t line = end != NULL ? (size_t)(end - text) : 0;
		const char *equals = end != NULL ? memchr(text, '=', line) : NULL;
		size_t i = 0;

		if (equals == NULL)
			return false;
		while (i < ARRAY_LEN(rows) &&
		       (strlen(rows[i].name) != (size_t)(equals - text) ||
			memcmp(rows[i].name, text, strlen(rows[i].name)) != 0))
			i++;
		if (i < ARRAY_LEN(rows) && *at(ret, i) != '\0')
			return false;
		if (i < ARRAY_LEN(rows)) /* another version may know more */
			take(at(ret, i), equals + 1, (size_t)(end - equals - 1));
		len -= line + 1;
		text = end + 1;
	}
	return true;
}

size_t enroll_facts_format(const struct enroll_facts *f, char buf[static ENROLL_FACTS_TEXT])
{
	int n = snprintf(buf, ENROLL_FACTS_TEXT, "%s=%s\n%s=%s\n%s=%s\n", rows[0].name, at(f, 0),
			 rows[1].name, at(f, 1), rows[2].name, at(f, 2));

	return n > 0 && n < ENROLL_FACTS_TEXT ? (size_t)n : 0;
}

const char *enroll_facts_differ(const struct enroll_facts *held, const struct enroll_facts *now)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (*at(held, i) != '\0' && *at(now, i) != '\0' &&
		    strcmp(at(held, i), at(now, i)) != 0)
			return rows[i].what;
	return NULL;
}
