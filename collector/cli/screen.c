/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/screen.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "proto/base/utf8.h"

#define WIDTH_DEFAULT 120
#define CELL_MAX 4096 /* bytes of a formatted cell */
#define ESCAPE_MAX 16

static const char *const colors[] = {
	[COLOR_NONE] = "",          [COLOR_BOLD] = "\033[1m",   [COLOR_DIM] = "\033[2m",
	[COLOR_RED] = "\033[1;31m", [COLOR_GREEN] = "\033[32m", [COLOR_YELLOW] = "\033[33m",
	[COLOR_BLUE] = "\033[34m",  [COLOR_CYAN] = "\033[36m",
};

void screen_init(struct screen *s, const struct args *a)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	bool terminal = isatty(STDOUT_FILENO) == 1;
	struct winsize size = { 0 };

	*s = (struct screen){ .out = stdout,
			      .table = terminal && !a->json,
			      .width = WIDTH_DEFAULT };
	s->color = s->table && !a->no_color && !(no_color && no_color[0]) &&
		   !(term && strcmp(term, "dumb") == 0);
	if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
		s->width = size.ws_col;
}

/* Characters that show nothing, or change how others are shown (Unicode: Cc, Cf, Zl, Zp). */
static const struct {
	uint32_t first, last;
} hidden[] = {
	{ 0x00, 0x1f },     { 0x7f, 0x9f },     { 0xad, 0xad },       { 0x61c, 0x61c },
	{ 0x180e, 0x180e }, { 0x200b, 0x200f }, { 0x2028, 0x202e },   { 0x2060, 0x206f },
	{ 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe0fff },
};

static bool is_hidden(uint32_t code)
{
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
		if (code >= hidden[i].first && code <= hidden[i].last)
			return true;
	return false;
}

/* One character as it may be shown: out (at most ESCAPE_MAX bytes), its columns; returns bytes read. */
static size_t next_char(const uint8_t *at, size_t len, char out[static ESCAPE_MAX],
			size_t *ret_bytes, size_t *ret_columns)
{
	uint32_t code;
	size_t n = utf8_decode(at, len, &code);
	int columns;

	*ret_columns = 1;
	if (n == 0) {
		n = code;
		*ret_bytes = (size_t)snprintf(out, ESCAPE_MAX, "\xef\xbf\xbd");
		return n;
	}
	columns = is_hidden(code) ? -1 : wcwidth((wchar_t)code);
	if (columns < 0) {
		*ret_bytes = (size_t)snprintf(out, ESCAPE_MAX, code < 0x80 ? "\\x%02x" : "\\u{%x}",
					      code);
		*ret_columns = *ret_bytes;
		return n;
	}
	memcpy(out, at, n);
	*ret_bytes = n;
	*ret_columns = (size_t)columns;
	return n;
}

static size_t columns_of(const uint8_t *at, size_t len, size_t stop)
{
	size_t total = 0;

	for (size_t i = 0; i < len && total <= stop;) {
		char out[ESCAPE_MAX];
		size_t bytes, columns;

		i += next_char(at + i, len - i, out, &bytes, &columns);
		total += columns;
	}
	return total;
}

size_t screen_cell(const struct screen *s, const void *text, size_t len, size_t width, bool pad,
		   enum color color)
{
	const uint8_t *at = text;
	bool cut = columns_of(at, len, width) > width;
	size_t room = cut && width ? width - 1 : width, used = 0;

	if (s->color && color != COLOR_NONE)
		(void)fputs(colors[color], s->out);
	for (size_t i = 0; i < len;) {
		char out[ESCAPE_MAX];
		size_t bytes, columns;
		size_t n = next_char(at + i, len - i, out, &bytes, &columns);

		if (used + columns > room)
			break;
		(void)fwrite(out, 1, bytes, s->out);
		used += columns;
		i += n;
	}
	if (cut && width) {
		(void)fputs("\xe2\x80\xa6", s->out); /* an ellipsis */
		used++;
	}
	if (s->color && color != COLOR_NONE)
		(void)fputs("\033[0m", s->out);
	for (; pad && used < width; used++)
		(void)fputc(' ', s->out);
	return used;
}

size_t screen_text(const struct screen *s, const char *text, size_t width, bool pad,
		   enum color color)
{
	return screen_cell(s, text, strlen(text), width, pad, color);
}

/* ---- tables ------------------------------------------------------------------------------------------- */

struct cell {
	char *text; /* malloc'ed; NULL: empty */
	size_t len;
	enum color color;
};

struct table {
	const char *headers[TABLE_COLUMNS_MAX];
	size_t n_columns, n, cap;
	struct cell *cells;
};

struct table *table_new(const char *const *headers)
{
	struct table *t = calloc(1, sizeof(*t));

	for (; t && t->n_columns < TABLE_COLUMNS_MAX && headers[t->n_columns]; t->n_columns++)
		t->headers[t->n_columns] = headers[t->n_columns];
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t);
}

void table_add_bytes(struct table *t, enum color color, const void *text, size_t len)
{
	struct cell cell = { .text = malloc(len + 1), .len = len, .color = color };

	if (cell.text && len)
		memcpy(cell.text, text, len);
	if (!cell.text)
		cell.len = 0;
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 64;
		struct cell *cells = reallocarray(t->cells, cap, sizeof(*cells));

		if (!cells) {
			free(cell.text);
			return;
		}
		t->cells = cells;
		t->cap = cap;
	}
	t->cells[t->n++] = cell;
}

void table_add(struct table *t, enum color color, const char *fmt, ...)
{
	char text[CELL_MAX];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	table_add_bytes(t, color, text,
			n < 0                    ? 0 :
			(size_t)n < sizeof(text) ? (size_t)n :
						   sizeof(text) - 1);
}

void table_print(const struct table *t, const struct screen *s)
{
	size_t widths[TABLE_COLUMNS_MAX];

	for (size_t c = 0; c < t->n_columns; c++)
		widths[c] = strlen(t->headers[c]);
	for (size_t i = 0; i < t->n; i++) {
		size_t columns =
			columns_of((const uint8_t *)t->cells[i].text, t->cells[i].len, CELL_MAX);

		if (columns > widths[i % t->n_columns])
			widths[i % t->n_columns] = columns;
	}
	for (size_t c = 0; c < t->n_columns; c++) {
		(void)screen_text(s, t->headers[c], widths[c], c + 1 < t->n_columns, COLOR_BOLD);
		(void)fputs(c + 1 < t->n_columns ? "  " : "\n", s->out);
	}
	for (size_t i = 0; i < t->n; i++) {
		bool last = i % t->n_columns == t->n_columns - 1;

		(void)screen_cell(s, t->cells[i].text, t->cells[i].len, widths[i % t->n_columns],
				  !last, t->cells[i].color);
		(void)fputs(last ? "\n" : "  ", s->out);
	}
}
