/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL 3.0 calls engines deprecated; the provider that replaces libp11's came after Debian 12. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "proto/order_pkcs11.h"

#include <errno.h>
#include <limits.h>
#include <openssl/engine.h>
#include <openssl/ui.h>
#include <string.h>

#include "proto/openssl_util.h"

#define SCHEME "pkcs11:"
#define URI_MAX 2048

static void engine_free_ptr(ENGINE **e)
{
	if (*e != NULL)
		(void)ENGINE_free(*e);
}

bool order_pkcs11_is(const char *key)
{
	return strncmp(key, SCHEME, strlen(SCHEME)) == 0;
}

/* module-path out of the URI's query into module (empty: none), the rest into uri. libp11 does not know it.
 * Percent is not decoded: what stands in it is a path on this machine. */
static bool split_module(const char *key, char uri[static URI_MAX], char module[static PATH_MAX])
{
	static const char name[] = "module-path=";
	size_t len = strlen(key), used;
	const char *at = strstr(key, name), *end;

	module[0] = '\0';
	if (len >= URI_MAX)
		return false;
	if (at == NULL || (at[-1] != '?' && at[-1] != '&')) {
		memcpy(uri, key, len + 1);
		return true;
	}
	end = at + strcspn(at, "&");
	used = (size_t)(end - at) - strlen(name);
	if (used >= PATH_MAX)
		return false;
	memcpy(module, at + strlen(name), used);
	module[used] = '\0';
	/* With the separator before it, and with it a '?' for what follows. */
	used = (size_t)(at - key) - 1;
	memcpy(uri, key, used);
	memcpy(uri + used, end, strlen(end) + 1);
	if (at[-1] == '?' && *end == '&')
		uri[used] = '?';
	return true;
}

static int open_engine(const char *module, ENGINE **ret, struct error *e)
{
	AUTO(engine_free_ptr) ENGINE *engine = NULL;

	ENGINE_load_builtin_engines(); /* "dynamic" among them, which finds the others */
	engine = ENGINE_by_id("pkcs11");
	if (engine == NULL) {
		(void)error_set(e, -ENOENT, "cannot use a key on a token: %s", openssl_reason());
		error_hint(e, "install libp11's engine for OpenSSL "
			      "(Debian: libengine-pkcs11-openssl)");
		return -ENOENT;
	}
	/* It would repeat the URI, PIN and all, on standard error. */
	(void)ENGINE_ctrl_cmd_string(engine, "QUIET", NULL, 0);
	/* The module itself is opened with the first key: whether it is there is asked here. */
	if ((module[0] != '\0' &&
	     (access(module, R_OK) != 0 ||
	      ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", module, 0) != 1)) ||
	    ENGINE_init(engine) != 1) {
		(void)error_set(e, -ENOENT, "cannot open the token's module '%s'",
				module[0] != '\0' ? module : "p11-kit's");
		(void)openssl_reason();
		error_hint(e, "name it: '...?module-path=/usr/lib/softhsm/libsofthsm2.so', or "
			      "$PKCS11_MODULE_PATH");
		return -ENOENT;
	}
	*ret = TAKE(engine);
	return 0;
}

static int load(const char *key, bool private, EVP_PKEY **ret, struct error *e)
{
	char uri[URI_MAX], module[PATH_MAX];
	AUTO(engine_free_ptr) ENGINE *engine = NULL;
	int r;

	if (!split_module(key, uri, module))
		return error_set(e, -ENAMETOOLONG, "the name of the key on a token is too long");
	r = open_engine(module, &engine, e);
	if (r < 0)
		return r;
	*ret = private ? ENGINE_load_private_key(engine, uri, UI_OpenSSL(), NULL) :
			 ENGINE_load_public_key(engine, uri, UI_OpenSSL(), NULL);
	if (*ret == NULL) {
		/* The URI may hold the PIN: it is not repeated. */
		(void)error_set(e, -ENOKEY, "cannot find the key on the token: %s",
				openssl_reason());
		error_hint(e, "check token, object and PIN; 'p11tool --list-all' or "
			      "'pkcs11-tool -O' lists what is there");
		r = -ENOKEY;
	}
	/* The key holds its own functional reference. */
	(void)ENGINE_finish(engine);
	return r;
}

int order_pkcs11_load(const char *uri, EVP_PKEY **ret, struct error *e)
{
	return load(uri, true, ret, e);
}

int order_pkcs11_public(const char *uri, EVP_PKEY **ret, struct error *e)
{
	return load(uri, false, ret, e);
}
