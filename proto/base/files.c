/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_READ 4096u

static ssize_t read_some(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n;
}

/* data holds *size bytes; make it twice as large, at most max + 1 (one byte tells "too long"). */
static int grow(uint8_t **data, size_t *size, size_t max)
{
	size_t bigger = *size ? *size * 2 : FIRST_READ;
	uint8_t *p;

	if (bigger > max + 1)
		bigger = max + 1;
	p = realloc(*data, bigger + 1);
	if (!p)
		return -ENOMEM;
	*data = p;
	*size = bigger;
	return 0;
}

static int read_all(int fd, size_t max, uint8_t **ret_data, size_t *ret_len)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t size = 0, len = 0;
	ssize_t n;

	do {
		if (len == size && grow(&data, &size, max) < 0)
			return -ENOMEM;
		n = read_some(fd, data + len, size - len);
		if (n < 0)
			return -errno;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
	} while (n > 0);
	data[len] = '\0';
	*ret_len = len;
	*ret_data = TAKE(data);
	return 0;
}

int files_read_fd(int fd, const char *name, size_t max, uint8_t **ret_data, size_t *ret_len,
		  struct error *e)
{
	int r;

	if (max > SSIZE_MAX)
		max = SSIZE_MAX;
	r = read_all(fd, max, ret_data, ret_len);
	if (r == -EFBIG)
		return error_set(e, r, "cannot read '%s': it is longer than %zu bytes", name, max);
	if (r < 0)
		return error_set(e, r, "cannot read '%s': %m", name);
	return 0;
}

int files_read_at(int dirfd, const char *path, size_t max, uint8_t **ret_data, size_t *ret_len,
		  struct error *e)
{
	AUTO(close_fd) int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", path);
	return files_read_fd(fd, path, max, ret_data, ret_len, e);
}

int files_read(const char *path, size_t max, uint8_t **ret_data, size_t *ret_len, struct error *e)
{
	return files_read_at(AT_FDCWD, path, max, ret_data, ret_len, e);
}

int files_write_all(int fd, const void *data, size_t len, struct error *e)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(e, -errno, "cannot write %zu bytes: %m", len);
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The folder that path lies in, malloc'ed; NULL: out of memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int files_sync_dir(const char *path, struct error *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_set(e, -errno, "cannot open folder '%s': %m", path);
	if (fsync(fd) < 0)
		return error_set(e, -errno, "cannot sync folder '%s': %m", path);
	return 0;
}

/* Write and sync the temporary file; it exists even when this fails. */
static int fill_temporary(int fd, const char *path, const void *data, size_t len, unsigned int mode,
			  struct error *e)
{
	int r;

	if (fchmod(fd, (mode_t)mode) < 0)
		return error_set(e, -errno, "cannot set the mode of '%s': %m", path);
	r = files_write_all(fd, data, len, e);
	if (r < 0)
		return error_wrap(e, r, "cannot replace '%s'", path);
	if (fsync(fd) < 0)
		return error_set(e, -errno, "cannot sync '%s': %m", path);
	return 0;
}

int files_replace(const char *path, const void *data, size_t len, unsigned int mode,
		  struct error *e)
{
	AUTO(free_ptr) char *folder = folder_of(path);
	AUTO(free_ptr) char *temporary = NULL;
	AUTO(close_fd) int fd = -1;
	int r;

	if (!folder || asprintf(&temporary, "%s.XXXXXX", path) < 0) {
		temporary = NULL;
		return error_set(e, -ENOMEM, "cannot replace '%s': %m", path);
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return error_set(e, -errno, "cannot create a file beside '%s': %m", path);
	r = fill_temporary(fd, path, data, len, mode, e);
	if (r == 0 && rename(temporary, path) < 0)
		r = error_set(e, -errno, "cannot replace '%s': %m", path);
	if (r < 0) {
		(void)unlink(temporary);
		return r;
	}
	return files_sync_dir(folder, e);
}

/* The name of a new folder, durable. Who may not read the folder above it, or has a file system that cannot, goes
 * without. */
static int sync_above(const char *path, struct error *e)
{
	AUTO(free_ptr) char *above = folder_of(path);
	int r = above ? files_sync_dir(above, NULL) : -ENOMEM;

	if (r == 0 || r == -EACCES || r == -EINVAL)
		return 0;
	return error_set(e, r, "cannot sync the folder above '%s': %m", path);
}

static int make_folder(const char *path, unsigned int mode, struct error *e)
{
	struct stat st;

	if (mkdir(path, (mode_t)mode) == 0)
		return sync_above(path, e);
	if (errno != EEXIST)
		return error_set(e, -errno, "cannot create folder '%s': %m", path);
	if (stat(path, &st) < 0)
		return error_set(e, -errno, "cannot look at '%s': %m", path);
	if (!S_ISDIR(st.st_mode))
		return error_set(e, -ENOTDIR, "cannot create folder '%s': a file has that name",
				 path);
	return 0;
}

int files_mkdirs(const char *path, unsigned int mode, struct error *e)
{
	AUTO(free_ptr) char *part = strdup(path);

	if (!part)
		return error_set(e, -ENOMEM, "cannot create folder '%s': %m", path);
	for (char *slash = part; (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		int r = make_folder(part, mode, e);

		if (r < 0)
			return r;
		*slash = '/';
	}
	int r = make_folder(part, mode, e);

	/* Also when it is there: who made it may have been killed before it was durable. */
	return r == 0 ? sync_above(part, e) : r;
}
