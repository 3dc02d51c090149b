/* SPDX-License-Identifier: Apache-2.0 */
/* The capture while it is written: capture.pcapng with an interface for each (container, network namespace, device),
 * capture.owners.jsonl with a line for each process that packets are of, capture.clock.jsonl with the pairs of clocks
 * that times were made with. Counts every packet that comes in exactly once. One thread; time, names and bytes are
 * handed in. */
#ifndef ACQUIRE_PACKETS_FILE_H
#define ACQUIRE_PACKETS_FILE_H

#include <net/if.h>

#include "agent/acquire/output.h"
#include "agent/acquire/pcapng.h"
#include "agent/event.h"
#include "bpf/packets.h"

#define PACKETS_INTERFACES_MAX 4096 /* what comes after is "other" */
#define PACKETS_OWNERS_MAX 32768 /* lines; what comes after has comments alone */
#define PACKETS_TICK_NS (60 * NSEC_PER_SEC) /* statistics and clocks */
#define PACKETS_CONTAINER_MAX 128

struct packets_clock {
	uint64_t boot_ns;
	int64_t wall_ns;
};

/* What is known of a process beside its packets. */
struct packets_owner {
	char container[PACKETS_CONTAINER_MAX]; /* "": in none */
	char unit[PACKETS_CONTAINER_MAX];
	char exe[512];
};

struct packets_file_config {
	struct output *o; /* borrowed, as all here */
	uint32_t link_type;
	uint32_t snap; /* bytes of a packet; 0: all */
	const char *filter; /* libpcap expression; "": all */
	struct pcapng_section section;
	struct packets_clock clock; /* at the start */
	void (*owner)(void *ctx, const struct packets_user *u, struct packets_owner *ret);
	void (*device)(void *ctx, uint32_t net_ns, uint32_t ifindex, uint32_t pid,
		       char ret[static IF_NAMESIZE]);
	void *ctx;
};

struct packets_counts {
	uint64_t received; /* packets that came in, and those that are counted as lost */
	uint64_t written;
	uint64_t filtered; /* by the expression */
	uint64_t lost; /* before they came to us */
	uint64_t late; /* came when the limit was used up */
	uint64_t interfaces, owners;
	uint64_t first_ns, last_ns; /* boottime of what was written; 0: nothing */
};

struct packets_file;
struct bpf_insn;

/* -EINVAL: not a libpcap expression, in libpcap's words. */
MUST_CHECK int packets_file_open(const struct packets_file_config *c, struct packets_file **ret,
				 struct error *e);
void packets_file_free(struct packets_file *f); /* NULL allowed */
/* Nobody tells whose packets are: each says that, and interfaces are of "place" ("host"; borrowed) instead of a container.
 * Before the first packet. cooked: packets come with a cooked header before their bytes, which caplen does not count; no
 * record says that of itself, since whoever writes records could have bytes read that are not there. left_out: an
 * expression of what is never written; "": nothing. */
MUST_CHECK int packets_file_ownerless(struct packets_file *f, const char *place, bool cooked,
				      const char *left_out, struct error *e);
/* The compiled filter's instructions; 0: there is none. Borrowed. */
size_t packets_file_filter(const struct packets_file *f, const struct bpf_insn **ret);
/* One packet; data: h->caplen bytes. -ECANCELED: the limit is used up; go on counting, or end. */
MUST_CHECK int packets_file_packet(struct packets_file *f, const struct packets_head *h,
				   const uint8_t *data, struct error *e);
/* Packets' numbers in the file come after that many, from now on. */
void packets_file_numbers(struct packets_file *f, uint64_t base);
/* n packets were lost before the next one, or before the end. */
void packets_file_lost(struct packets_file *f, uint64_t n);
/* Once in PACKETS_TICK_NS: statistics, and a new pair of clocks. */
MUST_CHECK int packets_file_tick(struct packets_file *f, const struct packets_clock *now,
				 struct error *e);
/* What was written goes to whoever watches: whole blocks. A few times a second at most. */
MUST_CHECK int packets_file_flush(struct packets_file *f, struct error *e);
/* The last statistics; ends the items. why: NULL, or what the capture lacks. */
MUST_CHECK int packets_file_end(struct packets_file *f, const struct packets_clock *now,
				const char *why, struct error *e);
void packets_file_counts(const struct packets_file *f, struct packets_counts *ret);

#endif
