/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_guard.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/rpc_core.h"
#include "proto/rpc_gate.h"

#include <errno.h>
#include <stdatomic.h>
#include <strings.h>

#define LINES_PER_SECOND 5
#define NAME_MAX_BYTES 256

/* With certificates of elliptic curves this suite can never be agreed on, so no TLS 1.2 handshake ends;
 * TLS 1.3 suites are not governed by the list. 1.51 has no other way from C (transport.md fact 7). */
#define ONLY_TLS13 "ECDHE-RSA-AES256-GCM-SHA384"

/* ---- environment ------------------------------------------------------------------------------- */

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

/* ---- core's log -------------------------------------------------------------------------------- */

/* Core's log function gets no context, so this cannot live in an object. */
static struct rpc_gate line_gate;
static _Atomic(uint64_t) failures[RPC_HANDSHAKE_FAILURES];

static enum rpc_handshake_failure classify(const char *line)
{
	static const struct {
		const char *text;
		enum rpc_handshake_failure why;
	} rows[] = {
		{ "peer did not return a certificate", RPC_HANDSHAKE_NO_CERTIFICATE },
		{ "certificate verify failed", RPC_HANDSHAKE_NOT_VERIFIED },
		{ "wrong version number", RPC_HANDSHAKE_WRONG_VERSION },
		{ "unsupported protocol", RPC_HANDSHAKE_WRONG_VERSION },
		{ "no shared cipher", RPC_HANDSHAKE_WRONG_VERSION },
		{ "http request", RPC_HANDSHAKE_WRONG_VERSION },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strstr(line, rows[i].text) != NULL)
			return rows[i].why;
	}
	return RPC_HANDSHAKE_OTHER;
}

static const char *const failure_sentences[] = {
	[RPC_HANDSHAKE_NO_CERTIFICATE] = "a peer showed no certificate",
	[RPC_HANDSHAKE_NOT_VERIFIED] = "a peer's certificate was refused",
	[RPC_HANDSHAKE_WRONG_VERSION] = "a peer does not speak TLS 1.3",
	[RPC_HANDSHAKE_OTHER] = "a TLS handshake failed",
};

static void take_line(gpr_log_func_args *args)
{
	const char *message = "gRPC core reports an error";
	uint64_t held;

	if (args->severity != GPR_LOG_SEVERITY_ERROR)
		return;
	if (strstr(args->message, "Handshake failed") != NULL) {
		enum rpc_handshake_failure why = classify(args->message);

		atomic_fetch_add(&failures[why], 1);
		message = failure_sentences[why];
	}
	if (rpc_gate_pass(&line_gate, LINES_PER_SECOND, clock_monotonic_ns(), &held))
		log_warn(message, KV_STR("detail", args->message), KV_U64("held_back", held));
}

void rpc_guard_capture_log(void)
{
	gpr_set_log_function(take_line);
	gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
}

uint64_t rpc_guard_handshake_failures(enum rpc_handshake_failure why)
{
	return (size_t)why < RPC_HANDSHAKE_FAILURES ? atomic_load(&failures[why]) : 0;
}
