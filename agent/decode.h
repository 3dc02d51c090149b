/* SPDX-License-Identifier: Apache-2.0 */
/* From a ring's record (bpf/record.h) to a struct event. Pure: bytes in, structs out; nothing of a
 * record is trusted, every byte passes struct reader. Adding a record type is one row in decode.c. */
#ifndef AGENT_DECODE_H
#define AGENT_DECODE_H

#include "agent/event.h"

/* What one record says. Pointers inside lead into the record's bytes, or into this struct, which
 * therefore must not be moved or copied while they are in use. */
struct decoded {
	struct event event; /* event.facts leads to facts for exec, fork and stock-taking */
	struct image_facts
		facts; /* of event.image; of other records only what struct rec_actor holds */
	struct rec_image caller; /* fork: whose memory the child copied; else all zero */
	struct {
		uint64_t id; /* 0: no cgroup was made; else the record is of no event */
		bool v1;
		struct bytes path;
	} cgroup;
	bool by_owner; /* facts are of the socket's owner as noted earlier, not of a running task */
	uint64_t seq; /* of the header: per cpu and ring */
	uint64_t socket; /* cookie; 0: none */
	uint32_t cpu;
	uint8_t ring; /* enum rec_ring */
	uint8_t rec_class; /* enum rec_class */
};

/* Which hook the loader chose for each class; HOOK_* of proto/actions.h. */
struct decode_hooks {
	struct {
		uint32_t hook, tier;
	} of[REC_CLASSES];
};

/* record: borrowed as long as *ret is in use; exactly len bytes. Errors (a constant sentence in
 * *ret_why, which may not be NULL): -EPROTONOSUPPORT a layout or type that this agent does not know;
 * -EBADMSG too short, or lengths and values that contradict each other. *ret is then undefined, but
 * its cpu, seq and ring are set when the header could be read (seq 0: it could not). */
MUST_CHECK int decode_record(const struct decode_hooks *hooks, const void *record, size_t len,
			     struct decoded *ret, const char **ret_why);

/* Records that could not be decoded since the last gap that told of them. Zeroed to begin. */
struct decode_failures {
	uint64_t count, from_ns, to_ns;
	const char *why; /* of the newest */
};
void decode_failed(struct decode_failures *f, const char *why, uint64_t now_ns);
/* false: nothing failed. Else the gap event to encode (no process), and f starts anew. */
MUST_CHECK bool decode_gap(struct decode_failures *f, struct event *ret);

/* "exec", "fork"...; "unknown" for types without a row. For logs and statistics. */
const char *decode_type_name(uint16_t type);

#endif
