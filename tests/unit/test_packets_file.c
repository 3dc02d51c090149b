/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"
#include "tests/unit/rows.h"

#define PACKET 64

struct account {
	size_t interfaces, packets, statistics;
	uint64_t dropcount; /* of all packets */
	uint64_t isb_dropped, isb_received,
		isb_delivered; /* of the last statistics of each interface */
	bool cut;
	char first_comment[256];
	uint32_t first_caplen;
	uint8_t first_data[32];
};

static char dir[64];

static void owner_in_container(void *ctx, const struct packets_user *u, struct packets_owner *ret)
{
	(void)ctx;
	(void)snprintf(ret->container, sizeof(ret->container), "c%u", u->pid);
}

static void device_name(void *ctx, uint32_t net_ns, uint32_t ifindex, uint32_t pid,
			char ret[static IF_NAMESIZE])
{
	(void)ctx;
	(void)net_ns;
	(void)pid;
	(void)snprintf(ret, IF_NAMESIZE, "eth%u", ifindex);
}

static struct packets_file *open_file(struct output **o, uint64_t max_bytes, const char *filter,
				      uint32_t link_type)
{
	struct packets_file *f = NULL;

	(void)snprintf(dir, sizeof(dir), "/tmp/exhibit-packets-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(output_folder(dir, max_bytes, o, NULL), 0);
	assert_int_equal(
		packets_file_open(&(struct packets_file_config){ .o = *o,
								 .link_type = link_type,
								 .filter = filter,
								 .clock = { 1000, 5000 },
								 .owner = owner_in_container,
								 .device = device_name },
				  &f, NULL),
		0);
	return f;
}

static struct packets_head head(uint32_t pid, uint64_t number, uint64_t lost)
{
	struct packets_user u = { .pid = pid, .start_ns = pid, .how = PACKETS_SENT, .comm = "p" };

	return (struct packets_head){ .number = number,
				      .boottime_ns = 1000 + number,
				      .lost_before = lost,
				      .len = PACKET,
				      .caplen = PACKET,
				      .ifindex = 3,
				      .net_ns = 9,
				      .direction = PACKETS_OUT,
				      .users = { u, u } };
}

static void take_options(struct reader *r, bool statistics, struct account *a)
{
	while (r->left > 0 && !r->bad) {
		uint16_t code = reader_u16(r), len = reader_u16(r);
		struct reader value = reader_sub(r, len);

		reader_skip(r, (4 - len % 4) % 4U);
		if (!statistics && code == 4)
			a->dropcount += reader_u64(&value);
		else if (!statistics && code == 1 && a->packets == 1)
			memcpy(a->first_comment, value.at, value.left);
		else if (statistics && code == 4)
			a->isb_received += reader_u64(&value);
		else if (statistics && code == 7)
			a->isb_dropped += reader_u64(&value);
		else if (statistics && code == 8)
			a->isb_delivered += reader_u64(&value);
	}
}

static void take_packet(struct reader *body, struct account *a)
{
	uint32_t caplen;

	reader_skip(body, 12);
	caplen = reader_u32(body);
	reader_skip(body, 4);
	struct reader data = reader_sub(body, (caplen + 3) / 4 * 4);

	if (a->packets++ == 0) {
		a->first_caplen = caplen;
		reader_copy(&data, a->first_data, sizeof(a->first_data));
	}
	take_options(body, false, a);
}

/* The file as a strict reader sees it. */
static struct account read_back(void)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	struct account a = { 0 };
	char path[128];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/capture.pcapng", dir);
	assert_int_equal(files_read(path, MiB(64), &data, &len, NULL), 0);
	struct reader r = reader_init(data, len);

	while (r.left > 0 && !r.bad) {
		uint32_t type = reader_u32(&r), total = reader_u32(&r);
		struct reader body = reader_sub(&r, total < 12 ? SIZE_MAX : total - 12);

		if (reader_u32(&r) != total || r.bad) {
			a.cut = true;
			break;
		}
		if (type == 1) {
			a.interfaces++;
		} else if (type == 5) {
			if (a.statistics++ % a.interfaces == 0)
				a.isb_dropped = a.isb_received = a.isb_delivered = 0;
			reader_skip(&body, 12);
			take_options(&body, true, &a);
		} else if (type == 6) {
			take_packet(&body, &a);
		}
		assert_false(body.bad);
	}
	return a;
}

static void end_file(struct packets_file *f, struct output *o, const char *why)
{
	assert_int_equal(packets_file_end(f, &(struct packets_clock){ 2000, 6000 }, why, NULL), 0);
	packets_file_free(f);
	output_free(o);
}

/* ---- failures ------------------------------------------------------------------------------------------ */

static void test_bad_filter(void **state)
{
	struct packets_file *f = NULL;
	struct output *o = NULL;
	struct error e = { 0 };

	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/exhibit-packets-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(output_folder(dir, 0, &o, NULL), 0);
	assert_int_equal(
		packets_file_open(&(struct packets_file_config){ .o = o,
								 .link_type = PCAPNG_COOKED,
								 .filter = "port port" },
				  &f, &e),
		-EINVAL);
	assert_non_null(strstr(e.text, "libpcap"));
	output_free(o);
}

/* However small the limit, the file ends with a whole block, and every packet is accounted for. */
static void test_limit_cuts_no_block(void **state)
{
	uint8_t data[PACKET] = { 0x45 };

	(void)state;
	for (uint64_t max = 200; max < 1800; max += 7) {
		struct packets_counts n;
		struct output *o = NULL;
		struct packets_file *f = open_file(&o, max, "", PCAPNG_COOKED);
		int r = 0;

		for (uint64_t i = 1; i <= 20; i++) {
			struct packets_head h = head(7, i, i == 15 ? 3 : 0);

			r = packets_file_packet(f, &h, data, NULL);
		}
		assert_int_equal(r, -ECANCELED);
		packets_file_counts(f, &n);
		assert_int_equal(n.received, 23);
		assert_int_equal(n.written + n.late + n.lost, n.received);
		end_file(f, o, "limit");
		struct account a = read_back();

		assert_false(a.cut);
		assert_int_equal(a.packets, n.written);
		assert_int_equal(a.isb_delivered, n.written);
		assert_int_equal(a.isb_dropped, 3);
	}
}

static void test_nothing(void **state)
{
	struct output *o = NULL;
	struct packets_file *f = open_file(&o, 0, "", PCAPNG_COOKED);

	(void)state;
	packets_file_lost(f, 4);
	end_file(f, o, NULL);
	struct account a = read_back();

	assert_int_equal(a.interfaces, 1);
	assert_int_equal(a.isb_dropped, 4);
}

/* ---- successes ------------------------------------------------------------------------------------------- */

/* Losses stand with the packet after them, those at the end with the last one's interface; nothing twice. */
static void test_losses(void **state)
{
	uint8_t data[PACKET] = { 0x45 };
	struct output *o = NULL;
	struct packets_file *f = open_file(&o, 0, "", PCAPNG_COOKED);

	(void)state;
	for (uint64_t i = 1; i <= 10; i++) {
		struct packets_head h = head((uint32_t)(1 + i % 3), i, i == 4 ? 5 : 0);

		assert_int_equal(packets_file_packet(f, &h, data, NULL), 0);
		if (i == 7)
			assert_int_equal(packets_file_tick(f, &(struct packets_clock){ 1500, 5500 },
							   NULL),
					 0);
	}
	packets_file_lost(f, 2);
	end_file(f, o, NULL);
	struct account a = read_back();

	assert_int_equal(a.interfaces, 3);
	assert_int_equal(a.packets, 10);
	assert_int_equal(a.dropcount, 5);
	assert_int_equal(a.isb_dropped, 7);
	assert_int_equal(a.isb_delivered, 10);
	assert_int_equal(a.isb_received, 17);
	assert_string_equal(a.first_comment, "pid=2;name=p;container=c2;");
}

/* What the filter takes away does not take its losses away. */
static void test_filter(void **state)
{
	uint8_t udp[PACKET] = { 0x45, 0, 0, PACKET, [9] = 17 };
	uint8_t tcp[PACKET] = { 0x45, 0, 0, PACKET, [9] = 6 };
	struct packets_head first = head(1, 1, 3), second = head(1, 2, 1);
	struct packets_counts n;
	struct output *o = NULL;
	struct packets_file *f = open_file(&o, 0, "udp", PCAPNG_COOKED);

	(void)state;
	assert_int_equal(packets_file_packet(f, &first, tcp, NULL), 0);
	assert_int_equal(packets_file_packet(f, &second, udp, NULL), 0);
	packets_file_counts(f, &n);
	assert_int_equal(n.filtered, 1);
	assert_int_equal(n.written, 1);
	assert_int_equal(n.lost, 4);
	end_file(f, o, NULL);
	assert_int_equal(read_back().dropcount, 4);
}

/* Whatever a record's flags say, no more is read of it than caplen. */
static void test_flags_of_no_meaning(void **state)
{
	AUTO(free_ptr)
	uint8_t *data = calloc(1, PACKET); /* a sanitizer sees what is read past it */
	struct packets_head h = head(1, 1, 0);
	struct output *o = NULL;
	struct packets_file *f = open_file(&o, 0, "", PCAPNG_ETHERNET);

	(void)state;
	assert_non_null(data);
	h.flags = (uint8_t)~PACKETS_VLAN;
	assert_int_equal(packets_file_packet(f, &h, data, NULL), 0);
	end_file(f, o, NULL);
	assert_int_equal(read_back().first_caplen, PACKET);
}

static void test_vlan(void **state)
{
	static const uint8_t want[20] = { 1, 1, 1,    1,    1,    1,    2, 2, 2,    2,
					  2, 2, 0x81, 0x00, 0xa0, 0x64, 8, 0, 0x45, 0 };
	uint8_t data[PACKET] = { 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0, 0x45 };
	struct packets_head h = head(1, 1, 0);
	struct output *o = NULL;
	struct packets_file *f = open_file(&o, 0, "vlan 100", PCAPNG_ETHERNET);

	(void)state;
	h.flags = PACKETS_VLAN;
	h.vlan_tci = 0xa064; /* priority 5, 100 */
	h.vlan_protocol = 0x0081; /* network order */
	assert_int_equal(packets_file_packet(f, &h, data, NULL), 0);
	end_file(f, o, NULL);
	struct account a = read_back();

	assert_int_equal(a.packets, 1);
	assert_memory_equal(a.first_data, want, sizeof(want));
}

static void test_many_interfaces(void **state)
{
	uint8_t data[PACKET] = { 0x45 };
	struct output *o = NULL;
	struct packets_file *f = open_file(&o, 0, "", PCAPNG_COOKED);

	(void)state;
	for (uint64_t i = 1; i <= PACKETS_INTERFACES_MAX + 10; i++) {
		struct packets_head h = head(1, i, 0);

		h.ifindex = (uint32_t)i;
		assert_int_equal(packets_file_packet(f, &h, data, NULL), 0);
	}
	end_file(f, o, NULL);
	struct account a = read_back();

	assert_int_equal(a.interfaces, PACKETS_INTERFACES_MAX + 1);
	assert_int_equal(a.isb_delivered, PACKETS_INTERFACES_MAX + 10);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_bad_filter);
	ADD_TEST(&t, test_limit_cuts_no_block);
	ADD_TEST(&t, test_nothing);
	ADD_TEST(&t, test_losses);
	ADD_TEST(&t, test_filter);
	ADD_TEST(&t, test_flags_of_no_meaning);
	ADD_TEST(&t, test_vlan);
	ADD_TEST(&t, test_many_interfaces);
	return tests_run(&t, "packets_file");
}
