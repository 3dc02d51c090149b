/* SPDX-License-Identifier: Apache-2.0 */
/* Inside orders: orders.c starts and ends it and is its thread; orders_peer.c one stream, from both sides of
 * the queue; orders_calls.c what people ask; orders_agents.c what hosts say; orders_state.c the orders that
 * are open; orders_begin.c how they begin and are approved; orders_hosts.c where they go; orders_limits.c how many; orders_leaves.c what the ledger is told;
 * orders_lists.c revocation. All but orders_peer.c's callbacks run on the one thread. */
#ifndef COLLECTOR_ORDERS_INTERNAL_H
#define COLLECTOR_ORDERS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "collector/orders.h"
#include "collector/orders_store.h"
#include "collector/row.h"
#include "proto/base/queue.h"
#include "proto/identity.h"
#include "proto/rpc_stream.h"

#define ORDERS_OUT_MAX 65536 /* messages that wait for one stream */
#define ORDERS_LISTED_MAX 1000 /* orders in one answer */
#define ORDERS_CALLERS 1024 /* remembered for the limit */
#define ORDERS_BUCKETS 4096 /* of hosts that are connected */
/* Of one order on one host, that are kept. Ours makes some 150 a day; a hostile one shall not fill the ledger. */
#define ORDERS_STEPS_MAX 1000
#define ORDERS_STREAMS_PER_HOST 4 /* an old one may linger while the new one begins */

struct orders_method;

struct out {
	struct out *next;
	size_t len;
	uint8_t data[];
};

/* One stream: of a person, or of a host. */
struct peer {
	/* Set before the thread sees it. */
	struct orders *orders;
	const struct orders_method *method;
	struct rpc_stream *stream;
	struct identity who;
	struct batch_name tenant, host; /* host: of agents */
	atomic_uint refs;
	atomic_bool closed;
	/* The thread's alone. */
	struct peer *next;
	struct out *out, **out_end;
	size_t n_out;
	bool ended, finished;
	enum rpc_status status;
	char why[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	int64_t watching; /* a person: seq of the order whose steps are wanted; 0: none */
	bool greeted; /* a host that said hello; then it stands in by_host */
	struct peer *host_next;
	int64_t greeted_ns; /* Unix time */
	uint64_t list_number; /* of revocations, that it was sent or holds */
	uint64_t tree_size; /* of the checkpoint that it was sent or holds */
	int64_t told_ns; /* when it was sent a checkpoint */
};

enum note_kind { NOTE_OPEN, NOTE_MESSAGE, NOTE_ROOM, NOTE_CLOSED, NOTE_GOODBYE };

struct note {
	enum note_kind kind;
	struct peer *peer; /* a reference; NULL: goodbye */
	uint8_t *data;
	size_t len;
};

/* One order on one host. */
struct target {
	struct batch_name host;
	Exhibit__V1__OrderState state;
	int64_t sent_ns; /* Unix time; 0: not since the collector started */
	int64_t said_ns; /* the newest stored step's time, by its host's clock */
	int64_t heard_ns; /* its host's newest word of it, by ours; 0: none since the collector started */
	uint32_t n_steps; /* stored */
	Exhibit__V1__OrderState told; /* has its leaf and is not stored yet; 0: none */
};

static inline bool orders_is_over(Exhibit__V1__OrderState state)
{
	return state == EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED ||
	       state == EXHIBIT__V1__ORDER_STATE__ORDER_DONE ||
	       state == EXHIBIT__V1__ORDER_STATE__ORDER_FAILED ||
	       state == EXHIBIT__V1__ORDER_STATE__ORDER_EXPIRED;
}

struct open_order {
	struct open_order *next;
	int64_t seq;
	struct batch_name tenant;
	uint8_t *signed_order; /* with all approvals */
	size_t len;
	Exhibit__V1__Order *order;
	struct seal_hash hash; /* of the order's bytes */
	size_t n_approvals;
	size_t n_targets;
	struct target targets[ORDER_HOSTS_MAX];
};

struct caller {
	char name[IDENTITY_SPIFFE_MAX];
	double tokens;
	int64_t at_ns;
};

/* The newest list of one tenant. */
struct tenant_list {
	struct tenant_list *next;
	struct batch_name tenant;
	struct revocations *revocations;
	uint8_t *bytes; /* SignedRevocationList; NULL: none yet */
	size_t len;
};

struct orders {
	struct orders_config c;
	struct orders_store *store;
	struct queue *notes;
	pthread_t thread;
	bool started;
	atomic_bool closing, stop;
	pthread_rwlock_t trust; /* of c.authorities */
	pthread_rwlock_t
		revoked; /* of lists: written by the thread, read by it without and by others with it */
	struct method_slot {
		struct orders *orders;
		const struct orders_method *method;
	} * slots;
	/* The thread's alone. */
	struct peer *peers;
	struct peer **by_host; /* ORDERS_BUCKETS, the newest first */
	struct open_order *open;
	size_t n_open;
	struct tenant_list *lists;
	struct caller *callers; /* ORDERS_CALLERS */
	int64_t told_failure_ns; /* Unix time, in the log */
};

/* ---- orders_calls.c: method x role ------------------------------------------------------------------------ */

struct orders_method {
	const char *path;
	unsigned int allow;
	const char *const *roles; /* one of these is needed; NULL: no role, a host */
	uint64_t first_message_ms;
	size_t message_max;
	/* One message of the stream; borrowed. */
	void (*take)(struct peer *p, const uint8_t *data, size_t len);
	bool many; /* messages follow the first */
};
const struct orders_method *orders_method_at(size_t i);

/* ---- orders_peer.c ----------------------------------------------------------------------------------------- */

void orders_peer_open(struct rpc_stream *stream, void *ctx); /* on_open; ctx: struct method_slot */
void peer_unref(struct peer *p);
/* Queue one message for the stream; copied by packing. A stream that takes nothing is ended. */
void peer_send(struct peer *p, const ProtobufCMessage *m);
/* End the call when all that is queued has gone. */
void peer_end(struct peer *p, enum rpc_status status, const struct error *why);
/* Send what goes. */
void peer_pump(struct peer *p);
void peer_drop_out(struct peer *p);

/* ---- orders_agents.c ---------------------------------------------------------------------------------------- */

void orders_agent_take(struct peer *p, const uint8_t *data, size_t len);
/* The host's greeted stream, the newest; NULL: it is away. */
struct peer *orders_agent_of(struct orders *o, const struct batch_name *tenant,
			     const struct batch_name *host);
/* The peer is about to go. */
void orders_agent_gone(struct peer *p);
/* Checkpoints, to whom one is due. */
void orders_agents_tick(struct orders *o);

/* ---- orders_state.c ----------------------------------------------------------------------------------------- */

void open_order_free(struct open_order *x); /* NULL allowed */
static inline void open_order_free_ptr(struct open_order **x)
{
	open_order_free(*x);
}
/* Of a SignedOrder whose order parses; seq is not set. */
MUST_CHECK int orders_from_bytes(const struct batch_name *tenant, const uint8_t *data, size_t len,
				 struct open_order **ret, struct error *e);
void orders_keep_open(struct orders *o, struct open_order *x); /* takes x */
/* When all targets are over: out of memory, and whoever watches is done. x is gone then. */
void orders_close_over(struct orders *o, struct open_order *x);
/* A step of x in this state, now; it borrows from x. */
Exhibit__V1__OrderStep orders_step_of(const struct orders *o, const struct open_order *x,
				      Exhibit__V1__OrderState state);
/* Malloc'ed; NULL: e is set. */
uint8_t *orders_pack_step(const Exhibit__V1__OrderStep *step, size_t *ret_len, struct error *e);
/* A step of one host, from its own mouth or ours: leaf, store, memory, watchers. */
MUST_CHECK int orders_take_step(struct orders *o, struct open_order *x, struct target *t,
				Exhibit__V1__OrderStep *step, struct error *e);
void orders_tell_watchers(struct orders *o, const struct open_order *x,
			  Exhibit__V1__OrderStep *step);

MUST_CHECK int orders_load_open(struct orders *o, struct error *e);
void orders_free_open(struct orders *o);
struct open_order *orders_find_open(struct orders *o, const struct batch_name *tenant,
				    const uint8_t id[static ORDER_ID_LEN]);
/* ---- orders_begin.c ----------------------------------------------------------------------------------------- */

/* A checked order begins: stored, a leaf, forwarded where it can be. ret_seq. -EEXIST: this id is taken by
 * another order; 1: this very order is here already. */
MUST_CHECK int orders_begin(struct orders *o, const struct peer *p, const void *data, size_t len,
			    const struct order_checked *checked, int64_t *ret_seq, struct error *e);
/* A refusal of an order that could be read: stored, a leaf. */
void orders_refused(struct orders *o, const struct peer *p, const void *data, size_t len,
		    const struct error *why);
/* The signed order with one approval more, malloc'ed. NULL: e says why. */
uint8_t *orders_with_approval(const struct open_order *x,
			      const Exhibit__V1__OrderSignature *approval, size_t *ret_len,
			      struct error *e);
/* data: of orders_with_approval, checked as a whole. */
MUST_CHECK int orders_approved(struct orders *o, struct open_order *x, const uint8_t *data,
			       size_t len, const struct identity *who, struct error *e);

/* ---- orders_hosts.c ----------------------------------------------------------------------------------------- */

/* What a host says. -EBADMSG: malformed. */
MUST_CHECK int orders_host_step(struct orders *o, const struct peer *p,
				const Exhibit__V1__OrderStep *step, struct error *e);
/* Send what can be sent, let expire what did. */
void orders_dispatch(struct orders *o, struct open_order *x);
void orders_state_tick(struct orders *o);

/* ---- orders_limits.c ---------------------------------------------------------------------------------------- */

/* -EDQUOT with a sentence. */
MUST_CHECK int orders_limit_caller(struct orders *o, const struct identity *who, struct error *e);
MUST_CHECK int orders_limit_hosts(struct orders *o, const struct batch_name *tenant,
				  const Exhibit__V1__Order *order, struct error *e);

/* ---- orders_leaves.c ---------------------------------------------------------------------------------------- */

MUST_CHECK int orders_leaf_order(struct orders *o, Exhibit__V1__LedgerKind kind,
				 const struct batch_name *tenant, const char *subject,
				 const struct seal_hash *object, size_t size,
				 const Exhibit__V1__Order *order, struct error *e);
MUST_CHECK int orders_leaf_step(struct orders *o, const struct batch_name *tenant,
				const struct seal_hash *object, const Exhibit__V1__OrderStep *step,
				struct error *e);
MUST_CHECK int orders_leaf_list(struct orders *o, const struct batch_name *tenant,
				const char *subject, const struct seal_hash *object, size_t size,
				uint64_t number, struct error *e);

/* ---- orders_lists.c ----------------------------------------------------------------------------------------- */

MUST_CHECK int orders_load_lists(struct orders *o, struct error *e);
void orders_free_lists(struct orders *o);
MUST_CHECK int orders_list_of(struct orders *o, const struct batch_name *tenant,
			      struct tenant_list **ret, struct error *e);
/* Takes it, stores it, sends it to the tenant's hosts. ret_number: the newest that is here. */
MUST_CHECK int orders_publish(struct orders *o, const struct peer *p, const void *data, size_t len,
			      uint64_t *ret_number, struct error *e);
void orders_send_list(struct peer *p, const struct tenant_list *list);

/* protobuf-c has no const; packing only reads. */
static inline ProtobufCBinaryData orders_bytes(const void *data, size_t len)
{
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)data };
}
static inline ProtobufCBinaryData orders_name_bytes(const struct batch_name *n)
{
	return orders_bytes(n->b, n->len);
}

#endif
