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

/* One history: leaf i is its number; from `fork` on another one. */
struct history {
	uint64_t fork;
};

static int leaf_hash(const struct history *h, uint64_t i, struct seal_hash *ret)
{
	uint8_t leaf[2] = { (uint8_t)i, i >= h->fork };

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
};

static void fill_note(const struct update *u, const struct note_key *key, char *note, size_t *len)
{
	struct history h = { u->fork };
	struct tlog_source source = { node, &h };
	struct checkpoint c = { .size = u->size };
	char text[CHECKPOINT_TEXT_MAX];
	struct error e = { 0 };

	memcpy(c.origin, key->name, sizeof(c.origin));
	assert_int_equal(tlog_root(&source, u->size, &c.root, &e), 0);
	size_t n = checkpoint_format(&c, text);

	assert_int_equal(note_sign(key, sealing.key, text, n, note, NOTE_MAX, len, &e), 0);
	if (u->bad_signature)
		note[strcspn(note, "\n") + 1] ^= 1; /* the size */
}

/* A LedgerUpdate, packed; static. */
static const uint8_t *make(const struct update *u, size_t *ret_len)
{
	static uint8_t packed[LEDGER_WATCH_UPDATE_MAX];
	static char note[NOTE_MAX];
	Exhibit__V1__LedgerUpdate m = EXHIBIT__V1__LEDGER_UPDATE__INIT;
	struct history h = { u->fork };
	struct tlog_source source = { node, &h };
	struct seal_hash proof[TLOG_PROOF_MAX];
	ProtobufCBinaryData hashes[TLOG_PROOF_MAX];
	struct note_key key;
	struct error e = { 0 };
	uint8_t public[SEAL_PUBLIC_LEN], *der = NULL;
	size_t len;

	assert_int_equal(
		ledger_cert_load(pki_path(&pki, u->cert == NULL ? "ledger" : u->cert, ".crt"), &der,
				 &m.certificate.len, &e),
		0);
	m.certificate.data = der;
	seal_key_public(sealing.key, public);
	assert_int_equal(ledger_cert_check(der, m.certificate.len, NULL, 0, &key, &e), 0);
	fill_note(u, &key, note, &len);
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
	/* Held, or not, also after a restart. */
	ledger_watch_free(w);
	w = open_watch(a);
	assert_int_equal(ledger_watch_size(w), row->want == 0 ? row->u.size : HELD);
	assert_true(ledger_watch_hash(w, &after));
	assert_int_equal(memcmp(&before, &after, sizeof(before)) == 0, row->want != 0);
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
	uint8_t public[SEAL_PUBLIC_LEN];
	int failed;

	ADD_ROWS(&t, test_after, rows);
	ADD_TEST(&t, test_growth);
	ADD_TEST(&t, test_damaged);
	pki_make(&pki);
	sealing_begin(&sealing);
	seal_key_public(sealing.key, public);
	certify("order", FIXTURE_TENANT, public, "ledger");
	certify("order", FIXTURE_TENANT, other, "second");
	certify("fleet", FIXTURE_TENANT, public, "fleets");
	failed = tests_run(&t, "ledger_watch");
	sealing_end(&sealing);
	pki_remove(&pki);
	return failed;
}
