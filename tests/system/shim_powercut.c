/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: logs everything that a program does to files under $POWERCUT_DIR into $POWERCUT_LOG, in
 * the order in which it happened; powercut.py makes from that log what a disk may hold after the power
 * went. What the program writes to standard output is logged as a mark: its acknowledgements.
 * Format and use: tests/system/README.md "Shims". Not seen: mmap, fopen, copy_file_range. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define FDS 4096

enum op {
	OP_OPEN = 1, /* path, inode: an existing file or folder */
	OP_CREATE, /* path, inode */
	OP_WRITE, /* inode, offset, data */
	OP_TRUNCATE, /* inode, size as offset */
	OP_SYNC, /* inode: a file's data, or a folder's names */
	OP_RENAME, /* path, second path as data */
	OP_UNLINK, /* path */
	OP_MKDIR, /* path, inode */
	OP_MARK, /* data */
};

struct record {
	uint32_t op, path_len;
	uint64_t inode, offset;
	uint64_t data_len;
};

static struct {
	pthread_mutex_t lock;
	char dir[PATH_MAX];
	size_t dir_len;
	int log;
	uint64_t inode[FDS]; /* of what is open under dir; 0: not ours */
} shim = { .lock = PTHREAD_MUTEX_INITIALIZER, .log = -1 };

static void *next(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	return p;
}
#define NEXT(fn) ((__typeof__(&fn))next(#fn))

__attribute__((constructor)) static void begin(void)
{
	const char *dir = getenv("POWERCUT_DIR"), *log = getenv("POWERCUT_LOG");

	if (!dir || !log || !realpath(dir, shim.dir))
		return;
	shim.dir_len = strlen(shim.dir);
	shim.log = (int)syscall(SYS_openat, AT_FDCWD, log,
				O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (shim.log < 0)
		abort();
	/* Out of the way of the program's own numbers. */
	shim.log = fcntl(shim.log, F_DUPFD_CLOEXEC, FDS);
}

static void put(enum op op, const char *path, uint64_t inode, uint64_t offset, const void *data,
		size_t len)
{
	struct record r = { op, (uint32_t)(path ? strlen(path) : 0), inode, offset, len };
	struct iovec v[] = { { &r, sizeof(r) },
			     { (void *)(uintptr_t)path, r.path_len },
			     { (void *)(uintptr_t)data, len } };
	size_t all = sizeof(r) + r.path_len + len;

	if (syscall(SYS_writev, shim.log, v, 3) != (long)all)
		abort();
}

/* The absolute path, when it is under dir; relative to dir. */
static const char *ours(int dirfd, const char *path, char buf[static PATH_MAX])
{
	char at[PATH_MAX], link[64];
	size_t n;

	if (shim.log < 0)
		return NULL;
	if (path[0] == '/') {
		n = (size_t)snprintf(buf, PATH_MAX, "%s", path);
	} else {
		ssize_t len;

		(void)snprintf(link, sizeof(link),
			       dirfd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dirfd);
		len = readlink(link, at, sizeof(at) - 1);
		if (len < 0)
			return NULL;
		at[len] = '\0';
		n = (size_t)snprintf(buf, PATH_MAX, "%s%s%s", at, strcmp(path, ".") ? "/" : "",
				     strcmp(path, ".") ? path : "");
	}
	while (n > 1 && n < PATH_MAX && buf[n - 1] == '/')
		buf[--n] = '\0';
	if (n >= PATH_MAX || strncmp(buf, shim.dir, shim.dir_len) != 0)
		return NULL;
	if (buf[shim.dir_len] == '\0')
		return ".";
	return buf[shim.dir_len] == '/' ? buf + shim.dir_len + 1 : NULL;
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static uint64_t tracked(int fd)
{
	return fd >= 0 && fd < FDS ? shim.inode[fd] : 0;
}

static int opened(int fd, const char *path, int existed, int flags)
{
	uint64_t inode;

	if (fd < 0 || fd >= FDS || !path)
		return fd;
	inode = inode_of(fd);
	shim.inode[fd] = inode;
	put(existed ? OP_OPEN : OP_CREATE, path, inode, 0, NULL, 0);
	if (existed && (flags & O_TRUNC))
		put(OP_TRUNCATE, NULL, inode, 0, NULL, 0);
	return fd;
}

static int do_open(int dirfd, const char *path, int flags, mode_t mode)
{
	char buf[PATH_MAX];
	const char *mine = ours(dirfd, path, buf);
	struct stat st;
	int existed, fd;

	(void)pthread_mutex_lock(&shim.lock);
	existed = fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd = opened((int)syscall(SYS_openat, dirfd, path, flags, mode), mine, existed, flags);
	(void)pthread_mutex_unlock(&shim.lock);
	return fd;
}

static mode_t mode_of(int flags, va_list args)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPEN_LIKE(name, before, dirfd)                                                             \
	int name(before const char *path, int flags, ...)                                          \
	{                                                                                          \
		va_list args;                                                                      \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(args, flags);                                                             \
		mode = mode_of(flags, args);                                                       \
		va_end(args);                                                                      \
		return do_open(dirfd, path, flags, mode);                                          \
	}
#define NOTHING
#define COMMA ,
OPEN_LIKE(open, NOTHING, AT_FDCWD)
OPEN_LIKE(open64, NOTHING, AT_FDCWD)
OPEN_LIKE(openat, int dir COMMA, dir)
OPEN_LIKE(openat64, int dir COMMA, dir)

/* What _FORTIFY_SOURCE makes of calls without a mode. */
int __open_2(const char *path, int flags)
{
	return do_open(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags)
{
	return do_open(AT_FDCWD, path, flags, 0);
}
int __openat_2(int dir, const char *path, int flags)
{
	return do_open(dir, path, flags, 0);
}
int __openat64_2(int dir, const char *path, int flags)
{
	return do_open(dir, path, flags, 0);
}

static int make_temporary(int (*make)(char *, int), char *template, int flags)
{
	char buf[PATH_MAX];
	int fd;

	(void)pthread_mutex_lock(&shim.lock);
	fd = make(template, flags);
	fd = opened(fd, fd < 0 ? NULL : ours(AT_FDCWD, template, buf), 0, 0);
	(void)pthread_mutex_unlock(&shim.lock);
	return fd;
}

int mkostemp(char *template, int flags)
{
	return make_temporary(NEXT(mkostemp), template, flags);
}
int mkostemp64(char *template, int flags)
{
	return make_temporary(NEXT(mkostemp), template, flags);
}
int mkstemp(char *template)
{
	return make_temporary(NEXT(mkostemp), template, 0);
}
int mkstemp64(char *template)
{
	return make_temporary(NEXT(mkostemp), template, 0);
}

int close(int fd)
{
	if (fd >= 0 && fd < FDS)
		shim.inode[fd] = 0;
	return (int)syscall(SYS_close, fd);
}

/* One record for one call, whatever the pieces: what lies in one sector goes or stays together. */
static ssize_t written(int fd, ssize_t n, uint64_t offset, const struct iovec *v, int count)
{
	uint64_t inode = tracked(fd);
	uint8_t *all = inode && n > 0 ? malloc((size_t)n) : NULL;
	size_t done = 0;

	if (!inode || n <= 0)
		return n;
	if (!all)
		abort();
	for (int i = 0; i < count && done < (size_t)n; i++) {
		size_t len = (size_t)n - done < v[i].iov_len ? (size_t)n - done : v[i].iov_len;

		if (len > 0)
			memcpy(all + done, v[i].iov_base, len);
		done += len;
	}
	put(OP_WRITE, NULL, inode, offset, all, (size_t)n);
	free(all);
	return n;
}

static ssize_t do_writev(int fd, const struct iovec *v, int count, const off_t *at)
{
	ssize_t n;
	off_t offset;

	if (fd == STDOUT_FILENO && shim.log >= 0 && !at) {
		(void)pthread_mutex_lock(&shim.lock);
		for (int i = 0; i < count; i++)
			put(OP_MARK, NULL, 0, 0, v[i].iov_base, v[i].iov_len);
		(void)pthread_mutex_unlock(&shim.lock);
	}
	if (!tracked(fd))
		return at ? syscall(SYS_pwritev, fd, v, count, *at, 0) :
			    syscall(SYS_writev, fd, v, count);
	(void)pthread_mutex_lock(&shim.lock);
	offset = at ? *at : lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
	n = at ? syscall(SYS_pwritev, fd, v, count, *at, 0) : syscall(SYS_writev, fd, v, count);
	(void)written(fd, n, (uint64_t)offset, v, count);
	(void)pthread_mutex_unlock(&shim.lock);
	return n;
}

ssize_t write(int fd, const void *data, size_t len)
{
	struct iovec v = { (void *)(uintptr_t)data, len };

	return do_writev(fd, &v, 1, NULL);
}
ssize_t writev(int fd, const struct iovec *v, int count)
{
	return do_writev(fd, v, count, NULL);
}
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
	struct iovec v = { (void *)(uintptr_t)data, len };

	return do_writev(fd, &v, 1, &offset);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset)
{
	return pwrite(fd, data, len, offset);
}
ssize_t pwritev(int fd, const struct iovec *v, int count, off_t offset)
{
	return do_writev(fd, v, count, &offset);
}
ssize_t pwritev64(int fd, const struct iovec *v, int count, off_t offset)
{
	return do_writev(fd, v, count, &offset);
}

static int logged(int r, enum op op, const char *path, uint64_t inode, uint64_t offset,
		  const char *second)
{
	if (r == 0 && (path || inode))
		put(op, path, inode, offset, second, second ? strlen(second) : 0);
	return r;
}

#define UNDER_LOCK(expression)                                                                     \
	({                                                                                         \
		(void)pthread_mutex_lock(&shim.lock);                                              \
		int result_ = (expression);                                                        \
		(void)pthread_mutex_unlock(&shim.lock);                                            \
		result_;                                                                           \
	})

int fsync(int fd)
{
	return UNDER_LOCK(logged((int)syscall(SYS_fsync, fd), OP_SYNC, NULL, tracked(fd), 0, NULL));
}
int fdatasync(int fd)
{
	return UNDER_LOCK(
		logged((int)syscall(SYS_fdatasync, fd), OP_SYNC, NULL, tracked(fd), 0, NULL));
}
int ftruncate(int fd, off_t size)
{
	return UNDER_LOCK(logged((int)syscall(SYS_ftruncate, fd, size), OP_TRUNCATE, NULL,
				 tracked(fd), (uint64_t)size, NULL));
}
int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

int renameat(int olddir, const char *old, int newdir, const char *new)
{
	char a[PATH_MAX], b[PATH_MAX];
	const char *from = ours(olddir, old, a), *to = ours(newdir, new, b);

	return UNDER_LOCK(logged((int)syscall(SYS_renameat2, olddir, old, newdir, new, 0),
				 OP_RENAME, to ? from : NULL, 0, 0, to));
}
int rename(const char *old, const char *new)
{
	return renameat(AT_FDCWD, old, AT_FDCWD, new);
}
int unlinkat(int dir, const char *path, int flags)
{
	char buf[PATH_MAX];
	const char *mine = ours(dir, path, buf);

	return UNDER_LOCK(
		logged((int)syscall(SYS_unlinkat, dir, path, flags), OP_UNLINK, mine, 0, 0, NULL));
}
int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int mkdirat(int dir, const char *path, mode_t mode)
{
	char buf[PATH_MAX];
	const char *mine = ours(dir, path, buf);

	return UNDER_LOCK(
		logged((int)syscall(SYS_mkdirat, dir, path, mode), OP_MKDIR, mine, 0, 0, NULL));
}
int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}
