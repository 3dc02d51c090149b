/* SPDX-License-Identifier: Apache-2.0 */
/* The first half is /proc/PID/maps, the second /proc/PID/smaps; all of it also lines of /proc/PID/net. */
#include <stdlib.h>
#include <string.h>

#include "agent/acquire/core_maps.h"
#include "agent/acquire/core_sockets.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct core_maps *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct core_map *map = &m->all[i];

		if (map->start >= map->end || (i > 0 && map->start < m->all[i - 1].end))
			abort();
		if ((const char *)map->name < m->text ||
		    (const char *)map->name + map->name_len > m->text + m->text_len)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct core_maps m;
	struct core_socket s;
	size_t half = size / 2;
	char *text = malloc(half + 1);

	if (text == NULL)
		return 0;
	if (half > 0) /* libFuzzer may give NULL for nothing */
		memcpy(text, data, half);
	text[half] = '\0';
	if (core_maps_parse(text, half, &m, NULL) == 0) {
		core_maps_mark(&m, (const char *)data + half, size - half);
		check(&m);
		core_maps_release(&m);
	}
	for (int form = SOCKET_FORM_INET; form <= SOCKET_FORM_UNIX; form++)
		if (core_socket_parse((enum core_socket_form)form, (const char *)data, size, &s) &&
		    s.path_len > size)
			abort();
	return 0;
}
