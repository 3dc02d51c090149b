/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit authority: the order authority on its own machine. It makes itself, gives people their two
 * certificates, takes them back, and hands the list of the revoked to the collector. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/authority_book.h"
#include "collector/cli/outcome.h"
#include "collector/cli/person_key.h"
#include "collector/cli/session.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/certs_key.h"
#include "proto/json.h"
#include "proto/order.h"

#define AUTHORITY_DAYS 3650
#define HOURS_MAX ORDER_CERTIFICATE_HOURS_MAX
#define FILE_MAX MiB(2)

static int64_t now_s(void)
{
	return clock_wall_ns() / (int64_t)NSEC_PER_SEC;
}

/* DIR/NAME SUFFIX. */
static int path_in(const struct args *a, const char *name, const char *suffix,
		   char buf[static PATH_MAX], struct error *e)
{
	int n = snprintf(buf, PATH_MAX, "%s/%s%s", a->dir, name, suffix);

	if (n < 0 || n >= PATH_MAX)
		return error_set(e, -ENAMETOOLONG, "the folder's path '%.200s...' is too long",
				 a->dir);
	return 0;
}

static int load_authority(const struct args *a, struct certs_authority **ret, struct error *e)
{
	char base[PATH_MAX];
	int r = path_in(a, "order-ca", "", base, e);

	r = r < 0 ? r : certs_authority_load(base, ret, e);
	if (r == -ENOKEY)
		error_hint(e, "make it with 'exhibit authority init --dir %s'", a->dir);
	return r;
}

static int load_trust(const struct args *a, struct authorities **ret, struct error *e)
{
	char cert[PATH_MAX];
	int r = path_in(a, "order-ca", ".crt", cert, e);

	return r < 0 ? r : authorities_load(NULL, cert, ret, e);
}

static const char *tenant_of(const struct args *a)
{
	return a->tenant ? a->tenant : "default";
}

static int take_part(const char *flag, const char *text, char out[static IDENTITY_PART_MAX + 1],
		     struct error *e)
{
	if (!text)
		return error_set(e, -EINVAL, "--%s is needed", flag);
	if (!identity_part_valid(text, strlen(text)))
		return error_set(e, -EINVAL,
				 "--%s '%s' must be 1 to %d letters, digits, '.', '_' or '-', "
				 "without a dot at the start or two in a row",
				 flag, text, IDENTITY_PART_MAX);
	(void)snprintf(out, IDENTITY_PART_MAX + 1, "%s", text);
	return 0;
}

static int person_of(const struct args *a, struct identity *ret, struct error *e)
{
	int r;

	*ret = (struct identity){ .kind = IDENTITY_RESPONDER };
	r = take_part("domain", a->domain ? a->domain : "exhibit.internal", ret->domain, e);
	if (r == 0)
		r = take_part("tenant", tenant_of(a), ret->tenant, e);
	return r == 0 ? take_part("name", a->name, ret->name, e) : r;
}

/* ---- init ------------------------------------------------------------------------------------------ */

static int init(const struct args *a, struct error *e)
{
	char base[PATH_MAX], cert[PATH_MAX];
	int r = files_mkdirs(a->dir, 0700, e);

	if (r >= 0)
		r = path_in(a, "order-ca", "", base, e);
	if (r >= 0)
		r = path_in(a, "order-ca", ".crt", cert, e);
	if (r < 0)
		return r;
	/* Never replaced: everything that was issued hangs on it. */
	if (access(cert, F_OK) == 0) {
		printf("kept %s\n", cert);
		return 0;
	}
	r = certs_authority_make(base, "Exhibit order authority", AUTHORITY_DAYS, now_s(), e);
	if (r == 0)
		printf("made %s and %s.key; keep the key offline\n", cert, base);
	return r;
}

/* ---- issue ----------------------------------------------------------------------------------------- */

static int add_roles(const char *list, struct identity *id, struct error *e)
{
	for (const char *at = list;; at++) {
		size_t len = strcspn(at, ",");
		char *role = id->n_roles < IDENTITY_ROLES_MAX ? id->roles[id->n_roles] : NULL;

		if (role && len <= IDENTITY_ROLE_MAX) {
			memcpy(role, at, len);
			role[len] = '\0';
		}
		if (!role || len > IDENTITY_ROLE_MAX || !identity_role_known(role)) {
			(void)error_set(e, -EINVAL, "--roles: there is no role '%.*s'", (int)len,
					at);
			error_hint(e, "the roles are %s", IDENTITY_ROLES_TEXT);
			return -EINVAL;
		}
		id->n_roles++;
		at += len;
		if (*at == '\0')
			return 0;
	}
}

static int read_issued(const struct args *a, const char *cert_file, struct identity *ret,
		       struct error *e)
{
	AUTO(authorities_free_ptr) struct authorities *trust = NULL;
	AUTO(free_ptr) uint8_t *pem = NULL;
	size_t len;
	int r = load_trust(a, &trust, e);

	if (r == 0)
		r = files_read(cert_file, FILE_MAX, &pem, &len, e);
	return r < 0 ? r : identity_from_leaf((const char *)pem, len, trust, now_s(), ret, e);
}

/* What was issued is remembered before the person gets it, so that it can be revoked. */
static int remember(const struct args *a, const char *cert_file, const char *use, struct error *e)
{
	AUTO(book_release) struct book book = { 0 };
	struct book_entry entry = { 0 };
	struct identity id;
	char path[PATH_MAX];
	int r = read_issued(a, cert_file, &id, e);

	if (r == 0)
		r = path_in(a, "issued", "", path, e);
	if (r == 0)
		r = book_load(path, &book, e);
	if (r < 0)
		return r;
	entry.not_after_s = id.not_after_s;
	memcpy(entry.serial, id.serial, sizeof(entry.serial));
	(void)snprintf(entry.use, sizeof(entry.use), "%s", use);
	(void)identity_spiffe(&id, entry.name);
	r = book_add(&book, &entry, e);
	return r == 0 ? book_save(&book, path, now_s(), e) : r;
}

/* Whoever was revoked and comes back gets new certificates. */
static bool still_good(const struct args *a, const char *cert_file)
{
	AUTO(book_release) struct book revoked = { 0 };
	struct identity id;
	char path[PATH_MAX];

	return read_issued(a, cert_file, &id, NULL) == 0 &&
	       path_in(a, "revoked-", tenant_of(a), path, NULL) == 0 &&
	       book_load(path, &revoked, NULL) == 0 && !book_find(&revoked, id.serial);
}

static int issue_pair(const struct args *a, const struct certs_authority *authority,
		      const struct certs_leaf *leaf, const char *suffix, struct error *e)
{
	char name[IDENTITY_PART_MAX + 16], base[PATH_MAX], cert[PATH_MAX];
	int r;

	(void)snprintf(name, sizeof(name), "responder-%s", leaf->id.name);
	r = path_in(a, name, suffix, base, e);
	if (r < 0)
		return r;
	if (snprintf(cert, sizeof(cert), "%s.crt", base) >= (int)sizeof(cert))
		return error_set(e, -ENAMETOOLONG, "the path '%.200s...' is too long", base);
	if (certs_fresh(authority, leaf, now_s(), base) && still_good(a, cert)) {
		printf("kept %s\n", cert);
		return remember(a, cert, leaf->signs_orders ? "sign" : "tls", e);
	}
	r = certs_issue(authority, leaf, now_s(), base, e);
	if (r == 0)
		r = remember(a, cert, leaf->signs_orders ? "sign" : "tls", e);
	if (r == 0)
		printf("made %s and %s.key\n", cert, base);
	return r;
}

/* For a key that the person made, on a token or in a file: only its public half comes here. */
static int issue_to_key(const struct args *a, const struct certs_authority *authority,
			const struct certs_leaf *leaf, struct error *e)
{
	AUTO(person_key_free_ptr) EVP_PKEY *public = NULL;
	char name[IDENTITY_PART_MAX + 16], cert[PATH_MAX];
	int r = person_key_load(a->signing_key, &public, e);

	(void)snprintf(name, sizeof(name), "responder-%s", leaf->id.name);
	if (r == 0)
		r = path_in(a, name, ".sign.crt", cert, e);
	if (r == 0)
		r = certs_issue_public(authority, leaf, public, now_s(), cert, e);
	if (r == 0)
		r = remember(a, cert, "sign", e);
	if (r == 0)
		printf("made %s\n", cert);
	return r;
}

static int issue(const struct args *a, struct error *e)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *authority = NULL;
	struct certs_leaf leaf = { .seconds = (a->hours ? a->hours : HOURS_MAX) * 3600 };
	int r = person_of(a, &leaf.id, e);

	if (r == 0)
		r = add_roles(a->roles ? a->roles : "viewer", &leaf.id, e);
	if (r == 0)
		r = load_authority(a, &authority, e);
	if (r == 0)
		r = issue_pair(a, authority, &leaf, "", e);
	if (r < 0)
		return r;
	leaf.signs_orders = true;
	return a->signing_key ? issue_to_key(a, authority, &leaf, e) :
				issue_pair(a, authority, &leaf, ".sign", e);
}

/* ---- revoke ---------------------------------------------------------------------------------------- */

/* The number of the newest list; 0: there is none yet. */
static int newest_number(const struct args *a, const char *path, uint64_t *ret, struct error *e)
{
	AUTO(authorities_free_ptr) struct authorities *trust = NULL;
	AUTO(free_ptr) uint8_t *data = NULL;
	struct revocations *list = NULL;
	size_t len;
	int r;

	*ret = 0;
	if (access(path, F_OK) != 0)
		return 0;
	r = load_trust(a, &trust, e);
	if (r == 0)
		r = files_read(path, FILE_MAX, &data, &len, e);
	if (r >= 0)
		r = revocations_new(tenant_of(a), &list, e);
	if (r >= 0)
		r = revocations_take(list, trust, data, len, e);
	if (r == 0)
		*ret = revocations_number(list);
	revocations_free(list);
	return r < 0 ? error_wrap(e, r, "cannot number the list after '%s'", path) : 0;
}

static bool parse_serial(const char *text, char out[static IDENTITY_SERIAL_MAX + 1])
{
	size_t len = 0;

	for (text += strspn(text, "0"); *text; text++) {
		char c = *text;

		if (c == ':')
			continue;
		c = (char)(c >= 'A' && c <= 'F' ? c + ('a' - 'A') : c);
		if (len == IDENTITY_SERIAL_MAX || !strchr("0123456789abcdef", c))
			return false;
		out[len++] = c;
	}
	out[len] = '\0';
	return len > 0;
}

static int add_serial(const struct args *a, const struct book *issued, struct book *revoked,
		      struct error *e)
{
	struct book_entry entry = { .use = "any" };
	const struct book_entry *known;

	if (!parse_serial(a->serial, entry.serial))
		return error_set(e, -EINVAL, "'%s' is not a serial number in hex", a->serial);
	known = book_find(issued, entry.serial);
	(void)snprintf(entry.name, sizeof(entry.name), "-");
	return book_add(revoked, known ? known : &entry, e);
}

static int add_person(const struct args *a, const struct book *issued, struct book *revoked,
		      struct error *e)
{
	char name[IDENTITY_SPIFFE_MAX];
	struct identity id;
	size_t found = 0;
	int r = person_of(a, &id, e);

	if (r < 0)
		return r;
	(void)identity_spiffe(&id, name);
	for (size_t i = 0; r == 0 && i < issued->n; i++) {
		if (strcmp(issued->entries[i].name, name) != 0)
			continue;
		found++;
		r = book_add(revoked, &issued->entries[i], e);
	}
	if (r < 0 || found)
		return r;
	(void)error_set(e, -ENOENT, "nothing was issued to '%s' from here", name);
	error_hint(e, "'exhibit authority list --dir %s' shows who has what; by number: --serial",
		   a->dir);
	return -ENOENT;
}

static int write_list(const struct args *a, const struct book *revoked, struct error *e)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *authority = NULL;
	AUTO(free_ptr) const char **serials = calloc(revoked->n + 1, sizeof(*serials));
	AUTO(free_ptr) uint8_t *list = NULL;
	char name[IDENTITY_PART_MAX + 16], path[PATH_MAX];
	uint64_t number = 0;
	size_t len = 0;
	int r = serials ? load_authority(a, &authority, e) :
			  error_set(e, -ENOMEM, "cannot make a revocation list: %m");

	(void)snprintf(name, sizeof(name), "revocations-%s", tenant_of(a));
	if (r == 0)
		r = path_in(a, name, ".list", path, e);
	if (r == 0)
		r = newest_number(a, path, &number, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < revoked->n; i++)
		serials[i] = revoked->entries[i].serial;
	r = certs_revocations(authority, tenant_of(a), number + 1, serials, revoked->n,
			      clock_wall_ns(), &list, &len, e);
	if (r == 0)
		r = files_replace(path, list, len, 0644, e);
	if (r == 0)
		printf("made %s: list %" PRIu64 ", %zu certificates revoked; hand it out with "
		       "'exhibit authority publish --dir %s'\n",
		       path, number + 1, revoked->n, a->dir);
	return r;
}

static int take_back(const struct args *a, struct error *e)
{
	AUTO(book_release) struct book issued = { 0 };
	AUTO(book_release) struct book revoked = { 0 };
	char issued_path[PATH_MAX], revoked_path[PATH_MAX];
	int r;

	if (!a->name == !a->serial)
		return error_set(e, -EINVAL, "revoke takes either --name or --serial");
	r = path_in(a, "issued", "", issued_path, e);
	if (r == 0)
		r = path_in(a, "revoked-", tenant_of(a), revoked_path, e);
	if (r == 0)
		r = book_load(issued_path, &issued, e);
	if (r == 0)
		r = book_load(revoked_path, &revoked, e);
	if (r == 0)
		r = a->name ? add_person(a, &issued, &revoked, e) :
			      add_serial(a, &issued, &revoked, e);
	if (r == 0)
		r = book_save(&revoked, revoked_path, now_s(), e);
	return r == 0 ? write_list(a, &revoked, e) : r;
}

/* ---- list ------------------------------------------------------------------------------------------ */

static void list_json(const struct screen *s, const struct book_entry *x, bool revoked)
{
	struct json j = json_init(s->out);

	json_open(&j, NULL, 0, '{');
	json_open(&j, "user", 4, '{');
	json_text(&j, "id", x->name);
	json_close(&j, '}');
	json_open(&j, "x509", 4, '{');
	json_text(&j, "serial_number", x->serial);
	json_time(&j, "not_after", x->not_after_s * (int64_t)NSEC_PER_SEC);
	json_close(&j, '}');
	json_open(&j, "exhibit", 7, '{');
	json_text(&j, "use", x->use);
	json_bool(&j, "revoked", revoked);
	json_close(&j, '}');
	json_close(&j, '}');
	json_line(&j);
}

static void list_row(struct table *t, const struct book_entry *x, bool revoked)
{
	char until[CLOCK_TEXT_MAX];
	bool over = x->not_after_s < now_s();

	table_add(t, COLOR_BOLD, "%s", x->name);
	table_add(t, COLOR_NONE, "%s", x->use);
	table_add(t, COLOR_NONE, "%s", x->serial);
	table_add(t, COLOR_NONE, "%s",
		  outcome_time(x->not_after_s * (int64_t)NSEC_PER_SEC, 0, until));
	table_add(t, revoked ? COLOR_RED : COLOR_NONE, "%s",
		  revoked ? "revoked" :
		  over    ? "over" :
			    "good");
}

static int list(const struct args *a, struct error *e)
{
	static const char *const headers[] = { "NAME", "USE", "SERIAL", "UNTIL", "STATE", NULL };
	AUTO(table_free_ptr) struct table *table = table_new(headers);
	AUTO(book_release) struct book issued = { 0 };
	AUTO(book_release) struct book revoked = { 0 };
	char path[PATH_MAX], revoked_path[PATH_MAX];
	struct screen screen;
	int r = path_in(a, "issued", "", path, e);

	if (r == 0)
		r = path_in(a, "revoked-", tenant_of(a), revoked_path, e);
	if (r == 0)
		r = book_load(path, &issued, e);
	if (r == 0)
		r = book_load(revoked_path, &revoked, e);
	if (r < 0 || !table)
		return r < 0 ? r : error_set(e, -ENOMEM, "cannot list: out of memory");
	screen_init(&screen, a);
	for (size_t i = 0; i < issued.n; i++) {
		const struct book_entry *x = &issued.entries[i];

		if (screen.table)
			list_row(table, x, book_find(&revoked, x->serial) != NULL);
		else
			list_json(&screen, x, book_find(&revoked, x->serial) != NULL);
	}
	if (screen.table && issued.n)
		table_print(table, &screen);
	return 0;
}

/* ---- publish --------------------------------------------------------------------------------------- */

static int read_reply(struct session *s, uint64_t *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	Exhibit__V1__PublishReply *reply;
	size_t len;
	int r = session_next(s, &data, &len, e);

	if (r <= 0)
		return r < 0 ? r : error_set(e, -EPIPE, "the collector did not answer");
	reply = exhibit__v1__publish_reply__unpack(NULL, len, data);
	if (!reply)
		return error_set(e, -EBADMSG, "the collector's answer cannot be read");
	*ret = reply->number;
	exhibit__v1__publish_reply__free_unpacked(reply, NULL);
	return 0;
}

static int publish(const struct args *a, struct error *e)
{
	AUTO(session_free_ptr) struct session *s = NULL;
	AUTO(free_ptr) uint8_t *data = NULL;
	Exhibit__V1__SignedRevocationList *signed_list = NULL;
	char name[IDENTITY_PART_MAX + 16], path[PATH_MAX];
	uint64_t number = 0;
	size_t len;
	int r;

	(void)snprintf(name, sizeof(name), "revocations-%s", tenant_of(a));
	r = path_in(a, name, ".list", path, e);
	if (r == 0)
		r = files_read(path, FILE_MAX, &data, &len, e);
	if (r < 0)
		return r;
	signed_list = exhibit__v1__signed_revocation_list__unpack(NULL, len, data);
	if (!signed_list)
		return error_set(e, -EBADMSG, "'%s' is not a revocation list", path);
	r = session_open(a, "/exhibit.v1.Orders/Publish", signed_list, &s, e);
	if (r == 0)
		r = read_reply(s, &number, e);
	exhibit__v1__signed_revocation_list__free_unpacked(signed_list, NULL);
	if (r == 0)
		printf("the collector holds list %" PRIu64 " now and hands it to the hosts\n",
		       number);
	return r;
}

/* ---- the verb -------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(const struct args *a, struct error *e);
} actions[] = {
	{ "init", init }, { "issue", issue },     { "revoke", take_back },
	{ "list", list }, { "publish", publish },
};

static int run(const struct args *a, struct error *e)
{
	if (!a->dir)
		return error_set(e, -EINVAL, "--dir is needed: where the order authority lies");
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (a->object && strcmp(a->object, actions[i].name) == 0)
			return actions[i].run(a, e);
	(void)error_set(e, -EINVAL, "'%s' is nothing that an authority does",
			a->object ? a->object : "");
	error_hint(e, "exhibit authority init, issue, revoke, list or publish");
	return -EINVAL;
}

int verb_authority(const struct args *a)
{
	struct error e = { 0 };

	if (run(a, &e) < 0)
		return outcome_failure(&e);
	return fflush(stdout) ? EXIT_ERROR : EXIT_FOUND;
}
