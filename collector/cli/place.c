/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0, or a negative errno. */
static int by_link(int dirfd, const char *part, const char *name)
{
	if (linkat(dirfd, part, dirfd, name, 0) < 0)
		return -errno;
	(void)unlinkat(dirfd, part, 0);
	return 0;
}

static int by_look(int dirfd, const char *part, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	if (errno != ENOENT)
		return -errno;
	return renameat(dirfd, part, dirfd, name) < 0 ? -errno : 0;
}

int place_file(int dirfd, const char *part, const char *name, struct error *e)
{
	int r = renameat2(dirfd, part, dirfd, name, RENAME_NOREPLACE) < 0 ? -errno : 0;

	if (r == -EINVAL || r == -ENOSYS || r == -EOPNOTSUPP)
		r = by_link(dirfd, part, name);
	if (r == -EPERM || r == -ENOSYS || r == -EOPNOTSUPP)
		r = by_look(dirfd, part, name);
	errno = -r;
	if (r == -EEXIST)
		return error_set(e, r, "'%s' is there already", name);
	return r < 0 ? error_set(e, r, "cannot rename '%s' to '%s': %m", part, name) : 0;
}

int place_read_only(int fd)
{
	if (fchmod(fd, 0444) == 0 || errno == EPERM || errno == ENOSYS || errno == EOPNOTSUPP)
		return 0;
	return -errno;
}
