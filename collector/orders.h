/* SPDX-License-Identifier: Apache-2.0 */
/* Orders: exhibit.v1.Orders for people, Agent.Orders for hosts. An order is checked (proto/order.h), made
 * durable, and forwarded byte for byte to the hosts that it names, when enough approvals are there, at or
 * after its time, as soon as the host is connected; what hosts say of it is stored and handed to whoever
 * watches. The hosts check all of it again: nothing here decides for them.
 *
 * One thread owns all of it (orders_thread.c); streams reach it through one bounded queue. */
#ifndef COLLECTOR_ORDERS_H
#define COLLECTOR_ORDERS_H

#include "proto/authorities.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/base/options.h"
#include "proto/batch.h"
#include "proto/order.h"
#include "proto/rpc_server.h"
#include "service.pb-c.h"

#define ORDERS_KINDS_MAX 16 /* one past the last kind, at least */
#define ORDERS_OPEN_MAX 4096 /* orders of which something may still happen */

struct orders_config {
	const char *dir; /* made when missing; orders_store.h */
	const struct authorities *authorities; /* borrowed, until orders_trust */
	uint8_t approvals
		[ORDERS_KINDS_MAX]; /* that each kind takes before it is forwarded; hosts may want
					      * more */
	uint64_t per_minute; /* orders of one caller */
	uint64_t per_host; /* open orders for one host */
	int64_t (*now)(void); /* Unix time in ns */
	/* Append one leaf; durable when it returns 0. From the orders' thread. NULL: there is no ledger. */
	int (*leaf)(void *ctx, const Exhibit__V1__LedgerEntry *entry, struct error *e);
	/* The newest checkpoint with its proof from old_size on (0, or larger than the log: none), packed as
	 * LedgerUpdate, malloc'ed; ret_size: its tree's. NULL: there is no ledger. */
	int (*checkpoint)(void *ctx, uint64_t old_size, uint8_t **ret, size_t *ret_len,
			  uint64_t *ret_size, struct error *e);
	void *ledger_ctx;
	/* A host's stream begins: the checkpoint that it holds (signed note; len 0: none). From the orders' thread; may
	 * be NULL. */
	void (*held)(void *ctx, const struct batch_name *tenant, const struct batch_name *host,
		     const void *note, size_t len);
	void *held_ctx;
	/* A list was taken: whoever it names is to be cut off. From the orders' thread; may be NULL. */
	void (*on_revoked)(void *ctx);
	void *on_revoked_ctx;
};

/* "memory=1", "all=2": approvals per kind. -EINVAL names the word. */
MUST_CHECK int orders_parse_approvals(const struct option_list *list,
				      uint8_t ret[static ORDERS_KINDS_MAX], struct error *e);

struct orders;

/* Reads what is stored and starts the thread. */
MUST_CHECK int orders_start(const struct orders_config *c, struct orders **ret, struct error *e);
/* Every method of both services; before the server opens. */
MUST_CHECK int orders_register(struct orders *o, struct rpc_server *server, struct error *e);
/* From now on signatures are checked against these; once this returns nobody uses those before. */
void orders_trust(struct orders *o, const struct authorities *a);
/* Ends all calls: agents are told goodbye. Returns at once; new calls are refused. Any thread. */
void orders_goodbye(struct orders *o);
void orders_free(struct orders *o); /* after the server is freed; NULL allowed */

/* What the vault asks before it takes an upload. Any thread. -ENOENT: no such order was sent to this host. */
struct orders_sent {
	Exhibit__V1__OrderKind kind;
	struct batch_name case_id, requester;
	uint64_t max_bytes; /* 0: the order has no limit */
	bool over; /* the host said what became of it: done, failed or refused */
};
MUST_CHECK int orders_sent(struct orders *o, const struct batch_name *tenant,
			   const struct batch_name *host, const uint8_t id[static ORDER_ID_LEN],
			   struct orders_sent *ret, struct error *e);

/* Whether the newest list of its tenant names this certificate. Any thread. */
bool orders_revoked(struct orders *o, const struct identity *who);

/* The newest SignedRevocationList of a tenant, malloc'ed; NULL: none. Any thread. */
uint8_t *orders_list_copy(struct orders *o, const struct batch_name *tenant, size_t *ret_len);

/* The table of methods, for tests: NULL past the end. roles: NULL-terminated; NULL: hosts. */
const char *orders_method_path(size_t i);
const char *const *orders_method_roles(size_t i);

#endif
