/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/fetch_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/cli/place.h"
#include "proto/openssl_util.h"

#define PIECE MiB(1)

struct fetch_file {
	int dirfd, fd;
	char name[VAULT_NAME_MAX + 1], part[VAULT_NAME_MAX + 8];
	uint64_t bytes, done;
	uint8_t sha256[SEAL_HASH_LEN];
	EVP_MD_CTX *md;
};

void fetch_file_free(struct fetch_file *f)
{
	if (!f)
		return;
	close_fd(&f->fd);
	EVP_MD_CTX_free(f->md);
	free(f);
}

/* Hash what fd holds, at most `most` bytes. */
static int hash_rest(int fd, EVP_MD_CTX *md, uint64_t most, uint64_t *ret_done, struct error *e)
{
	AUTO(free_ptr) uint8_t *buffer = malloc(PIECE);
	ssize_t n = 0;

	*ret_done = 0;
	if (!buffer)
		return error_set(e, -ENOMEM, "cannot hash a file: out of memory");
	while (*ret_done < most && (n = read(fd, buffer, PIECE)) > 0) {
		if (EVP_DigestUpdate(md, buffer, (size_t)n) != 1)
			return error_set(e, -ENOMEM, "cannot hash a file: %s", openssl_reason());
		*ret_done += (uint64_t)n;
	}
	return n < 0 ? error_set(e, -errno, "cannot read a file: %m") : 0;
}

static bool has_hash(EVP_MD_CTX *md, const uint8_t sha256[static SEAL_HASH_LEN])
{
	uint8_t got[SEAL_HASH_LEN];
	unsigned int n = sizeof(got);

	return EVP_DigestFinal_ex(md, got, &n) == 1 && memcmp(got, sha256, sizeof(got)) == 0;
}

/* 1: NAME is there and whole; 0: it is not there. */
static int look_for(struct fetch_file *f, struct error *e)
{
	AUTO(close_fd)
	int fd = openat(f->dirfd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();
	struct stat st;
	uint64_t done;
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(e, -EEXIST, "'%s' is there already and is not a plain file",
				 f->name);
	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash a file: %s", openssl_reason());
	if ((uint64_t)st.st_size == f->bytes) {
		r = hash_rest(fd, md, UINT64_MAX, &done, e);
		if (r < 0)
			return r;
		if (has_hash(md, f->sha256))
			return 1;
	}
	r = error_set(e, -EEXIST, "'%s' is there already with other bytes", f->name);
	error_hint(e, "name another folder with --out");
	return r;
}

/* What an earlier fetch left; a file of more than there should be is begun anew. */
static int open_part(struct fetch_file *f, struct error *e)
{
	struct stat st;
	int r;

	f->fd = openat(f->dirfd, f->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		       0600);
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		return error_set(e, -errno, "cannot open '%s': %m", f->part);
	if (!S_ISREG(st.st_mode))
		return error_set(e, -EEXIST, "'%s' is not a plain file", f->part);
	if ((uint64_t)st.st_size > f->bytes && ftruncate(f->fd, 0) < 0)
		return error_set(e, -errno, "cannot cut '%s': %m", f->part);
	r = hash_rest(f->fd, f->md, f->bytes, &f->done, e);
	return r;
}

int fetch_file_open(int dirfd, const char *name, uint64_t bytes,
		    const uint8_t sha256[static SEAL_HASH_LEN], struct fetch_file **ret,
		    uint64_t *ret_offset, struct error *e)
{
	AUTO(fetch_file_free_ptr) struct fetch_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return error_set(e, -ENOMEM, "cannot fetch '%s': out of memory", name);
	f->dirfd = dirfd;
	f->fd = -1;
	f->bytes = bytes;
	memcpy(f->sha256, sha256, SEAL_HASH_LEN);
	(void)snprintf(f->name, sizeof(f->name), "%s", name);
	(void)snprintf(f->part, sizeof(f->part), "%s.part", name);
	r = look_for(f, e);
	if (r != 0)
		return r;
	f->md = EVP_MD_CTX_new();
	if (!f->md || EVP_DigestInit_ex(f->md, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash a file: %s", openssl_reason());
	r = open_part(f, e);
	if (r < 0)
		return r;
	*ret_offset = f->done;
	*ret = TAKE(f);
	return 0;
}

static bool all_zeros(const uint8_t *data, size_t len)
{
	return len > 0 && data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

int fetch_file_write(struct fetch_file *f, const uint8_t *data, size_t len, struct error *e)
{
	size_t at = 0;

	if (len > f->bytes - f->done)
		return error_set(e, -EBADMSG,
				 "the collector sends more than %" PRIu64 " bytes of '%s'",
				 f->bytes, f->name);
	if (EVP_DigestUpdate(f->md, data, len) != 1)
		return error_set(e, -ENOMEM, "cannot hash a file: %s", openssl_reason());
	/* A hole; the file has its length before it is synced. */
	while (at < len && !all_zeros(data, len)) {
		ssize_t n = pwrite(f->fd, data + at, len - at, (off_t)(f->done + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(e, -errno, "cannot write '%s': %m", f->part);
		at += (size_t)n;
	}
	f->done += len;
	/* An interrupted fetch goes on behind what the file's length says. */
	if (at < len && ftruncate(f->fd, (off_t)f->done) < 0)
		return error_set(e, -errno, "cannot write '%s': %m", f->part);
	return 0;
}

int fetch_file_finish(struct fetch_file *f, struct error *e)
{
	if (f->done != f->bytes)
		return error_set(e, -EBADMSG,
				 "the collector sent %" PRIu64 " of %" PRIu64 " bytes of '%s'",
				 f->done, f->bytes, f->name);
	if (!has_hash(f->md, f->sha256)) {
		(void)unlinkat(f->dirfd, f->part, 0);
		return error_set(e, -EBADMSG, "what came as '%s' does not have its SHA-256",
				 f->name);
	}
	if (place_read_only(f->fd) < 0 || fsync(f->fd) < 0)
		return error_set(e, -errno, "cannot sync '%s': %m", f->part);
	/* Nobody's file is replaced, whoever made it meanwhile. */
	return place_file(f->dirfd, f->part, f->name, e);
}
