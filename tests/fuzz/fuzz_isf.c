/* SPDX-License-Identifier: Apache-2.0 */
/* The symbol file's inputs, as a hostile host sends them: u16 length of the listing, the listing, a BTF. */
#include <string.h>

#include "collector/isf.h"
#include "proto/base/reader.h"
#include "tests/fuzz/fuzz.h"

static ssize_t swallow(void *ctx, const char *data, size_t len)
{
	(void)ctx;
	(void)data;
	return (ssize_t)len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_init(data, size);
	size_t listing = reader_u16(&r);
	const uint8_t *text = reader_bytes(&r, listing);
	cookie_io_functions_t io = { .write = swallow };

	if (text == NULL)
		return 0;
	const uint8_t *note = memchr(text, '\f', listing);
	size_t kallsyms = note != NULL ? (size_t)(note - text) : listing;
	struct isf_inputs in = { .btf = r.at,
				 .btf_len = r.left,
				 .kallsyms = text,
				 .kallsyms_len = kallsyms,
				 .vmcoreinfo = text + kallsyms,
				 .vmcoreinfo_len = listing - kallsyms,
				 .banner = "Linux version 6\n",
				 .banner_len = 16 };
	FILE *out = fopencookie(NULL, "w", io);

	if (out == NULL)
		return 0;
	(void)!isf_write(&in, out, NULL);
	(void)fclose(out);
	return 0;
}
