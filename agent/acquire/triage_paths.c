/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/triage_paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#include "agent/acquire/triage_homes.h"
#include "agent/acquire/triage_walk.h"

#define FOUND_MAX 20000 /* by one row */
#define PEEK_BYTES 256
#define LINE_SEEK KiB(64) /* where a log's first whole line is looked for */
#define UTMP_BYTES 384

/* Secrets whose bytes an examiner does not need: that they are there is in the bodyfile. */
static const char *const never[] = {
	"etc/shadow*",         "etc/gshadow*",       "etc/security/opasswd*", "etc/krb5.keytab",
	"etc/ssl/private/*",   "*/.kube/cache/*",    "run/credentials/*",     "run/secrets/*",
	"run/systemd/creds/*", "*/.aws/credentials", "*/.docker/config.json", "*/.netrc",
	"*/.pgpass",
};

struct found {
	char *path; /* malloc'ed, without a leading slash */
	size_t base; /* bytes of it that are the row's own, or a home's */
	struct stat st;
};

struct search {
	struct triage *t;
	const struct triage_path *row;
	struct found *found; /* FOUND_MAX */
	size_t n;
	bool cut;
	size_t base; /* of the path under way */
	struct triage_walk walk;
};

/* ---- finding ------------------------------------------------------------------------------------------ */

static bool wanted(const struct search *s, const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(never); i++)
		if (fnmatch(never[i], path, 0) == 0)
			return false;
	for (size_t i = 0; i < TRIAGE_EXCEPT_MAX && s->row->except[i] != NULL; i++)
		if (fnmatch(s->row->except[i], path, 0) == 0)
			return false;
	return true;
}

static void add(void *ctx, int dir, const char *name, const char *path)
{
	struct search *s = ctx;
	struct found f;

	if (!wanted(s, path) || fstatat(dir, name, &f.st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (s->n == FOUND_MAX) {
		s->cut = true;
		return;
	}
	f.base = s->base;
	f.path = strdup(path);
	if (f.path != NULL)
		s->found[s->n++] = f;
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

static void match(struct search *s, int dir, size_t used, const char *pattern);

/* One name that fits a pattern's component. rest: what follows it, or NULL. */
static void step(struct search *s, int dir, const char *name, size_t used, const char *rest)
{
	char *path = s->walk.path;
	size_t len = strlen(name), slash = used > 0;

	if (used + slash + len + 1 > sizeof(s->walk.path)) {
		s->cut = true;
		return;
	}
	if (slash)
		path[used] = '/';
	memcpy(path + used + slash, name, len + 1);
	if (rest == NULL)
		add(s, dir, name, path);
	else
		match(s, triage_open_dir(s->t, dir, name, O_NOFOLLOW), used + slash + len, rest);
	path[used] = '\0';
}

/* dir is taken; its path stands in walk.path. */
static void match(struct search *s, int fd, size_t used, const char *pattern)
{
	AUTO(close_dir) DIR *dir = NULL;
	const char *slash = strchr(pattern, '/');
	const struct dirent *entry;
	char component[NAME_MAX + 1];

	if (fd < 0)
		return;
	if (strcmp(pattern, "**") == 0) {
		triage_walk(&s->walk, fd);
		return;
	}
	(void)snprintf(component, sizeof(component), "%.*s",
		       (int)(slash != NULL ? (size_t)(slash - pattern) : strlen(pattern)), pattern);
	dir = fdopendir(fd);
	if (dir == NULL)
		(void)close(fd);
	if (dir != NULL && strpbrk(component, "*?[") == NULL)
		step(s, dirfd(dir), component, used, slash != NULL ? slash + 1 : NULL);
	else
		while (dir != NULL && (entry = readdir(dir)) != NULL && !triage_over(s->t))
			if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			    fnmatch(component, entry->d_name, 0) == 0)
				step(s, dirfd(dir), entry->d_name, used,
				     slash != NULL ? slash + 1 : NULL);
}

/* base: a directory, literally, resolved in the view. */
static void search_below(struct search *s, const char *base, const char *pattern)
{
	while (*base == '/')
		base++;
	size_t len = strlen(base);

	if (len >= sizeof(s->walk.path))
		return;
	memcpy(s->walk.path, base, len + 1);
	s->base = len;
	AUTO(close_fd) int there = triage_dir(s->t, base);

	if (there < 0)
		return;
	if (triage_is_remote(s->t, there))
		triage_tell(s->t, true, "/%s: is another host's or process's file system", base);
	else
		match(s, triage_open_dir(s->t, there, ".", 0), len, pattern);
}

/* The directories before the first component with a wildcard, or before the last. */
static size_t literal(const char *glob)
{
	size_t end = 0;

	for (size_t i = 0; glob[i] != '\0' && strchr("*?[", glob[i]) == NULL; i++)
		if (glob[i] == '/')
			end = i;
	return end;
}

static void search(struct search *s, const struct triage_homes *homes)
{
	const char *glob = s->row->glob;
	char base[PATH_MAX];

	for (size_t i = 0; glob[0] == '~' && i < homes->n && !triage_over(s->t); i++)
		search_below(s, homes->paths[i], glob + 2);
	if (glob[0] == '~')
		return;
	size_t len = literal(glob);

	(void)snprintf(base, sizeof(base), "%.*s", (int)len, glob);
	search_below(s, base, glob + len + 1);
}

/* ---- taking ------------------------------------------------------------------------------------------- */

/* Through no link. */
static int open_beneath(int dir, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* The folder that holds it. The row's own beginning may go through links of the system's, the rest through none. */
static int open_parent(const struct search *s, const struct found *f, const char **ret_name)
{
	const char *slash = strrchr(f->path, '/');
	size_t end = slash != NULL ? (size_t)(slash - f->path) : 0;
	char dir[PATH_MAX];

	*ret_name = slash != NULL ? slash + 1 : f->path;
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)f->base, f->path);
	int base = triage_dir(s->t, dir);

	if (base < 0 || end <= f->base)
		return base;
	AUTO(close_fd) int owned = base;
	size_t from = f->base > 0 ? f->base + 1 : 0;

	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(end - from), f->path + from);
	return open_beneath(owned, dir);
}

static bool is_private_key(int fd)
{
	static const char mark[] = "PRIVATE KEY";
	char text[PEEK_BYTES];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	return n > 0 && memmem(text, (size_t)n, mark, sizeof(mark) - 1) != NULL;
}

/* What is compressed has no end that could be read alone. */
static bool is_packed(const char *path)
{
	static const char *const ends[] = { ".gz", ".xz", ".zst", ".bz2", ".lz4", ".journal" };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (strlen(path) > strlen(ends[i]) &&
		    strcmp(path + strlen(path) - strlen(ends[i]), ends[i]) == 0)
			return true;
	return false;
}

static uint64_t next_line(int fd, uint64_t from)
{
	AUTO(free_ptr) char *text = malloc(LINE_SEEK);
	ssize_t n = text != NULL ? pread(fd, text, LINE_SEEK, (off_t)from) : -1;
	const char *end = n > 0 ? memchr(text, '\n', (size_t)n) : NULL;

	return end != NULL ? from + (uint64_t)(end - text) + 1 : from;
}

static uint64_t first_byte(const struct search *s, const struct triage_file *f)
{
	uint64_t size = (uint64_t)f->st.st_size, over = size - s->row->file_max;

	if (size <= s->row->file_max)
		return 0;
	return s->row->big == TRIAGE_RECORDS ? (over + UTMP_BYTES - 1) / UTMP_BYTES * UTMP_BYTES :
					       next_line(f->fd, over);
}

static int take_file(struct search *s, int dir, const char *name, const char *path, uint64_t *left,
		     struct error *e)
{
	struct triage_file f = { .path = path };
	AUTO(close_fd) int fd = triage_open(s->t, dir, name, &f.st);
	uint64_t size = fd < 0 ? 0 : (uint64_t)f.st.st_size;
	bool big = size > s->row->file_max;

	f.fd = fd;
	if (fd < 0) {
		if (errno != ENOENT)
			triage_tell(s->t, true, "/%s: %s", path, strerror(errno));
		return 0;
	}
	if (is_private_key(fd)) {
		triage_tell(s->t, false, "/%s: a private key, left out", path);
		return 0;
	}
	if (big && (s->row->big == TRIAGE_LEAVE || is_packed(path))) {
		triage_tell(s->t, false, "/%s: %llu bytes, left out", path,
			    (unsigned long long)size);
		return 0;
	}
	f.from = first_byte(s, &f);
	if (f.from > 0)
		triage_tell(s->t, false, "/%s: only from byte %llu on", path,
			    (unsigned long long)f.from);
	if (size - f.from > *left) {
		triage_tell(s->t, false, "/%s: %llu bytes are too many for this row", path,
			    (unsigned long long)size);
		return 0;
	}
	*left -= size - f.from;
	return triage_put_file(s->t, "[root]/", &f, e);
}

static int take(struct search *s, const struct found *f, uint64_t *left, struct error *e)
{
	char link[PATH_MAX];
	const char *name;
	AUTO(close_fd) int dir = open_parent(s, f, &name);

	if (dir < 0 || S_ISSOCK(f->st.st_mode))
		return 0; /* it went away; a socket is in the bodyfile */
	if (S_ISREG(f->st.st_mode))
		return take_file(s, dir, name, f->path, left, e);
	ssize_t len = S_ISLNK(f->st.st_mode) ? readlinkat(dir, name, link, sizeof(link)) : 0;

	if (len < 0)
		return 0;
	return triage_put_special(s->t, "[root]/", f->path, &f->st, link, (size_t)len, e);
}

static int newest_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->st.st_mtim.tv_sec != y->st.st_mtim.tv_sec)
		return x->st.st_mtim.tv_sec > y->st.st_mtim.tv_sec ? -1 : 1;
	return strcmp(x->path, y->path);
}

static int take_all(struct search *s, struct error *e)
{
	uint64_t left = s->row->all_max;
	size_t n = s->n < s->row->files_max ? s->n : s->row->files_max, i = 0;
	int r = 0;

	qsort(s->found, s->n, sizeof(*s->found), newest_first);
	for (; r == 0 && i < n && !triage_over(s->t); i++)
		r = take(s, &s->found[i], &left, e);
	if (r == 0 && (s->cut || s->walk.cut || n < s->n))
		triage_tell(s->t, false, "%s: only the newest %zu", s->row->glob, n);
	if (r == 0 && i < n)
		triage_tell(s->t, true, "%s: %zu of %zu are left out", s->row->glob, n - i, n);
	return r;
}

static int put_row(struct search *s, const struct triage_homes *homes, struct error *e)
{
	s->n = 0;
	s->cut = s->walk.cut = false;
	s->walk.left = FOUND_MAX;
	search(s, homes);
	int r = take_all(s, e);

	for (size_t i = 0; i < s->n; i++)
		free(s->found[i].path);
	return r;
}

int triage_put_paths(struct triage *t, const struct triage_path *rows, size_t n, struct error *e)
{
	AUTO(free_ptr) struct search *s = calloc(1, sizeof(*s));
	AUTO(free_ptr) struct found *found = calloc(FOUND_MAX, sizeof(*found));
	AUTO(triage_homes_release) struct triage_homes homes = { 0 };
	int r = 0;

	if (s == NULL || found == NULL)
		return error_set(e, -ENOMEM, "cannot find files: out of memory");
	s->t = t;
	s->found = found;
	s->walk.t = t;
	s->walk.ctx = s;
	s->walk.visit = add;
	triage_homes_find(t, &homes);
	for (size_t i = 0; r == 0 && i < n && !triage_over(t); i++) {
		s->row = &rows[i];
		r = put_row(s, &homes, e);
	}
	return r;
}
