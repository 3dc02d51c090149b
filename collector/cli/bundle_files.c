/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/bundle_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/cli/bundle_tar.h"
#include "proto/openssl_util.h"

#define READ_BYTES KiB(256)
#define DEPTH_MAX 8

struct reading {
	struct bundle_files *files;
	void (*fault)(void *ctx, const char *name, uint64_t from, uint64_t to, const char *why);
	void *ctx;
	uint8_t *buffer; /* READ_BYTES */
	uint64_t kept;
};

/* Relative, no "." or ".." or empty part, no control byte: as bundles are made. */
static bool path_valid(const char *path)
{
	const char *part = path;

	for (const char *c = path;; c++) {
		if (*c != '/' && *c != '\0') {
			if ((uint8_t)*c < ' ' || *c == 0x7f || *c == '\\')
				return false;
			continue;
		}
		if (c == part || part[0] == '.')
			return false;
		if (*c == '\0')
			return true;
		part = c + 1;
	}
}

static bool is_item(const char *path)
{
	return strstr(path, "/items/") != NULL || strstr(path, "/chunks/") != NULL;
}

/* Hash len bytes at offset of fd, the small ones into keep. */
static int hash_range(int fd, uint64_t offset, uint64_t len, uint8_t *buffer, struct seal_hash *ret,
		      uint8_t *keep, struct error *e)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash: %s", openssl_reason());
	while (len > 0) {
		size_t want = len < READ_BYTES ? (size_t)len : READ_BYTES;
		ssize_t n = pread(fd, buffer, want, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set(e, n < 0 ? -errno : -EIO, "cannot read the bundle: %m");
		if (EVP_DigestUpdate(ctx, buffer, (size_t)n) != 1)
			return error_set(e, -ENOMEM, "cannot hash: %s", openssl_reason());
		if (keep) {
			memcpy(keep, buffer, (size_t)n);
			keep += n;
		}
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	if (EVP_DigestFinal_ex(ctx, ret->b, NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash: %s", openssl_reason());
	return 0;
}

static int add(struct reading *r, const char *path, int fd, uint64_t offset, uint64_t size,
	       struct error *e)
{
	struct bundle_files *f = r->files;
	struct bundle_file *file;

	if (f->n == f->max) {
		size_t max = f->max ? 2 * f->max : 256;
		struct bundle_file *more =
			max <= BUNDLE_FILES_MAX ? reallocarray(f->at, max, sizeof(*more)) : NULL;

		if (!more)
			return error_set(e, -E2BIG, "the bundle has too many files");
		f->at = more;
		f->max = max;
	}
	file = &f->at[f->n];
	*file = (struct bundle_file){ .path = strdup(path), .size = size, .offset = offset };
	if (!file->path)
		return error_set(e, -ENOMEM, "cannot read the bundle: %m");
	f->n++;
	if (!is_item(path) && size <= BUNDLE_KEPT_MAX && r->kept + size <= MiB(1024)) {
		file->bytes.data = malloc((size_t)size + 1);
		if (!file->bytes.data)
			return error_set(e, -ENOMEM, "cannot read the bundle: %m");
		file->bytes.data[size] = '\0';
		file->bytes.len = (size_t)size;
		r->kept += size;
	}
	return hash_range(fd, offset, size, r->buffer, &file->sha256, file->bytes.data, e);
}

/* ---- a tar ---- */

static int read_tar(struct reading *r, uint64_t size, struct error *e)
{
	uint64_t at = 0;

	for (;;) {
		struct tar_entry entry;
		struct error why = { 0 };
		uint64_t from = at;
		const char *path;
		int x = tar_next(r->files->fd, &at, size, &entry, &why);

		if (x == 0)
			return 0;
		if (x < 0 && x != -EBADMSG) {
			*e = why;
			return x;
		}
		if (x < 0) {
			r->fault(r->ctx, "the tar", from, from + 512, why.text);
			/* The next header stands at some block behind. */
			at = from + 512;
			if (at + 512 > size)
				return 0;
			continue;
		}
		path = strncmp(entry.path, BUNDLE_FOLDER "/", sizeof(BUNDLE_FOLDER)) == 0 ?
			       entry.path + sizeof(BUNDLE_FOLDER) :
			       entry.path;
		if (path == entry.path || !path_valid(path)) {
			r->fault(r->ctx, "the tar", from, from + 512,
				 "it names a file that no bundle has");
			continue;
		}
		x = add(r, path, r->files->fd, entry.offset, entry.size, e);
		if (x < 0)
			return x;
	}
}

/* ---- a folder ---- */

static int read_folder(struct reading *r, int dirfd, const char *prefix, unsigned int depth,
		       struct error *e);

static int read_name(struct reading *r, int dirfd, const char *prefix, const char *name,
		     unsigned int depth, struct error *e)
{
	char path[BUNDLE_PATH_MAX];
	AUTO(close_fd) int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (snprintf(path, sizeof(path), "%s%s", prefix, name) >= (int)sizeof(path) || fd < 0 ||
	    fstat(fd, &st) < 0 || !path_valid(path)) {
		r->fault(r->ctx, path, 0, 0, "it is not a file of a bundle, or cannot be read");
		return 0;
	}
	if (S_ISREG(st.st_mode))
		return add(r, path, fd, 0, (uint64_t)st.st_size, e);
	if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX || strlen(path) + 1 >= sizeof(path)) {
		r->fault(r->ctx, path, 0, 0, "it is neither a plain file nor a folder");
		return 0;
	}
	path[strlen(path) + 1] = '\0';
	path[strlen(path)] = '/';
	return read_folder(r, fd, path, depth + 1, e);
}

static int read_folder(struct reading *r, int dirfd, const char *prefix, unsigned int depth,
		       struct error *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), x = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		x = error_set(e, -errno, "cannot read the folder '%s': %m", prefix);
		close_fd(&fd);
		return x;
	}
	for (const struct dirent *entry; x == 0 && (entry = readdir(d)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			x = read_name(r, dirfd, prefix, entry->d_name, depth, e);
	(void)closedir(d);
	return x;
}

/* Unpacked, the bundle lies in a folder of its own, perhaps within the one that is named. */
static int enter(struct bundle_files *f, struct error *e)
{
	int inner = openat(f->fd, BUNDLE_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (inner >= 0) {
		close_fd(&f->fd);
		f->fd = inner;
	} else if (errno != ENOENT) {
		return error_set(e, -errno, "cannot open '" BUNDLE_FOLDER "': %m");
	}
	return 0;
}

/* ---- both ---- */

static int by_path(const void *a, const void *b)
{
	const struct bundle_file *x = a, *y = b;

	return strcmp(x->path, y->path);
}

int bundle_files_read(const char *path, struct bundle_files *ret,
		      void (*fault)(void *ctx, const char *name, uint64_t from, uint64_t to,
				    const char *why),
		      void *ctx, struct error *e)
{
	struct reading r = { .files = ret, .fault = fault, .ctx = ctx };
	struct stat st;
	int x = 0;

	/* Not to wait for somebody who writes into a pipe. */
	*ret = (struct bundle_files){ .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) };
	if (ret->fd < 0 || fstat(ret->fd, &st) < 0)
		return error_set(e, -errno, "cannot open '%s': %m", path);
	r.buffer = malloc(READ_BYTES);
	if (!r.buffer)
		return error_set(e, -ENOMEM, "cannot read '%s': %m", path);
	ret->tar = S_ISREG(st.st_mode);
	if (ret->tar)
		x = read_tar(&r, (uint64_t)st.st_size, e);
	else if (S_ISDIR(st.st_mode))
		x = enter(ret, e);
	else
		x = error_set(e, -EINVAL, "'%s' is neither a file nor a folder", path);
	if (x == 0 && !ret->tar)
		x = read_folder(&r, ret->fd, "", 0, e);
	free(r.buffer);
	if (ret->n > 0)
		qsort(ret->at, ret->n, sizeof(*ret->at), by_path);
	for (size_t i = 1; i < ret->n; i++)
		if (strcmp(ret->at[i - 1].path, ret->at[i].path) == 0)
			fault(ctx, ret->at[i].path, 0, ret->at[i].size,
			      "the name stands in the bundle twice");
	return x;
}

void bundle_files_release(struct bundle_files *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->at[i].path);
		blob_release(&f->at[i].bytes);
	}
	free(f->at);
	close_fd(&f->fd);
}

struct bundle_file *bundle_files_find(const struct bundle_files *f, const char *path)
{
	struct bundle_file key = { .path = (char *)(uintptr_t)path };

	return f->n > 0 ? bsearch(&key, f->at, f->n, sizeof(*f->at), by_path) : NULL;
}

int bundle_file_load(const struct bundle_files *f, const struct bundle_file *file, uint64_t max,
		     struct blob *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *buffer = malloc(READ_BYTES);
	AUTO(close_fd) int own = -1;
	struct seal_hash hash;
	int fd = f->fd, r;

	if (file->size > max)
		return error_set(e, -EFBIG, "'%s' is too large", file->path);
	*ret = (struct blob){ .data = malloc((size_t)file->size + 1), .len = (size_t)file->size };
	if (!ret->data || !buffer)
		return error_set(e, -ENOMEM, "cannot read '%s': %m", file->path);
	if (!f->tar) {
		own = openat(f->fd, file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		fd = own;
	}
	if (fd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", file->path);
	r = hash_range(fd, f->tar ? file->offset : 0, file->size, buffer, &hash, ret->data, e);
	ret->data[ret->len] = '\0';
	return r;
}

int bundle_file_range(const struct bundle_files *f, const struct bundle_file *file, uint64_t offset,
		      uint64_t len, struct seal_hash *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *buffer = malloc(READ_BYTES);
	AUTO(close_fd) int fd = -1;

	if (!buffer)
		return error_set(e, -ENOMEM, "cannot hash: %m");
	if (f->tar)
		return hash_range(f->fd, file->offset + offset, len, buffer, ret, NULL, e);
	fd = openat(f->fd, file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", file->path);
	return hash_range(fd, offset, len, buffer, ret, NULL, e);
}
