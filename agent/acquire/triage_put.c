/* SPDX-License-Identifier: Apache-2.0 */
/* What steps put into the bundle with. */
#include "agent/acquire/triage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <string.h>
#include <time.h>

#define READ_BYTES KiB(256)
#define CUT_MAX                                                                                    \
	MiB(1) /* a shorter entry is filled up when the limit comes in it: see OUTPUT_CLOSING_BYTES */

/* A long entry that the order's limit would cut is not begun. */
static bool fits(struct triage *t, const char *name, uint64_t len)
{
	if (len <= CUT_MAX || len + CUT_MAX <= output_left(t->o))
		return true;
	triage_tell(t, true, "%s: %llu bytes are more than the order's limit leaves", name,
		    (unsigned long long)len);
	return false;
}

/* An entry that was begun is ended, also after the limit: see tar_entry. */
static int close_entry(struct triage *t, const char *path, int r, struct error *e)
{
	uint64_t left = tar_left(t->tar);

	if (r < 0 && r != -ECANCELED)
		return r;
	if (r < 0 && left > 0)
		triage_tell(t, true, "%s: the last %llu bytes are zeros: the limit came", path,
			    (unsigned long long)left);
	int closed = tar_close_entry(t->tar, NULL);

	/* More than what is kept for closing: the archive ends here. */
	t->broken |= closed == -ECANCELED;
	return closed < 0 ? error_set(e, closed, "the limit came in the middle of a long entry") :
			    r;
}

/* entry->path is NUL-terminated. */
static int put_entry(struct triage *t, const struct tar_entry *entry, const void *data, size_t len,
		     struct error *e)
{
	int r = tar_entry(t->tar, entry, e);

	if (r == -EINVAL || r == -E2BIG) {
		triage_tell(t, true, "%s: %s", (const char *)entry->path, e->text);
		return 0;
	}
	if (r == 0 && len > 0)
		r = tar_data(t->tar, data, len, e);
	r = close_entry(t, entry->path, r, e);
	if (r == 0) {
		t->entries++;
		t->bytes += len;
	}
	return r;
}

int triage_put(struct triage *t, const char *name, const void *data, size_t len, struct error *e)
{
	struct tar_entry entry = { .path = name, .path_len = strlen(name) };

	if (!fits(t, name, len))
		return 0;
	entry.st.st_mode = S_IFREG | 0600;
	entry.st.st_size = (off_t)len;
	(void)clock_gettime(CLOCK_REALTIME, &entry.st.st_mtim);
	entry.st.st_atim = entry.st.st_ctim = entry.st.st_mtim;
	return put_entry(t, &entry, data, len, e);
}

bool triage_read(int dir, const char *name, size_t max, uint8_t **ret, size_t *ret_len,
		 bool *ret_cut)
{
	AUTO(close_fd) int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t room = 0, len = 0;

	*ret_cut = false;
	while (fd >= 0) {
		if (len + 1 >= room) {
			room = room == 0 ? KiB(4) : 2 * room;
			uint8_t *more = realloc(data, room);

			if (more == NULL)
				return false;
			data = more;
		}
		size_t want = room - len - 1;
		ssize_t n = read(fd, data + len, want < max - len ? want : max - len);

		if (n < 0 && errno == EINTR)
			continue;
		/* Some say EIO or EOF in the middle: what came is told. */
		if (n < 0 && len == 0)
			return false;
		len += n > 0 ? (size_t)n : 0;
		if (n <= 0 || len == max) {
			*ret_cut = len == max;
			data[len] = '\0';
			*ret = TAKE(data);
			*ret_len = len;
			return true;
		}
	}
	return false;
}

int triage_put_proc(struct triage *t, int dir, const char *name, const char *entry, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;
	bool is_cut = false;

	if (!triage_read(dir, name, TRIAGE_TEXT_MAX, &data, &len, &is_cut)) {
		/* EINVAL: the kernel has no such thing to tell here. */
		if (errno != ENOENT && errno != ESRCH && errno != EINVAL)
			triage_tell(t, true, "%s: %s", entry, strerror(errno));
		return 0;
	}
	if (is_cut)
		triage_tell(t, true, "%s: only the first %zu bytes", entry, len);
	/* Kernel threads have a dozen that say nothing. */
	if (len == 0)
		return 0;
	return triage_put(t, entry, data, len, e);
}

int triage_open(struct triage *t, int dir, const char *name, struct stat *ret)
{
	char path[64];
	AUTO(close_fd) int there = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (there < 0 || fstat(there, ret) < 0)
		return -1;
	/* Opening a device may do something. */
	if (!S_ISREG(ret->st_mode)) {
		errno = ELOOP;
		return -1;
	}
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", there);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && errno == EPERM) {
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		t->atime_touched += fd >= 0;
	}
	return fd;
}

/* Returns 0, also when the file ends early: the rest of the entry is zeros then, and told of. */
static int copy_data(struct triage *t, const struct triage_file *f, struct error *e)
{
	AUTO(free_ptr) uint8_t *buf = malloc(READ_BYTES);
	uint64_t at = f->from;
	int r = 0;

	if (buf == NULL)
		return error_set(e, -ENOMEM, "cannot copy a file: out of memory");
	while (r == 0 && tar_left(t->tar) > 0) {
		uint64_t left = tar_left(t->tar);
		ssize_t n = pread(f->fd, buf, left < READ_BYTES ? left : READ_BYTES, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			triage_tell(t, true, "%s: zeros from byte %llu on: %s", f->path,
				    (unsigned long long)at,
				    n < 0 ? strerror(errno) : "it shrank while it was read");
			return 0;
		}
		r = tar_data(t->tar, buf, (size_t)n, e);
		at += (uint64_t)n;
		t->bytes += (uint64_t)n;
	}
	return r;
}

int triage_put_file(struct triage *t, const char *below, const struct triage_file *f,
		    struct error *e)
{
	AUTO(free_ptr) struct tar_xattr *xattrs = calloc(TAR_XATTRS_MAX, sizeof(*xattrs));
	AUTO(free_ptr) char *path = NULL;
	size_t lost = 0;

	if (!fits(t, f->path, (uint64_t)f->st.st_size - f->from))
		return 0;
	if (xattrs == NULL || asprintf(&path, "%s%s", below, f->path) < 0)
		return error_set(e, -ENOMEM, "cannot copy a file: out of memory");
	size_t n = tar_read_xattrs(f->fd, xattrs, &lost);
	struct tar_entry entry = {
		.path = path, .path_len = strlen(path), .st = f->st, .xattrs = xattrs, .n_xattrs = n
	};

	entry.st.st_size -= (off_t)f->from;
	if (lost > 0)
		triage_tell(t, true, "%s: %zu attributes are left out", f->path, lost);
	int r = tar_entry(t->tar, &entry, e);

	tar_xattrs_release(xattrs, n);
	if (r == -EINVAL || r == -E2BIG) {
		triage_tell(t, true, "%s: %s", f->path, e->text);
		return 0;
	}
	if (r == 0)
		r = copy_data(t, f, e);
	r = close_entry(t, f->path, r, e);
	t->entries += r == 0;
	return r;
}

int triage_put_special(struct triage *t, const char *below, const char *path, const struct stat *st,
		       const char *link, size_t link_len, struct error *e)
{
	AUTO(free_ptr) char *name = NULL;

	if (asprintf(&name, "%s%s", below, path) < 0)
		return error_set(e, -ENOMEM, "cannot copy a file: out of memory");
	struct tar_entry entry = { .path = name,
				   .path_len = strlen(name),
				   .link = link,
				   .link_len = link_len,
				   .st = *st };

	return put_entry(t, &entry, NULL, 0, e);
}

static void free_context(EVP_MD_CTX **ctx)
{
	EVP_MD_CTX_free(*ctx);
}

bool triage_hash(struct triage *t, int fd, uint64_t max, struct seal_hash *ret, uint64_t *ret_bytes)
{
	AUTO(free_context) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	AUTO(free_ptr) uint8_t *buf = malloc(READ_BYTES);
	uint64_t at = 0;
	ssize_t n = 1;

	if (ctx == NULL || buf == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return false;
	while (n > 0) {
		n = pread(fd, buf, READ_BYTES, (off_t)at);
		if (n < 0 && errno == EINTR) {
			n = 1;
			continue;
		}
		if (n < 0 || (n > 0 && EVP_DigestUpdate(ctx, buf, (size_t)n) != 1))
			return false;
		at += (uint64_t)n;
		if (at > max || triage_over(t))
			return false;
	}
	*ret_bytes = at;
	return EVP_DigestFinal_ex(ctx, ret->b, NULL) == 1;
}

/* ---- tables ------------------------------------------------------------------------------------------ */

int triage_lines_open(struct triage_lines *l, struct error *e)
{
	*l = (struct triage_lines){ 0 };
	l->out = open_memstream(&l->text, &l->len);
	if (l->out == NULL)
		return error_set(e, -ENOMEM, "cannot make a table: out of memory");
	return 0;
}

bool triage_row(struct triage_lines *l)
{
	if ((uint64_t)ftello(l->out) >= TRIAGE_LINES_MAX) {
		l->dropped++;
		return false;
	}
	l->json = json_init(l->out);
	json_open(&l->json, NULL, 0, '{');
	return true;
}

void triage_row_end(struct triage_lines *l)
{
	json_close(&l->json, '}');
	json_line(&l->json);
	l->rows++;
}

int triage_put_lines(struct triage *t, struct triage_lines *l, const char *entry, struct error *e)
{
	if (fclose(TAKE(l->out)) != 0)
		return error_set(e, -ENOMEM, "cannot make a table: out of memory");
	if (l->dropped > 0)
		triage_tell(t, true, "%s: %llu rows are left out", entry,
			    (unsigned long long)l->dropped);
	return triage_put(t, entry, l->text, l->len, e);
}

void triage_lines_release(struct triage_lines *l)
{
	if (l->out != NULL)
		(void)fclose(l->out);
	free(l->text);
	*l = (struct triage_lines){ 0 };
}

/* ---- processes --------------------------------------------------------------------------------------- */

int triage_pid_dir(const struct triage *t, uint32_t pid)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%u", t->r->proc, pid);
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int triage_dir(const struct triage *t, const char *path)
{
	char name[PATH_MAX + 4];
	/* "/.": the last component is a link that is followed, too. */
	int n = snprintf(name, sizeof(name), "/%s/.", path);

	return n < PATH_MAX ? target_openat(&t->target, name, O_PATH | O_DIRECTORY | O_CLOEXEC) :
			      -ENAMETOOLONG;
}

int triage_pids(struct triage *t, uint32_t **ret, size_t *ret_n, struct error *e)
{
	struct target now;

	if (t->target.whole_host)
		return target_all_pids(t->r, ret, ret_n, e);
	int r = target_open(t->r, &now, e);

	if (r == -ESRCH) { /* it ended meanwhile */
		triage_tell(t, true, "%s", e->text);
		*ret = calloc(1, sizeof(**ret));
		*ret_n = 0;
		return *ret != NULL ? 0 : error_set(e, -ENOMEM, "cannot list processes");
	}
	if (r < 0)
		return r;
	*ret = TAKE(now.pids);
	*ret_n = now.n_pids;
	target_release(&now);
	return 0;
}
