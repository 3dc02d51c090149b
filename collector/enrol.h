/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit.v1.Enrolment: a host that holds a token gets an identity. Its port asks for no certificate (enrol.listen);
 * one thread does the work, requests reach it through one bounded queue. */
#ifndef COLLECTOR_ENROL_H
#define COLLECTOR_ENROL_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/batch.h"
#include "proto/rpc_server.h"
#include "service.pb-c.h"

struct enrol_config {
	const char *dir; /* enrol_store.h */
	const char *authority; /* BASE.crt and BASE.key: the fleet authority */
	const char *fleet_ca; /* PEM: what hosts get to pin */
	const char *collector_cert; /* whose trust domain the hosts' names have */
	int64_t (*now)(void); /* Unix time in ns */
	int (*leaf)(void *ctx, const Exhibit__V1__LedgerEntry *entry, struct error *e);
	void *ledger_ctx;
	/* A host was enrolled: its SignedHostRecord. From the thread, as leaf. */
	void (*enrolled)(void *ctx, const void *record, size_t len);
	/* The tenant's newest SignedRevocationList, malloc'ed; NULL: none. */
	uint8_t *(*revocations)(void *ctx, const struct batch_name *tenant, size_t *ret_len);
	void *ctx;
};

struct enrol;

/* Strings are copied. */
MUST_CHECK int enrol_start(const struct enrol_config *c, struct enrol **ret, struct error *e);
struct rpc_method enrol_method(struct enrol *n);
/* Take the authority from its files again; on failure all stays as it was. Any thread. */
MUST_CHECK int enrol_reload(struct enrol *n, struct error *e);
void enrol_free(struct enrol *n); /* after its server is freed; NULL allowed */

#endif
