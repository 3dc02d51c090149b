/* SPDX-License-Identifier: Apache-2.0 */
/* Records of packets as hostile as they can be: the file stays a chain of whole blocks, and the account balances. */
#include <stdlib.h>
#include <string.h>

#include "agent/acquire/output_internal.h"
#include "agent/acquire/packets_file.h"
#include "proto/base/reader.h"
#include "tests/fuzz/fuzz.h"

struct memory {
	uint8_t data[MiB(1)];
	size_t len;
};

static int on_begin(void *ctx, uint32_t item, const char *name, const char *format,
		    uint64_t expected_bytes, struct error *e)
{
	(void)ctx, (void)item, (void)name, (void)format, (void)expected_bytes, (void)e;
	return 0;
}

static int on_chunk(void *ctx, const struct output_chunk *c, struct error *e)
{
	struct memory *m = ctx;

	(void)e;
	if (c->item == 1 && c->data != NULL && c->offset == m->len &&
	    c->len <= sizeof(m->data) - m->len) {
		memcpy(m->data + m->len, c->data, c->len);
		m->len += c->len;
	}
	return 0;
}

static int on_end(void *ctx, const struct output_ending *end, struct error *e)
{
	(void)ctx, (void)end, (void)e;
	return 0;
}

static void on_free(void *ctx)
{
	(void)ctx;
}

static const struct output_place place = {
	.begin = on_begin, .chunk = on_chunk, .end = on_end, .free = on_free
};

static void on_owner(void *ctx, const struct packets_user *u, struct packets_owner *ret)
{
	(void)ctx;
	ret->container[0] = (char)('a' + u->pid % 8);
}

static void on_device(void *ctx, uint32_t net_ns, uint32_t ifindex, uint32_t pid,
		      char ret[static IF_NAMESIZE])
{
	(void)ctx, (void)net_ns, (void)ifindex, (void)pid;
	memcpy(ret, "eth0", 5);
}

static void check_blocks(const struct memory *m)
{
	struct reader r = reader_init(m->data, m->len);

	while (r.left > 0) {
		reader_skip(&r, 4);
		uint32_t total = reader_u32(&r);

		reader_skip(&r, total < 12 ? SIZE_MAX : total - 12);
		if (reader_u32(&r) != total || r.bad)
			abort();
	}
}

static void feed(struct packets_file *f, const uint8_t *data, size_t size)
{
	struct reader r = reader_init(data, size);

	while (r.left > 0) {
		struct packets_head h;

		reader_copy(&r, &h, sizeof(h));
		/* As packets_live.c and recorder_slots.c bound it. */
		h.caplen = (uint32_t)(h.caplen % (r.left + 1));
		const uint8_t *bytes = reader_bytes(&r, h.caplen);

		if (packets_file_packet(f, &h, bytes, NULL) < 0)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memory m;
	struct packets_clock now = { 1, 1 };
	struct packets_file *f = NULL;
	struct packets_counts n;
	struct output *o = NULL;

	m.len = 0;
	if (size < 1 || size > KiB(32) || output_new(&place, &m, 0, &o, NULL) < 0)
		return 0;
	if (packets_file_open(
		    &(struct packets_file_config){
			    .o = o,
			    .link_type = data[0] & 1 ? PCAPNG_ETHERNET : PCAPNG_COOKED,
			    .snap = data[0] >> 4,
			    .filter = data[0] & 2 ? "tcp or udp port 53" : "",
			    .owner = on_owner,
			    .device = on_device },
		    &f, NULL) < 0)
		abort();
	feed(f, data + 1, size - 1);
	if (packets_file_end(f, &now, NULL, NULL) < 0)
		abort();
	packets_file_counts(f, &n);
	if (n.received - n.lost != n.written + n.filtered + n.late)
		abort();
	check_blocks(&m);
	packets_file_free(f);
	output_free(o);
	return 0;
}
