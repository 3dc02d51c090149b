/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to a collector, made when the first stream is opened and made again by itself.
 * The server must show a certificate that the order authority issued to a collector
 * (spiffe://DOMAIN/TENANT/collector/NAME) and that holds the name we dialled. */
#ifndef PROTO_RPC_CLIENT_H
#define PROTO_RPC_CLIENT_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/rpc_loop.h"
#include "proto/rpc_stream.h"

struct rpc_client;

enum rpc_client_state {
	RPC_CLIENT_IDLE,
	RPC_CLIENT_CONNECTING,
	RPC_CLIENT_READY,
	RPC_CLIENT_FAILING
};

/* All strings are copied. */
struct rpc_client_config {
	const char *address; /* "collector.example:7443", "127.0.0.1:7443", "[::1]:7443" */
	const char *cert_file; /* PEM: the leaf first; NULL, as key_file: none is shown (enrolment) */
	const char *key_file; /* PEM */
	const char *order_ca_file; /* PEM: the only roots for the server's certificate */
	const char *fleet_ca_file; /* PEM; NULL: who issued the own certificate is not checked */
	/* The name that must stand in the server's certificate (DNS or IP SAN) when it is not the host in
	 * address: behind a balancer or a port forward. NULL: the host in address. */
	const char *server_name;
	const char *domain; /* trust domain that the collector must have; NULL: any */
	/* How long one attempt to connect may take, handshake included. 0: 120 s, which lets a
	 * thousand agents come back at once (transport.md fact 4); a CLI wants 10 s. */
	uint64_t connect_timeout_ms;
	/* The connection's state changed. From a loop thread; may be NULL. */
	void (*on_state)(enum rpc_client_state state, void *ctx);
	void *ctx;
};

/* Loads and checks the files; does not connect yet. */
MUST_CHECK int rpc_client_new(struct rpc_loop *l, const struct rpc_client_config *config,
			      struct rpc_client **ret, struct error *e);

struct rpc_call {
	const char *path; /* "/exhibit.v1.Agent/Events"; copied */
	const struct rpc_stream_ops *ops; /* outlives the stream */
	void *ctx;
	/* true: wait for the connection, however often it fails (agent). false: the first failed
	 * attempt to connect ends the call with RPC_UNAVAILABLE (CLI). */
	bool wait_for_ready;
	uint64_t deadline_ms; /* for the whole call, from now; 0: none */
};

/* Begin a call. The caller gets its own reference; callbacks may come before this returns. A server-streaming call: open, rpc_stream_send once,
 * rpc_stream_close_send, rpc_stream_want_read(true). Any thread. */
MUST_CHECK int rpc_client_open(struct rpc_client *c, const struct rpc_call *call,
			       struct rpc_stream **ret, struct error *e);
/* Take certificate and key from their files again, checked first; on failure all stays as it was. New
 * calls use a new connection; open streams keep the old one until they end. */
MUST_CHECK int rpc_client_replace_identity(struct rpc_client *c, struct error *e);
/* Cancels its streams (each still gets on_closed) and waits until they are closed. Never from a
 * callback. NULL allowed. */
void rpc_client_free(struct rpc_client *c);

/* What a person should read when a stream of c closed with status and text: sentence and hint. A
 * certificate that the collector refuses shows under TLS 1.3 only as "Socket closed"; the hint says so.
 * Returns the negative errno that it puts into e (0 for RPC_OK, e untouched). For an agent
 * RPC_UNAVAILABLE is a reconnect: log the first, count the rest. */
int rpc_client_explain(const struct rpc_client *c, enum rpc_status status, const char *text,
		       struct error *e);

#endif
