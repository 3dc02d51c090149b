/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/files.h"
#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

static const struct key_row {
	const char *name;
	const char *text; /* NULL: no file */
	int want;
	const char *says;
} key_rows[] = {
	{ "no file", NULL, -ENOENT, "seal.pem" },
	{ "empty", "", -EINVAL, "cannot read the key" },
	{ "no PEM", "hello\n", -EINVAL, "cannot read the key" },
	{ "P-256",
	  "-----BEGIN PRIVATE KEY-----\n"
	  "MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCAAAAAAAAAAAAAAAAAA\n"
	  "AAAAAAAAAAAAAAAAAAAAAAAAAQ==\n"
	  "-----END PRIVATE KEY-----\n",
	  -EINVAL, "not an Ed25519 key" },
};

static void key_is_refused(void **state)
{
	const struct key_row *row = *state;
	struct seal_key *key = NULL;
	struct error e = { 0 };
	struct sealing s;
	char path[96];

	sealing_begin(&s);
	(void)snprintf(path, sizeof(path), "%s/seal.pem", s.dir);
	if (row->text)
		assert_int_equal(files_replace(path, row->text, strlen(row->text), 0600, NULL), 0);
	else
		assert_int_equal(unlink(path), 0);
	assert_int_equal(seal_key_load(path, &key, &e), row->want);
	assert_null(key);
	assert_non_null(strstr(e.text, row->says));
	sealing_end(&s);
}

/* Made with python3-cryptography from the same key: sign(domain || NUL || SHA-256("abc")). */
static const uint8_t abc_signature[SEAL_SIGNATURE_LEN] = {
	0xf4, 0x30, 0xba, 0x18, 0xde, 0x8f, 0x05, 0xd7, 0x10, 0x64, 0xcb, 0x54, 0xeb,
	0x83, 0x82, 0xf9, 0x7b, 0x98, 0xc2, 0x0e, 0xf3, 0x1e, 0xd3, 0x64, 0xf0, 0x6c,
	0x55, 0xe5, 0x24, 0xe3, 0x14, 0x6d, 0x76, 0x64, 0x27, 0x26, 0xd2, 0xba, 0xda,
	0x22, 0x04, 0xe3, 0x86, 0x48, 0x08, 0x8d, 0x55, 0xcd, 0x82, 0xc2, 0x26, 0x70,
	0x1d, 0x39, 0x93, 0x6c, 0x01, 0x31, 0x38, 0x2d, 0xbf, 0xdb, 0x60, 0x03,
};

static const struct verify_row {
	const char *name;
	const char *domain, *data;
	size_t flip, len; /* bit of the signature that is false (0: none), its length */
	int want;
} verify_rows[] = {
	{ "another domain", SEAL_DOMAIN_IDLE, "abc", 0, 64, -EBADMSG },
	{ "other data", SEAL_DOMAIN_BATCH, "abd", 0, 64, -EBADMSG },
	{ "first bit", SEAL_DOMAIN_BATCH, "abc", 1, 64, -EBADMSG },
	{ "last bit", SEAL_DOMAIN_BATCH, "abc", 511, 64, -EBADMSG },
	{ "empty signature", SEAL_DOMAIN_BATCH, "abc", 0, 0, -EBADMSG },
	{ "short signature", SEAL_DOMAIN_BATCH, "abc", 0, 63, -EBADMSG },
	{ "true", SEAL_DOMAIN_BATCH, "abc", 0, 64, 0 },
};

static void signature_is_judged(void **state)
{
	const struct verify_row *row = *state;
	uint8_t signature[SEAL_SIGNATURE_LEN];
	struct sealing s;

	sealing_begin(&s);
	memcpy(signature, abc_signature, sizeof(signature));
	if (row->flip > 0)
		signature[row->flip / 8] ^= (uint8_t)(1u << row->flip % 8);
	assert_int_equal(seal_verify(s.verifier, row->domain, row->data, 3, signature, row->len),
			 row->want);
	sealing_end(&s);
}

static void signing_makes_the_bytes_that_others_make(void **state)
{
	uint8_t signature[SEAL_SIGNATURE_LEN];
	struct sealing s;

	(void)state;
	sealing_begin(&s);
	assert_int_equal(seal_sign(s.key, SEAL_DOMAIN_BATCH, "abc", 3, signature, NULL), 0);
	assert_memory_equal(signature, abc_signature, sizeof(signature));
	/* The context is used again. */
	assert_int_equal(seal_sign(s.key, SEAL_DOMAIN_BATCH, "abc", 3, signature, NULL), 0);
	assert_memory_equal(signature, abc_signature, sizeof(signature));
	sealing_end(&s);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, key_is_refused, key_rows);
	ADD_ROWS(&t, signature_is_judged, verify_rows);
	ADD_TEST(&t, signing_makes_the_bytes_that_others_make);
	return tests_run(&t, "seal");
}
