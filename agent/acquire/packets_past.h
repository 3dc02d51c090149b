/* SPDX-License-Identifier: Apache-2.0 */
/* The flight recorder of the agent that started us, mapped: what it has, and what it goes on recording. */
#ifndef ACQUIRE_PACKETS_PAST_H
#define ACQUIRE_PACKETS_PAST_H

#include "agent/recorder_slots.h"

struct packets_past {
	int users_fd; /* users of sockets, for a capture of our own */
	struct packets_recorder state;
	struct recorder_slots slots;
	const void *head, *base; /* mapped */
	size_t base_bytes;
};

/* The parent of our parent keeps it (sense, of the launcher, of us), or our parent. -ENOENT: there is none. */
MUST_CHECK int packets_past_open(const char *proc, struct packets_past *ret, struct error *e);
void packets_past_close(struct packets_past *p);

#endif
