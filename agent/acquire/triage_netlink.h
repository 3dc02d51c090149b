/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc/PID/net does not tell, or not whole: addresses, IPv6 neighbours, all routing tables and rules, asked of
 * the kernel by route netlink (rtnetlink(7)) in a process's network namespace. */
#ifndef ACQUIRE_TRIAGE_NETLINK_H
#define ACQUIRE_TRIAGE_NETLINK_H

#include "agent/acquire/triage.h"

/* live_response/network/netns-SPACE/netlink.jsonl. dir: PROC/PID. A namespace that cannot be entered is told of. */
MUST_CHECK int triage_netlink(struct triage *t, int dir, uint32_t space, struct error *e);

/* Rows of one datagram. Pure. false: the dump is over, or the datagram is not one. */
bool triage_netlink_rows(const void *datagram, size_t len, struct triage_lines *l);

#endif
