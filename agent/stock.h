/* SPDX-License-Identifier: Apache-2.0 */
/* What exists already when the agent starts: processes and sockets, from BPF iterators. Run after
 * the hooks are attached, so that nothing falls between; what is seen both ways has the same image
 * key. Reading a process's arguments may wait as long as the owner of its memory likes
 * (userfaultfd, FUSE): call from a thread that may. */
#ifndef AGENT_STOCK_H
#define AGENT_STOCK_H

#include "agent/hooks.h"
#include "agent/ring.h"

/* Each process as a record REC_PROCESS (struct rec_exec), kernel threads too. Arguments that did
 * not fit are completed from /proc/PID/cmdline when the process is still the same. Returns how
 * many, or a negative errno (what fn returned, too). */
MUST_CHECK int stock_processes(const struct hooks *h, ring_fn fn, void *ctx, struct error *e);
/* Each TCP socket that is not closed, each UDP socket that is bound, once, as REC_SOCKET. From then
 * on their later records name the owner found here. */
MUST_CHECK int stock_sockets(const struct hooks *h, ring_fn fn, void *ctx, struct error *e);
/* Cut a stream of records as an iterator yields it: *used bytes of len were whole records, handed
 * to fn aligned; the rest is the beginning of the next one. Fuzzed. -EBADMSG: not records. */
MUST_CHECK int stock_split(const uint8_t *bytes, size_t len, ring_fn fn, void *ctx, size_t *used);
/* Field 22 of /proc/PID/stat, in ticks; 0: not such a file. Fuzzed. */
uint64_t stock_start_ticks(const void *stat, size_t len);

#endif
