/* SPDX-License-Identifier: Apache-2.0 */
/* The half of rpc_guard.h that takes gRPC core's error lines into our log. */
#include "proto/rpc_guard.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/rpc_core.h"
#include "proto/rpc_gate.h"

#include <stdatomic.h>

#define LINES_PER_SECOND 5

/* Core's log function gets no context, so this cannot live in an object. */
static _Atomic(uint64_t) failures[RPC_HANDSHAKE_FAILURES];

uint64_t rpc_guard_handshake_failures(enum rpc_handshake_failure why)
{
	return (size_t)why < RPC_HANDSHAKE_FAILURES ? atomic_load(&failures[why]) : 0;
}

#if !__has_include(<grpc/support/metrics.h>) /* came about when gpr_set_log_function went */

static struct rpc_gate line_gate;

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

#else /* newer ones log through Abseil, which C cannot hook: their lines stay their own */

void rpc_guard_capture_log(void)
{
}

#endif
