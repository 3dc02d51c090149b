/* SPDX-License-Identifier: Apache-2.0 */
/* pcapng blocks (draft-ietf-opsawg-pcapng) as bytes: a pure writer, little-endian, no state. What it writes is valid
 * after any block, and a reader loses the last block at most when it is cut within one.
 *
 * For libpcap's sake, whose readers are stricter than Wireshark, all interfaces of a file must have one link type and
 * one snap length; and the type is not "raw IP" (101), of which libpcap 1.10 refuses a second interface since it
 * compares the number in the file with its own (12). */
#ifndef ACQUIRE_PCAPNG_H
#define ACQUIRE_PCAPNG_H

#include "proto/base/writer.h"

#define PCAPNG_ETHERNET 1
#define PCAPNG_COOKED                                                                              \
	113 /* Linux cooked, as `tcpdump -i any` writes: a header that the capturer makes */
#define PCAPNG_SNAP 262144 /* said of every interface: the most that libpcap takes */
#define PCAPNG_TEXT_MAX 4096 /* of one option; longer ones are cut */
#define PCAPNG_OVERHEAD_MAX                                                                        \
	(3 * (PCAPNG_TEXT_MAX + 8) + 256) /* a block's bytes beside the packet's */
/* The enterprise number of our option 2989 is the one for documentation (RFC 5612): we have none. */
#define PCAPNG_ENTERPRISE 32473

/* NULL or empty: left out, here and below. */
struct pcapng_section {
	const char *hardware, *os, *application, *comment;
};

struct pcapng_interface {
	uint16_t link_type;
	const char *name, *description, *filter;
};

struct pcapng_packet {
	uint32_t interface; /* in the order of their blocks, from 0 */
	int64_t wall_ns;
	const void *data;
	uint32_t caplen, len; /* bytes at data, bytes that there were */
	uint32_t direction; /* 0 not known, 1 in, 2 out */
	uint64_t dropped; /* between this packet and the one before it; 0: none */
	uint64_t number;
	uint32_t queue;
	const char *comment;
	const void *custom; /* option 2989, after the enterprise number */
	uint16_t custom_len;
};

struct pcapng_statistics {
	uint32_t interface;
	int64_t wall_ns, start_ns, end_ns;
	uint64_t received, accepted, dropped, delivered; /* so far */
};

/* w gets bad when there is no room; the caller's buffer holds PCAPNG_OVERHEAD_MAX + caplen. */
void pcapng_section(struct writer *w, const struct pcapng_section *s);
void pcapng_interface(struct writer *w, const struct pcapng_interface *i);
void pcapng_packet(struct writer *w, const struct pcapng_packet *p);
void pcapng_statistics(struct writer *w, const struct pcapng_statistics *s);

#endif
