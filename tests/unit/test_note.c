/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "proto/note.h"
#include "tests/unit/rows.h"

/* The example of Go's package sumdb/note: another implementation's key and signature. */
#define VKEY "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define TEXT                                                                                       \
	"If you think cryptography is the answer to your problem,\n"                               \
	"then you don't know what your problem is.\n"
#define SIGNATURE                                                                                  \
	"\xe2\x80\x94 PeterNeumann "                                                               \
	"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
#define OTHER "\xe2\x80\x94 somebody AAAAAAAA\n"
/* The same secret key, PKCS#8: the signature has to come out bit for bit. */
#define SECRET "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"

static const struct note_row {
	const char *name, *note;
	int want;
} bad_notes[] = {
	{ "empty", "", -EBADMSG },
	{ "no signature", TEXT "\n", -EBADMSG },
	{ "no empty line", TEXT SIGNATURE, -EBADMSG },
	{ "text is empty", "\n" SIGNATURE, -EBADMSG },
	{ "another text", "X" TEXT "\n" SIGNATURE, -EBADMSG },
	{ "another signer only", TEXT "\n" OTHER, -ENOKEY },
	{ "no line end", TEXT "\n\xe2\x80\x94 somebody AAAAAAAA", -EBADMSG },
	{ "not base64", TEXT "\n\xe2\x80\x94 somebody AAA*AAAA\n", -EBADMSG },
	{ "no name", TEXT "\n\xe2\x80\x94  AAAAAAAA\n", -EBADMSG },
	{ "control character", "a\tb\n\n" SIGNATURE, -EBADMSG },
	{ "not UTF-8", "a\xff\n\n" SIGNATURE, -EBADMSG },
	{ "a line that is none behind", TEXT "\n" SIGNATURE "x\n", -EBADMSG },
};

static const struct note_row good_notes[] = {
	{ "alone", TEXT "\n" SIGNATURE, 0 },
	{ "after another's", TEXT "\n" OTHER SIGNATURE, 0 },
	{ "before another's", TEXT "\n" SIGNATURE OTHER, 0 },
};

static const struct key_row {
	const char *name, *text;
} bad_keys[] = {
	{ "empty", "" },
	{ "no id", "PeterNeumann+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW" },
	{ "another id", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW" },
	{ "id in capitals", "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW" },
	{ "another algorithm",
	  "PeterNeumann+c74f20a3+AhpC2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW" },
	{ "blank in the name",
	  "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW" },
	{ "short", "PeterNeumann+c74f20a3+ARpc2QcU" },
};

static struct note_key the_key(void)
{
	struct note_key k;

	assert_int_equal(note_key_parse(VKEY, strlen(VKEY), &k, NULL), 0);
	return k;
}

static void note_is_refused(void **state)
{
	const struct note_row *row = *state;
	struct note_key k = the_key();
	struct error e = { 0 };
	const char *text;
	size_t len;

	assert_int_equal(note_open(&k, row->note, strlen(row->note), &text, &len, &e), row->want);
	assert_true(e.text[0]);
}

static void note_is_opened(void **state)
{
	const struct note_row *row = *state;
	struct note_key k = the_key();
	const char *text;
	size_t len;

	assert_int_equal(note_open(&k, row->note, strlen(row->note), &text, &len, NULL), 0);
	assert_int_equal(len, strlen(TEXT));
	assert_memory_equal(text, TEXT, len);
}

static void every_changed_byte_is_seen(void **state)
{
	struct note_key k = the_key();
	char note[] = TEXT "\n" SIGNATURE;
	const char *text;
	size_t len;

	(void)state;
	for (size_t i = 0; i < strlen(note); i++) {
		note[i] ^= 1;
		assert_true(note_open(&k, note, strlen(note), &text, &len, NULL) < 0);
		note[i] ^= 1;
	}
}

static void key_is_refused(void **state)
{
	const struct key_row *row = *state;
	struct note_key k;

	assert_int_equal(note_key_parse(row->text, strlen(row->text), &k, NULL), -EINVAL);
}

static void key_is_written_as_it_was_read(void **state)
{
	struct note_key k = the_key();
	char text[NOTE_VKEY_MAX];

	(void)state;
	assert_string_equal(note_key_format(&k, text), VKEY);
}

static struct seal_key *secret_key(void)
{
	uint8_t raw[36];
	char path[] = "/tmp/exhibit-test.XXXXXX";
	struct seal_key *key = NULL;
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");
	EVP_PKEY *pkey;

	assert_non_null(f);
	assert_int_equal(EVP_DecodeBlock(raw, (const uint8_t *)SECRET, strlen(SECRET)), 33);
	pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, raw + 1, 32);
	assert_non_null(pkey);
	assert_int_equal(PEM_write_PrivateKey(f, pkey, NULL, NULL, 0, NULL, NULL), 1);
	EVP_PKEY_free(pkey);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(seal_key_load(path, &key, NULL), 0);
	assert_int_equal(unlink(path), 0);
	return key;
}

static void signature_is_that_of_another_implementation(void **state)
{
	struct note_key k = the_key();
	struct seal_key *key = secret_key();
	char note[sizeof(TEXT SIGNATURE) + 1];
	size_t len;

	(void)state;
	assert_int_equal(note_sign(&k, key, TEXT, strlen(TEXT), note, sizeof(note) - 1, &len, NULL),
			 -E2BIG);
	assert_int_equal(note_sign(&k, key, TEXT, strlen(TEXT), note, sizeof(note), &len, NULL), 0);
	assert_string_equal(note, TEXT "\n" SIGNATURE);
	assert_int_equal(len, strlen(note));
	seal_key_free(key);
}

#define ROOT "sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08="
static const struct key_row bad_checkpoints[] = {
	{ "empty", "" },
	{ "no size", "example.com/log\n" },
	{ "no name", "\n1\n" ROOT "\n" },
	{ "leading zero", "example.com/log\n01\n" ROOT "\n" },
	{ "negative", "example.com/log\n-1\n" ROOT "\n" },
	{ "too large", "example.com/log\n4611686018427387904\n" ROOT "\n" },
	{ "short root", "example.com/log\n1\nAAAA\n" },
	{ "no line end", "example.com/log\n1\n" ROOT },
};

static void checkpoint_is_refused(void **state)
{
	const struct key_row *row = *state;
	struct checkpoint c;

	assert_int_equal(checkpoint_parse(row->text, strlen(row->text), &c, NULL), -EBADMSG);
}

static void checkpoint_goes_there_and_back(void **state)
{
	static const char text[] = "example.com/log\n109482\n" ROOT "\n";
	char again[CHECKPOINT_TEXT_MAX];
	struct checkpoint c;

	(void)state;
	assert_int_equal(checkpoint_parse(text, strlen(text), &c, NULL), 0);
	assert_int_equal(c.size, 109482);
	assert_int_equal(checkpoint_format(&c, again), strlen(text));
	assert_string_equal(again, text);
}

static void checkpoint_of_another_log_is_refused(void **state)
{
	struct note_key k = the_key();
	struct seal_key *key = secret_key();
	struct checkpoint c = { .origin = "PeterNeumann", .size = 3 };
	char text[CHECKPOINT_TEXT_MAX], note[1024];
	size_t len;

	(void)state;
	len = checkpoint_format(&c, text);
	assert_int_equal(note_sign(&k, key, text, len, note, sizeof(note), &len, NULL), 0);
	assert_int_equal(checkpoint_open(&k, note, len, &c, NULL), 0);
	assert_int_equal(c.size, 3);
	(void)snprintf(c.origin, sizeof(c.origin), "other");
	len = checkpoint_format(&c, text);
	assert_int_equal(note_sign(&k, key, text, len, note, sizeof(note), &len, NULL), 0);
	assert_int_equal(checkpoint_open(&k, note, len, &c, NULL), -EBADMSG);
	seal_key_free(key);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, note_is_refused, bad_notes);
	ADD_ROWS(&t, key_is_refused, bad_keys);
	ADD_ROWS(&t, checkpoint_is_refused, bad_checkpoints);
	ADD_ROWS(&t, note_is_opened, good_notes);
	ADD_TEST(&t, every_changed_byte_is_seen);
	ADD_TEST(&t, key_is_written_as_it_was_read);
	ADD_TEST(&t, signature_is_that_of_another_implementation);
	ADD_TEST(&t, checkpoint_goes_there_and_back);
	ADD_TEST(&t, checkpoint_of_another_log_is_refused);
	return tests_run(&t, "note");
}
