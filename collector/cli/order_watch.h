/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of one order: steps as they come, told on standard error, and the end of it on each host. A
 * connection that breaks is made again; the order does not depend on it. */
#ifndef CLI_ORDER_WATCH_H
#define CLI_ORDER_WATCH_H

#include "collector/cli/order_show.h"

/* How long it is watched. */
enum order_watch_until {
	ORDER_WATCH_OVER,
	ORDER_WATCH_MADE, /* the collector has it */
	ORDER_WATCH_STARTED, /* a host makes an exhibit of it */
};

struct order_watch {
	const struct args *args;
	Exhibit__V1__Order *order; /* owned; NULL until it is known */
	uint8_t id[ORDER_ID_LEN];
	bool quiet; /* nothing on standard error */
	bool made; /* the collector has it */
	bool shown; /* a line of progress stands on the terminal */
	size_t n;
	struct {
		char host[IDENTITY_PART_MAX + 1];
		Exhibit__V1__OrderStep *last; /* owned */
	} hosts[ORDER_HOSTS_MAX];
	Exhibit__V1__OrderStep *whole; /* the last step of the order as a whole; owned */
};

/* The order that is watched: its hosts, its id. o: taken. */
void order_watch_begin(struct order_watch *w, const struct args *a, Exhibit__V1__Order *o);
/* Ask (Submit, or List) and watch. 0: it is over or as far as asked for, or somebody pressed Ctrl-C. */
MUST_CHECK int order_watch_run(struct order_watch *w, const char *path, const void *question,
			       enum order_watch_until until, struct error *e);
/* The same, of an order that the collector has: until it is over, or (follow false) only how far it is. */
MUST_CHECK int order_watch_again(struct order_watch *w, bool follow, struct error *e);
bool order_watch_over(const struct order_watch *w); /* on all hosts */
/* 0 done everywhere and whole, 2 nowhere, 3 on some, not whole, or not over. */
int order_watch_code(const struct order_watch *w);
/* The last step of each host, as table or as JSON lines. Returns the exit code. */
int order_watch_show(struct order_watch *w);
void order_watch_release(struct order_watch *w);

#endif
