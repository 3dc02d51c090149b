/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: lets one call fail, once for each line that is asked for, without starting the program
 * anew. FAILNTH_KIND=malloc: an allocation returns NULL. FAILNTH_KIND=file: an operation on a file under
 * the working folder fails with FAILNTH_ERRNO (a number; 5: EIO, 28: ENOSPC).
 *
 * When the program calls write(-1, "failnth", 7), it becomes a server: for each line "N FOLDER" on
 * standard input it forks. The child goes on as the program, in FOLDER, and its N-th call from here on
 * fails (0: none); standard output, standard error and the name of the call that failed go to FOLDER.out,
 * .err and .failed (absent: it made fewer calls). The parent waits and answers with the wait status in a
 * line; a child that takes a minute dies of SIGALRM. At the end of its input the server ends. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define FDS 4096
#define SECONDS_MAX 60

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

static struct {
	bool malloc, file;
	long n;
	int error;
	char dir[PATH_MAX], failed[PATH_MAX + 8];
	size_t dir_len;
	atomic_bool counting;
	atomic_long calls;
	atomic_bool mine[FDS];
} shim;

__attribute__((constructor)) static void begin(void)
{
	const char *kind = getenv("FAILNTH_KIND"), *error = getenv("FAILNTH_ERRNO");

	shim.malloc = kind && strcmp(kind, "malloc") == 0;
	shim.file = kind && strcmp(kind, "file") == 0;
	shim.error = error ? (int)strtol(error, NULL, 10) : EIO;
}

static int create(const char *path)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		abort();
	return fd;
}

static void report(const char *what)
{
	int fd = create(shim.failed);

	(void)!syscall(SYS_write, fd, what, strlen(what));
	(void)syscall(SYS_close, fd);
}

static bool due(const char *what)
{
	if (!shim.counting || ++shim.calls != shim.n)
		return false;
	report(what);
	return true;
}

/* ---- one child for each line ---- */

static bool read_line(char *line, size_t size)
{
	size_t len = 0;

	while (len + 1 < size && syscall(SYS_read, STDIN_FILENO, line + len, 1) == 1)
		if (line[len++] == '\n') {
			line[len - 1] = '\0';
			return true;
		}
	return false;
}

static void redirect(int fd, const char *suffix)
{
	char path[PATH_MAX + 8];

	(void)snprintf(path, sizeof(path), "%s%s", shim.dir, suffix);
	if (dup2(create(path), fd) < 0)
		abort();
}

static void go_on(long n, const char *dir)
{
	if (!realpath(dir, shim.dir) || chdir(shim.dir) < 0)
		abort();
	shim.dir_len = strlen(shim.dir);
	(void)snprintf(shim.failed, sizeof(shim.failed), "%s.failed", shim.dir);
	redirect(STDOUT_FILENO, ".out");
	redirect(STDERR_FILENO, ".err");
	(void)alarm(SECONDS_MAX);
	shim.n = n;
	shim.counting = true;
}

/* Returns in each child; the parent ends here. */
static void serve(void)
{
	char line[PATH_MAX + 32], *dir;
	int status;

	while (read_line(line, sizeof(line))) {
		long n = strtol(line, &dir, 10);
		pid_t pid = fork();

		if (pid == 0) {
			go_on(n, dir + 1);
			return;
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			abort();
		(void)snprintf(line, sizeof(line), "%d\n", status);
		(void)!syscall(SYS_write, STDOUT_FILENO, line, strlen(line));
	}
	_exit(0);
}

static bool malloc_fails(const char *what)
{
	if (!shim.malloc || !due(what))
		return false;
	errno = ENOMEM;
	return true;
}

static bool file_fails(const char *what, bool ours)
{
	if (!shim.file || !ours || !due(what))
		return false;
	errno = shim.error;
	return true;
}

void *malloc(size_t size)
{
	return malloc_fails("malloc") ? NULL : __libc_malloc(size);
}
void *calloc(size_t n, size_t size)
{
	return malloc_fails("calloc") ? NULL : __libc_calloc(n, size);
}
void *realloc(void *p, size_t size)
{
	return malloc_fails("realloc") ? NULL : __libc_realloc(p, size);
}
void *reallocarray(void *p, size_t n, size_t size)
{
	size_t all;

	if (__builtin_mul_overflow(n, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return malloc_fails("reallocarray") ? NULL : __libc_realloc(p, all);
}
int posix_memalign(void **ret, size_t align, size_t size)
{
	*ret = malloc_fails("posix_memalign") ? NULL : __libc_memalign(align, size);
	return *ret ? 0 : ENOMEM;
}
void *aligned_alloc(size_t align, size_t size)
{
	return malloc_fails("aligned_alloc") ? NULL : __libc_memalign(align, size);
}

static bool under(const char *path)
{
	return shim.dir_len > 0 && strncmp(path, shim.dir, shim.dir_len) == 0 &&
	       (path[shim.dir_len] == '/' || path[shim.dir_len] == '\0');
}

static bool fd_ours(int fd)
{
	return fd >= 0 && fd < FDS && shim.mine[fd];
}

static bool path_ours(int dirfd, const char *path)
{
	char cwd[PATH_MAX];

	if (path[0] == '/')
		return under(path);
	if (dirfd != AT_FDCWD)
		return fd_ours(dirfd);
	return syscall(SYS_getcwd, cwd, sizeof(cwd)) > 0 && under(cwd);
}

static int remember(int fd, bool ours)
{
	if (fd >= 0 && fd < FDS)
		shim.mine[fd] = ours;
	return fd;
}

static int do_open(const char *what, int dirfd, const char *path, int flags, mode_t mode)
{
	bool ours = path_ours(dirfd, path);

	if (file_fails(what, ours))
		return -1;
	return remember((int)syscall(SYS_openat, dirfd, path, flags, mode), ours);
}

#define OPEN_LIKE(name, before, dirfd)                                                             \
	int name(before const char *path, int flags, ...)                                          \
	{                                                                                          \
		mode_t mode = 0;                                                                   \
                                                                                                   \
		if (flags & (O_CREAT | O_TMPFILE)) {                                               \
			va_list args;                                                              \
                                                                                                   \
			va_start(args, flags);                                                     \
			mode = va_arg(args, mode_t);                                               \
			va_end(args);                                                              \
		}                                                                                  \
		return do_open(#name, dirfd, path, flags, mode);                                   \
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
	return do_open("open", AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags)
{
	return do_open("open", AT_FDCWD, path, flags, 0);
}
int __openat_2(int dir, const char *path, int flags)
{
	return do_open("openat", dir, path, flags, 0);
}
int __openat64_2(int dir, const char *path, int flags)
{
	return do_open("openat", dir, path, flags, 0);
}

int mkostemp(char *template, int flags)
{
	static atomic_uint counter;
	size_t len = strlen(template);
	unsigned int n = ++counter;

	/* The pid keeps two processes apart, O_EXCL all others. */
	n = n * 7919u + (unsigned int)getpid();
	for (size_t i = 0; i < 6; i++, n /= 26)
		template[len - 6 + i] = (char)('a' + n % 26);
	return do_open("mkostemp", AT_FDCWD, template, O_RDWR | O_CREAT | O_EXCL | flags, 0600);
}

/* A close that fails has closed. */
int close(int fd)
{
	bool fails = file_fails("close", fd_ours(fd));

	(void)remember(fd, false);
	return (int)syscall(SYS_close, fd) < 0 || fails ? -1 : 0;
}

ssize_t write(int fd, const void *data, size_t len)
{
	if (fd == -1 && len == 7 && memcmp(data, "failnth", 7) == 0) {
		serve();
		return 7;
	}
	return file_fails("write", fd_ours(fd)) ? -1 : syscall(SYS_write, fd, data, len);
}
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
	return file_fails("pwrite", fd_ours(fd)) ? -1 :
						   syscall(SYS_pwrite64, fd, data, len, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset)
{
	return pwrite(fd, data, len, offset);
}
ssize_t writev(int fd, const struct iovec *v, int count)
{
	return file_fails("writev", fd_ours(fd)) ? -1 : syscall(SYS_writev, fd, v, count);
}
/* A write that fails has often written something: half of the first piece. */
ssize_t pwritev(int fd, const struct iovec *v, int count, off_t offset)
{
	if (file_fails("pwritev", fd_ours(fd))) {
		int error = errno;

		(void)!syscall(SYS_pwrite64, fd, v[0].iov_base, v[0].iov_len / 2, offset);
		errno = error;
		return -1;
	}
	return syscall(SYS_pwritev, fd, v, count, offset, 0);
}
ssize_t pwritev64(int fd, const struct iovec *v, int count, off_t offset)
{
	return pwritev(fd, v, count, offset);
}
ssize_t read(int fd, void *data, size_t len)
{
	return file_fails("read", fd_ours(fd)) ? -1 : syscall(SYS_read, fd, data, len);
}
ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
	return file_fails("pread", fd_ours(fd)) ? -1 : syscall(SYS_pread64, fd, data, len, offset);
}
ssize_t pread64(int fd, void *data, size_t len, off_t offset)
{
	return pread(fd, data, len, offset);
}
int fsync(int fd)
{
	return file_fails("fsync", fd_ours(fd)) ? -1 : (int)syscall(SYS_fsync, fd);
}
int fdatasync(int fd)
{
	return file_fails("fdatasync", fd_ours(fd)) ? -1 : (int)syscall(SYS_fdatasync, fd);
}
int ftruncate(int fd, off_t size)
{
	return file_fails("ftruncate", fd_ours(fd)) ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}
int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}
int fchmod(int fd, mode_t mode)
{
	return file_fails("fchmod", fd_ours(fd)) ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}
int flock(int fd, int operation)
{
	return file_fails("flock", fd_ours(fd)) ? -1 : (int)syscall(SYS_flock, fd, operation);
}
int renameat(int olddir, const char *old, int newdir, const char *new)
{
	return file_fails("renameat", path_ours(newdir, new)) ?
		       -1 :
		       (int)syscall(SYS_renameat2, olddir, old, newdir, new, 0);
}
int rename(const char *old, const char *new)
{
	return renameat(AT_FDCWD, old, AT_FDCWD, new);
}
int unlinkat(int dir, const char *path, int flags)
{
	return file_fails("unlinkat", path_ours(dir, path)) ?
		       -1 :
		       (int)syscall(SYS_unlinkat, dir, path, flags);
}
int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}
int mkdirat(int dir, const char *path, mode_t mode)
{
	return file_fails("mkdirat", path_ours(dir, path)) ?
		       -1 :
		       (int)syscall(SYS_mkdirat, dir, path, mode);
}
int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

/* ---- what is asked of a file: the C library's own, found once ---- */

static void *next(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	return p;
}

#define ASKS(type, otherwise, name, args, given, ours)                                             \
	type name args                                                                             \
	{                                                                                          \
		static __typeof__(&name) real;                                                     \
                                                                                                   \
		if (!real)                                                                         \
			real = (__typeof__(real))next(#name);                                      \
		return file_fails(#name, ours) ? (otherwise) : real given;                         \
	}
ASKS(int, -1, stat, (const char *path, struct stat *st), (path, st), path_ours(AT_FDCWD, path))
ASKS(int, -1, lstat, (const char *path, struct stat *st), (path, st), path_ours(AT_FDCWD, path))
ASKS(int, -1, fstat, (int fd, struct stat *st), (fd, st), fd_ours(fd))
ASKS(int, -1, fstatat, (int dir, const char *path, struct stat *st, int flags),
     (dir, path, st, flags), path_ours(dir, path))
ASKS(int, -1, fstatvfs, (int fd, struct statvfs *v), (fd, v), fd_ours(fd))
ASKS(off_t, -1, lseek, (int fd, off_t at, int whence), (fd, at, whence), fd_ours(fd))
ASKS(int, -1, chmod, (const char *path, mode_t mode), (path, mode), path_ours(AT_FDCWD, path))
ASKS(DIR *, NULL, fdopendir, (int fd), (fd), fd_ours(fd))
ASKS(struct dirent *, NULL, readdir, (DIR * dir), (dir), fd_ours(dirfd(dir)))
