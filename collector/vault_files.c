/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#include "collector/vault_internal.h"
#include "proto/base/hex.h"
#include "proto/openssl_util.h"

void vault_hex(const uint8_t *data, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[data[i] >> 4];
		out[2 * i + 1] = digits[data[i] & 15];
	}
	out[2 * len] = '\0';
}

bool vault_unhex(const char *text, uint8_t *out, size_t len)
{
	return strlen(text) == 2 * len && hex_parse(text, out, len);
}

const char *vault_id_text(const uint8_t id[static VAULT_ID_LEN], char buf[static VAULT_ID_TEXT])
{
	vault_hex(id, VAULT_ID_LEN, buf);
	return buf;
}

bool vault_id_parse(const char *text, uint8_t ret[static VAULT_ID_LEN])
{
	return vault_unhex(text, ret, VAULT_ID_LEN);
}

bool vault_name_valid(const void *name, size_t len)
{
	const char *text = name;

	if (len == 0 || len > VAULT_NAME_MAX || text[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

bool vault_name_reserved(const void *name, size_t len)
{
	static const char *const reserved[] = { VAULT_FILE_RECORD,    VAULT_FILE_MANIFEST,
						VAULT_FILE_SIGNATURE, VAULT_FILE_CHUNKS,
						VAULT_FILE_HOLD,      VAULT_FILE_ARCHIVE,
						"SHA256SUMS",         "case.jsonld" };
	static const char part[] = ".part";

	for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
		if (strlen(reserved[i]) == len && memcmp(reserved[i], name, len) == 0)
			return true;
	return len >= sizeof(part) - 1 &&
	       memcmp((const char *)name + len - (sizeof(part) - 1), part, sizeof(part) - 1) == 0;
}

/* The folder's name is bounded when the vault is opened, all others by their rules: it fits. */
void vault_path(const struct vault *v, char out[static PATH_MAX], const char *fmt, ...)
{
	int n = snprintf(out, PATH_MAX, "%s/", v->dir);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(out + n, PATH_MAX - (size_t)n, fmt, args);
	va_end(args);
}

void vault_tenant_path(const struct vault *v, const struct batch_name *tenant,
		       char out[static PATH_MAX], const char *sub, const uint8_t *id,
		       const char *leaf)
{
	char text[VAULT_ID_TEXT] = "";

	if (id != NULL)
		(void)vault_id_text(id, text);
	vault_path(v, out, "%.*s/%s%s%s%s%s", tenant->len, (const char *)tenant->b, sub,
		   id != NULL ? "/" : "", text, leaf != NULL ? "/" : "", leaf != NULL ? leaf : "");
}

void vault_object_path(const struct vault *v, const struct batch_name *tenant,
		       const uint8_t hash[static SEAL_HASH_LEN], char out[static PATH_MAX])
{
	char text[2 * SEAL_HASH_LEN + 1];

	vault_hex(hash, SEAL_HASH_LEN, text);
	vault_path(v, out, "%.*s/sha256/%.2s/%s", tenant->len, (const char *)tenant->b, text, text);
}

/* ENOTTY, EOPNOTSUPP: this file system has none; EPERM: not without CAP_LINUX_IMMUTABLE. Modes and hashes are
 * what the vault relies on, this only makes mistakes harder. */
void vault_protect(const char *path, bool on)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int flags = 0;

	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return;
	int wanted = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;

	if (wanted != flags)
		(void)ioctl(fd, FS_IOC_SETFLAGS, &wanted);
}

int vault_room(const struct vault *v, uint64_t len, struct error *e)
{
	struct statvfs s;
	int r;

	if (statvfs(v->dir, &s) < 0)
		return error_set(e, -errno, "cannot see how full the file system of '%s' is: %m",
				 v->dir);
	uint64_t left = (uint64_t)s.f_bavail * s.f_frsize;

	if (left >= len && left - len >= v->c.reserve_bytes)
		return 0;
	r = error_set(
		e, -ENOSPC,
		"the vault's file system is full: '%s' has %llu MiB left, and %llu MiB are reserved",
		v->dir, (unsigned long long)(left >> 20),
		(unsigned long long)(v->c.reserve_bytes >> 20));
	error_hint(e, "make room there; the upload then goes on where it stopped");
	return r;
}

int vault_each_name(const char *path, int (*fn)(void *ctx, const char *name), void *ctx,
		    struct error *e)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	int r = 0;

	if (d == NULL && errno == ENOENT)
		return 0;
	if (d == NULL)
		return error_set(e, -errno, "cannot list '%s': %m", path);
	while (r == 0 && (errno = 0, entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.')
			r = fn(ctx, entry->d_name);
	if (r == 0 && errno != 0)
		r = error_set(e, -errno, "cannot list '%s': %m", path);
	(void)closedir(d);
	return r;
}

int vault_remove_folder(const char *path, struct error *e)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	int r = 0;

	if (d == NULL && errno == ENOENT)
		return 0;
	if (d == NULL)
		return error_set(e, -errno, "cannot list '%s': %m", path);
	while (r == 0 && (errno = 0, entry = readdir(d)) != NULL) {
		char name[PATH_MAX];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if ((size_t)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) >=
		    sizeof(name))
			r = error_set(e, -ENAMETOOLONG, "cannot remove '%s': %m", path);
		else {
			vault_protect(name, false);
			if (unlink(name) < 0)
				r = error_set(e, -errno, "cannot remove '%s': %m", name);
		}
	}
	if (r == 0 && errno != 0)
		r = error_set(e, -errno, "cannot list '%s': %m", path);
	(void)closedir(d);
	if (r == 0 && rmdir(path) < 0)
		r = error_set(e, -errno, "cannot remove '%s': %m", path);
	return r;
}

int vault_file_hash(const char *path, struct seal_hash *ret, struct error *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t buffer[KiB(16)];
	unsigned int len = SEAL_HASH_LEN;
	ssize_t n = 0;

	if (fd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", path);
	if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash '%s': %s", path, openssl_reason());
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		if (EVP_DigestUpdate(md, buffer, (size_t)n) != 1)
			return error_set(e, -ENOMEM, "cannot hash '%s': %s", path,
					 openssl_reason());
	if (n < 0)
		return error_set(e, -errno, "cannot read '%s': %m", path);
	return EVP_DigestFinal_ex(md, ret->b, &len) == 1 ?
		       0 :
		       error_set(e, -ENOMEM, "cannot hash '%s': %s", path, openssl_reason());
}
