/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: reads of the file BAD_FILE that begin in a page of BAD_PAGES ("0,3", of 4,096 bytes) fail with EIO, and
 * those that would come to one end before it, as the kernel does it with a file that lies on a worn disk. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096

typedef ssize_t pread_fn(int fd, void *buf, size_t len, off_t offset);

static int is_bad_file(int fd)
{
	const char *wanted = getenv("BAD_FILE");
	char self[64], path[PATH_MAX] = "";

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return wanted != NULL && readlink(self, path, sizeof(path) - 1) > 0 &&
	       strcmp(path, wanted) == 0;
}

/* How much of len can be read: 0: the first page is bad. */
static size_t readable(off_t offset, size_t len)
{
	const char *at = getenv("BAD_PAGES");

	while (at != NULL && *at != '\0') {
		char *end = NULL;
		off_t bad = (off_t)strtoull(at, &end, 10) * PAGE;

		if (end == at)
			break;
		if (offset < bad + PAGE && bad < offset + (off_t)len)
			len = bad > offset ? (size_t)(bad - offset) : 0;
		at = *end == ',' ? end + 1 : end;
	}
	return len;
}

ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t room);
ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	pread_fn *next;
	size_t wanted = len;

	*(void **)&next = dlsym(RTLD_NEXT, "pread");
	if (is_bad_file(fd))
		len = readable(offset, len);
	if (len == 0 && wanted > 0) {
		errno = EIO;
		return -1;
	}
	return next(fd, buf, len, offset);
}

/* What fortified programs call. */
ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t room)
{
	if (len > room)
		abort();
	return pread(fd, buf, len, offset);
}
