/* SPDX-License-Identifier: Apache-2.0 */
/* Inside a capture: packets.c has it from the order to its end, packets_loop.c what goes round while it lasts,
 * packets_account.c what is said of it. */
#ifndef ACQUIRE_PACKETS_CAPTURE_H
#define ACQUIRE_PACKETS_CAPTURE_H

#include "agent/acquire/packets_file.h"
#include "agent/acquire/packets_live.h"
#include "agent/acquire/packets_past.h"
#include "agent/acquire/packets_socket.h"
#include "agent/acquire/packets_target.h"
#include "agent/acquire/packets_wait.h"

#define PACKETS_FILTER_MAX 4096

struct capture {
	const struct acquire_request *r;
	const Exhibit__V1__PacketsOrder *order;
	struct output *o;
	struct packets_target target;
	struct packets_past past;
	struct packets_live *live;
	struct packets_socket *socket; /* in place of live */
	bool kernel_filters; /* for the socket */
	struct packets_file *file;
	struct packets_clock clock; /* that the file began with */
	struct packets_wait *wait; /* the recorder's, until they are in order */
	struct packets_seam *seam;
	uint64_t seam_from_ns; /* boottime, before the capture began; 0: it is not to take over */
	uint64_t seen_by_both;
	bool seam_full; /* more packets there than can be compared */
	struct cgroups *cgroups;
	uint32_t skip[PACKETS_SKIP_MAX];
	size_t n_skip;
	uint32_t copy_bytes; /* of a packet, at most; 0: all */
	uint64_t start_ns, until_ns,
		from_ns; /* boottime; until_ns 0: no end, from_ns: of the past */
	uint64_t ticked_ns, refreshed_ns, flushed_ns;
	bool from_recorder, cancelled;
	uint64_t recorded; /* packets out of the recorder that were handed on */
	uint64_t others; /* that were read there and are not asked for */
	uint64_t lapped; /* of the recorder's, told to the file */
	uint64_t recorder_end_ns; /* boottime: where the capture's own packets take over; 0: they do not */
	uint64_t numbers; /* the capture's own come after these */
	char filter[PACKETS_FILTER_MAX];
	char why[ERROR_TEXT_MAX]; /* what ended it too early, or "" */
};

struct packets_clock packets_clock_now(void);
/* Until it is over. c->live or c->socket is open, or it is from the recorder alone. */
MUST_CHECK int packets_loop(struct capture *c, struct error *e);
/* The file's end and what the manifest says. */
MUST_CHECK int packets_account(struct capture *c, struct error *e);

#endif
