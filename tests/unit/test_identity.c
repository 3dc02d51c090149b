/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include "proto/identity.h"

#include <errno.h>

#define A96                                                                                        \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct bad_row {
	const char *name;
	const char *text;
	size_t len; /* 0: strlen */
} bad_rows[] = {
	{ "empty", "", 0 },
	{ "scheme alone", "spiffe://", 0 },
	{ "scheme cut", "spiffe:/d/t/host/h", 0 },
	{ "other scheme", "https://d/t/host/h", 0 },
	{ "scheme in capitals", "SPIFFE://d/t/host/h", 0 },
	{ "domain empty", "spiffe:///t/host/h", 0 },
	{ "tenant empty", "spiffe://d//host/h", 0 },
	{ "kind empty", "spiffe://d/t//h", 0 },
	{ "name empty", "spiffe://d/t/host/", 0 },
	{ "name missing", "spiffe://d/t/host", 0 },
	{ "one part too many", "spiffe://d/t/host/h/x", 0 },
	{ "slash at the end", "spiffe://d/t/host/h/", 0 },
	{ "kind unknown", "spiffe://d/t/root/h", 0 },
	{ "kind in capitals", "spiffe://d/t/Host/h", 0 },
	{ "kind longer", "spiffe://d/t/hosts/h", 0 },
	{ "kind shorter", "spiffe://d/t/hos/h", 0 },
	{ "parent folder as name", "spiffe://d/t/host/..", 0 },
	{ "parent folder as tenant", "spiffe://d/../host/h", 0 },
	{ "this folder as name", "spiffe://d/t/host/.", 0 },
	{ "dot first", "spiffe://d/t/host/.h", 0 },
	{ "two dots within", "spiffe://d/t/host/a..b", 0 },
	{ "percent", "spiffe://d/t/host/a%2Fb", 0 },
	{ "space", "spiffe://d/t/host/a b", 0 },
	{ "newline at the end", "spiffe://d/t/host/h\n", 0 },
	{ "NUL within", "spiffe://d/t/host/h\0x", 20 },
	{ "NUL at the end", "spiffe://d/t/host/h", 20 },
	{ "byte above ASCII", "spiffe://d/t/host/\xc3\xa4", 0 },
	{ "query", "spiffe://d/t/host/h?x", 0 },
	{ "fragment", "spiffe://d/t/host/h#x", 0 },
	{ "port in the domain", "spiffe://d:443/t/host/h", 0 },
	{ "user in the domain", "spiffe://u@d/t/host/h", 0 },
	{ "domain too long", "spiffe://" A96 "a/t/host/h", 0 },
	{ "tenant too long", "spiffe://d/" A96 "a/host/h", 0 },
	{ "name too long", "spiffe://d/t/host/" A96 "a", 0 },
};

static void is_refused(void **state)
{
	const struct bad_row *row = *state;
	struct identity id = { .name = "untouched" };
	struct error e = { 0 };

	assert_int_equal(identity_parse_spiffe(row->text, row->len ? row->len : strlen(row->text),
					       &id, &e),
			 -EINVAL);
	assert_string_equal(id.name, "untouched");
	assert_non_null(strstr(e.text, "is not a name of the form"));
}

static const struct good_row {
	const char *name;
	const char *text;
	const char *domain, *tenant;
	enum identity_kind kind;
	const char *id;
} good_rows[] = {
	{ "host", "spiffe://example.org/acme/host/h-1", "example.org", "acme", IDENTITY_HOST,
	  "h-1" },
	{ "responder", "spiffe://d/t/responder/ann_b", "d", "t", IDENTITY_RESPONDER, "ann_b" },
	{ "collector", "spiffe://d/t/collector/C.9", "d", "t", IDENTITY_COLLECTOR, "C.9" },
	{ "kind as name", "spiffe://host/host/host/host", "host", "host", IDENTITY_HOST, "host" },
	{ "longest", "spiffe://" A96 "/" A96 "/collector/" A96, A96, A96, IDENTITY_COLLECTOR, A96 },
};

static void is_taken_and_written_back(void **state)
{
	const struct good_row *row = *state;
	char text[IDENTITY_SPIFFE_MAX];
	struct identity id, again;

	assert_int_equal(identity_parse_spiffe(row->text, strlen(row->text), &id, NULL), 0);
	assert_string_equal(id.domain, row->domain);
	assert_string_equal(id.tenant, row->tenant);
	assert_int_equal(id.kind, row->kind);
	assert_string_equal(id.name, row->id);
	assert_string_equal(identity_spiffe(&id, text), row->text);
	assert_int_equal(identity_parse_spiffe(text, strlen(text), &again, NULL), 0);
	assert_true(identity_same_name(&id, &again));
}

static void names_differ_by_each_part(void **state)
{
	static const char *const others[] = { "spiffe://e/t/host/h", "spiffe://d/u/host/h",
					      "spiffe://d/t/collector/h", "spiffe://d/t/host/i" };
	struct identity id, other;

	(void)state;
	assert_int_equal(identity_parse_spiffe("spiffe://d/t/host/h", 19, &id, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		assert_int_equal(identity_parse_spiffe(others[i], strlen(others[i]), &other, NULL),
				 0);
		assert_false(identity_same_name(&id, &other));
	}
}

static const struct role_row {
	const char *name;
	const char *role;
	bool want;
} role_rows[] = {
	{ "empty", "", false },
	{ "capital", "Viewer", false },
	{ "underscore", "a_b", false },
	{ "33 bytes", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false },
	{ "32 bytes", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true },
	{ "usual", "approver-2", true },
};

static void role_is_checked(void **state)
{
	const struct role_row *row = *state;

	assert_int_equal(identity_role_valid(row->role, strlen(row->role)), row->want);
}

static const struct role_row known_rows[] = {
	{ "empty", "", false },           { "a word", "janitor", false },
	{ "begin", "view", false },       { "more", "viewers", false },
	{ "capital", "Viewer", false },   { "viewer", "viewer", true },
	{ "acquirer", "acquirer", true }, { "approver", "approver", true },
};

/* The sentence that lists them lists all of them. */
static void role_is_known_or_not(void **state)
{
	const struct role_row *row = *state;

	assert_int_equal(identity_role_known(row->role), row->want);
	if (row->want)
		assert_non_null(strstr(IDENTITY_ROLES_TEXT, row->role));
}

static void role_is_held_or_not(void **state)
{
	struct identity id = { .n_roles = 1, .roles = { "viewer", "approver" } };

	(void)state;
	assert_true(identity_has_role(&id, "viewer"));
	assert_false(identity_has_role(&id, "approver"));
	assert_false(identity_has_role(&id, ""));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_refused, bad_rows);
	ADD_ROWS(&t, is_taken_and_written_back, good_rows);
	ADD_TEST(&t, names_differ_by_each_part);
	ADD_ROWS(&t, role_is_checked, role_rows);
	ADD_ROWS(&t, role_is_known_or_not, known_rows);
	ADD_TEST(&t, role_is_held_or_not);
	return tests_run(&t, "identity");
}
