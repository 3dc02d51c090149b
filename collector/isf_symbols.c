/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/isf_symbols.h"

#include <errno.h>
#include <string.h>

#define TEXT_LINKED 0xffffffff81000000ULL /* _text without KASLR on x86-64 */
#define OFFSET_KEY "KERNELOFFSET="
#define SYMBOL_KEY "SYMBOL(kallsyms_"

struct isf_symbols {
	char *text, *note; /* copies; lines end in NUL */
	struct isf_symbol *all;
	uint32_t *by_name; /* each name once: the first of the listing */
	uint64_t *addresses; /* ascending */
	size_t n, room, n_names;
	uint64_t shift;
};

static int out_of_memory(struct error *e)
{
	return error_set(e, -ENOMEM, "cannot read the kernel's symbols: out of memory");
}

static bool plain(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text > '~' || *text == '"' || *text == '\\')
			return false;
	return true;
}

/* 1..16 hexadecimal digits and end after them. Returns what follows end, or NULL. */
static char *take_hex(char *at, char end, uint64_t *ret)
{
	uint64_t value = 0;
	int digits = 0;

	for (;; at++, digits++) {
		unsigned int digit;

		if (*at >= '0' && *at <= '9')
			digit = (unsigned int)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			digit = (unsigned int)(*at - 'a') + 10;
		else
			break;
		value = value << 4 | digit;
	}
	if (digits < 1 || digits > 16 || *at != end)
		return NULL;
	*ret = value;
	return end == '\0' ? at : at + 1;
}

static int add(struct isf_symbols *s, uint64_t address, char type, const char *name,
	       struct error *e)
{
	if (s->n == ISF_SYMBOLS_MAX)
		return error_set(e, -EBADMSG, "the kernel's symbol list has more than %u lines",
				 ISF_SYMBOLS_MAX);
	if (s->n == s->room) {
		size_t room = s->room == 0 ? 65536 : 2 * s->room;
		struct isf_symbol *all = reallocarray(s->all, room, sizeof(*all));

		if (all == NULL)
			return out_of_memory(e);
		s->all = all;
		s->room = room;
	}
	s->all[s->n++] = (struct isf_symbol){ .address = address, .name = name, .type = type };
	return 0;
}

/* ADDRESS SPACE TYPE SPACE NAME [TAB [MODULE]] */
static int take_line(struct isf_symbols *s, char *line, size_t number, struct error *e)
{
	uint64_t address = 0;
	char *type = take_hex(line, ' ', &address);

	if (type == NULL || type[0] == '\0' || type[1] != ' ')
		return error_set(e, -EBADMSG, "line %zu of the kernel's symbol list is malformed",
				 number);
	char *name = type + 2;

	if (strchr(name, '\t') != NULL)
		return 0; /* of a module or a BPF program */
	if (name[0] == '\0' || !plain(name))
		return error_set(e, -EBADMSG, "line %zu of the kernel's symbol list has no name",
				 number);
	return add(s, address, type[0], name, e);
}

/* A copy of the text with NUL for each end of a line. Embedded NULs end lines too. */
static char *copy_lines(const void *data, size_t len)
{
	char *text = malloc(len + 1);

	if (text == NULL)
		return NULL;
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\n')
			text[i] = '\0';
	return text;
}

static int take_listing(struct isf_symbols *s, size_t len, struct error *e)
{
	size_t number = 0;

	for (char *line = s->text; line < s->text + len; line += strlen(line) + 1) {
		int r = line[0] == '\0' ? 0 : take_line(s, line, ++number, e);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The kernel leaves kallsyms' own tables out of kallsyms and names them here (6.0 and later). */
static int take_note(struct isf_symbols *s, size_t len, bool *ret_shift, struct error *e)
{
	for (char *line = s->note; line < s->note + len; line += strlen(line) + 1) {
		uint64_t value;

		if (strncmp(line, OFFSET_KEY, strlen(OFFSET_KEY)) == 0 &&
		    take_hex(line + strlen(OFFSET_KEY), '\0', &value) != NULL) {
			s->shift = value;
			*ret_shift = true;
		}
		char *close = strstr(line, ")=");

		if (strncmp(line, SYMBOL_KEY, strlen(SYMBOL_KEY)) != 0 || close == NULL ||
		    take_hex(close + 2, '\0', &value) == NULL)
			continue;
		*close = '\0';
		const char *name = line + strlen("SYMBOL(");
		int r = plain(name) ? add(s, value, 'R', name, e) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_names(const void *a, const void *b, void *ctx)
{
	const struct isf_symbols *s = ctx;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	int r = strcmp(s->all[x].name, s->all[y].name);

	return r != 0 ? r : x < y ? -1 : x > y;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int sort(struct isf_symbols *s, struct error *e)
{
	s->by_name = calloc(s->n + 1, sizeof(*s->by_name));
	s->addresses = calloc(s->n + 1, sizeof(*s->addresses));
	if (s->by_name == NULL || s->addresses == NULL)
		return out_of_memory(e);
	for (size_t i = 0; i < s->n; i++) {
		s->by_name[i] = (uint32_t)i;
		s->addresses[i] = s->all[i].address;
	}
	qsort_r(s->by_name, s->n, sizeof(*s->by_name), compare_names, s);
	qsort(s->addresses, s->n, sizeof(*s->addresses), compare_numbers);
	for (size_t i = 0; i < s->n; i++) {
		uint32_t at = s->by_name[i];

		if (s->n_names == 0 ||
		    strcmp(s->all[s->by_name[s->n_names - 1]].name, s->all[at].name) != 0)
			s->by_name[s->n_names++] = at;
	}
	return 0;
}

static int check(struct isf_symbols *s, bool has_shift, struct error *e)
{
	const struct isf_symbol *text = isf_symbols_find(s, "_text");

	if (s->n == 0 || (text != NULL && text->address == 0)) {
		int r = error_set(e, -ENODATA, "the kernel's symbol list has no addresses");

		error_hint(e, "set kernel.kptr_restrict to 1 or 0 on the host and acquire again");
		return r;
	}
	if (!has_shift && text == NULL)
		return error_set(e, -EBADMSG, "the kernel's symbol list does not name _text");
	if (!has_shift)
		s->shift = text->address - TEXT_LINKED;
	return 0;
}

int isf_symbols_new(const void *kallsyms, size_t len, const void *vmcoreinfo, size_t vmcoreinfo_len,
		    struct isf_symbols **ret, struct error *e)
{
	AUTO(isf_symbols_free_ptr) struct isf_symbols *s = calloc(1, sizeof(*s));
	bool has_shift = false;

	if (len > ISF_KALLSYMS_MAX || vmcoreinfo_len > ISF_VMCOREINFO_MAX)
		return error_set(e, -EBADMSG,
				 "the kernel's symbol list is larger than any kernel's");
	if (s != NULL) {
		s->text = copy_lines(kallsyms, len);
		s->note = copy_lines(vmcoreinfo, vmcoreinfo_len);
	}
	if (s == NULL || s->text == NULL || s->note == NULL)
		return out_of_memory(e);
	int r = take_listing(s, len, e);

	if (r == 0)
		r = take_note(s, vmcoreinfo_len, &has_shift, e);
	if (r == 0)
		r = sort(s, e);
	if (r == 0)
		r = check(s, has_shift, e);
	if (r == 0)
		*ret = TAKE(s);
	return r;
}

void isf_symbols_free(struct isf_symbols *s)
{
	if (s == NULL)
		return;
	free(s->text);
	free(s->note);
	free(s->all);
	free(s->by_name);
	free(s->addresses);
	free(s);
}

uint64_t isf_symbols_shift(const struct isf_symbols *s)
{
	return s->shift;
}

const struct isf_symbol *isf_symbols_at(const struct isf_symbols *s, size_t i)
{
	return i < s->n_names ? &s->all[s->by_name[i]] : NULL;
}

const struct isf_symbol *isf_symbols_find(const struct isf_symbols *s, const char *name)
{
	size_t low = 0, high = s->n_names;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct isf_symbol *at = &s->all[s->by_name[middle]];
		int r = strcmp(at->name, name);

		if (r == 0)
			return at;
		if (r < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

uint64_t isf_symbols_room(const struct isf_symbols *s, const struct isf_symbol *symbol)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->addresses[middle] <= symbol->address)
			low = middle + 1;
		else
			high = middle;
	}
	return low == s->n ? 0 : s->addresses[low] - symbol->address;
}
