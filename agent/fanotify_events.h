/* SPDX-License-Identifier: Apache-2.0 */
/* Inside fanotify: from what read(2) gave to struct event. */
#ifndef AGENT_FANOTIFY_EVENTS_H
#define AGENT_FANOTIFY_EVENTS_H

#include "agent/fanotify.h"

struct fanotify_events;
struct fanotify_marks;

/* One call of fanotify_drain. */
struct fanotify_round {
	uint64_t now_ns; /* becomes the events' time: fanotify has none */
	uint64_t since_ns; /* when the queue was last empty: bounds a gap */
	void (*fn)(void *ctx, struct event *ev);
	void *ctx;
};

/* Copies what c says of own folders and processes; m is borrowed. */
MUST_CHECK int fanotify_events_new(const struct fanotify_config *c, struct fanotify_marks *m,
				   struct fanotify_events **ret_x, struct error *e);
void fanotify_events_free(struct fanotify_events *x); /* NULL allowed */
MUST_CHECK int fanotify_events_own_pid(struct fanotify_events *x, uint32_t pid);

/* Returns how many kernel events the buffer held. */
size_t fanotify_events_take(struct fanotify_events *x, const void *buffer, size_t len,
			    const struct fanotify_round *round);
/* Nothing more waits: say what was held back, close what was opened. */
void fanotify_events_end_round(struct fanotify_events *x, const struct fanotify_round *round);
void fanotify_events_stats(const struct fanotify_events *x, struct fanotify_stats *ret);

#endif
