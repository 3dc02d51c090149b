/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/filter.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/filter_value.h"
#include "collector/tokens.h"
#include "proto/actions.h"
#include "proto/base/suggest.h"
#include "proto/base/writer.h"
#include "proto/entity.h"

#define FIELDS_MAX 32 /* of one "any." group */
#define TOKENS_PER_TERM 4

/* One condition. Several fields: any of them. */
struct term {
	const struct field *fields[FIELDS_MAX];
	size_t n_fields;
	uint32_t group;
	struct filter_value value;
	uint64_t tokens[TOKENS_PER_TERM];
	size_t n_tokens; /* 0: the index cannot help */
	bool verbatim; /* the value's bytes stand in every entry that matches */
	uint32_t classes;
};

/* A run of terms with the same number. */
struct group {
	size_t first, n;
	bool verbatim;
};

struct filter {
	size_t n_terms, n_groups, n_index;
	struct term *terms; /* sorted by group */
	struct group *groups;
	struct store_group *index;
	uint64_t *tokens;
	uint8_t *texts;
	uint32_t classes;
};

/* ---- names --------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned int group;
} any_names[] = {
	{ "any.ip", FIELD_ANY_IP },
	{ "any.port", FIELD_ANY_PORT },
	{ "any.path", FIELD_ANY_PATH },
	{ "any.text", FIELD_ANY_TEXT },
};

static bool name_is(const Exhibit__V1__FilterTerm *t, const char *name)
{
	return t->field.len == strlen(name) && memcmp(t->field.data, name, t->field.len) == 0;
}

static int unknown_field(const Exhibit__V1__FilterTerm *t, struct error *e)
{
	const char *typed = t->field.data ? (const char *)t->field.data : "";
	int shown = (int)(t->field.len < 64 ? t->field.len : 64);
	const char *near = field_nearest(typed, t->field.len);

	(void)error_set(e, -EINVAL, "there is no field '%.*s'", shown, typed);
	if (near)
		error_hint(e, "did you mean '%s'?", near);
	else
		error_hint(e, "names are those of the Elastic Common Schema; see exhibit(1)");
	return -EINVAL;
}

static int find_fields(struct term *term, const Exhibit__V1__FilterTerm *t, struct error *e)
{
	const struct field *f;

	for (size_t i = 0; i < ARRAY_LEN(any_names); i++) {
		if (!name_is(t, any_names[i].name))
			continue;
		for (size_t k = 0; (f = field_at(k)); k++)
			if ((field_groups(f) & any_names[i].group) && term->n_fields < FIELDS_MAX)
				term->fields[term->n_fields++] = f;
		return 0;
	}
	f = t->field.data ? field_by_name((const char *)t->field.data, t->field.len) : NULL;
	if (!f)
		return unknown_field(t, e);
	term->fields[term->n_fields++] = f;
	return 0;
}

/* ---- index tokens ---------------------------------------------------------------------------------- */

static void token_text(struct term *t, enum token_family family)
{
	if (t->value.text_len)
		t->tokens[t->n_tokens++] = token_hash(family, t->value.text, t->value.text_len);
}

static void token_u32(struct term *t, enum token_family family, uint64_t number)
{
	uint8_t buf[4];
	struct writer w = writer_init(buf, sizeof(buf));

	writer_u32(&w, (uint32_t)number);
	if (number <= UINT32_MAX)
		t->tokens[t->n_tokens++] = token_hash(family, buf, sizeof(buf));
}

static void token_pid(struct term *t, enum token_family family)
{
	token_u32(t, family, t->value.number);
}

static void token_port(struct term *t, enum token_family family)
{
	uint8_t buf[2];
	struct writer w = writer_init(buf, sizeof(buf));

	writer_u16(&w, (uint16_t)t->value.number);
	if (t->value.number && t->value.number <= UINT16_MAX)
		t->tokens[t->n_tokens++] = token_hash(family, buf, sizeof(buf));
}

static void token_ip(struct term *t, enum token_family family)
{
	if (t->value.ip_bits == t->value.ip_len * 8u)
		t->tokens[t->n_tokens++] = token_hash(family, t->value.ip, t->value.ip_len);
}

static void token_entity(struct term *t, enum token_family family)
{
	uint8_t buf[ENTITY_ENCODED_LEN];
	struct entity id;

	if (entity_parse(t->value.text, t->value.text_len, &id) < 0)
		return;
	entity_encode(&id, buf);
	t->tokens[t->n_tokens++] = token_hash(family, buf, sizeof(buf));
}

static void token_uid(struct term *t, enum token_family family)
{
	uint64_t uid = 0;

	/* Canonical decimals only: "007" is no uid's text. */
	if (t->value.text_len == 0 || t->value.text_len > 10 ||
	    (t->value.text[0] == '0' && t->value.text_len > 1))
		return;
	for (size_t i = 0; i < t->value.text_len; i++) {
		if (t->value.text[i] < '0' || t->value.text[i] > '9')
			return;
		uid = uid * 10 + (uint64_t)(t->value.text[i] - '0');
	}
	token_u32(t, family, uid);
}

/* event.action is what is shown: stock-taking stands under other actions' names. */
static bool action_shows(const struct action *a, const ProtobufCBinaryData *name)
{
	static const char *const sockets[] = { "connect", "accept", "listen" };
	bool same = strlen(a->name) == name->len && memcmp(a->name, name->data, name->len) == 0;

	if (a->number != ACTION_SOCKET)
		return same;
	for (size_t i = 0; i < ARRAY_LEN(sockets); i++)
		if (strlen(sockets[i]) == name->len &&
		    memcmp(sockets[i], name->data, name->len) == 0)
			return true;
	return false;
}

static void token_action(struct term *t, enum token_family family)
{
	const ProtobufCBinaryData name = { t->value.text_len, (uint8_t *)(uintptr_t)t->value.text };
	const struct action *a;

	t->classes = 0;
	for (size_t i = 0; (a = action_at(i)); i++) {
		if (!action_shows(a, &name) || t->n_tokens == TOKENS_PER_TERM)
			continue;
		token_u32(t, family, a->number);
		t->classes |= 1u << a->class;
	}
}

/* Which field the index knows under which family; equality only. */
static const struct {
	const char *name;
	enum token_family family;
	void (*make)(struct term *t, enum token_family family);
} indexed[] = {
	{ "any.ip", TOKEN_IP, token_ip },
	{ "any.port", TOKEN_PORT, token_port },
	{ "any.path", TOKEN_PATH, token_text },
	{ "source.ip", TOKEN_IP, token_ip },
	{ "destination.ip", TOKEN_IP, token_ip },
	{ "source.port", TOKEN_PORT, token_port },
	{ "destination.port", TOKEN_PORT, token_port },
	{ "file.path", TOKEN_PATH, token_text },
	{ "exhibit.file.old_path", TOKEN_PATH, token_text },
	{ "exhibit.exec.filename", TOKEN_PATH, token_text },
	{ "process.executable", TOKEN_PATH, token_text },
	{ "process.entity_id", TOKEN_ENTITY, token_entity },
	{ "process.parent.entity_id", TOKEN_PARENT, token_entity },
	{ "process.pid", TOKEN_PID, token_pid },
	{ "process.name", TOKEN_NAME, token_text },
	{ "container.id", TOKEN_CONTAINER, token_text },
	{ "orchestrator.resource.name", TOKEN_POD, token_text },
	{ "orchestrator.namespace", TOKEN_NAMESPACE, token_text },
	{ "container.image.name", TOKEN_IMAGE, token_text },
	{ "event.action", TOKEN_ACTION, token_action },
	{ "process.user.id", TOKEN_USER, token_uid },
};

static void find_tokens(struct term *term, const Exhibit__V1__FilterTerm *t)
{
	if (term->value.op != FILTER_OP_EQUALS && term->value.op != FILTER_OP_CIDR)
		return;
	for (size_t i = 0; i < ARRAY_LEN(indexed); i++)
		if (name_is(t, indexed[i].name))
			indexed[i].make(term, indexed[i].family);
}

/* ---- compiling --------------------------------------------------------------------------------------- */

static int check_action(const struct term *term, const Exhibit__V1__FilterTerm *t, struct error *e)
{
	struct suggestion near = { 0 };
	const struct action *a;

	if (!name_is(t, "event.action") || term->value.op != FILTER_OP_EQUALS || term->n_tokens)
		return 0;
	if (t->value.len == strlen("unknown") &&
	    memcmp(t->value.data, "unknown", t->value.len) == 0)
		return 0;
	for (size_t i = 0; (a = action_at(i)); i++)
		suggest(&near, t->value.data ? (const char *)t->value.data : "", t->value.len,
			a->name);
	(void)error_set(e, -EINVAL, "there is no event.action '%.*s'",
			(int)(t->value.len < 64 ? t->value.len : 64),
			t->value.data ? (const char *)t->value.data : "");
	if (near.word)
		error_hint(e, "did you mean '%s'?", near.word);
	else
		error_hint(e, "exhibit(1) lists the actions");
	return -EINVAL;
}

/* A term whose every match holds the value's bytes within one stored field. Arguments are joined by
 * blanks that are not stored. */
static bool stands_verbatim(const struct term *term)
{
	if (term->value.text_len == 0 || memchr(term->value.text, ' ', term->value.text_len))
		return false;
	for (size_t i = 0; i < term->n_fields; i++) {
		const char *name = field_name(term->fields[i]);

		if (!(field_groups(term->fields[i]) & FIELD_VERBATIM) &&
		    strcmp(name, "process.command_line") != 0)
			return false;
		/* Of the context, not of an entry. */
		if (strncmp(name, "host.", 5) == 0)
			return false;
	}
	return true;
}

static int compile_term(struct term *term, const Exhibit__V1__FilterTerm *t, const uint8_t *text,
			struct error *e)
{
	int r;

	if ((unsigned int)t->op > FILTER_OP_CIDR)
		return error_set(e, -EINVAL, "the filter's operator %d is not known", (int)t->op);
	*term = (struct term){
		.group = t->group,
		.classes = UINT32_MAX,
		.value = { .op = (enum filter_op)t->op, .text = text, .text_len = t->value.len },
	};
	r = find_fields(term, t, e);
	if (r < 0)
		return r;
	r = filter_value_parse(&term->value, field_type(term->fields[0]),
			       field_name(term->fields[0]), e);
	if (r < 0)
		return r;
	find_tokens(term, t);
	term->verbatim = stands_verbatim(term);
	return check_action(term, t, e);
}

static int by_group(const void *a, const void *b)
{
	uint32_t x = ((const struct term *)a)->group, y = ((const struct term *)b)->group;

	return x < y ? -1 : x > y;
}

/* Cut the sorted terms into groups; an index group needs a token of every alternative. */
static void make_groups(struct filter *f)
{
	size_t n_tokens = 0;

	f->classes = UINT32_MAX;
	for (size_t at = 0; at < f->n_terms;) {
		struct group *g = &f->groups[f->n_groups++];
		size_t first_token = n_tokens;
		bool index = true;
		uint32_t classes = 0;

		*g = (struct group){ .first = at, .verbatim = true };
		for (; at < f->n_terms && f->terms[at].group == f->terms[g->first].group;
		     at++, g->n++) {
			const struct term *t = &f->terms[at];

			g->verbatim &= t->verbatim;
			index &= t->n_tokens > 0;
			classes |= t->classes;
			memcpy(f->tokens + n_tokens, t->tokens, t->n_tokens * sizeof(*t->tokens));
			n_tokens += t->n_tokens;
		}
		f->classes &= classes;
		if (index)
			f->index[f->n_index++] = (struct store_group){ f->tokens + first_token,
								       n_tokens - first_token };
		else
			n_tokens = first_token;
	}
}

static struct filter *filter_new(size_t n, size_t text_len)
{
	struct filter *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->terms = calloc(n + 1, sizeof(*f->terms));
	f->groups = calloc(n + 1, sizeof(*f->groups));
	f->index = calloc(n + 1, sizeof(*f->index));
	f->tokens = calloc(n * TOKENS_PER_TERM + 1, sizeof(*f->tokens));
	f->texts = malloc(text_len + 1);
	if (f->terms && f->groups && f->index && f->tokens && f->texts)
		return f;
	filter_free(f);
	return NULL;
}

static int measure(Exhibit__V1__FilterTerm *const *terms, size_t n, size_t *ret_len,
		   struct error *e)
{
	*ret_len = 0;
	if (n > FILTER_TERMS_MAX)
		return error_set(e, -EINVAL,
				 "the question has %zu conditions, at most %d are allowed", n,
				 FILTER_TERMS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (terms[i]->value.len > FILTER_VALUE_MAX)
			return error_set(
				e, -EINVAL,
				"a condition's value has %zu bytes, at most %d are allowed",
				terms[i]->value.len, FILTER_VALUE_MAX);
		*ret_len += terms[i]->value.len;
	}
	return 0;
}

int filter_compile(Exhibit__V1__FilterTerm *const *terms, size_t n, struct filter **ret,
		   struct error *e)
{
	AUTO(filter_free_ptr) struct filter *f = NULL;
	size_t text_len, at = 0;
	int r = measure(terms, n, &text_len, e);

	if (r < 0)
		return r;
	f = filter_new(n, text_len);
	if (!f)
		return error_set(e, -ENOMEM, "cannot compile the filter: out of memory");
	for (size_t i = 0; i < n; i++) {
		if (terms[i]->value.len)
			memcpy(f->texts + at, terms[i]->value.data, terms[i]->value.len);
		r = compile_term(&f->terms[i], terms[i], f->texts + at, e);
		if (r < 0)
			return r;
		at += terms[i]->value.len;
	}
	f->n_terms = n;
	qsort(f->terms, n, sizeof(*f->terms), by_group);
	make_groups(f);
	*ret = TAKE(f);
	return 0;
}

void filter_free(struct filter *f)
{
	if (!f)
		return;
	free(f->terms);
	free(f->groups);
	free(f->index);
	free(f->tokens);
	free(f->texts);
	free(f);
}

/* ---- asking ------------------------------------------------------------------------------------------ */

static bool match_term(const struct term *t, struct subject *s)
{
	for (size_t i = 0; i < t->n_fields; i++) {
		enum value_type type = field_type(t->fields[i]);
		struct value v;

		if (field_get(t->fields[i], s, &v)) {
			if (filter_value_match(&t->value, type, &v))
				return true;
		} else if (type == VALUE_BOOL && !t->value.truth) {
			return true; /* booleans are shown only when true */
		}
	}
	return false;
}

bool filter_match(const struct filter *f, struct subject *s)
{
	for (size_t g = 0; g < f->n_groups; g++) {
		const struct group *group = &f->groups[g];
		bool any = false;

		for (size_t i = 0; i < group->n && !any; i++)
			any = match_term(&f->terms[group->first + i], s);
		if (!any)
			return false;
	}
	return true;
}

bool filter_may_match(const struct filter *f, const uint8_t *raw, size_t len)
{
	for (size_t g = 0; g < f->n_groups; g++) {
		const struct group *group = &f->groups[g];
		bool any = !group->verbatim;

		for (size_t i = 0; i < group->n && !any; i++) {
			const struct filter_value *v = &f->terms[group->first + i].value;

			any = len && memmem(raw, len, v->text, v->text_len) != NULL;
		}
		if (!any)
			return false;
	}
	return true;
}

const struct store_group *filter_groups(const struct filter *f, size_t *ret_n)
{
	*ret_n = f->n_index;
	return f->index;
}

uint32_t filter_classes(const struct filter *f)
{
	return f->classes;
}
