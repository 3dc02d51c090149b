/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_deny.h"

#include "proto/base/files.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define FILE_BYTES_MAX MiB(8)
#define ENTRY_MAX (IDENTITY_PART_MAX + 2)

/* "h" or "s" and the value, so that one sorted array answers both questions. */
struct entry {
	char text[ENTRY_MAX];
};

struct rpc_deny {
	size_t n;
	struct entry *entry;
};

void rpc_deny_free(struct rpc_deny *d)
{
	if (d == NULL)
		return;
	free(d->entry);
	free(d);
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return strcmp(x->text, y->text);
}

static bool set_serial(struct entry *out, const char *value)
{
	size_t len;

	while (value[0] == '0' && value[1] != '\0')
		value++;
	len = strlen(value);
	if (len == 0 || len > IDENTITY_SERIAL_MAX || strspn(value, "0123456789abcdefABCDEF") != len)
		return false;
	out->text[0] = 's';
	for (size_t i = 0; i <= len; i++)
		out->text[i + 1] = (char)tolower((unsigned char)value[i]);
	return true;
}

static bool set_host(struct entry *out, const char *value)
{
	size_t len = strlen(value);

	if (!identity_part_valid(value, len))
		return false;
	out->text[0] = 'h';
	memcpy(out->text + 1, value, len + 1);
	return true;
}

/* 1: *out is filled; 0: nothing on this line; -EINVAL. */
static int parse_line(char *line, struct entry *out)
{
	static const struct {
		const char *word;
		bool (*set)(struct entry *out, const char *value);
	} rows[] = { { "serial", set_serial }, { "host", set_host } };
	char *save = line, *word, *value;

	line[strcspn(line, "#\r")] = '\0';
	do {
		word = strsep(&save, " \t");
	} while (word != NULL && *word == '\0');
	if (word == NULL)
		return 0;
	value = save != NULL ? save + strspn(save, " \t") : word + strlen(word);
	value[strcspn(value, " \t")] = '\0'; /* what follows the value is a remark */
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strcmp(word, rows[i].word) == 0)
			return rows[i].set(out, value) ? 1 : -EINVAL;
	}
	return -EINVAL;
}

static int parse(struct rpc_deny *d, const char *path, char *text, struct error *e)
{
	unsigned int number = 0;
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n")) != NULL) {
		int r;

		number++;
		if (d->n == RPC_DENY_MAX)
			return error_set(e, -E2BIG, "%s:%u: more than %d entries", path, number,
					 RPC_DENY_MAX);
		r = parse_line(line, &d->entry[d->n]);
		if (r < 0) {
			error_set(e, r, "%s:%u: not an entry of a deny list", path, number);
			error_hint(e, "write 'serial HEX' or 'host ID'");
			return r;
		}
		d->n += (size_t)r;
	}
	return 0;
}

static size_t count_lines(const char *text)
{
	size_t n = 1;

	for (; (text = strchr(text, '\n')) != NULL; text++)
		n++;
	return n < RPC_DENY_MAX ? n : RPC_DENY_MAX;
}

static int load(struct rpc_deny *d, const char *path, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len;
	int r = files_read(path, FILE_BYTES_MAX, &text, &len, e);

	if (r < 0)
		return r;
	if (strlen((char *)text) != len)
		return error_set(e, -EINVAL, "'%s' holds a NUL byte", path);
	d->entry = calloc(count_lines((char *)text), sizeof(*d->entry));
	if (d->entry == NULL)
		return error_set(e, -ENOMEM, "cannot load '%s': %m", path);
	r = parse(d, path, (char *)text, e);
	if (r >= 0)
		qsort(d->entry, d->n, sizeof(*d->entry), compare);
	return r;
}

int rpc_deny_load(const char *path, struct rpc_deny **ret, struct error *e)
{
	struct rpc_deny *d = calloc(1, sizeof(*d));
	int r = d != NULL ? 0 : error_set(e, -ENOMEM, "cannot load the deny list: %m");

	if (r >= 0 && path != NULL)
		r = load(d, path, e);
	if (r < 0) {
		rpc_deny_free(d);
		return error_wrap(e, r, "cannot load the deny list");
	}
	*ret = d;
	return 0;
}

static bool listed(const struct rpc_deny *d, char kind, const char *value)
{
	struct entry key = { 0 };

	(void)snprintf(key.text, sizeof(key.text), "%c%s", kind, value);
	return d->n > 0 && bsearch(&key, d->entry, d->n, sizeof(*d->entry), compare) != NULL;
}

bool rpc_deny_matches(const struct rpc_deny *d, const struct identity *id)
{
	return listed(d, 's', id->serial) ||
	       (id->kind == IDENTITY_HOST && listed(d, 'h', id->name));
}
