/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/mounts.h"

#include <string.h>

static const struct {
	const char *type; /* ending in "*": everything that begins so */
	enum mount_kind kind;
} kinds[] = {
	{ "autofs", MOUNT_PSEUDO },     { "binfmt_misc", MOUNT_PSEUDO },
	{ "bpf", MOUNT_PSEUDO },        { "cgroup", MOUNT_PSEUDO },
	{ "cgroup2", MOUNT_PSEUDO },    { "configfs", MOUNT_PSEUDO },
	{ "debugfs", MOUNT_PSEUDO },    { "devpts", MOUNT_PSEUDO },
	{ "efivarfs", MOUNT_PSEUDO },   { "fusectl", MOUNT_PSEUDO },
	{ "hugetlbfs", MOUNT_PSEUDO },  { "mqueue", MOUNT_PSEUDO },
	{ "nfsd", MOUNT_PSEUDO },       { "nsfs", MOUNT_PSEUDO },
	{ "proc", MOUNT_PSEUDO },       { "pstore", MOUNT_PSEUDO },
	{ "resctrl", MOUNT_PSEUDO },    { "rpc_pipefs", MOUNT_PSEUDO },
	{ "securityfs", MOUNT_PSEUDO }, { "selinuxfs", MOUNT_PSEUDO },
	{ "smackfs", MOUNT_PSEUDO },    { "sysfs", MOUNT_PSEUDO },
	{ "tracefs", MOUNT_PSEUDO },    { "devtmpfs", MOUNT_DEVICES },
	{ "9p", MOUNT_REMOTE },         { "afs", MOUNT_REMOTE },
	{ "ceph", MOUNT_REMOTE },       { "cifs", MOUNT_REMOTE },
	{ "fuse", MOUNT_REMOTE },       { "fuse.*", MOUNT_REMOTE },
	{ "gfs2", MOUNT_REMOTE },       { "glusterfs", MOUNT_REMOTE },
	{ "lustre", MOUNT_REMOTE },     { "nfs", MOUNT_REMOTE },
	{ "nfs4", MOUNT_REMOTE },       { "ocfs2", MOUNT_REMOTE },
	{ "smb3", MOUNT_REMOTE },       { "virtiofs", MOUNT_REMOTE },
};

static bool type_is(const char *type, const char *pattern)
{
	size_t len = strlen(pattern);

	return pattern[len - 1] == '*' ? !strncmp(type, pattern, len - 1) : !strcmp(type, pattern);
}

enum mount_kind mounts_kind(const char *type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (type_is(type, kinds[i].type))
			return kinds[i].kind;
	return MOUNT_LOCAL;
}

/* The next field of a line, which it skips together with the blank behind it. */
static struct bytes field(struct reader *line)
{
	const uint8_t *end = line->left ? memchr(line->at, ' ', line->left) : NULL;
	size_t len = end ? (size_t)(end - line->at) : line->left;
	struct bytes b = { .at = reader_bytes(line, len), .len = len };

	if (end)
		reader_skip(line, 1);
	return b;
}

static bool is_octal(uint8_t c)
{
	return c >= '0' && c <= '7';
}

/* \040 is a blank, and so on (fs/proc_namespace.c mangles blank, tab, newline, backslash, #). */
static bool copy_text(struct bytes from, char *to, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < from.len; n++) {
		const uint8_t *at = from.at + i;

		if (n + 1 >= size)
			return false;
		if (at[0] == '\\' && from.len - i >= 4 && is_octal(at[1]) && is_octal(at[2]) &&
		    is_octal(at[3])) {
			to[n] = (char)((at[1] - '0') << 6 | (at[2] - '0') << 3 | (at[3] - '0'));
			i += 4;
		} else {
			to[n] = (char)at[0];
			i++;
		}
		if (!to[n])
			return false;
	}
	to[n] = 0;
	return n > 0;
}

static bool parse_number(struct bytes b, uint32_t *ret)
{
	uint64_t value = 0;

	if (!b.len || b.len > 10)
		return false;
	for (size_t i = 0; i < b.len; i++) {
		if (b.at[i] < '0' || b.at[i] > '9')
			return false;
		value = value * 10 + (b.at[i] - '0');
	}
	*ret = (uint32_t)value;
	return value <= UINT32_MAX;
}

static bool parse_device(struct bytes b, struct mount *ret)
{
	const uint8_t *colon = b.len ? memchr(b.at, ':', b.len) : NULL;
	size_t major_len = colon ? (size_t)(colon - b.at) : 0;

	return colon && parse_number((struct bytes){ b.at, major_len }, &ret->dev_major) &&
	       parse_number((struct bytes){ colon + 1, b.len - major_len - 1 }, &ret->dev_minor);
}

static bool is(struct bytes b, const char *text)
{
	return b.len == strlen(text) && !memcmp(b.at, text, b.len);
}

/* The value of an option NAME=VALUE, an absolute path; else empty. A comma in it is escaped. */
static void copy_path(struct bytes options, const char *name, char ret[static PATH_MAX])
{
	struct reader r = reader_init(options.at, options.len);
	size_t len = strlen(name);

	ret[0] = 0;
	while (r.left) {
		const uint8_t *end = memchr(r.at, ',', r.left);
		struct bytes option = { .len = end ? (size_t)(end - r.at) : r.left };

		option.at = reader_bytes(&r, option.len);
		reader_skip(&r, end ? 1 : 0);
		if (option.len <= len + 1 || memcmp(option.at, name, len) != 0 ||
		    option.at[len] != '=' || option.at[len + 1] != '/')
			continue;
		option.at += len + 1;
		option.len -= len + 1;
		if (!copy_text(option, ret, PATH_MAX))
			ret[0] = 0;
		return;
	}
}

/* ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE SUPER-OPTIONS */
static bool parse_line(struct reader line, struct mount *ret)
{
	if (!parse_number(field(&line), &ret->id))
		return false;
	(void)field(&line);
	if (!parse_device(field(&line), ret) ||
	    !copy_text(field(&line), ret->root, sizeof(ret->root)) ||
	    !copy_text(field(&line), ret->point, sizeof(ret->point)))
		return false;
	(void)field(&line);
	while (line.left && !is(field(&line), "-"))
		;
	if (!copy_text(field(&line), ret->type, sizeof(ret->type)))
		return false;
	(void)field(&line);
	struct bytes options = field(&line);

	ret->options = options;
	ret->upper[0] = ret->work[0] = 0;
	if (!strcmp(ret->type, "overlay")) {
		copy_path(options, "upperdir", ret->upper);
		copy_path(options, "workdir", ret->work);
	}
	ret->read_only = options.len >= 2 && !memcmp(options.at, "ro", 2) &&
			 (options.len == 2 || options.at[2] == ',');
	return ret->point[0] == '/' && options.len;
}

bool mounts_next(struct reader *r, struct mount *ret)
{
	while (r->left && !r->bad) {
		const uint8_t *end = memchr(r->at, '\n', r->left);
		struct reader line = reader_sub(r, end ? (size_t)(end - r->at) : r->left);

		reader_skip(r, end ? 1 : 0);
		if (parse_line(line, ret))
			return true;
	}
	return false;
}
