/* SPDX-License-Identifier: Apache-2.0 */
/* Signing with a key on a token: SoftHSM behind libp11's engine. */
#include "tests/unit/orders.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <glob.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "proto/base/files.h"
#include "proto/certs_key.h"
#include "proto/openssl_util.h"
#include "proto/order_pkcs11.h"

extern char **environ;

#define PIN "2468"

/* LeakSanitizer asks for it: libp11 and SoftHSM keep some of what they allocated until the process ends. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}

static struct pki pki;
static char tokens[96], module[PATH_MAX];

static void run(const char *const *argv)
{
	pid_t pid;
	int status = 0;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ) != 0)
		fail_msg("cannot start %s (Debian: softhsm2)", argv[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void find_module(void)
{
	static const char *const places[] = { "/usr/lib/*/softhsm/libsofthsm2.so",
					      "/usr/lib/softhsm/libsofthsm2.so",
					      "/usr/lib64/softhsm/libsofthsm2.so" };
	glob_t found = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(places) && found.gl_pathc == 0; i++) {
		globfree(&found);
		(void)glob(places[i], 0, NULL, &found);
	}
	if (found.gl_pathc == 0)
		fail_msg("libsofthsm2.so is not there (Debian: softhsm2)");
	(void)snprintf(module, sizeof(module), "%s", found.gl_pathv[0]);
	globfree(&found);
}

/* A token "ann" with a P-256 key "orders". */
static int begin(void **state)
{
	char conf[256];
	struct error e = { 0 };
	AUTO(pkey_free_ptr) EVP_PKEY *key = EVP_EC_gen("P-256");

	(void)state;
	pki_make(&pki);
	find_module();
	(void)snprintf(tokens, sizeof(tokens), "%s-tokens", pki.dir);
	assert_int_equal(mkdir(tokens, 0700), 0);
	(void)snprintf(conf, sizeof(conf), "directories.tokendir = %s\nlog.level = ERROR\n",
		       tokens);
	if (files_replace(pki_path(&pki, "softhsm", ".conf"), conf, strlen(conf), 0600, &e) < 0 ||
	    certs_write_key(key, pki_path(&pki, "orders", ".pem"), &e) < 0 ||
	    files_replace(pki_path(&pki, "pin", ""), PIN, strlen(PIN), 0600, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(setenv("SOFTHSM2_CONF", pki_path(&pki, "softhsm", ".conf"), 1), 0);
	run((const char *const[]){ "softhsm2-util", "--init-token", "--free", "--label", "ann",
				   "--so-pin", "1357", "--pin", PIN, NULL });
	run((const char *const[]){ "softhsm2-util", "--import", pki_path(&pki, "orders", ".pem"),
				   "--token", "ann", "--label", "orders", "--id", "01", "--pin",
				   PIN, NULL });
	return 0;
}

static const char *uri(const char *object, const char *pin)
{
	static char buf[PATH_MAX + 256];

	assert_true(snprintf(buf, sizeof(buf), "pkcs11:token=ann;object=%s?%s&module-path=%s",
			     object, pin, module) < (int)sizeof(buf));
	return buf;
}

static void issue(EVP_PKEY *public)
{
	struct certs_leaf leaf = { .id = { .domain = FIXTURE_DOMAIN,
					   .tenant = FIXTURE_TENANT,
					   .kind = IDENTITY_RESPONDER,
					   .name = "ann",
					   .n_roles = 1,
					   .roles = { "acquirer" } },
				   .seconds = 3600,
				   .signs_orders = true };
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	struct error e = { 0 };

	if (certs_authority_load(pki_path(&pki, "order", ""), &a, &e) < 0 ||
	    certs_issue_public(a, &leaf, public, time(NULL), pki_path(&pki, "ann", ".sign.crt"),
			       &e) < 0)
		fail_msg("%s", e.text);
}

static void sign_and_check(const char *key)
{
	struct order_context c = { .domain = FIXTURE_DOMAIN,
				   .tenant = FIXTURE_TENANT,
				   .host_id = ORDERS_HOST };
	Exhibit__V1__OrderSignature s = EXHIBIT__V1__ORDER_SIGNATURE__INIT;
	Exhibit__V1__SignedOrder order = EXHIBIT__V1__SIGNED_ORDER__INIT;
	struct authorities *a = NULL;
	struct order_signer *signer = NULL;
	struct order_checked got = { 0 };
	struct error e = { 0 };
	uint8_t data[8192];
	struct order_kit t;

	orders_init(&t);
	c.now_ns = t.o.made_ns = time(NULL) * (int64_t)NSEC_PER_SEC;
	t.o.expires_ns = t.o.made_ns + 60 * (int64_t)NSEC_PER_SEC;
	order.order.data = orders_pack(&t, &order.order.len);
	order.requester = &s;
	if (authorities_load(NULL, pki_path(&pki, "order", ".crt"), &a, &e) < 0 ||
	    order_signer_open(key, pki_path(&pki, "ann", ".sign.crt"), &signer, &e) < 0 ||
	    order_sign(signer, ORDER_DOMAIN, order.order.data, order.order.len, &s, &e) < 0)
		fail_msg("%s; %s", e.text, e.hint);
	c.authorities = a;
	assert_true(exhibit__v1__signed_order__get_packed_size(&order) <= sizeof(data));
	if (order_check(&c, data, exhibit__v1__signed_order__pack(&order, data), &got, &e) < 0)
		fail_msg("%s", e.text);
	order_checked_release(&got);
	order_signature_release(&s);
	order_signer_free(signer);
	authorities_free(a);
	free(order.order.data);
}

static void a_token_signs(void **state)
{
	AUTO(pkey_free_ptr) EVP_PKEY *public = NULL;
	char pin[PATH_MAX];
	struct error e = { 0 };

	(void)state;
	if (order_pkcs11_public(uri("orders", "pin-value=" PIN), &public, &e) < 0)
		fail_msg("%s; %s", e.text, e.hint);
	issue(public);
	sign_and_check(uri("orders", "pin-value=" PIN));
	(void)snprintf(pin, sizeof(pin), "pin-source=file:%s", pki_path(&pki, "pin", ""));
	sign_and_check(uri("orders", pin));
}

static const struct bad_row {
	const char *name;
	const char *object, *pin;
} bad_rows[] = {
	{ "no such key", "nothing", "pin-value=" PIN },
	{ "wrong PIN", "orders", "pin-value=0000" },
};

static void is_refused(void **state)
{
	const struct bad_row *row = *state;
	struct error e = { 0 };
	EVP_PKEY *key = NULL;

	assert_int_equal(order_pkcs11_load(uri(row->object, row->pin), &key, &e), -ENOKEY);
	assert_null(key);
	assert_null(strstr(e.text, PIN)); /* a URI may hold it */
	assert_string_not_equal(e.hint, "");
}

static void a_missing_module_is_named(void **state)
{
	struct error e = { 0 };
	EVP_PKEY *key = NULL;

	(void)state;
	assert_int_equal(order_pkcs11_load("pkcs11:token=ann?module-path=/nowhere.so", &key, &e),
			 -ENOENT);
	assert_non_null(strstr(e.text, "'/nowhere.so'"));
}

static void only_uris_are_tokens(void **state)
{
	(void)state;
	assert_true(order_pkcs11_is("pkcs11:token=a"));
	assert_false(order_pkcs11_is("/etc/pkcs11:token"));
	assert_false(order_pkcs11_is(""));
}

int main(void)
{
	static struct tests t;
	int failed;

	(void)begin(NULL);
	ADD_TEST(&t, only_uris_are_tokens);
	ADD_TEST(&t, a_missing_module_is_named);
	ADD_ROWS(&t, is_refused, bad_rows);
	ADD_TEST(&t, a_token_signs);
	failed = tests_run(&t, "order_pkcs11");
	pki_remove(&pki);
	run((const char *const[]){ "rm", "-rf", tokens, NULL });
	return failed;
}
