/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/help.h"

#include <stdio.h>
#include <string.h>

#include "proto/actions.h"
#include "proto/base/version.h"
#include "proto/fields.h"

#define FLAG_COLUMN 26

static void examples(const struct verb *v)
{
	for (const char *const *x = v->examples; x[0]; x += 2)
		printf("  %s\n      %s\n", x[0], x[1]);
}

void help_program(void)
{
	const struct verb *v;

	printf("exhibit - ask the collector what happened on the hosts\n\nUsage: exhibit VERB [--FLAG[=VALUE]]...\n\n"
	       "Verbs:\n");
	for (size_t i = 0; (v = verb_at(i)); i++)
		printf("  %-12s%s\n", v->name, v->summary);
	printf("\nExamples:\n");
	for (size_t i = 0; (v = verb_at(i)); i++)
		printf("  %s\n      %s\n", v->examples[0], v->examples[1]);
	printf("\n'exhibit VERB --help' shows flags and more examples; also: --help, --version, --print-man.\n"
	       "Exit codes: 0 found, 1 none, 2 error, 3 incomplete (a gap, a host is missing; beats 0 and 1).\n");
}

static void flag_line(const struct flag *f)
{
	int n = printf("  --%s%s%s", f->name, f->metavar ? " " : "", f->metavar ? f->metavar : "");

	printf("%*s%s\n", n < FLAG_COLUMN ? FLAG_COLUMN - n : 1, "", f->help);
}

/* Stock-taking has rows of its own under the names of others. */
static bool named_before(size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(action_at(k)->name, action_at(i)->name) == 0)
			return true;
	return false;
}

static void actions_line(void)
{
	const struct action *a;
	size_t column = 0;

	printf("\nActions:");
	for (size_t i = 0; (a = action_at(i)); i++) {
		if (named_before(i))
			continue;
		printf("%s%s", column == 0 ? "\n  " : " ", a->name);
		column = column + strlen(a->name) > 80 ? 0 : column + strlen(a->name) + 1;
	}
	printf("\n");
}

void help_verb(const struct verb *v)
{
	const struct flag *f;

	printf("exhibit %s - %s\n\nUsage: exhibit %s%s%s%s [--FLAG[=VALUE]]...\n\nExamples:\n",
	       v->name, v->summary, v->name, v->object ? " [" : "", v->object ? v->object : "",
	       v->object ? "]" : "");
	examples(v);
	printf("\nFlags:\n");
	for (size_t i = 0; (f = flag_at(i)); i++)
		if (f->verbs & v->bit)
			flag_line(f);
	if (v->bit & (VERB_EVENTS | VERB_TAIL))
		actions_line();
}

/* ---- man page ------------------------------------------------------------------------------------------- */

/* Text for a line of its own: what roff would take for a request or an escape is defused. */
static void man_text(const char *s)
{
	if (*s == '.' || *s == '\'')
		printf("\\&");
	for (; *s; s++) {
		if (*s == '\\')
			printf("\\e");
		else
			(void)putchar(*s);
	}
}

static void man_argument(const char *s)
{
	(void)putchar('"');
	for (; *s; s++) {
		if (*s == '"')
			printf("\\(dq");
		else if (*s == '\\')
			printf("\\e");
		else
			(void)putchar(*s);
	}
	(void)putchar('"');
}

static void man_verb(const struct verb *v)
{
	const struct flag *f;

	printf(".Ss exhibit %s", v->name);
	if (v->object)
		printf(" [%s]", v->object);
	printf("\n");
	man_text(v->summary);
	printf(".\nFlags:\n");
	for (size_t i = 0; (f = flag_at(i)); i++)
		if (f->verbs & v->bit)
			printf(".Fl -%s\n", f->name);
	printf(".Bl -tag -width Ds\n");
	for (const char *const *x = v->examples; x[0]; x += 2) {
		printf(".It Ic ");
		man_argument(x[0]);
		printf("\n");
		man_text(x[1]);
		printf(".\n");
	}
	printf(".El\n");
}

static void man_flags(void)
{
	const struct flag *f;

	printf(".Sh FLAGS\n.Bl -tag -width Ds\n");
	for (size_t i = 0; (f = flag_at(i)); i++) {
		printf(".It Fl -%s", f->name);
		if (f->metavar) {
			printf(" Ar ");
			man_argument(f->metavar);
		}
		printf("\n");
		man_text(f->help);
		printf(".\n");
	}
	printf(".El\nA flag that is repeated gives alternatives; different flags must all hold.\n");
}

static const char *type_name(enum value_type t)
{
	switch (t) {
	case VALUE_TEXT:
		return "keyword";
	case VALUE_TEXTS:
		return "list of keywords";
	case VALUE_NUMBER:
		return "number";
	case VALUE_IP:
		return "address";
	case VALUE_TIME:
		return "time";
	case VALUE_BOOL:
		return "boolean";
	}
	return "";
}

static void man_fields(void)
{
	const struct field *f;

	printf(".Sh FIELDS\nNames in JSON and in\n.Fl -where\n"
	       "are those of the Elastic Common Schema; ours stand under\n.Ql exhibit .\n"
	       "Bytes that are not valid UTF-8 are shown as U+FFFD, and a sibling\n.Ql NAME_base64\n"
	       "carries them exactly.\n.Bl -column \"process.thread.capabilities.effective\" \"number\" -compact\n");
	for (size_t i = 0; (f = field_at(i)); i++)
		printf(".It Li %s Ta %s\n", field_name(f), type_name(field_type(f)));
	printf(".It Li any.ip, any.port, any.path, any.text Ta any of a kind\n.El\n");
}

void help_man(void)
{
	const struct verb *v;

	printf(".\\\" Written by exhibit --print-man from its tables of verbs and flags.\n"
	       ".Dd " VERSION_DATE "\n.Dt EXHIBIT 1\n.Os\n.Sh NAME\n.Nm exhibit\n"
	       ".Nd ask the collector what happened on the hosts\n.Sh SYNOPSIS\n.Nm\n.Ar VERB\n"
	       ".Op Fl -FLAG Ns Op = Ns Ar VALUE ...\n.Sh DESCRIPTION\n"
	       "A terminal gets aligned tables, a pipe JSON lines.\n"
	       "How complete an answer is goes to standard error.\n");
	for (size_t i = 0; (v = verb_at(i)); i++)
		man_verb(v);
	man_flags();
	man_fields();
	printf(".Sh FILES\n.Pa ~/.config/exhibit/config.yaml\nnames the collector and the caller's certificate:\n"
	       ".Bd -literal\ncollector: collector.example:7443\ntls:\n  cert: alice.crt\n  key: alice.key\n"
	       "  order-ca: order-ca.crt\nsigning-key: alice.sign.key\nsigning-cert: alice.sign.crt\n.Ed\n"
	       "The signing key, for orders and approvals, may lie on a token:\n"
	       ".Ql pkcs11:token=alice;object=orders?module-path=/usr/lib/softhsm/libsofthsm2.so .\n"
	       ".Sh EXIT STATUS\n0 found, 1 none, 2 error, 3 incomplete:\na gap, or a host that is missing or behind; "
	       "beats 0 and 1.\n");
}

/* ---- completion -------------------------------------------------------------------------------------------- */

static void words_of(unsigned int verb)
{
	const struct flag *f;

	for (size_t i = 0; (f = flag_at(i)); i++)
		if (f->verbs & verb)
			printf(" --%s", f->name);
}

static void words_of_actions(void)
{
	const struct action *a;

	for (size_t i = 0; (a = action_at(i)); i++)
		if (!named_before(i))
			printf(" %s", a->name);
}

/* What may stand for the object, where that is one of a few words. */
static const char *words_of_object(unsigned int verb)
{
	static const struct {
		unsigned int verb;
		const char *words;
	} rows[] = {
		{ VERB_COMPLETION, " bash" },
		{ VERB_AUTHORITY, " init issue revoke list publish" },
		{ VERB_GRAB, " memory core packets files changes triage disk" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].verb == verb)
			return rows[i].words;
	return "";
}

void help_completion(void)
{
	const struct verb *v;

	printf("# bash completion for exhibit; written by 'exhibit completion bash' from its tables.\n"
	       "_exhibit() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
	       "\tcase $prev in\n\t--config | --signing-key | --against) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
	       "\t--dir) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n\t--action) words='");
	words_of_actions();
	printf("' ;;\n\t*)\n\t\tcase ${COMP_WORDS[1]} in\n");
	for (size_t i = 0; (v = verb_at(i)); i++) {
		printf("\t\t%s) words='", v->name);
		words_of(v->bit);
		printf("%s' ;;\n", words_of_object(v->bit));
	}
	printf("\t\tesac ;;\n\tesac\n\t[ \"$COMP_CWORD\" -eq 1 ] && words='--help --version --print-man");
	for (size_t i = 0; (v = verb_at(i)); i++)
		printf(" %s", v->name);
	printf("'\n\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -F _exhibit exhibit\n");
}
