/* SPDX-License-Identifier: Apache-2.0 */
/* The environment; what core says is rpc_log.c. */
#include "proto/rpc_guard.h"

#include <errno.h>
#include <strings.h>

#define NAME_MAX_BYTES 256

/* With certificates of elliptic curves this suite can never be agreed on, so no TLS 1.2 handshake ends;
 * TLS 1.3 suites are not governed by the list. 1.51 has no other way from C (transport.md fact 7). */
#define ONLY_TLS13 "ECDHE-RSA-AES256-GCM-SHA384"

static bool starts(const char *name, const char *prefix)
{
	return strncasecmp(name, prefix, strlen(prefix)) == 0;
}

static bool ends(const char *name, size_t len, const char *suffix)
{
	size_t n = strlen(suffix);

	return len >= n && strncasecmp(name + len - n, suffix, n) == 0;
}

static bool unwanted(const char *name, size_t len)
{
	static const char *const prefixes[] = { "GRPC_", "OPENSSL_", "SSL_CERT_", "SSLKEYLOGFILE" };

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		if (starts(name, prefixes[i]))
			return true;
	}
	return ends(name, len, "_proxy");
}

/* 1: one was removed, so environ has moved. */
static int remove_first_unwanted(struct error *e)
{
	char name[NAME_MAX_BYTES];

	for (char **v = environ; v != NULL && *v != NULL; v++) {
		size_t len = strcspn(*v, "=");

		if (!unwanted(*v, len))
			continue;
		if (len >= sizeof(name))
			return error_set(
				e, -E2BIG,
				"the environment holds a variable with a name of %zu bytes", len);
		memcpy(name, *v, len);
		name[len] = '\0';
		return unsetenv(name) == 0 ?
			       1 :
			       error_set(e, -errno, "cannot remove '%s' from the environment: %m",
					 name);
	}
	return 0;
}

int rpc_guard_scrub_environment(struct error *e)
{
	int r;

	do {
		r = remove_first_unwanted(e);
	} while (r > 0);
	if (r < 0)
		return r;
	if (setenv("GRPC_SSL_CIPHER_SUITES", ONLY_TLS13, 1) < 0)
		return error_set(e, -errno, "cannot restrict TLS to version 1.3: %m");
	return 0;
}
