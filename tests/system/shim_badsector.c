/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: reads of a block device that touch a sector of BAD_SECTORS ("3,70", of 512 bytes) fail with EIO, as a
 * worn disk's do. For kernels without device-mapper's error target. */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

typedef ssize_t pread_fn(int fd, void *buf, size_t len, off_t offset);

static int is_block(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISBLK(st.st_mode);
}

static int touches_bad(off_t offset, size_t len)
{
	const char *at = getenv("BAD_SECTORS");

	while (at != NULL && *at != '\0') {
		char *end = NULL;
		off_t bad = (off_t)strtoull(at, &end, 10) * SECTOR;

		if (end == at)
			break;
		if (bad < offset + (off_t)len && offset < bad + SECTOR)
			return 1;
		at = *end == ',' ? end + 1 : end;
	}
	return 0;
}

ssize_t __pread_chk(int fd, void *buf, size_t len, off_t offset, size_t room);
ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	pread_fn *next;

	*(void **)&next = dlsym(RTLD_NEXT, "pread");
	if (is_block(fd) && touches_bad(offset, len)) {
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
