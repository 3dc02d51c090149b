/* SPDX-License-Identifier: Apache-2.0 */
/* A bundle's tar as `exhibit verify` reads it: every entry lies within the file, and the walk ends. */
#include <sys/mman.h>
#include <unistd.h>

#include "collector/cli/bundle_tar.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tar_entry entry;
	uint64_t at = 0, before;
	int fd = memfd_create("tar", 0);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	do {
		before = at;
		if (tar_next(fd, &at, size, &entry, NULL) != 1)
			break;
		if (entry.offset > size || entry.size > size - entry.offset || at <= before)
			abort();
	} while (at < size);
	(void)close(fd);
	return 0;
}
