/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/file_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "proto/json.h"

#define READ_BYTES MiB(1)
#define HASHED_HOLES_MAX                                                                           \
	GiB(4) /* zeros that are hashed for a file's own hash; minutes behind that */
#define BLOCK KiB(4) /* what is given up when a read fails: the kernel reads by pages */
#define FAILURES_MAX 1024 /* of one file, which may answer each with a time-out */
#define CLOSING_MAX (OUTPUT_CLOSING_BYTES / 2) /* of zeros that end a file at the order's limit */
#define UNSIZED_MAX MiB(16) /* of a file that says it is empty, as those of /proc do */

struct file_sink {
	struct output *o;
	struct tar *tar;
	uint32_t table;
	const char *name;
	uint8_t *buf; /* READ_BYTES */
	struct tar_piece *pieces; /* TAR_PIECES_MAX */
	EVP_MD_CTX *hash;
	struct file_sink_counts counts;
	bool touches_atime; /* said already */
	bool in_middle; /* the archive ends inside an entry */
};

/* One file on its way. */
struct taking {
	const void *path;
	size_t len;
	const char *why;
	struct stat before;
	char link[PATH_MAX];
	ssize_t link_len;
	struct tar_xattr xattrs[TAR_XATTRS_MAX];
	size_t n_xattrs, lost_xattrs;
	size_t n_pieces;
	bool holes, hashed, changed, shrank;
	const char *failed; /* why it was not taken, or not whole */
	bool partly; /* its entry is in the archive; what was not read is zeros there, or missing at the end */
	uint8_t digest[SEAL_HASH_LEN];
	uint64_t read, unreadable; /* bytes */
	unsigned int failures;
};

int file_sink_new(struct output *o, const char *name, struct file_sink **ret, struct error *e)
{
	AUTO(file_sink_free_ptr) struct file_sink *s = calloc(1, sizeof(*s));
	char item[64];

	if (s != NULL) {
		s->o = o;
		s->name = name;
		s->buf = malloc(READ_BYTES);
		s->pieces = calloc(TAR_PIECES_MAX, sizeof(*s->pieces));
		s->hash = EVP_MD_CTX_new();
	}
	if (s == NULL || s->buf == NULL || s->pieces == NULL || s->hash == NULL)
		return error_set(e, -ENOMEM, "cannot take files: out of memory");
	(void)snprintf(item, sizeof(item), "%s.tar", name);
	int r = tar_new(o, item, &s->tar, e);

	(void)snprintf(item, sizeof(item), "%s.jsonl", name);
	if (r == 0)
		r = output_begin(o, item, "jsonl", 0, &s->table, e);
	if (r == 0)
		*ret = TAKE(s);
	return r;
}

void file_sink_free(struct file_sink *s)
{
	if (s == NULL)
		return;
	tar_free(s->tar);
	free(s->buf);
	free(s->pieces);
	EVP_MD_CTX_free(s->hash);
	free(s);
}

/* ---- the table --------------------------------------------------------------------------------------- */

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFCHR:
		return "character device";
	case S_IFBLK:
		return "block device";
	case S_IFIFO:
		return "fifo";
	default:
		return "socket";
	}
}

static void json_stamp(struct json *j, const char *key, const struct timespec *at)
{
	json_time(j, key, (int64_t)at->tv_sec * (int64_t)NSEC_PER_SEC + at->tv_nsec);
}

static void write_stat(struct json *j, const struct stat *st)
{
	char mode[16];

	(void)snprintf(mode, sizeof(mode), "%04o", st->st_mode & 07777U);
	json_text(j, "type", kind_of(st->st_mode));
	json_u64(j, "size", (uint64_t)st->st_size);
	json_text(j, "mode", mode);
	json_u64(j, "uid", st->st_uid);
	json_u64(j, "gid", st->st_gid);
	json_u64(j, "inode", st->st_ino);
	json_u64(j, "device", st->st_dev);
	json_u64(j, "links", st->st_nlink);
	json_stamp(j, "mtime", &st->st_mtim);
	json_stamp(j, "atime", &st->st_atim);
	json_stamp(j, "ctime", &st->st_ctim);
}

static void write_row(struct json *j, const struct taking *t)
{
	char digest[2 * SEAL_HASH_LEN + 1];

	json_open(j, NULL, 0, '{');
	json_bytes(j, "path", t->path, t->len);
	if (t->why != NULL)
		json_text(j, "kind", t->why);
	if (t->before.st_mode != 0)
		write_stat(j, &t->before);
	if (t->link_len > 0)
		json_bytes(j, "target", t->link, (size_t)t->link_len);
	for (size_t i = 0; t->hashed && i < SEAL_HASH_LEN; i++)
		(void)snprintf(digest + 2 * i, 3, "%02x", t->digest[i]);
	if (t->hashed)
		json_text(j, "sha256", digest);
	if (t->changed)
		json_bool(j, "changed_while_read", true);
	if (t->shrank)
		json_bool(j, "shrank", true);
	if (t->lost_xattrs > 0)
		json_u64(j, "xattrs_not_read", t->lost_xattrs);
	if (t->failed != NULL)
		json_text(j, "not_taken", t->failed);
	if (t->unreadable > 0)
		json_u64(j, "unreadable_bytes", t->unreadable);
	if (t->failed != NULL && t->partly)
		json_u64(j, "taken_bytes", t->read);
	json_close(j, '}');
	json_line(j);
}

static int put_row(struct file_sink *s, const struct taking *t, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *line = open_memstream(&text, &len);

	if (line == NULL)
		return error_set(e, -ENOMEM, "cannot list files: out of memory");
	struct json j = json_init(line);

	write_row(&j, t);
	if (fclose(line) != 0)
		return error_set(e, -ENOMEM, "cannot list files: out of memory");
	return output_write(s->o, s->table, text, len, e);
}

int file_sink_miss(struct file_sink *s, const void *path, size_t len, const char *reason,
		   struct error *e)
{
	struct taking t = { .path = path, .len = len, .failed = reason };

	s->counts.failed++;
	int r = output_warn(s->o, true, e, "%.*s was not taken: %s", (int)(len < 256 ? len : 256),
			    (const char *)path, reason);

	return r == 0 ? put_row(s, &t, e) : r;
}

/* ---- one file ---------------------------------------------------------------------------------------- */

/* For reading, through the descriptor that was looked at, so that it is this very file. */
static int open_data(struct file_sink *s, int path_fd, struct error *e)
{
	char self[64];

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", path_fd);
	int fd = open(self, O_RDONLY | O_CLOEXEC | O_NOATIME | O_NONBLOCK | O_NOCTTY);

	if (fd >= 0 || errno != EPERM)
		return fd >= 0 ? fd : -errno;
	fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	if (!s->touches_atime) {
		int r = output_warn(
			s->o, false, e,
			"access times may change: this file system does not let us read without");

		s->touches_atime = true;
		if (r < 0) {
			(void)close(fd);
			return r;
		}
	}
	return fd;
}

/* Bytes at offset, up to want; 0: the file ends here. */
static ssize_t read_at(int fd, void *buf, size_t want, uint64_t offset)
{
	for (;;) {
		ssize_t n = pread(fd, buf, want, (off_t)offset);

		if (n >= 0 || errno != EINTR)
			return n >= 0 ? n : -errno;
	}
}

static bool hash_zeros(struct file_sink *s, uint64_t len)
{
	memset(s->buf, 0, len < READ_BYTES ? (size_t)len : READ_BYTES);
	while (len > 0) {
		size_t n = len < READ_BYTES ? (size_t)len : READ_BYTES;

		if (EVP_DigestUpdate(s->hash, s->buf, n) != 1)
			return false;
		len -= n;
	}
	return true;
}

/* How much to give up where a read failed: the rest of its block; all of the piece at an early end, or after too
 * many failures. */
static uint64_t skip(struct taking *t, ssize_t n, uint64_t offset, uint64_t bytes)
{
	uint64_t block = BLOCK - offset % BLOCK;

	t->hashed = false;
	if (n == 0) {
		t->shrank = true;
		return bytes;
	}
	t->failed = strerror((int)-n);
	if (++t->failures >= FAILURES_MAX || block > bytes)
		block = bytes;
	t->unreadable += block;
	return block;
}

/* offset..offset+bytes of the file into the archive. What cannot be read is zeros there, so that what follows lies
 * where it belongs. */
static int copy_piece(struct file_sink *s, struct taking *t, int fd, uint64_t offset,
		      uint64_t bytes, struct error *e)
{
	while (bytes > 0) {
		size_t want = bytes < READ_BYTES ? (size_t)bytes : READ_BYTES;
		ssize_t n = read_at(fd, s->buf, want, offset);
		uint64_t done = n > 0 ? (uint64_t)n : skip(t, n, offset, bytes);

		if (n > 0 && t->hashed && EVP_DigestUpdate(s->hash, s->buf, (size_t)n) != 1)
			return error_set(e, -ENOMEM, "cannot hash a file: out of memory");
		int r = n > 0 ? tar_data(s->tar, s->buf, (size_t)n, e) : tar_zeros(s->tar, done, e);

		/* At the order's limit too it is whole in the archive. */
		t->read += n > 0 ? (uint64_t)n : 0;
		if (r < 0)
			return r;
		offset += done;
		bytes -= done;
	}
	return 0;
}

static int copy_pieces(struct file_sink *s, struct taking *t, int fd, struct error *e)
{
	uint64_t at = 0, size = (uint64_t)t->before.st_size;

	for (size_t i = 0; i < t->n_pieces; i++) {
		const struct tar_piece *p = &s->pieces[i];

		if (t->hashed && !hash_zeros(s, p->offset - at))
			return error_set(e, -ENOMEM, "cannot hash a file: out of memory");
		int r = copy_piece(s, t, fd, p->offset, p->bytes, e);

		if (r < 0)
			return r;
		at = p->offset + p->bytes;
	}
	if (t->hashed && !hash_zeros(s, size - at))
		return error_set(e, -ENOMEM, "cannot hash a file: out of memory");
	return 0;
}

/* A size of 0 that is none (/proc, /sys): read first, then said. */
static int slurp(struct file_sink *s, struct taking *t, int fd, uint8_t **ret, struct error *e)
{
	size_t len = 0, room = READ_BYTES;
	uint8_t *data = malloc(room);

	(void)s;
	for (;;) {
		ssize_t n = data == NULL ? -ENOMEM : read_at(fd, data + len, room - len, len);

		if (n < 0)
			t->failed = strerror((int)-n);
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len == room && room < UNSIZED_MAX) {
			uint8_t *more = realloc(data, 2 * room);

			if (more == NULL) {
				free(data);
				return error_set(e, -ENOMEM, "cannot read a file: out of memory");
			}
			data = more;
			room *= 2;
		} else if (len == room) {
			t->failed = "only its first 16 MiB: it does not tell its size";
			break;
		}
	}
	t->before.st_size = (off_t)len;
	*ret = data;
	return 0;
}

static uint64_t hole_bytes(const struct file_sink *s, const struct taking *t)
{
	uint64_t all = (uint64_t)t->before.st_size;

	for (size_t i = 0; i < t->n_pieces; i++)
		all -= s->pieces[i].bytes;
	return all;
}

static struct tar_entry make_entry(const struct file_sink *s, const struct taking *t)
{
	return (struct tar_entry){ .path = t->path,
				   .path_len = t->len,
				   .link = t->link,
				   .link_len = t->link_len > 0 ? (size_t)t->link_len : 0,
				   .st = t->before,
				   .xattrs = t->xattrs,
				   .n_xattrs = t->n_xattrs,
				   .pieces = t->holes ? s->pieces : NULL,
				   .n_pieces = t->holes ? t->n_pieces : 0 };
}

static bool same_state(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Data of a regular file whose entry stands in the archive already. text: what was read before, or NULL. */
static int put_data(struct file_sink *s, struct taking *t, int fd, const uint8_t *text,
		    struct error *e)
{
	uint64_t size = (uint64_t)t->before.st_size;

	t->hashed = (!t->holes || hole_bytes(s, t) <= HASHED_HOLES_MAX) &&
		    EVP_DigestInit_ex(s->hash, EVP_sha256(), NULL) == 1;
	if (text != NULL) {
		t->read = size;
		if (t->hashed && EVP_DigestUpdate(s->hash, text, size) != 1)
			return error_set(e, -ENOMEM, "cannot hash a file: out of memory");
		return tar_data(s->tar, text, size, e);
	}
	return t->holes ? copy_pieces(s, t, fd, e) : copy_piece(s, t, fd, 0, size, e);
}

/* An entry that the order's limit ends is filled up with zeros, so that the archive is one, unless these would be too
 * many: then it ends in the middle. */
static int end_entry(struct file_sink *s, int r, struct error *e)
{
	bool full = r == -ECANCELED && tar_left(s->tar) <= CLOSING_MAX;
	int closed = r == 0 || full ? tar_close_entry(s->tar, r == 0 ? e : NULL) : r;

	s->in_middle = closed < 0;
	return r < 0 ? r : closed;
}

static int put_file(struct file_sink *s, struct taking *t, int fd, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	struct stat listed = t->before, after;
	int r = 0;

	if (t->before.st_size == 0)
		r = slurp(s, t, fd, &text, e);
	else
		t->holes =
			tar_read_pieces(fd, (uint64_t)t->before.st_size, s->pieces, &t->n_pieces);
	t->n_xattrs = tar_read_xattrs(fd, t->xattrs, &t->lost_xattrs);
	struct tar_entry entry = make_entry(s, t);

	if (r == 0)
		r = tar_entry(s->tar, &entry, e);
	if (r < 0 && r != -ECANCELED)
		return r;
	t->partly = true;
	s->in_middle = true;
	if (r == 0)
		r = put_data(s, t, fd, text, e);
	r = end_entry(s, r, e);
	if (r < 0)
		return r;
	t->hashed = t->hashed && EVP_DigestFinal_ex(s->hash, t->digest, NULL) == 1;
	t->changed = fstat(fd, &after) < 0 || !same_state(&listed, &after);
	return 0;
}

/* Everything that is no regular file has no data. */
static int put_other(struct file_sink *s, struct taking *t, int path_fd, struct error *e)
{
	if (S_ISLNK(t->before.st_mode)) {
		t->link_len = readlinkat(path_fd, "", t->link, sizeof(t->link));
		if (t->link_len < 0) {
			t->failed = strerror(errno);
			return 0;
		}
	}
	if (S_ISSOCK(t->before.st_mode)) {
		t->failed = "a socket: an archive cannot hold one";
		return 0;
	}
	if (S_ISDIR(t->before.st_mode)) {
		AUTO(close_fd) int fd = open_data(s, path_fd, e);

		if (fd >= 0)
			t->n_xattrs = tar_read_xattrs(fd, t->xattrs, &t->lost_xattrs);
	}
	t->before.st_size = S_ISDIR(t->before.st_mode) ? 0 : t->before.st_size;
	struct tar_entry entry = make_entry(s, t);
	int r = tar_entry(s->tar, &entry, e);

	return r == 0 || r == -ECANCELED ? end_entry(s, r, e) : r;
}

static int put_any(struct file_sink *s, struct taking *t, int path_fd, struct error *e)
{
	if (fstatat(path_fd, "", &t->before, AT_EMPTY_PATH) < 0) {
		t->failed = strerror(errno);
		return 0;
	}
	if (!S_ISREG(t->before.st_mode))
		return put_other(s, t, path_fd, e);
	AUTO(close_fd) int fd = open_data(s, path_fd, e);

	if (fd < 0) {
		t->failed = strerror(-fd);
		return 0;
	}
	return put_file(s, t, fd, e);
}

int file_sink_take(struct file_sink *s, int path_fd, const void *path, size_t len, const char *why,
		   struct error *e)
{
	AUTO(free_ptr) struct taking *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return error_set(e, -ENOMEM, "cannot take a file: out of memory");
	t->path = path;
	t->len = len;
	t->why = why;
	int r = put_any(s, t, path_fd, e);

	/* A name that no archive may hold is told of like a file that cannot be read. */
	if ((r == -EINVAL || r == -E2BIG) && !s->in_middle) {
		t->failed = e != NULL ? e->text : "an archive cannot hold it";
		r = 0;
	}
	if (r < 0)
		t->failed = r == -ECANCELED || e == NULL ? "the order's limits were reached here" :
							   e->text;
	tar_xattrs_release(t->xattrs, t->n_xattrs);
	s->counts.files += t->failed == NULL;
	s->counts.failed += t->failed != NULL;
	s->counts.changed += t->changed || t->shrank;
	s->counts.bytes += t->read;
	if (r == 0 && t->failed != NULL)
		r = output_warn(s->o, true, e, "%.*s was not taken whole: %s",
				(int)(len < 256 ? len : 256), (const char *)path, t->failed);
	int told = put_row(s, t, r == 0 ? e : NULL);

	return r < 0 ? r : told;
}

struct file_sink_counts file_sink_counts(const struct file_sink *s)
{
	return s->counts;
}

int file_sink_finish(struct file_sink *s, const char *canceled, struct error *e)
{
	int r = 0;

	if (canceled != NULL)
		r = output_warn(s->o, true, e, "not all files were taken: %s", canceled);
	if (r == 0)
		r = tar_finish(s->tar, canceled, e);
	if (r == 0)
		r = output_end(s->o, s->table, NULL, NULL, e);
	if (r == 0)
		r = output_note_u64(s->o, "files.taken", s->counts.files, e);
	if (r == 0)
		r = output_note_u64(s->o, "files.not_taken", s->counts.failed, e);
	if (r == 0)
		r = output_note_u64(s->o, "files.changed_while_read", s->counts.changed, e);
	return r == 0 ? output_note_u64(s->o, "files.bytes", s->counts.bytes, e) : r;
}
