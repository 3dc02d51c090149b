/* SPDX-License-Identifier: Apache-2.0 */
/* What stands between a TLS connection that core let in and a method's on_open. */
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/rpc_server_core.h"
#include "proto/rpc_sockets.h"

#include <errno.h>

#define LINES_PER_SECOND 5

/* What core tells of the peer's certificate; borrowed from the context. */
struct shown {
	const grpc_auth_property *spiffe, *leaf;
};

/* The only value of a property; NULL when there is none or more than one. */
static const grpc_auth_property *only_one(const grpc_auth_context *context, const char *name)
{
	grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(context, name);
	const grpc_auth_property *first = grpc_auth_property_iterator_next(&it);

	return first != NULL && grpc_auth_property_iterator_next(&it) == NULL ? first : NULL;
}

static bool refuse(struct rpc_refusal *ret, enum rpc_status status, _Atomic(uint64_t) *counter)
{
	ret->status = status;
	atomic_fetch_add(counter, 1);
	return false;
}

/* Rapid reset (CVE-2023-44487) costs the peer next to nothing and us a call each: cut the connection. The
 * name is what TLS has verified, the costly checks come after. */
static bool within_rate(struct rpc_server *server, struct rpc_stream *s, const struct shown *shown,
			struct rpc_refusal *ret)
{
	const char *name = shown->spiffe != NULL ? shown->spiffe->value : s->remote;
	size_t len = shown->spiffe != NULL ? shown->spiffe->value_length : strlen(s->remote);
	const char *port = strrchr(s->remote, ':');
	struct rpc_endpoint peer;

	/* Who shows nothing is counted by where it comes from, whichever port it takes. */
	if (server->config.anonymous && port != NULL)
		len = (size_t)(port - s->remote);

	if (rpc_limit_allow(server->limit, name, len, clock_monotonic_ns()))
		return true;
	error_set(&ret->why, -EDQUOT, "more than %u calls in a second",
		  server->config.calls_per_second);
	/* Calls that had arrived before the cut still come: look for the socket once. */
	if (rpc_limit_allow(server->cuts, s->remote, strlen(s->remote), clock_monotonic_ns()) &&
	    rpc_endpoint_parse(s->remote, &peer) && rpc_sockets_cut(server->port, &peer))
		atomic_fetch_add(&server->count.cut_rate, 1);
	ret->status = RPC_RESOURCE_EXHAUSTED;
	return false;
}

/* The leaf is looked at again at each call: connections are older than the decision to let them in. */
static bool identify(struct rpc_server *server, struct rpc_stream *s, const struct shown *shown,
		     const struct rpc_trust *trust, struct rpc_refusal *ret)
{
	int64_t now_s = clock_wall_ns() / (int64_t)NSEC_PER_SEC;

	if (shown->leaf == NULL) {
		error_set(&ret->why, -EACCES, "no certificate was shown");
		return refuse(ret, RPC_UNAUTHENTICATED, &server->count.refused_identity);
	}
	if (identity_from_leaf(shown->leaf->value, shown->leaf->value_length, trust->authorities,
			       now_s, &s->peer, &ret->why) < 0)
		return refuse(ret, RPC_UNAUTHENTICATED, &server->count.refused_identity);
	if (rpc_deny_matches(trust->deny, &s->peer)) {
		error_set(&ret->why, -EACCES, "this %s or its certificate is on the deny list",
			  identity_kind_name(s->peer.kind));
		return refuse(ret, RPC_PERMISSION_DENIED, &server->count.refused_denied);
	}
	if (server->config.refuses != NULL &&
	    server->config.refuses(server->config.refuses_ctx, &s->peer)) {
		error_set(&ret->why, -EACCES, "the certificate %s is revoked", s->peer.serial);
		return refuse(ret, RPC_PERMISSION_DENIED, &server->count.refused_denied);
	}
	return true;
}

/* Health is asked for just when nothing else is served. */
static bool is_served(const struct rpc_server *server, const struct rpc_method *row,
		      struct rpc_refusal *ret)
{
	int phase = atomic_load(&server->phase);

	if (phase == RPC_SERVING || rpc_health_is_ours(row))
		return true;
	ret->status = RPC_UNAVAILABLE;
	error_set(&ret->why, -EAGAIN,
		  phase == RPC_STARTING ? "the server is starting, it cannot serve this yet" :
					  "the server is stopping");
	return false;
}

static bool find_method(struct rpc_server *server, struct rpc_stream *s,
			const struct rpc_method **ret_row, struct rpc_refusal *ret)
{
	unsigned int who = server->config.anonymous ? RPC_ALLOW_ANYBODY : 1u << s->peer.kind;

	for (size_t i = 0; i < server->n_methods; i++) {
		const struct rpc_method *row = &server->method[i];

		if (strcmp(row->path, s->path) != 0)
			continue;
		if ((row->allow & who) == 0) {
			error_set(&ret->why, -EACCES, "a %s may not call %s",
				  identity_kind_name(s->peer.kind), s->path);
			return refuse(ret, RPC_PERMISSION_DENIED, &server->count.refused_identity);
		}
		*ret_row = row;
		return is_served(server, row, ret);
	}
	/* It may be one that is not there yet. */
	if (atomic_load(&server->phase) == RPC_STARTING)
		return is_served(server, &(const struct rpc_method){ 0 }, ret);
	error_set(&ret->why, -ENOSYS, "there is no method '%s'", s->path);
	return refuse(ret, RPC_UNIMPLEMENTED, &server->count.unimplemented);
}

static bool admit(struct rpc_server *server, struct rpc_stream *s, const struct shown *shown,
		  const struct rpc_method **ret_row, struct rpc_refusal *ret)
{
	struct rpc_trust *trust;
	bool good;

	if (!within_rate(server, s, shown, ret))
		return false;
	trust = rpc_tls_current(server->tls);
	good = server->config.anonymous || identify(server, s, shown, trust, ret);
	rpc_trust_unref(trust);
	return good && find_method(server, s, ret_row, ret);
}

static void log_refusal(struct rpc_server *server, const struct rpc_stream *s,
			const struct shown *shown, const struct rpc_refusal *refusal)
{
	uint64_t held;

	/* Whoever comes while we start or stop did nothing wrong. */
	if (refusal->status == RPC_UNAVAILABLE ||
	    !rpc_gate_pass(&server->refusals, LINES_PER_SECOND, clock_monotonic_ns(), &held))
		return;
	log_warn("refused a call", KV_STR("why", refusal->why.text),
		 KV_BYTES("peer", shown->spiffe != NULL ? shown->spiffe->value : "",
			  shown->spiffe != NULL ? shown->spiffe->value_length : 0),
		 KV_STR("serial", s->peer.serial), KV_STR("remote", s->remote),
		 KV_STR("method", s->path), KV_U64("held_back", held));
}

bool rpc_admit(struct rpc_server *server, struct rpc_stream *s, const struct rpc_method **ret_row,
	       struct rpc_refusal *ret)
{
	grpc_auth_context *context = grpc_call_auth_context(s->call);
	struct shown shown = { 0 };
	bool good;

	if (context != NULL) {
		shown.spiffe = only_one(context, GRPC_PEER_SPIFFE_ID_PROPERTY_NAME);
		shown.leaf = only_one(context, GRPC_X509_PEM_CERT_PROPERTY_NAME);
	}
	good = admit(server, s, &shown, ret_row, ret);
	if (!good)
		log_refusal(server, s, &shown, ret);
	if (context != NULL)
		grpc_auth_context_release(context);
	return good;
}
