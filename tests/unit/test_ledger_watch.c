/* SPDX-License-Identifier: Apache-2.0 */
/* A ledger that this test keeps, told or forged, and a host that watches it. */
#include "agent/ledger_watch.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/ledger_cert.h"
#include "proto/tlog.h"
#include "service.pb-c.h"
#include "tests/unit/rows.h"
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/sealing.h"

#define LEAVES 40

static struct pki pki;
static struct sealing sealing;
static struct seal_key *second; /* another ledger key */

/* One history: leaf i is its number; from `fork` on another one. */
struct history {
	uint64_t fork;
	uint64_t rebuilt; /* this leaf is entry; 0: none */
	uint8_t entry[1024];
	size_t len;
};

static int leaf_hash(const struct history *h, uint64_t i, struct seal_hash *ret)
{
	uint8_t leaf[2] = { (uint8_t)i, i >= h->fork };

	if (h->rebuilt != 0 && i == h->rebuilt)
		return tlog_leaf_hash(h->entry, h->len, ret);
	return tlog_leaf_hash(leaf, sizeof(leaf), ret);
}

static int node(void *ctx, unsigned int level, uint64_t index, struct seal_hash *ret,
		struct error *e)
{
	struct seal_hash left, right;

	if (level == 0)
		return leaf_hash(ctx, index, ret);
	int r = node(ctx, level - 1, 2 * index, &left, e);

	if (r == 0)
		r = node(ctx, level - 1, 2 * index + 1, &right, e);
	return r < 0 ? r : tlog_node_hash(&left, &right, ret);
}

struct update {
	uint64_t fork, size, old;
	const char *cert; /* NULL: the ledger's */
	bool bad_signature, bad_proof;
	bool new_key; /* of a ledger whose second key the order authority certified */
	uint64_t rebuilt; /* leaf that says so; 0: none */
	uint64_t from; /* entries, as that leaf says */
	const char *of; /* of which log, as it says; NULL: the one that is held */
};

static void fill_note(const struct update *u, struct history *h, const struct note_key *key,
		      char *note, size_t *len)
{
	struct tlog_source source = { node, h };
	struct checkpoint c = { .size = u->size };
	char text[CHECKPOINT_TEXT_MAX];
	struct error e = { 0 };

	memcpy(c.origin, key->name, sizeof(c.origin));
	assert_int_equal(tlog_root(&source, u->size, &c.root, &e), 0);
	size_t n = checkpoint_format(&c, text);

	assert_int_equal(note_sign(key, u->new_key ? second : sealing.key, text, n, note, NOTE_MAX,
				   len, &e),
			 0);
	if (u->bad_signature)
		note[strcspn(note, "\n") + 1] ^= 1; /* the size */
}

/* The leaf that says from what the log was rebuilt. */
static void fill_rebuilt(const struct update *u, struct history *h)
{
	Exhibit__V1__LedgerEntry m = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	uint8_t public[SEAL_PUBLIC_LEN], *der = NULL;
	struct note_key key;
	size_t len;

	h->rebuilt = u->rebuilt;
	if (u->rebuilt == 0)
		return;
	seal_key_public(sealing.key, public);
	assert_int_equal(ledger_cert_load(pki_path(&pki, "ledger", ".crt"), &der, &len, NULL), 0);
	assert_int_equal(ledger_cert_check(der, len, NULL, 0, &key, NULL), 0);
	free(der);
	m.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD;
	m.size = u->from;
	m.subject.data = (uint8_t *)(uintptr_t)(u->of != NULL ? u->of : key.name);
	m.subject.len = strlen((char *)m.subject.data);
	h->len = exhibit__v1__ledger_entry__pack(&m, h->entry);
}

static void fill_message(const struct update *u, const struct history *h,
			 Exhibit__V1__LedgerRebuild *m, struct seal_hash *proof,
			 ProtobufCBinaryData *hashes)
{
	struct tlog_source source = { node, (void *)(uintptr_t)h };
	struct error e = { 0 };

	exhibit__v1__ledger_rebuild__init(m);
	m->entry = (ProtobufCBinaryData){ h->len, (uint8_t *)(uintptr_t)h->entry };
	m->index = u->rebuilt;
	assert_int_equal(
		tlog_prove_inclusion(&source, u->rebuilt, u->size, proof, &m->n_inclusion, &e), 0);
	for (size_t i = 0; i < m->n_inclusion; i++)
		hashes[i] = (ProtobufCBinaryData){ SEAL_HASH_LEN, proof[i].b };
	if (u->bad_proof)
		proof[0].b[0] ^= 1;
	m->inclusion = hashes;
}

/* A LedgerUpdate, packed; static. */
static const uint8_t *make(const struct update *u, size_t *ret_len)
{
	static uint8_t packed[LEDGER_WATCH_UPDATE_MAX];
	static char note[NOTE_MAX];
	Exhibit__V1__LedgerUpdate m = EXHIBIT__V1__LEDGER_UPDATE__INIT;
	struct history h = { .fork = u->fork };
	struct tlog_source source = { node, &h };
	struct seal_hash proof[TLOG_PROOF_MAX], inclusion[TLOG_PROOF_MAX];
	ProtobufCBinaryData hashes[TLOG_PROOF_MAX], inclusions[TLOG_PROOF_MAX];
	Exhibit__V1__LedgerRebuild rebuild;
	struct note_key key;
	struct error e = { 0 };
	uint8_t *der = NULL;
	size_t len;

	assert_int_equal(
		ledger_cert_load(pki_path(&pki, u->cert == NULL ? "ledger" : u->cert, ".crt"), &der,
				 &m.certificate.len, &e),
		0);
	m.certificate.data = der;
	assert_int_equal(ledger_cert_check(der, m.certificate.len, NULL, 0, &key, &e), 0);
	fill_rebuilt(u, &h);
	fill_note(u, &h, &key, note, &len);
	if (u->rebuilt != 0) {
		fill_message(u, &h, &rebuild, inclusion, inclusions);
		m.rebuild = &rebuild;
	}
	m.checkpoint = (ProtobufCBinaryData){ len, (uint8_t *)note };
	m.old_size = u->old;
	if (u->old <= u->size)
		assert_int_equal(tlog_prove_consistency(&source, u->old, u->size, proof,
							&m.n_consistency, &e),
				 0);
	for (size_t i = 0; i < m.n_consistency; i++)
		hashes[i] = (ProtobufCBinaryData){ SEAL_HASH_LEN, proof[i].b };
	if (u->bad_proof)
		proof[0].b[0] ^= 1;
	m.consistency = hashes;
	*ret_len = exhibit__v1__ledger_update__pack(&m, packed);
	free(der);
	return packed;
}

static int take(struct ledger_watch *w, struct update u, struct error *e)
{
	size_t len;
	const uint8_t *data = make(&u, &len);

	return ledger_watch_take(w, data, len, time(NULL), e);
}

static struct authorities *both(void)
{
	struct authorities *a = NULL;

	assert_int_equal(authorities_load(pki_path(&pki, "fleet", ".crt"),
					  pki_path(&pki, "order", ".crt"), &a, NULL),
			 0);
	return a;
}

static struct ledger_watch *open_watch(const struct authorities *a)
{
	struct ledger_watch *w = NULL;
	struct error e = { 0 };

	if (ledger_watch_open(pki_path(&pki, "held", ""), a, &w, &e) < 0)
		fail_msg("%s", e.text);
	return w;
}

#define HELD 13
#define SAME LEAVES /* no fork that shows */

static const struct row {
	const char *name;
	struct update u; /* after one of HELD entries */
	int want;
	const char *why;
} rows[] = {
	{ "set back", { .fork = SAME, .size = 12, .old = 0 }, -ECONNREFUSED, "it was set back" },
	{ "set back to nothing", { .fork = SAME }, -ECONNREFUSED, "it was set back" },
	{ "another tree of one size",
	  { .fork = 12, .size = HELD, .old = HELD },
	  -ECONNREFUSED,
	  "two trees of one size" },
	{ "another history",
	  { .fork = 5, .size = 20, .old = HELD },
	  -ECONNREFUSED,
	  "what it held before is not its beginning" },
	{ "a false proof",
	  { .fork = SAME, .size = 20, .old = HELD, .bad_proof = true },
	  -ECONNREFUSED,
	  "what it held before is not its beginning" },
	{ "signed with another key than its certificate names",
	  { .fork = SAME, .size = 20, .old = HELD, .cert = "second" },
	  -EBADMSG,
	  "does not count" },
	{ "of the fleet authority",
	  { .fork = SAME, .size = 20, .old = HELD, .cert = "fleets" },
	  -EBADMSG,
	  "not issued by the order authority" },
	{ "a false signature",
	  { .fork = SAME, .size = 20, .old = HELD, .bad_signature = true },
	  -EBADMSG,
	  "does not count" },
	{ "a proof from elsewhere",
	  { .fork = SAME, .size = 20, .old = 12 },
	  -EAGAIN,
	  "proof from 12" },
	{ "the same", { .fork = SAME, .size = HELD, .old = HELD }, -EALREADY, "" },
	{ "what follows", { .fork = SAME, .size = 20, .old = HELD }, 0, "" },
	{ "another key and the same tree",
	  { .fork = SAME, .size = 20, .old = HELD, .new_key = true, .cert = "renewed" },
	  0,
	  "" },
	{ "another key and the same size",
	  { .fork = SAME, .size = HELD, .old = HELD, .new_key = true, .cert = "renewed" },
	  0,
	  "" },
	{ "another key and another history",
	  { .fork = 5, .size = 20, .old = HELD, .new_key = true, .cert = "renewed" },
	  -ECONNREFUSED,
	  "is not its beginning" },
	{ "rebuilt from less, set back",
	  { .fork = 10, .size = 12, .rebuilt = 10, .from = 10 },
	  -ESTALE,
	  "this host holds one of 13: entries 10 to 12 were lost, and it has its old key" },
	{ "rebuilt from less, and grown",
	  { .fork = 10, .size = 20, .old = HELD, .rebuilt = 10, .from = 10 },
	  -ESTALE,
	  "entries 10 to 12 were lost" },
	{ "rebuilt from less, with a new key",
	  { .fork = 10, .size = 12, .rebuilt = 10, .from = 10, .new_key = true, .cert = "renewed" },
	  1,
	  "entries 10 to 12 were lost" },
	{ "rebuilt from less, a false proof",
	  { .fork = 10, .size = 12, .rebuilt = 10, .from = 10, .bad_proof = true },
	  -ECONNREFUSED,
	  "it was set back" },
	{ "rebuilt from another log",
	  { .fork = 10, .size = 12, .rebuilt = 10, .from = 10, .of = "x/y/ledger/z" },
	  -ECONNREFUSED,
	  "it was set back" },
	{ "rebuilt from more than what is held, and yet another history",
	  { .fork = 5, .size = 20, .old = HELD, .rebuilt = 15, .from = 15 },
	  -ECONNREFUSED,
	  "is not its beginning" },
	{ "a leaf that says more than it can know",
	  { .fork = 9, .size = 12, .rebuilt = 9, .from = 10 },
	  -ECONNREFUSED,
	  "it was set back" },
	{ "rebuilt behind what is held",
	  { .fork = SAME, .size = 20, .old = HELD, .rebuilt = 15, .from = 15 },
	  0,
	  "" },
	{ "a fork behind what is held", { .fork = HELD, .size = 20, .old = HELD }, 0, "" },
};

static void test_after(void **state)
{
	const struct row *row = *state;
	struct authorities *a = both();
	struct seal_hash before, after;
	struct error e = { 0 };
	size_t len;

	(void)unlink(pki_path(&pki, "held", ""));
	struct ledger_watch *w = open_watch(a);

	assert_false(ledger_watch_hash(w, &before));
	assert_string_equal(ledger_watch_note(w, &len), "");
	assert_int_equal(take(w, (struct update){ .fork = SAME, .size = HELD }, &e), 0);
	assert_true(ledger_watch_hash(w, &before));
	assert_int_equal(take(w, row->u, &e), row->want);
	if (strstr(e.text, row->why) == NULL)
		fail_msg("%s", e.text);
	/* Said once. */
	if (row->want == -ESTALE)
		assert_int_equal(take(w, row->u, &e), -EALREADY);
	/* Held, or not, also after a restart. */
	ledger_watch_free(w);
	w = open_watch(a);
	assert_int_equal(ledger_watch_size(w), row->want >= 0 ? row->u.size : HELD);
	assert_true(ledger_watch_hash(w, &after));
	assert_int_equal(memcmp(&before, &after, sizeof(before)) == 0, row->want < 0);
	assert_int_equal(access(pki_path(&pki, "held", ".lost-13"), F_OK), row->want == 1 ? 0 : -1);
	(void)unlink(pki_path(&pki, "held", ".lost-13"));
	ledger_watch_free(w);
	authorities_free(a);
}

static void test_growth(void **state)
{
	struct authorities *a = both();
	struct error e = { 0 };

	(void)state;
	(void)unlink(pki_path(&pki, "held", ""));
	struct ledger_watch *w = open_watch(a);

	for (uint64_t size = 0; size < LEAVES; size++) {
		uint64_t old = size == 0 ? 0 : size - 1;

		if (take(w, (struct update){ .fork = SAME, .size = size, .old = old }, &e) != 0)
			fail_msg("%s", e.text);
		assert_int_equal(ledger_watch_size(w), size);
	}
	ledger_watch_free(w);
	authorities_free(a);
}

static void test_damaged(void **state)
{
	struct authorities *a = both();
	struct ledger_watch *w = NULL;
	struct error e = { 0 };

	(void)state;
	assert_int_equal(files_replace(pki_path(&pki, "held", ""), "x", 1, 0600, &e), 0);
	assert_int_equal(ledger_watch_open(pki_path(&pki, "held", ""), a, &w, &e), -EBADMSG);
	(void)unlink(pki_path(&pki, "held", ""));
	w = open_watch(a);
	assert_int_equal(ledger_watch_take(w, "x", 1, time(NULL), &e), -EBADMSG);
	ledger_watch_free(w);
	authorities_free(a);
}

static void certify(const char *authority, const char *tenant, const uint8_t *public,
		    const char *name)
{
	struct certs_authority *a = NULL;
	struct error e = { 0 };

	if (certs_authority_load(pki_path(&pki, authority, ""), &a, &e) < 0 ||
	    ledger_cert_make(a, FIXTURE_DOMAIN, tenant, public, time(NULL),
			     pki_path(&pki, name, ".crt"), &e) < 0)
		fail_msg("%s", e.text);
	certs_authority_free(a);
}

int main(void)
{
	static const uint8_t other[SEAL_PUBLIC_LEN] = { 1, 2, 3 };
	static struct tests t;
	uint8_t public[SEAL_PUBLIC_LEN], renewed[SEAL_PUBLIC_LEN];
	int failed;

	ADD_ROWS(&t, test_after, rows);
	ADD_TEST(&t, test_growth);
	ADD_TEST(&t, test_damaged);
	pki_make(&pki);
	sealing_begin(&sealing);
	seal_key_public(sealing.key, public);
	certify("order", FIXTURE_TENANT, public, "ledger");
	certify("order", FIXTURE_TENANT, other, "second");
	if (certs_sealing_key(pki_path(&pki, "renewed", ".key"), renewed, NULL) < 0 ||
	    seal_key_load(pki_path(&pki, "renewed", ".key"), &second, NULL) < 0)
		return 1;
	certify("order", FIXTURE_TENANT, renewed, "renewed");
	certify("fleet", FIXTURE_TENANT, public, "fleets");
	failed = tests_run(&t, "ledger_watch");
	seal_key_free(second);
	sealing_end(&sealing);
	pki_remove(&pki);
	return failed;
}
