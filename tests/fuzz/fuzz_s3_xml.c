/* SPDX-License-Identifier: Apache-2.0 */
/* An S3 server's answer. */
#include <string.h>

#include "collector/s3_xml.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "UploadId", "Code", "Mode", "RetainUntilDate" };
	char out[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (s3_xml_text((const char *)data, size, names[i], out, sizeof(out)) &&
		    strlen(out) >= sizeof(out))
			abort();
	return 0;
}
