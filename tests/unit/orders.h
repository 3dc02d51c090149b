/* SPDX-License-Identifier: Apache-2.0 */
/* Orders and people for tests. Failures end the test. */
#ifndef TESTS_UNIT_ORDERS_H
#define TESTS_UNIT_ORDERS_H

#include "proto/order.h"
#include "tests/unit/rpc_fixture.h"

#define ORDERS_HOST "h-1"
#define ORDERS_NOW                                                                                 \
	1800000000LL /* Unix time; certificates of orders_person begin 5 minutes before */

/* An order of ann's that counts at ORDERS_NOW: core of pid 42 on ORDERS_HOST. All static; o and what hangs on
 * it may be changed. detail: one of each kind. */
struct order_kit {
	Exhibit__V1__Order o;
	Exhibit__V1__ProcessTarget process;
	Exhibit__V1__OrderLimits limits;
	Exhibit__V1__MemoryOrder memory;
	Exhibit__V1__CoreOrder core;
	Exhibit__V1__PacketsOrder packets;
	Exhibit__V1__FilesOrder files;
	Exhibit__V1__ChangesOrder changes;
	Exhibit__V1__TriageOrder triage;
	Exhibit__V1__DiskOrder disk;
	Exhibit__V1__ArrestOrder arrest;
	Exhibit__V1__FileId file;
	ProtobufCBinaryData hosts[ORDER_HOSTS_MAX + 1];
	ProtobufCBinaryData paths[300];
};

void orders_init(struct order_kit *t);
ProtobufCBinaryData orders_text(const char *text); /* borrowed */
void orders_kind(struct order_kit *t,
		 Exhibit__V1__OrderKind kind); /* kind, detail and a fitting target */
uint8_t *orders_pack(const struct order_kit *t, size_t *ret_len); /* malloc'ed */

/* A person's pair for signing orders: p->dir/NAME.sign.{key,crt}, issued by p->dir/authority at now_s for
 * seconds, with these roles (comma-separated). */
void orders_person_at(const struct pki *p, const char *authority, const char *person,
		      const char *name, const char *roles, int64_t now_s, uint64_t seconds);
/* By the order authority, for 12 hours around ORDERS_NOW. */
void orders_person(const struct pki *p, const char *name, const char *roles);

/* With dir/name.sign.{key,crt}, whatever the certificate is worth; Ed25519, or P-256. certificate and
 * signature malloc'ed. */
void orders_signature(const struct pki *p, const char *name, const char *domain, const void *data,
		      size_t len, Exhibit__V1__OrderSignature *ret);
/* A SignedOrder: by requester, approved by the named people (NULL-terminated; may be NULL). malloc'ed. */
uint8_t *orders_sign(const struct pki *p, const struct order_kit *t, const char *requester,
		     const char *const *approvers, size_t *ret_len);

#endif
