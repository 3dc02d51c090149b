/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/pcapng.h"

#include <string.h>

enum { BLOCK_INTERFACE = 1, BLOCK_STATISTICS = 5, BLOCK_PACKET = 6, BLOCK_SECTION = 0x0a0d0d0a };

#define MAGIC 0x1a2b3c4d
#define LENGTH_UNKNOWN UINT64_MAX
#define NANOSECONDS 9 /* 10 to the power of minus that */

enum {
	OPT_END = 0,
	OPT_COMMENT = 1,
	SHB_HARDWARE = 2,
	SHB_OS = 3,
	SHB_APPLICATION = 4,
	IF_NAME = 2,
	IF_DESCRIPTION = 3,
	IF_TSRESOL = 9,
	IF_FILTER = 11,
	EPB_FLAGS = 2,
	EPB_DROPCOUNT = 4,
	EPB_PACKETID = 5,
	EPB_QUEUE = 6,
	ISB_START = 2,
	ISB_END = 3,
	ISB_RECEIVED = 4,
	ISB_ACCEPTED = 6,
	ISB_DROPPED = 7,
	ISB_DELIVERED = 8,
	OPT_CUSTOM = 2989, /* bytes, copied by who rewrites the file */
};

static void pad(struct writer *w, size_t len)
{
	writer_zero(w, (4 - len % 4) % 4);
}

/* Where a block began; its length is put there at its end. */
static struct writer block_begin(struct writer *w, uint32_t type)
{
	struct writer begin = *w;

	writer_u32(w, type);
	writer_u32(w, 0);
	return begin;
}

static void block_end(struct writer *w, struct writer *begin)
{
	uint32_t total = (uint32_t)(w->done - begin->done + 4);

	writer_u32(w, total);
	if (w->bad)
		return;
	begin->at += 4;
	begin->left -= 4;
	writer_u32(begin, total);
}

static void option_begin(struct writer *w, uint16_t code, size_t len)
{
	writer_u16(w, code);
	writer_u16(w, (uint16_t)len);
}

static void option_bytes(struct writer *w, uint16_t code, const void *data, size_t len)
{
	option_begin(w, code, len);
	writer_bytes(w, data, len);
	pad(w, len);
}

static void option_text(struct writer *w, uint16_t code, const char *text)
{
	if (text != NULL && *text != '\0')
		option_bytes(w, code, text, strnlen(text, PCAPNG_TEXT_MAX));
}

static void option_u32(struct writer *w, uint16_t code, uint32_t v)
{
	option_begin(w, code, sizeof(v));
	writer_u32(w, v);
}

static void option_u64(struct writer *w, uint16_t code, uint64_t v)
{
	option_begin(w, code, sizeof(v));
	writer_u64(w, v);
}

/* Two words, the upper one first. */
static void time_words(struct writer *w, int64_t wall_ns)
{
	writer_u32(w, (uint32_t)((uint64_t)wall_ns >> 32));
	writer_u32(w, (uint32_t)wall_ns);
}

static void option_time(struct writer *w, uint16_t code, int64_t wall_ns)
{
	option_begin(w, code, sizeof(wall_ns));
	time_words(w, wall_ns);
}

static void options_end(struct writer *w)
{
	option_begin(w, OPT_END, 0);
}

void pcapng_section(struct writer *w, const struct pcapng_section *s)
{
	struct writer begin = block_begin(w, BLOCK_SECTION);

	writer_u32(w, MAGIC);
	writer_u16(w, 1);
	writer_u16(w, 0);
	writer_u64(w, LENGTH_UNKNOWN);
	option_text(w, SHB_HARDWARE, s->hardware);
	option_text(w, SHB_OS, s->os);
	option_text(w, SHB_APPLICATION, s->application);
	option_text(w, OPT_COMMENT, s->comment);
	options_end(w);
	block_end(w, &begin);
}

/* A filter begins with a zero that says it is text. */
static void option_filter(struct writer *w, const char *filter)
{
	size_t len = filter == NULL ? 0 : strnlen(filter, PCAPNG_TEXT_MAX - 1);

	if (len == 0)
		return;
	option_begin(w, IF_FILTER, len + 1);
	writer_u8(w, 0);
	writer_bytes(w, filter, len);
	pad(w, len + 1);
}

void pcapng_interface(struct writer *w, const struct pcapng_interface *i)
{
	static const uint8_t resolution = NANOSECONDS;
	struct writer begin = block_begin(w, BLOCK_INTERFACE);

	writer_u16(w, i->link_type);
	writer_u16(w, 0);
	writer_u32(w, PCAPNG_SNAP);
	option_text(w, IF_NAME, i->name);
	option_text(w, IF_DESCRIPTION, i->description);
	option_bytes(w, IF_TSRESOL, &resolution, sizeof(resolution));
	option_filter(w, i->filter);
	options_end(w);
	block_end(w, &begin);
}

static void option_custom(struct writer *w, const struct pcapng_packet *p)
{
	if (p->custom_len == 0)
		return;
	option_begin(w, OPT_CUSTOM, p->custom_len + sizeof(uint32_t));
	writer_u32(w, PCAPNG_ENTERPRISE);
	writer_bytes(w, p->custom, p->custom_len);
	pad(w, p->custom_len);
}

/* On a copy, so that the compiler keeps it in registers: this runs for every packet. */
void pcapng_packet(struct writer *to, const struct pcapng_packet *p)
{
	struct writer copy = *to, *w = &copy;
	struct writer begin = block_begin(w, BLOCK_PACKET);

	writer_u32(w, p->interface);
	time_words(w, p->wall_ns);
	writer_u32(w, p->caplen);
	writer_u32(w, p->len);
	writer_bytes(w, p->data, p->caplen);
	pad(w, p->caplen);
	option_text(w, OPT_COMMENT, p->comment);
	option_u32(w, EPB_FLAGS, p->direction);
	if (p->dropped != 0)
		option_u64(w, EPB_DROPCOUNT, p->dropped);
	option_u64(w, EPB_PACKETID, p->number);
	option_u32(w, EPB_QUEUE, p->queue);
	option_custom(w, p);
	options_end(w);
	block_end(w, &begin);
	*to = copy;
}

void pcapng_statistics(struct writer *w, const struct pcapng_statistics *s)
{
	struct writer begin = block_begin(w, BLOCK_STATISTICS);

	writer_u32(w, s->interface);
	time_words(w, s->wall_ns);
	option_time(w, ISB_START, s->start_ns);
	option_time(w, ISB_END, s->end_ns);
	option_u64(w, ISB_RECEIVED, s->received);
	option_u64(w, ISB_ACCEPTED, s->accepted);
	option_u64(w, ISB_DROPPED, s->dropped);
	option_u64(w, ISB_DELIVERED, s->delivered);
	options_end(w);
	block_end(w, &begin);
}
