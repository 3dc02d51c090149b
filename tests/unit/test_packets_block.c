/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of a packet socket's ring as the kernel fills them, and as it never should. */
#include "agent/acquire/packets_block.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>

#include "tests/unit/rows.h"

#define BLOCK KiB(1)
#define FIRST 48
#define STRIDE 128
#define MAC 96 /* of a packet's bytes, behind header and address */
#define BYTES 20
#define CLOCKS 1000000

struct world {
	_Alignas(16) uint8_t memory[BLOCK];
	uint8_t room[PACKETS_COOKED_LEN + PACKETS_BYTES_MAX];
	struct packets_block b;
};

static void put(struct world *w, size_t at, uint32_t next)
{
	struct tpacket3_hdr t = { .tp_next_offset = next,
				  .tp_sec = 2,
				  .tp_nsec = 5,
				  .tp_snaplen = BYTES,
				  .tp_len = 1500,
				  .tp_mac = MAC };
	struct sockaddr_ll from = { .sll_protocol = htons(0x0806),
				    .sll_ifindex = 7,
				    .sll_hatype = 1,
				    .sll_pkttype = PACKET_OUTGOING,
				    .sll_halen = 6,
				    .sll_addr = { 2, 0, 0, 0, 0, 9 } };

	memcpy(w->memory + at, &t, sizeof(t));
	memcpy(w->memory + at + 48, &from, sizeof(from));
	memset(w->memory + at + MAC, 0xab, BYTES);
}

/* Two packets. */
static void fill(struct world *w, bool cooked)
{
	struct tpacket_block_desc d = { .version = TPACKET_V3 };

	*w = (struct world){ 0 };
	d.hdr.bh1.num_pkts = 2;
	d.hdr.bh1.offset_to_first_pkt = FIRST;
	memcpy(w->memory, &d, sizeof(d));
	put(w, FIRST, STRIDE);
	put(w, FIRST + STRIDE, 0);
	w->b = (struct packets_block){
		.facts = { .cooked = cooked, .net_ns = 9, .wall_less_boot_ns = CLOCKS },
		.at = w->memory,
		.len = BLOCK,
		.room = w->room
	};
}

static struct tpacket3_hdr *packet_at(struct world *w, size_t at)
{
	return (struct tpacket3_hdr *)(void *)(w->memory + at);
}

struct wrong_row {
	const char *name;
	size_t at; /* of 32 bits */
	uint32_t value;
	int packets; /* before it is seen */
};

#define OF(packet, member) (FIRST + (packet)*STRIDE + offsetof(struct tpacket3_hdr, member))
#define DESC(member)                                                                               \
	(offsetof(struct tpacket_block_desc, hdr) + offsetof(struct tpacket_hdr_v1, member))

static const struct wrong_row wrong_rows[] = {
	{ "another version", 0, 1, 0 },
	{ "first beyond", DESC(offset_to_first_pkt), BLOCK, 0 },
	{ "first far beyond", DESC(offset_to_first_pkt), UINT32_MAX, 0 },
	{ "first at the edge", DESC(offset_to_first_pkt), BLOCK - 50, 0 },
	{ "more than there are", DESC(num_pkts), UINT32_MAX, 1 },
	{ "next beyond", OF(0, tp_next_offset), BLOCK, 1 },
	{ "next far beyond", OF(0, tp_next_offset), UINT32_MAX, 1 },
	{ "next is itself", OF(0, tp_next_offset), 0, 0 },
	{ "longer than the block", OF(1, tp_snaplen), BLOCK, 1 },
	{ "as long as a number can be", OF(1, tp_snaplen), UINT32_MAX, 1 },
	{ "one byte too long", OF(1, tp_snaplen), BLOCK - FIRST - STRIDE - MAC + 1, 1 },
	{ "bytes beyond", OF(1, tp_mac), UINT16_MAX, 1 },
};

static void test_leads_nowhere(void **state)
{
	const struct wrong_row *row = *state;
	static struct world w;
	struct packets_block_packet p;
	struct error e = { 0 };
	int n = 0;

	for (int cooked = 0; cooked < 2; cooked++) {
		fill(&w, cooked);
		memcpy(w.memory + row->at, &row->value, sizeof(row->value));
		int r = packets_block_open(&w.b, &e);

		for (n = 0; r == 0 && (r = packets_block_next(&w.b, &p, &e)) == 1; n++)
			r = 0;
		assert_int_equal(r, -EBADMSG);
		assert_int_equal(n, row->packets);
	}
}

static void test_as_they_are(void **state)
{
	static struct world w;
	struct packets_block_packet p;

	(void)state;
	fill(&w, false);
	packet_at(&w, FIRST + STRIDE)->tp_status = TP_STATUS_LOSING | TP_STATUS_CSUMNOTREADY |
						   TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID;
	packet_at(&w, FIRST + STRIDE)->hv1.tp_vlan_tci = 0xa064;
	packet_at(&w, FIRST + STRIDE)->hv1.tp_vlan_tpid = 0x88a8;
	assert_int_equal(packets_block_open(&w.b, NULL), 0);
	assert_int_equal(packets_block_next(&w.b, &p, NULL), 1);
	assert_int_equal(p.head.boottime_ns, 2 * NSEC_PER_SEC + 5 - CLOCKS);
	assert_int_equal(p.head.len, 1500);
	assert_int_equal(p.head.caplen, BYTES);
	assert_int_equal(p.head.ifindex, 7);
	assert_int_equal(p.head.net_ns, 9);
	assert_int_equal(p.head.direction, PACKETS_OUT);
	assert_int_equal(p.head.flags, 0);
	assert_false(p.after_loss);
	assert_ptr_equal(p.data, w.memory + FIRST + MAC);
	assert_int_equal(packets_block_next(&w.b, &p, NULL), 1);
	assert_int_equal(p.head.flags, PACKETS_VLAN | PACKETS_PARTIAL_SUM);
	assert_int_equal(p.head.vlan_tci, 0xa064);
	assert_int_equal(p.head.vlan_protocol, htons(0x88a8));
	assert_true(p.after_loss);
	assert_int_equal(packets_block_next(&w.b, &p, NULL), 0);
}

static void test_cooked(void **state)
{
	static struct world w;
	struct packets_block_packet p;
	static const uint8_t plain[] = { 0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 8, 6, 0xab };
	static const uint8_t tagged[] = { 0, 4, 0, 1,    0, 6,    2,    0, 0, 0,   0,
					  9, 0, 0, 0x81, 0, 0xa0, 0x64, 8, 6, 0xab };

	(void)state;
	fill(&w, true);
	packet_at(&w, FIRST + STRIDE)->tp_status = TP_STATUS_VLAN_VALID;
	packet_at(&w, FIRST + STRIDE)->hv1.tp_vlan_tci = 0xa064;
	assert_int_equal(packets_block_open(&w.b, NULL), 0);
	assert_int_equal(packets_block_next(&w.b, &p, NULL), 1);
	assert_int_equal(p.head.caplen, BYTES);
	assert_memory_equal(p.data, plain, sizeof(plain));
	assert_int_equal(packets_block_next(&w.b, &p, NULL), 1);
	assert_int_equal(p.head.flags, 0);
	assert_int_equal(p.head.caplen, BYTES + 4);
	assert_int_equal(p.head.len, 1504);
	assert_memory_equal(p.data, tagged, sizeof(tagged));
}

/* A packet as long as any: its tag finds room all the same. */
static void test_longest(void **state)
{
	static struct world w;
	static uint8_t memory[KiB(256)];
	struct packets_block_packet p;

	(void)state;
	fill(&w, true);
	memcpy(memory, w.memory, sizeof(w.memory));
	w.b.at = memory;
	w.b.len = sizeof(memory);
	struct tpacket3_hdr *t = (struct tpacket3_hdr *)(void *)(memory + FIRST);

	t->tp_snaplen = t->tp_len = KiB(200);
	t->tp_status = TP_STATUS_VLAN_VALID;
	assert_int_equal(packets_block_open(&w.b, NULL), 0);
	assert_int_equal(packets_block_next(&w.b, &p, NULL), 1);
	assert_int_equal(p.head.caplen, PACKETS_BYTES_MAX);
	assert_int_equal(p.head.len, KiB(200) + 4);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, test_leads_nowhere, wrong_rows);
	ADD_TEST(&t, test_as_they_are);
	ADD_TEST(&t, test_cooked);
	ADD_TEST(&t, test_longest);
	return tests_run(&t, "packets_block");
}
