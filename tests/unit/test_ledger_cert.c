/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/ledger_cert.h"
#include "tests/unit/rows.h"
#include "tests/unit/rpc_fixture.h"

static struct pki pki;
static const uint8_t public[SEAL_PUBLIC_LEN] = { 1, 2, 3 };

static void make(const char *authority, const char *name)
{
	struct certs_authority *a = NULL;
	struct error e = { 0 };

	if (certs_authority_load(pki_path(&pki, authority, ""), &a, &e) < 0 ||
	    ledger_cert_make(a, "exhibit.internal", "acme", public, time(NULL),
			     pki_path(&pki, name, ".crt"), &e) < 0)
		fail_msg("%s", e.text);
	certs_authority_free(a);
}

static struct authorities *both(void)
{
	struct authorities *a = NULL;

	assert_int_equal(authorities_load(pki_path(&pki, "fleet", ".crt"),
					  pki_path(&pki, "order", ".crt"), &a, NULL),
			 0);
	return a;
}

static const struct cert_row {
	const char *name, *file;
	int64_t days; /* from now */
	int want;
	const char *why;
} rows[] = {
	{ "of the fleet authority", "ledger-fleet", 0, -EACCES,
	  "not issued by the order authority" },
	{ "a collector's", "collector", 0, -EACCES, "not a ledger's" },
	{ "after its end", "ledger-order", 4000, -EKEYEXPIRED, "expired" },
	{ "before its beginning", "ledger-order", -1, -EACCES, "not valid yet" },
	{ "of the order authority", "ledger-order", 0, 0, NULL },
	{ "later in its life", "ledger-order", 29, 0, NULL },
};

static void certificate_counts_or_not(void **state)
{
	const struct cert_row *row = *state;
	struct authorities *a = both();
	struct error e = { 0 };
	struct note_key k;
	uint8_t *der = NULL;
	size_t len;

	assert_int_equal(ledger_cert_load(pki_path(&pki, row->file, ".crt"), &der, &len, NULL), 0);
	assert_int_equal(ledger_cert_check(der, len, a, time(NULL) + row->days * 86400, &k, &e),
			 row->want);
	if (row->want < 0) {
		assert_non_null(strstr(e.text, row->why));
	} else {
		assert_string_equal(k.name, "exhibit.internal/acme/ledger/1ac2f192");
		assert_memory_equal(k.public, public, sizeof(public));
	}
	free(der);
	authorities_free(a);
}

/* Any byte of it changed: refused, or (in what no signature covers) the same key. */
static void changed_bytes_give_no_other_key(void **state)
{
	struct authorities *a = both();
	uint8_t *der = NULL;
	size_t len;

	(void)state;
	assert_int_equal(ledger_cert_load(pki_path(&pki, "ledger-order", ".crt"), &der, &len, NULL),
			 0);
	for (size_t i = 0; i < len; i++) {
		struct note_key k;

		der[i] ^= 1;
		if (ledger_cert_check(der, len, a, 0, &k, NULL) == 0)
			assert_memory_equal(k.public, public, sizeof(public));
		der[i] ^= 1;
		assert_int_equal(ledger_cert_check(der, i, a, 0, &k, NULL), -EACCES);
	}
	free(der);
	authorities_free(a);
}

/* Nobody may come in with it: neither TLS nor orders know its kind. */
static void it_is_nobodys_identity(void **state)
{
	struct authorities *a = both();
	struct identity id;
	uint8_t *pem = NULL;
	size_t len;

	(void)state;
	assert_int_equal(
		files_read(pki_path(&pki, "ledger-order", ".crt"), KiB(16), &pem, &len, NULL), 0);
	assert_int_equal(identity_from_leaf((char *)pem, len, a, time(NULL), &id, NULL), -EACCES);
	free(pem);
	authorities_free(a);
}

int main(void)
{
	static struct tests t;
	int failed;

	ADD_ROWS(&t, certificate_counts_or_not, rows);
	ADD_TEST(&t, changed_bytes_give_no_other_key);
	ADD_TEST(&t, it_is_nobodys_identity);
	pki_make(&pki);
	pki_issue(&pki, "order", IDENTITY_COLLECTOR, "c1", "collector", 3600);
	make("order", "ledger-order");
	make("fleet", "ledger-fleet");
	failed = tests_run(&t, "ledger_cert");
	pki_remove(&pki);
	return failed;
}
