/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file: a YAML mapping whose nested keys, joined by dots, are the rows' names. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "proto/base/files.h"
#include "proto/base/options_internal.h"

#define KEY_MAX 128 /* bytes of a joined key; also bounds the nesting */

struct load {
	const struct option_table *table;
	const char *file;
	yaml_document_t *document;
	void *opts;
	struct error *error;
	bool seen[OPTION_ROWS_MAX];
};

static struct option_source source_of(const struct load *l, const yaml_node_t *node)
{
	return (struct option_source){
		.file = l->file,
		.line = node->start_mark.line + 1,
		.column = node->start_mark.column + 1,
	};
}

/* The node's text, or NULL and the error set. It ends at its first NUL byte, so that none may be in it. */
static const char *scalar_text(const struct load *l, const yaml_node_t *node, const char *name)
{
	const struct option_source at = source_of(l, node);
	const char *text = (const char *)node->data.scalar.value;

	if (node->type != YAML_SCALAR_NODE) {
		(void)option_fail(&at, -EINVAL, l->error, "%s: expected one value, not a %s", name,
				  node->type == YAML_MAPPING_NODE ? "group of keys" : "list");
		return NULL;
	}
	if (strlen(text) != node->data.scalar.length) {
		(void)option_fail(&at, -EINVAL, l->error, "%s: a value must not contain a NUL byte",
				  name);
		return NULL;
	}
	return text;
}

static int load_list(const struct load *l, const struct option *row, const yaml_node_t *node)
{
	const struct option_source at = source_of(l, node);

	if (node->type != YAML_SEQUENCE_NODE)
		return option_fail(&at, -EINVAL, l->error, "%s: expected a list, such as [a, b]",
				   row->name);
	option_list_clear(option_list(row, l->opts));
	for (const yaml_node_item_t *i = node->data.sequence.items.start;
	     i < node->data.sequence.items.top; i++) {
		const yaml_node_t *item = yaml_document_get_node(l->document, *i);
		const char *text = scalar_text(l, item, row->name);
		const struct option_source item_at = source_of(l, item);
		int r = text ? option_set(row, l->opts, text, &item_at, l->error) : -EINVAL;

		if (r < 0)
			return r;
	}
	return option_list_check(row, l->opts, &at, l->error);
}

static int load_row(struct load *l, const struct option *row, const yaml_node_t *key,
		    const yaml_node_t *value)
{
	const struct option_source key_at = source_of(l, key), at = source_of(l, value);
	size_t index = (size_t)(row - l->table->rows);
	const char *text;

	if (l->seen[index])
		return option_fail(&key_at, -EINVAL, l->error, "%s is set twice", row->name);
	l->seen[index] = true;
	if (row->type == OPT_STRINGS)
		return load_list(l, row, value);
	text = scalar_text(l, value, row->name);
	return text ? option_set(row, l->opts, text, &at, l->error) : -EINVAL;
}

static bool is_empty(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0 &&
	       node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static int load_mapping(struct load *l, const yaml_node_t *node, const char *prefix);

/* name: the key with all keys above it. */
static int load_pair(struct load *l, const char *prefix, const char *name, const yaml_node_t *key,
		     const yaml_node_t *value)
{
	const struct option *row = option_find(l->table, name);
	const struct option_source at = source_of(l, key);
	char group[KEY_MAX + 2];

	if (row)
		return load_row(l, row, key, value);
	(void)snprintf(group, sizeof(group), "%s.", name);
	if (!option_has_prefix(l->table, group)) {
		int r = option_fail(&at, -EINVAL, l->error, "unknown key '%s'", name);

		option_hint_near(l->table, prefix, name + strlen(prefix), false, l->error);
		return r;
	}
	/* "journal:" with all its keys commented out */
	if (is_empty(value))
		return 0;
	if (value->type != YAML_MAPPING_NODE)
		return option_fail(&at, -EINVAL, l->error, "'%s' is a group of keys, not a value",
				   name);
	return load_mapping(l, value, group);
}

/* Recursion ends with the names: below a group that no row has nothing is read. */
static int load_mapping(struct load *l, const yaml_node_t *node, const char *prefix)
{
	const yaml_node_pair_t *top = node->data.mapping.pairs.top;

	for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; p < top; p++) {
		const yaml_node_t *key = yaml_document_get_node(l->document, p->key);
		const struct option_source at = source_of(l, key);
		const char *text = scalar_text(l, key, "key");
		char name[KEY_MAX];
		int r;

		if (!text)
			return -EINVAL;
		if ((size_t)snprintf(name, sizeof(name), "%s%s", prefix, text) >= sizeof(name))
			return option_fail(&at, -EINVAL, l->error, "unknown key '%.32s...'", text);
		r = load_pair(l, prefix, name, key, yaml_document_get_node(l->document, p->value));
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_document(struct load *l)
{
	const yaml_node_t *root = yaml_document_get_root_node(l->document);
	struct option_source at;

	if (!root || is_empty(root))
		return 0;
	at = source_of(l, root);
	if (root->type != YAML_MAPPING_NODE)
		return option_fail(&at, -EINVAL, l->error,
				   "expected keys with values, such as 'key: value'");
	return load_mapping(l, root, "");
}

/* A byte that is no text has no mark, only an offset. */
static int no_text(const yaml_parser_t *p, const char *name, const char *problem, struct error *e)
{
	const unsigned char *at = p->input.string.start;
	size_t line = 1, column = 1;

	for (size_t i = 0; i < p->problem_offset && at + i < p->input.string.end; i++) {
		line += at[i] == '\n';
		column = at[i] == '\n' ? 1 : column + 1;
	}
	return error_set(e, -EINVAL, "%s:%zu:%zu: %s", name, line, column, problem);
}

static int parser_failed(const yaml_parser_t *p, const char *name, struct error *e)
{
	const char *problem = p->problem ? p->problem : "not YAML";

	if (p->error == YAML_MEMORY_ERROR)
		return error_set(e, -ENOMEM, "%s: out of memory", name);
	if (p->error == YAML_READER_ERROR)
		return no_text(p, name, problem, e);
	return error_set(e, -EINVAL, "%s:%zu:%zu: %s", name, p->problem_mark.line + 1,
			 p->problem_mark.column + 1, problem);
}

/* There may be one document only, of which the rest of the input is looked at too. */
static int expect_end(yaml_parser_t *parser, const char *name, struct error *e)
{
	yaml_document_t next;
	const yaml_node_t *root;
	int r = 0;

	if (!yaml_parser_load(parser, &next))
		return parser_failed(parser, name, e);
	root = yaml_document_get_root_node(&next);
	if (root)
		r = error_set(e, -EINVAL, "%s:%zu:%zu: a second document in one file", name,
			      root->start_mark.line + 1, root->start_mark.column + 1);
	yaml_document_delete(&next);
	return r;
}

int options_parse(const struct option_table *t, const char *name, const void *text, size_t len,
		  void *opts, struct error *e)
{
	AUTO(yaml_parser_delete) yaml_parser_t parser = { 0 };
	AUTO(yaml_document_delete) yaml_document_t document = { 0 };
	struct load l = {
		.table = t, .file = name, .document = &document, .opts = opts, .error = e
	};
	int r;

	if (len > OPTION_FILE_MAX)
		return error_set(e, -EFBIG, "%s: longer than %d KiB", name,
				 (int)(OPTION_FILE_MAX >> 10));
	if (!yaml_parser_initialize(&parser))
		return error_set(e, -ENOMEM, "%s: out of memory", name);
	yaml_parser_set_input_string(&parser, text ? text : (const void *)"", text ? len : 0);
	if (!yaml_parser_load(&parser, &document))
		return parser_failed(&parser, name, e);
	r = load_document(&l);
	if (r < 0 || !yaml_document_get_root_node(&document))
		return r;
	return expect_end(&parser, name, e);
}

int options_load(const struct option_table *t, const char *path, void *opts, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len;
	int r = files_read(path, OPTION_FILE_MAX, &text, &len, e);

	if (r < 0)
		return error_wrap(e, r, "cannot load the configuration");
	return options_parse(t, path, text, len, opts, e);
}
