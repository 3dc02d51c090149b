/* SPDX-License-Identifier: Apache-2.0 */
/* No library of Debian's is kept that does this with bounds (libcsv's last release is of 2013); the grammar is small. */
#include "collector/cli/inventory.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"

/* Fields are written over the text that they were read from: what is written is never ahead of what was read. */
struct parser {
	const char *path;
	struct reader in;
	char *out;
	size_t line, row_line;
	char *fields[INVENTORY_COLUMNS_MAX];
	size_t n_fields;
};

enum ending { END_FIELD, END_ROW, END_TEXT };

static int wrong(const struct parser *p, struct error *e, const char *what)
{
	(void)error_set(e, -EINVAL, "%s, line %zu: %s", p->path, p->line, what);
	error_hint(e, "write it as comma-separated values (RFC 4180)");
	return -EINVAL;
}

/* After a field's last byte. Negative: something else stands there. */
static int ending(struct parser *p)
{
	uint8_t c;

	if (p->in.left == 0)
		return END_TEXT;
	c = reader_u8(&p->in);
	if (c == ',')
		return END_FIELD;
	if (c == '\r' && p->in.left && *p->in.at == '\n')
		c = reader_u8(&p->in);
	if (c != '\n')
		return -EINVAL;
	p->line++;
	return END_ROW;
}

static int quoted(struct parser *p, struct error *e)
{
	int end;

	reader_skip(&p->in, 1);
	for (;;) {
		uint8_t c;

		if (p->in.left == 0)
			return wrong(p, e, "a quoted field does not end");
		c = reader_u8(&p->in);
		if (c == '"') {
			if (p->in.left == 0 || *p->in.at != '"')
				break;
			reader_skip(&p->in, 1);
		}
		if (c == '\0')
			return wrong(p, e, "there is a NUL byte");
		p->line += c == '\n';
		*p->out++ = (char)c;
	}
	end = ending(p);
	return end < 0 ? wrong(p, e, "text follows a field's closing quote") : end;
}

static int plain(struct parser *p, struct error *e)
{
	for (;;) {
		uint8_t c = p->in.left ? *p->in.at : '\n';
		bool last = c == '\r' && (p->in.left < 2 || p->in.at[1] == '\n');

		if (c == ',' || c == '\n' || (last && p->in.left >= 2))
			return ending(p);
		if (c == '"')
			return wrong(p, e, "a quote stands within a field that is not quoted");
		if (c == '\0')
			return wrong(p, e, "there is a NUL byte");
		reader_skip(&p->in, 1);
		if (!last)
			*p->out++ = (char)c;
	}
}

/* END_ROW, END_TEXT or negative. */
static int read_row(struct parser *p, struct error *e)
{
	int end;

	p->n_fields = 0;
	p->row_line = p->line;
	do {
		if (p->n_fields == INVENTORY_COLUMNS_MAX)
			return wrong(p, e, "there are more than 64 columns");
		p->fields[p->n_fields++] = p->out;
		end = p->in.left && *p->in.at == '"' ? quoted(p, e) : plain(p, e);
		if (end >= 0)
			*p->out++ = '\0';
	} while (end == END_FIELD);
	return end;
}

static bool empty_row(const struct parser *p)
{
	return p->n_fields == 1 && p->fields[0][0] == '\0';
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

struct columns {
	size_t n, name, id, owner; /* n: of the header; where there is none: n */
};

static int take_header(const struct parser *p, struct columns *ret, struct error *e)
{
	size_t host = p->n_fields, name = p->n_fields;

	*ret = (struct columns){ p->n_fields, 0, p->n_fields, p->n_fields };
	for (size_t i = p->n_fields; i-- > 0;) {
		if (strcasecmp(p->fields[i], "host") == 0)
			host = i;
		else if (strcasecmp(p->fields[i], "name") == 0)
			name = i;
		else if (strcasecmp(p->fields[i], "id") == 0)
			ret->id = i;
		else if (strcasecmp(p->fields[i], "owner") == 0)
			ret->owner = i;
	}
	ret->name = host < p->n_fields ? host : name;
	if (ret->name < p->n_fields)
		return 0;
	(void)error_set(e, -EINVAL, "%s: its first row names no column 'host' or 'name'", p->path);
	error_hint(e, "give it a header row, such as: host,id,owner");
	return -EINVAL;
}

static int take_row(const struct parser *p, const struct columns *c, struct inventory *v,
		    struct error *e)
{
	static const char none[] = "";
	struct inventory_host *h;

	if (p->n_fields != c->n)
		return error_set(e, -EINVAL, "%s, line %zu: %zu fields, but the header has %zu",
				 p->path, p->row_line, p->n_fields, c->n);
	if (v->n == INVENTORY_HOSTS_MAX)
		return error_set(e, -E2BIG, "%s names more than %d hosts; split it", p->path,
				 INVENTORY_HOSTS_MAX);
	if (v->n == v->cap) {
		size_t cap = v->cap ? v->cap * 2 : 256;
		struct inventory_host *hosts = reallocarray(v->hosts, cap, sizeof(*hosts));

		if (!hosts)
			return error_set(e, -ENOMEM, "cannot read %s: out of memory", p->path);
		v->hosts = hosts;
		v->cap = cap;
	}
	h = &v->hosts[v->n++];
	*h = (struct inventory_host){ p->fields[c->name], c->id < c->n ? p->fields[c->id] : none,
				      c->owner < c->n ? p->fields[c->owner] : none, p->row_line };
	if (!h->name[0])
		return error_set(e, -EINVAL, "%s, line %zu: the host has no name", p->path,
				 p->row_line);
	if (strlen(h->name) > INVENTORY_FIELD_MAX || strlen(h->id) > INVENTORY_FIELD_MAX ||
	    strlen(h->owner) > INVENTORY_FIELD_MAX)
		return error_set(e, -EINVAL,
				 "%s, line %zu: a name, id or owner is longer than %d bytes",
				 p->path, p->row_line, INVENTORY_FIELD_MAX);
	return 0;
}

static int by_name_id_line(const void *x, const void *y)
{
	const struct inventory_host *a = x, *b = y;
	int r = strcasecmp(a->name, b->name);

	if (r == 0)
		r = strcmp(a->id, b->id);
	return r ? r : (a->line > b->line) - (a->line < b->line);
}

static int by_line(const void *x, const void *y)
{
	const struct inventory_host *a = x, *b = y;

	return (a->line > b->line) - (a->line < b->line);
}

static void drop_repeated(struct inventory *v)
{
	size_t kept = 0;

	if (v->n == 0)
		return;
	qsort(v->hosts, v->n, sizeof(*v->hosts), by_name_id_line);
	for (size_t i = 0; i < v->n; i++) {
		const struct inventory_host *h = &v->hosts[i], *last = &v->hosts[kept - !!kept];

		if (kept && strcasecmp(h->name, last->name) == 0 && strcmp(h->id, last->id) == 0) {
			if (!v->repeated++ || h->line < v->repeated_line)
				v->repeated_line = h->line;
			continue;
		}
		v->hosts[kept++] = *h;
	}
	v->n = kept;
	qsort(v->hosts, v->n, sizeof(*v->hosts), by_line);
}

int inventory_parse(const char *path, uint8_t *data, size_t len, struct inventory *ret,
		    struct error *e)
{
	static const uint8_t mark[] = { 0xef, 0xbb, 0xbf };
	size_t skip = len >= sizeof(mark) && memcmp(data, mark, sizeof(mark)) == 0 ? sizeof(mark) :
										     0;
	struct parser p = {
		path, reader_init(data + skip, len - skip), (char *)data, 1, 1, { 0 }, 0
	};
	struct columns columns = { 0 };
	int r = END_ROW;

	*ret = (struct inventory){ .text = (char *)data };
	while (r == END_ROW && p.in.left) {
		int taken = 0;

		r = read_row(&p, e);
		if (r < 0)
			return r;
		if (empty_row(&p))
			continue;
		taken = columns.n ? take_row(&p, &columns, ret, e) : take_header(&p, &columns, e);
		if (taken < 0)
			return taken;
	}
	if (!columns.n)
		return wrong(&p, e, "the file is empty");
	drop_repeated(ret);
	return 0;
}

int inventory_load(const char *path, struct inventory *ret, struct error *e)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int r = files_read(path, INVENTORY_BYTES_MAX, &data, &len, e);

	*ret = (struct inventory){ 0 };
	return r < 0 ? error_wrap(e, r, "cannot read the inventory") :
		       inventory_parse(path, data, len, ret, e);
}

void inventory_release(struct inventory *v)
{
	free(v->text);
	free(v->hosts);
	*v = (struct inventory){ 0 };
}
