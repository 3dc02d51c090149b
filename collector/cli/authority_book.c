/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/authority_book.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/files.h"

#define BOOK_FILE_MAX MiB(32)
#define KEPT_S (7 * 86400) /* beyond the end; nothing accepts it any more */

void book_release(struct book *b)
{
	free(b->entries);
	*b = (struct book){ 0 };
}

const struct book_entry *book_find(const struct book *b, const char *serial)
{
	for (size_t i = 0; i < b->n; i++)
		if (strcmp(b->entries[i].serial, serial) == 0)
			return &b->entries[i];
	return NULL;
}

int book_add(struct book *b, const struct book_entry *entry, struct error *e)
{
	if (book_find(b, entry->serial))
		return 0;
	if (b->n == b->room) {
		size_t room = b->room ? b->room * 2 : 64;
		struct book_entry *more = reallocarray(b->entries, room, sizeof(*more));

		if (!more)
			return error_set(e, -ENOMEM, "cannot remember a certificate: %m");
		b->entries = more;
		b->room = room;
	}
	b->entries[b->n++] = *entry;
	return 0;
}

static bool copy_word(char **rest, char *out, size_t size)
{
	const char *word = strsep(rest, " ");
	size_t len = word ? strlen(word) : 0;

	if (len == 0 || len >= size)
		return false;
	memcpy(out, word, len + 1);
	return true;
}

static bool parse_line(char *line, struct book_entry *ret)
{
	char number[24], *rest = line, *end;

	*ret = (struct book_entry){ 0 };
	if (!copy_word(&rest, number, sizeof(number)) ||
	    !copy_word(&rest, ret->serial, sizeof(ret->serial)) ||
	    !copy_word(&rest, ret->use, sizeof(ret->use)) ||
	    !copy_word(&rest, ret->name, sizeof(ret->name)) || rest)
		return false;
	errno = 0;
	ret->not_after_s = strtoll(number, &end, 10);
	return errno == 0 && end != number && *end == '\0';
}

static int parse(char *text, const char *path, struct book *b, struct error *e)
{
	char *rest = text, *line;
	struct book_entry entry;
	unsigned int number = 0;

	while ((line = strsep(&rest, "\n")) != NULL) {
		int r;

		number++;
		if (!line[0])
			continue;
		if (!parse_line(line, &entry))
			return error_set(e, -EBADMSG, "%s:%u: not a line of this file", path,
					 number);
		r = book_add(b, &entry, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int book_load(const char *path, struct book *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len;
	int r;

	*ret = (struct book){ 0 };
	if (access(path, F_OK) != 0)
		return 0;
	r = files_read(path, BOOK_FILE_MAX, &text, &len, e);
	if (r >= 0)
		r = parse((char *)text, path, ret, e);
	if (r < 0)
		book_release(ret);
	return r < 0 ? r : 0;
}

int book_save(const struct book *b, const char *path, int64_t now_s, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool bad;

	if (!out)
		return error_set(e, -ENOMEM, "cannot write '%s': %m", path);
	for (size_t i = 0; i < b->n; i++) {
		const struct book_entry *x = &b->entries[i];

		if (!x->not_after_s || now_s - x->not_after_s < KEPT_S)
			(void)fprintf(out, "%" PRId64 " %s %s %s\n", x->not_after_s, x->serial,
				      x->use, x->name);
	}
	bad = ferror(out) != 0;
	if (fclose(out) != 0 || bad)
		return error_set(e, -ENOMEM, "cannot write '%s': out of memory", path);
	return files_replace(path, text, len, 0600, e);
}
