/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_block.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#define ADDRESS_MAX 8 /* of a cooked header */
#define ALIGN ((size_t)TPACKET_ALIGNMENT)
#define ADDRESS_AT ((sizeof(struct tpacket3_hdr) + ALIGN - 1) / ALIGN * ALIGN)
#define VLAN_8021Q 0x8100 /* where the kernel does not say which */

/* Bytes of the block, copied; false: they are not all in it. */
static bool copy_at(const struct packets_block *b, size_t at, void *out, size_t len)
{
	struct reader r = reader_init(b->at, b->len);

	reader_skip(&r, at);
	reader_copy(&r, out, len);
	return !r.bad;
}

int packets_block_open(struct packets_block *b, struct error *e)
{
	struct tpacket_block_desc d;

	if (!copy_at(b, 0, &d, sizeof(d)) || d.version != TPACKET_V3)
		return error_set(e, -EBADMSG,
				 "the packet socket's ring has no block where one is due");
	b->next = d.hdr.bh1.offset_to_first_pkt;
	b->left = d.hdr.bh1.num_pkts;
	return 0;
}

/* https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html, big-endian; behind it a tag, where one was taken out, as
 * libpcap has it. Returns the bytes before the packet's own. */
static size_t put_cooked(struct writer *w, const struct sockaddr_ll *from,
			 const struct packets_head *h)
{
	size_t len = from->sll_halen < ADDRESS_MAX ? from->sll_halen : ADDRESS_MAX;
	uint16_t words[3] = { htons(from->sll_pkttype), htons(from->sll_hatype),
			      htons(from->sll_halen) };

	writer_bytes(w, words, sizeof(words));
	writer_bytes(w, from->sll_addr, len);
	writer_zero(w, ADDRESS_MAX - len);
	if (h->flags & PACKETS_VLAN) {
		words[0] = htons(h->vlan_tci);
		writer_bytes(w, &h->vlan_protocol, sizeof(h->vlan_protocol));
		writer_bytes(w, words, sizeof(words[0]));
	}
	writer_bytes(w, &from->sll_protocol, sizeof(from->sll_protocol));
	return w->done;
}

static void take_tag(const struct tpacket3_hdr *t, struct packets_head *h)
{
	if (!(t->tp_status & TP_STATUS_VLAN_VALID))
		return;
	h->flags |= PACKETS_VLAN;
	h->vlan_tci = (uint16_t)t->hv1.tp_vlan_tci;
	h->vlan_protocol =
		htons(t->tp_status & TP_STATUS_VLAN_TPID_VALID ? t->hv1.tp_vlan_tpid : VLAN_8021Q);
}

/* With a header of ours before the bytes, in the room. */
static void cook(struct packets_block *b, const struct sockaddr_ll *from,
		 struct packets_block_packet *p)
{
	struct packets_head *h = &p->head;
	struct writer w = writer_init(b->room, PACKETS_COOKED_LEN + PACKETS_BYTES_MAX);
	size_t before = put_cooked(&w, from, h);
	uint32_t tag = (uint32_t)(before - PACKETS_COOKED_LEN);
	uint32_t most = PACKETS_BYTES_MAX - tag;

	writer_bytes(&w, p->data, h->caplen < most ? h->caplen : most);
	h->caplen = (uint32_t)(w.done - PACKETS_COOKED_LEN);
	h->len += tag;
	h->flags = (uint8_t)(h->flags & ~PACKETS_VLAN);
	p->data = b->room;
}

int packets_block_next(struct packets_block *b, struct packets_block_packet *ret, struct error *e)
{
	struct tpacket3_hdr t;
	struct sockaddr_ll from;
	struct reader bytes = reader_init(b->at, b->len);

	if (b->left == 0)
		return 0;
	if (!copy_at(b, b->next, &t, sizeof(t)) ||
	    !copy_at(b, b->next + ADDRESS_AT, &from, sizeof(from)))
		return error_set(e, -EBADMSG,
				 "a packet in the socket's ring lies beyond its block");
	reader_skip(&bytes, b->next + t.tp_mac);
	const uint8_t *data = reader_bytes(&bytes, t.tp_snaplen);

	if (bytes.bad || (--b->left > 0 && t.tp_next_offset == 0))
		return error_set(e, -EBADMSG,
				 "a packet in the socket's ring lies beyond its block");
	b->next += t.tp_next_offset;
	int64_t wall_ns = (int64_t)t.tp_sec * (int64_t)NSEC_PER_SEC + t.tp_nsec;

	*ret = (struct packets_block_packet){
		.head = { .boottime_ns = (uint64_t)(wall_ns - b->facts.wall_less_boot_ns),
			  .len = t.tp_len,
			  .caplen = t.tp_snaplen < PACKETS_BYTES_MAX ? t.tp_snaplen :
								       PACKETS_BYTES_MAX,
			  .ifindex = (uint32_t)from.sll_ifindex,
			  .net_ns = b->facts.net_ns,
			  .direction = from.sll_pkttype == PACKET_OUTGOING ? PACKETS_OUT :
									     PACKETS_IN,
			  .flags = t.tp_status & TP_STATUS_CSUMNOTREADY ? PACKETS_PARTIAL_SUM : 0 },
		.data = data,
		.after_loss = (t.tp_status & TP_STATUS_LOSING) != 0,
	};
	take_tag(&t, &ret->head);
	if (b->facts.cooked)
		cook(b, &from, ret);
	return 1;
}
