/* SPDX-License-Identifier: Apache-2.0 */
/* The one wire between the privileged `sense` process and the unprivileged `uplink` process: a stream
 * socketpair with framed messages. The table in link.c is the whole interface: which side may send
 * what, and how long it may be. Each end is owned by one thread.
 *
 * Frame, little-endian: u32 length of body, u8 kind, u8 lane (0: none), u16 round, u64 position; body. */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

#include "proto/base/base.h"
#include "proto/base/error.h"

enum link_kind {
	/* uplink to sense */
	LINK_WANT =
		1, /* position: the next frame of lane that is wanted; 0: the oldest unacknowledged */
	LINK_ACK, /* position; body: header hash. Everything up to it is durable at the collector */
	LINK_STATE, /* body: one byte connected (0, 1), then a sentence for a person, at most 512 bytes */
	/* sense to uplink */
	LINK_BATCH, /* position; body: SignedBatch */
	LINK_TOMBSTONE, /* position; body: SignedTombstone */
	LINK_IDLE, /* body: SignedIdle */
	LINK_STOP, /* nothing more comes; end once what is under way is acknowledged, or soon */
	/* uplink to sense: what the collector's stream of orders says, byte for byte */
	LINK_ORDERS, /* a stream of orders has begun: say the newest steps again */
	LINK_ORDER, /* body: SignedOrder */
	LINK_REVOCATIONS, /* body: SignedRevocationList */
	LINK_LEDGER, /* body: LedgerUpdate */
	LINK_RECEIPT, /* body: exhibit id (16), Receipt */
	LINK_UPLOAD_FAILED, /* body: exhibit id (16), a sentence for a person, at most 512 bytes */
	/* sense to uplink */
	LINK_HELD, /* body: OrdersHello without hello: what this host holds */
	LINK_STEP, /* body: OrderStep */
	LINK_UPLOAD, /* body: UploadStart; a descriptor comes along: UploadRequests, each behind its length */
	LINK_MANIFEST, /* body: exhibit id (16), SignedManifest: the end of an upload */
	LINK_CONTRADICTION, /* body: LedgerContradiction */
	/* uplink to sense */
	LINK_CLOCK, /* body: struct clock_sample (clock_offset.h), five u64 */
	LINK_KINDS,
};

enum link_side { LINK_SENSE, LINK_UPLINK };

struct link_message {
	enum link_kind kind;
	uint8_t lane; /* enum batch_lane, 0: none */
	uint16_t round; /* LINK_WANT: any; LINK_BATCH, LINK_TOMBSTONE: of the question they answer; else 0 */
	uint64_t position;
	const uint8_t *body; /* borrowed: when received, until the next link_receive */
	size_t len;
};

struct link;

/* fd: one end of socketpair(AF_UNIX, SOCK_STREAM), non-blocking is set here; the link owns it from now
 * on, also on failure. side: who we are. */
MUST_CHECK int link_new(int fd, enum link_side side, struct link **ret_l, struct error *e);
void link_free(struct link *l); /* NULL allowed */
int link_fd(const struct link *l);
/* Queue one message, with a copy of its body, and write as much as fits now. -EAGAIN: more than
 * LINK_QUEUE_MAX bytes wait already, nothing was queued; -EPIPE: the other side is gone; -EINVAL: not
 * ours to send. */
#define LINK_QUEUE_MAX MiB(4)
MUST_CHECK int link_send(struct link *l, const struct link_message *m);
/* The same for a kind that brings a descriptor along. fd: the link's own from now on when this returns 0. */
#define LINK_FDS_MAX 16 /* on their way at one time; -EAGAIN */
MUST_CHECK int link_send_fd(struct link *l, const struct link_message *m, int fd);
/* Write what waits. 0, or -EPIPE. */
MUST_CHECK int link_flush(struct link *l);
bool link_pending(const struct link *l); /* something waits for POLLOUT */
/* The next whole message. 1: ret is set; 0: none yet; -EPIPE: the other side closed; -EBADMSG: it broke
 * the table (a hostile or broken peer: end it). */
MUST_CHECK int link_receive(struct link *l, struct link_message *ret_m);
/* The descriptor of the message that link_receive has returned, the caller's, close-on-exec. -1: none. Sense takes none:
 * what a hostile uplink sends along is thrown away by the kernel. */
int link_take_fd(struct link *l);
#define LINK_CLOCK_LEN 40
#define LINK_ID_LEN 16 /* of exhibits, before some bodies */

#endif
