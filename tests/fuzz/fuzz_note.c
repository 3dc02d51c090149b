/* SPDX-License-Identifier: Apache-2.0 */
/* A signed note, a checkpoint and a key as agents and `exhibit verify` read them. The key is that of
 * the example in Go's package note. */
#include <string.h>

#include "proto/note.h"
#include "tests/fuzz/fuzz.h"

static const char vkey[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct note_key k;
	struct note_key other;
	struct checkpoint c;
	const char *text;
	size_t len;

	if (!k.name[0] && note_key_parse(vkey, strlen(vkey), &k, NULL) < 0)
		memset(k.name, 'x', 1);
	if (note_open(&k, (const char *)data, size, &text, &len, NULL) == 0 && len >= size)
		abort();
	if (checkpoint_parse((const char *)data, size, &c, NULL) == 0) {
		char again[CHECKPOINT_TEXT_MAX];

		if (c.size > (uint64_t)1 << 62 || checkpoint_format(&c, again) > size)
			abort();
	}
	(void)!checkpoint_open(&k, (const char *)data, size, &c, NULL);
	(void)!note_key_parse((const char *)data, size, &other, NULL);
	return 0;
}
