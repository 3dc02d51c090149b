/* SPDX-License-Identifier: Apache-2.0 */
/* The files of container runtimes: first byte which, the rest the file. What is taken from it ends with a NUL. */
#include <stdlib.h>
#include <string.h>

#include "agent/container_said.h"
#include "tests/fuzz/fuzz.h"

static void ends(const char *text, size_t size)
{
	if (strnlen(text, size) == size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t id[] = "0123456789abcdef";
	struct bytes asked = { .at = id, .len = sizeof(id) - 1 };
	struct container_said said = { 0 };
	int r = 0;

	if (!size)
		return 0;
	switch (data[0] % 3) {
	case 0:
		r = container_said_config(data + 1, size - 1, &said, NULL);
		break;
	case 1:
		r = container_said_docker(data + 1, size - 1, &said, NULL);
		break;
	default:
		r = container_said_list(data + 1, size - 1, asked, &said, NULL);
	}
	ends(said.cgroups_path, sizeof(said.cgroups_path));
	ends(said.name, sizeof(said.name));
	ends(said.image, sizeof(said.image));
	ends(said.pod_name, sizeof(said.pod_name));
	ends(said.pod_namespace, sizeof(said.pod_namespace));
	ends(said.pod_uid, sizeof(said.pod_uid));
	if (r == 0)
		(void)container_said_is_at(said.cgroups_path, (struct bytes){ data, size });
	return 0;
}
