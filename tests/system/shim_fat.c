/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: the file system of a stick, which knows no links, no rename that replaces nothing, and no modes. */
#include <errno.h>
#include <sys/stat.h>
#include <sys/types.h>

static int refuse(int number)
{
	errno = number;
	return -1;
}

int renameat2(int from, const char *old, int to, const char *name, unsigned int flags);
int renameat2(int from, const char *old, int to, const char *name, unsigned int flags)
{
	(void)from, (void)old, (void)to, (void)name, (void)flags;
	return refuse(EINVAL);
}

int linkat(int from, const char *old, int to, const char *name, int flags);
int linkat(int from, const char *old, int to, const char *name, int flags)
{
	(void)from, (void)old, (void)to, (void)name, (void)flags;
	return refuse(EPERM);
}

int link(const char *old, const char *name);
int link(const char *old, const char *name)
{
	(void)old, (void)name;
	return refuse(EPERM);
}

int fchmod(int fd, mode_t mode)
{
	(void)fd, (void)mode;
	return refuse(EPERM);
}
