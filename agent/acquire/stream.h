/* SPDX-License-Identifier: Apache-2.0 */
/* The place of an acquirer's output in production: chunks go as UploadRequest messages, each behind its
 * length (u32, little-endian), to the payload socket, whose other end the uplink reads; facts go to `sense`
 * over the control socket. Nothing is kept: when the uplink reads slowly, so do we. */
#ifndef ACQUIRE_STREAM_H
#define ACQUIRE_STREAM_H

#include <signal.h>

#include "agent/acquire/output.h"

#define STREAM_MESSAGE_MAX (OUTPUT_CHUNK_BYTES + KiB(64)) /* below RPC_MESSAGE_MAX */

struct stream_config {
	int payload, control; /* borrowed */
	/* 0: none. Zeros count as bytes, but not for the rate. Time that is spent waiting for the uplink does
	 * not count: a collector that is away for an hour costs the order nothing. */
	uint64_t max_bytes, max_seconds, bytes_per_second;
	const volatile sig_atomic_t *stop; /* may be NULL */
	uint64_t (*now_ns)(void); /* NULL: the monotonic clock */
};

MUST_CHECK int output_stream(const struct stream_config *c, struct output **ret, struct error *e);

#endif
