/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/bundle_tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 512
#define NAME_LEN 100
#define PAX_MAX KiB(4)
#define OCTAL_MAX ((uint64_t)8589934591) /* 11 octal digits */
#define AT_NAME 0
#define AT_MODE 100
#define AT_UID 108
#define AT_GID 116
#define AT_SIZE 124
#define AT_MTIME 136
#define AT_SUM 148
#define AT_TYPE 156
#define AT_MAGIC 257

/* ---- writing ---- */

static int put(struct tar_out *t, const void *data, size_t len, struct error *e)
{
	if (fwrite(data, 1, len, t->out) != len)
		return error_set(e, errno ? -errno : -EIO, "cannot write the bundle: %m");
	t->bytes += len;
	return 0;
}

static int pad(struct tar_out *t, struct error *e)
{
	static const uint8_t zeros[BLOCK];
	size_t over = (size_t)(t->bytes % BLOCK);

	return over ? put(t, zeros, BLOCK - over, e) : 0;
}

static unsigned int sum_of(const uint8_t block[static BLOCK])
{
	unsigned int sum = 0;

	for (size_t i = 0; i < BLOCK; i++)
		sum += i >= AT_SUM && i < AT_SUM + 8 ? ' ' : block[i];
	return sum;
}

static int put_header(struct tar_out *t, const char *name, uint64_t size, char type,
		      struct error *e)
{
	uint8_t block[BLOCK] = { 0 };
	char text[32];
	size_t len = strlen(name);

	memcpy(block + AT_NAME, name, len < NAME_LEN ? len : NAME_LEN);
	memcpy(block + AT_MODE, "0000444", 7);
	memcpy(block + AT_UID, "0000000", 7);
	memcpy(block + AT_GID, "0000000", 7);
	(void)snprintf(text, sizeof(text), "%011" PRIo64, size <= OCTAL_MAX ? size : 0);
	memcpy(block + AT_SIZE, text, 11);
	(void)snprintf(text, sizeof(text), "%011" PRIo64,
		       (uint64_t)(t->mtime_s > 0 ? t->mtime_s : 0) & OCTAL_MAX);
	memcpy(block + AT_MTIME, text, 11);
	block[AT_TYPE] = (uint8_t)type;
	memcpy(block + AT_MAGIC, "ustar\00000", 8);
	(void)snprintf(text, sizeof(text), "%06o", sum_of(block));
	memcpy(block + AT_SUM, text, 7);
	block[AT_SUM + 7] = ' ';
	return put(t, block, sizeof(block), e);
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
static size_t pax_record(const char *key, const char *value, char *buf, size_t size)
{
	size_t len = strlen(key) + strlen(value) + 3, digits = 1;

	while (true) {
		char text[24];

		digits = (size_t)snprintf(text, sizeof(text), "%zu", len + digits);
		if ((size_t)snprintf(text, sizeof(text), "%zu", len + digits) == digits)
			break;
	}
	return (size_t)snprintf(buf, size, "%zu %s=%s\n", len + digits, key, value);
}

int tar_begin(struct tar_out *t, const char *path, uint64_t size, struct error *e)
{
	char name[sizeof(BUNDLE_FOLDER) + 1 + BUNDLE_PATH_MAX], records[2 * BUNDLE_PATH_MAX];
	size_t len = 0;
	int r = 0;

	if (t->left > 0)
		return error_set(e, -EINVAL, "a file of the bundle is not complete");
	(void)snprintf(name, sizeof(name), BUNDLE_FOLDER "/%s", path);
	if (strlen(name) > NAME_LEN)
		len = pax_record("path", name, records, sizeof(records));
	if (size > OCTAL_MAX) {
		char number[24];

		(void)snprintf(number, sizeof(number), "%" PRIu64, size);
		len += pax_record("size", number, records + len, sizeof(records) - len);
	}
	if (len > 0) {
		r = put_header(t, BUNDLE_FOLDER "/pax", len, 'x', e);
		if (r == 0)
			r = put(t, records, len, e);
		if (r == 0)
			r = pad(t, e);
	}
	t->left = size;
	return r == 0 ? put_header(t, name, size, '0', e) : r;
}

int tar_data(struct tar_out *t, const void *data, size_t len, struct error *e)
{
	if (len > t->left)
		return error_set(e, -EBADMSG, "a file of the bundle is longer than was said");
	t->left -= len;
	return put(t, data, len, e);
}

int tar_end_file(struct tar_out *t, struct error *e)
{
	if (t->left > 0)
		return error_set(e, -EBADMSG, "a file of the bundle is shorter than was said");
	return pad(t, e);
}

int tar_finish(struct tar_out *t, struct error *e)
{
	static const uint8_t zeros[2 * BLOCK];

	return put(t, zeros, sizeof(zeros), e);
}

/* ---- reading ---- */

static int read_at(int fd, uint64_t at, void *buf, size_t len, struct error *e)
{
	uint8_t *to = buf;

	while (len > 0) {
		ssize_t n = pread(fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(e, -errno, "cannot read the bundle: %m");
		if (n == 0)
			return error_set(e, -EBADMSG, "the file ends within a tar header");
		to += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Octal digits, ended by a blank, a NUL or the field. */
static bool octal(const uint8_t *field, size_t len, uint64_t *ret)
{
	size_t i = 0;

	*ret = 0;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		*ret = *ret * 8 + (uint64_t)(field[i] - '0');
	return i > 0 && (i == len || field[i] == ' ' || field[i] == '\0');
}

static bool all_zero(const uint8_t block[static BLOCK])
{
	for (size_t i = 0; i < BLOCK; i++)
		if (block[i] != 0)
			return false;
	return true;
}

/* Of the records only path and size count. */
static bool take_pax(const char *text, size_t len, struct tar_entry *ret, bool *has_path,
		     bool *has_size)
{
	for (size_t at = 0; at < len;) {
		size_t n = 0, i = at;
		const char *key, *equals, *end;

		for (; i < len && text[i] >= '0' && text[i] <= '9' && n < PAX_MAX; i++)
			n = n * 10 + (size_t)(text[i] - '0');
		if (i == at || i >= len || text[i] != ' ' || n > len - at || at + n <= i + 1 ||
		    text[at + n - 1] != '\n')
			return false;
		key = text + i + 1;
		end = text + at + n - 1;
		equals = memchr(key, '=', (size_t)(end - key));
		if (!equals)
			return false;
		if ((size_t)(equals - key) == 4 && memcmp(key, "path", 4) == 0) {
			size_t path = (size_t)(end - equals - 1);

			if (path >= sizeof(ret->path) || memchr(equals, '\0', path + 1))
				return false;
			memcpy(ret->path, equals + 1, path);
			ret->path[path] = '\0';
			*has_path = true;
		} else if ((size_t)(equals - key) == 4 && memcmp(key, "size", 4) == 0) {
			ret->size = 0;
			for (const char *c = equals + 1; c < end; c++) {
				if (*c < '0' || *c > '9' || ret->size > UINT64_MAX / 20)
					return false;
				ret->size = ret->size * 10 + (uint64_t)(*c - '0');
			}
			*has_size = true;
		}
		at += n;
	}
	return true;
}

static void take_name(const uint8_t block[static BLOCK], struct tar_entry *ret)
{
	size_t prefix = strnlen((const char *)block + 345, 155);

	(void)snprintf(ret->path, sizeof(ret->path), "%.*s%s%.*s", (int)prefix,
		       (const char *)block + 345, prefix ? "/" : "",
		       (int)strnlen((const char *)block, NAME_LEN), (const char *)block);
}

int tar_next(int fd, uint64_t *at, uint64_t file_size, struct tar_entry *ret, struct error *e)
{
	bool has_path = false, has_size = false;

	*ret = (struct tar_entry){ 0 };
	for (;;) {
		uint8_t block[BLOCK];
		uint64_t size, sum;
		int r = read_at(fd, *at, block, sizeof(block), e);

		if (r < 0)
			return r;
		if (all_zero(block))
			return 0;
		if (!octal(block + AT_SUM, 8, &sum) || sum != sum_of(block))
			return error_set(e, -EBADMSG, "the tar header has another checksum");
		if (!octal(block + AT_SIZE, 12, &size))
			return error_set(e, -EBADMSG, "the tar header's size is no number");
		if (has_size && block[AT_TYPE] != 'x')
			size = ret->size;
		if (size > file_size || *at + BLOCK > file_size - size)
			return error_set(e, -EBADMSG,
					 "the tar header's file is longer than the bundle");
		ret->offset = *at + BLOCK;
		*at = ret->offset + (size + BLOCK - 1) / BLOCK * BLOCK;
		if (block[AT_TYPE] == 'x') {
			char text[PAX_MAX];

			if (size > sizeof(text))
				return error_set(e, -EBADMSG, "a pax header is too long");
			r = read_at(fd, ret->offset, text, (size_t)size, e);
			if (r < 0)
				return r;
			if (!take_pax(text, (size_t)size, ret, &has_path, &has_size))
				return error_set(e, -EBADMSG, "a pax header cannot be read");
			continue;
		}
		if (!has_path)
			take_name(block, ret);
		ret->size = size;
		if (block[AT_TYPE] == '0' || block[AT_TYPE] == '\0')
			return 1;
		if (block[AT_TYPE] != '5')
			return error_set(e, -EBADMSG,
					 "'%.200s' is neither a plain file nor a folder",
					 ret->path);
		has_path = has_size = false;
	}
}
