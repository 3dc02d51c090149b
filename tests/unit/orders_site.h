/* SPDX-License-Identifier: Apache-2.0 */
/* Orders at the collector without their thread and without a network; the clock and the ledger are the test's.
 * Failures end the test. */
#ifndef TESTS_UNIT_ORDERS_SITE_H
#define TESTS_UNIT_ORDERS_SITE_H

#include "collector/orders_internal.h"
#include "tests/unit/orders.h"

#define S(word) EXHIBIT__V1__ORDER_STATE__ORDER_##word
#define SECOND ((int64_t)NSEC_PER_SEC)

struct leaves {
	size_t n;
	int fail; /* errno of the next */
	struct {
		Exhibit__V1__LedgerKind kind;
		uint32_t state;
	} at[2048];
};

struct site {
	char dir[64];
	struct leaves leaves;
	struct orders o;
	struct peer ann;
};

/* Once: a key for ann, who may acquire. */
void site_people(void);
void site_people_end(void);
/* The clock of all sites. */
void site_clock_add(int64_t ns);

void site_begin(struct site *s); /* at ORDERS_NOW */
void site_end(struct site *s);
void site_close(struct site *s); /* as a stop; site_open goes on with the same folder */
void site_open(struct site *s);

/* An order of ann's is checked and begins. number: tells orders apart. change: may be NULL. */
int site_order(struct site *s, uint8_t number, void (*change)(struct order_kit *t));

/* Stored steps. */
struct states {
	size_t n;
	Exhibit__V1__OrderState at[2048];
};
struct states site_states(struct site *s, int64_t seq);
void site_states_are(struct site *s, int64_t seq, const Exhibit__V1__OrderState *want, size_t n);
#define STATES_ARE(s, seq, ...)                                                                    \
	site_states_are((s), (seq), (const Exhibit__V1__OrderState[]){ __VA_ARGS__ },              \
			sizeof((const Exhibit__V1__OrderState[]){ __VA_ARGS__ }) /                 \
				sizeof(Exhibit__V1__OrderState))

struct batch_name site_name(const char *text);

#endif
