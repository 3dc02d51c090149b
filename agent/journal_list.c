/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/journal_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define DAMAGED ".damaged"
#define DIGITS 16
#define TEMPORARY_LEN 6 /* of mkstemp's XXXXXX */

static bool parse_number(const char *text, uint64_t *ret)
{
	uint64_t n = 0;

	for (size_t i = 0; i < DIGITS; i++) {
		const char *digit = text[i] ? strchr("0123456789abcdef", text[i]) : NULL;

		if (!digit)
			return false;
		n = n << 4 | (uint64_t)(digit - "0123456789abcdef");
	}
	*ret = n;
	return true;
}

bool journal_name_parse(const char *text, struct journal_name *ret)
{
	static const struct {
		const char *prefix;
		enum batch_lane lane;
	} lanes[] = { { "critical-", BATCH_LANE_CRITICAL }, { "bulk-", BATCH_LANE_BULK } };

	for (size_t i = 0; i < ARRAY_LEN(lanes); i++) {
		size_t len = strlen(lanes[i].prefix);
		const char *end = text + len + DIGITS;

		if (strncmp(text, lanes[i].prefix, len) != 0 ||
		    !parse_number(text + len, &ret->number))
			continue;
		if (strcmp(end, ".jrn") != 0 && strcmp(end, ".tomb") != 0)
			return false;
		ret->tombstone = end[1] == 't';
		ret->lane = lanes[i].lane;
		(void)snprintf(ret->text, sizeof(ret->text), "%s", text);
		return ret->number > 0 && ret->number < JOURNAL_POSITION_MAX;
	}
	return false;
}

/* NAME.XXXXXX, which files_replace leaves when it is cut. */
static bool is_temporary(const char *text)
{
	const char *dot = strrchr(text, '.');
	char stem[JOURNAL_NAME_MAX];
	struct journal_name name;

	if (!dot || strlen(dot + 1) != TEMPORARY_LEN || (size_t)(dot - text) >= sizeof(stem))
		return false;
	(void)snprintf(stem, sizeof(stem), "%.*s", (int)(dot - text), text);
	return strcmp(stem, "epoch") == 0 || strcmp(stem, "acks") == 0 ||
	       journal_name_parse(stem, &name);
}

/* A file that was set aside: its number is not to be used again. */
static bool parse_damaged(const char *text, struct journal_name *ret)
{
	size_t len = strlen(text);
	char stem[JOURNAL_NAME_MAX];

	if (len <= strlen(DAMAGED) || strcmp(text + len - strlen(DAMAGED), DAMAGED) != 0 ||
	    len - strlen(DAMAGED) >= sizeof(stem))
		return false;
	(void)snprintf(stem, sizeof(stem), "%.*s", (int)(len - strlen(DAMAGED)), text);
	return journal_name_parse(stem, ret);
}

static int add_leftover(struct journal_names *n, const char *text)
{
	size_t max = n->max_leftovers > 0 ? n->max_leftovers * 2 : 16;

	if (n->n_leftovers == n->max_leftovers) {
		void *p = reallocarray(n->leftovers, max, sizeof(n->leftovers[0]));

		if (!p)
			return -ENOMEM;
		n->leftovers = p;
		n->max_leftovers = max;
	}
	(void)snprintf(n->leftovers[n->n_leftovers++], sizeof(n->leftovers[0]), "%s", text);
	return 0;
}

static int add_name(struct journal_names *n, const struct journal_name *name)
{
	size_t max = n->max > 0 ? n->max * 2 : 64;

	if (n->n == JOURNAL_NAMES_MAX)
		return -E2BIG;
	if (n->n == n->max) {
		struct journal_name *p = reallocarray(n->at, max, sizeof(*p));

		if (!p)
			return -ENOMEM;
		n->at = p;
		n->max = max;
	}
	n->at[n->n++] = *name;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const struct journal_name *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static void raise_next(struct journal_names *n, const struct journal_name *name)
{
	if (!name->tombstone && name->number >= n->next_file)
		n->next_file = name->number + 1;
}

/* damaged: the files set aside so far; only the newest are kept. */
static int add_entry(struct journal_names *n, const char *text, struct journal_names *damaged)
{
	struct journal_name name;
	int r = 0;

	if (journal_name_parse(text, &name)) {
		raise_next(n, &name);
		r = add_name(n, &name);
	} else if (parse_damaged(text, &name)) {
		raise_next(n, &name);
		r = add_name(damaged, &name);
	} else if (is_temporary(text)) {
		r = add_leftover(n, text);
	}
	return r;
}

static int drop_old_damaged(struct journal_names *n, struct journal_names *damaged)
{
	size_t drop = damaged->n > JOURNAL_DAMAGED_KEPT ? damaged->n - JOURNAL_DAMAGED_KEPT : 0;
	char text[JOURNAL_NAME_MAX + sizeof(DAMAGED)];
	int r = 0;

	if (drop > 0)
		qsort(damaged->at, damaged->n, sizeof(damaged->at[0]), by_number);
	for (size_t i = 0; r == 0 && i < drop; i++) {
		(void)snprintf(text, sizeof(text), "%s%s", damaged->at[i].text, DAMAGED);
		r = add_leftover(n, text);
	}
	return r;
}

static void close_dir(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

static int read_entries(DIR *d, struct journal_names *n, struct journal_names *damaged)
{
	for (;;) {
		const struct dirent *entry;
		int r;

		errno = 0;
		entry = readdir(d);
		if (!entry)
			return -errno;
		r = add_entry(n, entry->d_name, damaged);
		if (r < 0)
			return r;
	}
}

int journal_list(int dir_fd, const char *dir, struct journal_names *ret, struct error *e)
{
	AUTO(journal_names_release) struct journal_names damaged = { 0 };
	AUTO(close_fd) int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO(close_dir) DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	int r;

	if (!d)
		return error_set(e, -errno, "cannot read the journal's folder '%s': %m", dir);
	(void)take_fd(&fd); /* closedir closes it */
	ret->next_file = 1;
	r = read_entries(d, ret, &damaged);
	if (r == 0)
		r = drop_old_damaged(ret, &damaged);
	if (r < 0)
		return error_set(e, r, "cannot read the journal's folder '%s': %m", dir);
	if (ret->n > 0)
		qsort(ret->at, ret->n, sizeof(ret->at[0]), by_number);
	return 0;
}

void journal_names_release(struct journal_names *n)
{
	free(n->at);
	free(n->leftovers);
	*n = (struct journal_names){ 0 };
}
