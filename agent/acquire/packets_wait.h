/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of the flight recorder, copied out of it, that wait: for older ones, or for the capture that is to take over.
 * In the order of time. Also decides which of them that capture has seen itself. One thread. */
#ifndef ACQUIRE_PACKETS_WAIT_H
#define ACQUIRE_PACKETS_WAIT_H

#include "agent/recorder_slots.h"

#define PACKETS_WAIT_MAX 65536
#define PACKETS_SEAM_NS (50 * NSEC_PER_MSEC) /* between a packet's two records, at most */

struct packets_wait;

/* snap: bytes of a packet, at most; max: packets. */
MUST_CHECK int packets_wait_new(uint32_t snap, uint32_t max, struct packets_wait **ret,
				struct error *e);
void packets_wait_free(struct packets_wait *w); /* NULL allowed */
uint32_t packets_wait_count(const struct packets_wait *w);
/* Copied. false: there is no room. */
MUST_CHECK bool packets_wait_put(struct packets_wait *w, const struct packets_head *h,
				 const uint8_t *data);
/* The n-th by time; its bytes follow it. Valid until the next put or drop. */
const struct packets_head *packets_wait_at(const struct packets_wait *w, uint32_t n);
/* How many are not later than that. */
uint32_t packets_wait_until(const struct packets_wait *w, uint64_t until_ns);
/* The first n have been dealt with. */
void packets_wait_drop(struct packets_wait *w, uint32_t n);

/* What the capture that takes over saw itself. */
struct packets_seam;

/* bytes: so many of each packet are compared, which both have if it has as many. */
MUST_CHECK int packets_seam_new(uint32_t bytes, uint32_t max, struct packets_seam **ret,
				struct error *e);
void packets_seam_free(struct packets_seam *s); /* NULL allowed */
/* false: there is no room. */
MUST_CHECK bool packets_seam_add(struct packets_seam *s, const struct packets_head *h,
				 const uint8_t *data);
/* Was it seen? One that was added answers one question with yes: ask from the latest to the earliest, so that of
 * packets that are alike the ones before the capture remain. */
bool packets_seam_take(struct packets_seam *s, const struct packets_head *h, const uint8_t *data);

#endif
