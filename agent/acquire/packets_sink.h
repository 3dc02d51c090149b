/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of a capture on their way to the output: gathered into pieces, since each write and each hash of few bytes
 * costs more than the bytes, and never cut by a limit. One thread. */
#ifndef ACQUIRE_PACKETS_SINK_H
#define ACQUIRE_PACKETS_SINK_H

#include "agent/acquire/output.h"
#include "agent/acquire/pcapng.h"
#include "bpf/packets.h"

#define PACKETS_PIECE KiB(64)
#define PACKETS_MORE_MAX 16 /* before a packet's bytes: a cooked header; a VLAN tag */
#define PACKETS_BLOCK_MAX (PACKETS_BYTES_MAX + PACKETS_MORE_MAX + 8 + PCAPNG_OVERHEAD_MAX)

struct packets_sink {
	struct output *o; /* borrowed */
	uint32_t item;
	bool full; /* the limit is used up */
	size_t filled; /* of buffer: blocks that were taken */
	uint8_t buffer[PACKETS_PIECE + PACKETS_BLOCK_MAX];
};

/* Room for one block; what is written there counts once it is put. */
struct writer packets_sink_room(struct packets_sink *s);
/* -ECANCELED: the limit was used up before this block, which is not taken. With 0 the block is taken, or will be;
 * s->full tells that it was the last. -EMSGSIZE: it did not fit its room. */
MUST_CHECK int packets_sink_put(struct packets_sink *s, const struct writer *w, struct error *e);
/* The same for what closes the file: into the output's reserve when the limit is used up. */
MUST_CHECK int packets_sink_close(struct packets_sink *s, const struct writer *w, struct error *e);
/* What was gathered goes to the output. */
MUST_CHECK int packets_sink_flush(struct packets_sink *s, struct error *e);

#endif
