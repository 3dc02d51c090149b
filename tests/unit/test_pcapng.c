/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/pcapng.h"

#include <string.h>

#include "tests/unit/rows.h"

#define BYTES(...)                                                                                 \
	{                                                                                          \
		.len = sizeof((const uint8_t[]){ __VA_ARGS__ }), .b = { __VA_ARGS__ }              \
	}

struct expected {
	size_t len;
	uint8_t b[256];
};

struct row {
	const char *name;
	void (*write)(struct writer *w);
	struct expected want;
};

static void write_section(struct writer *w)
{
	pcapng_section(w, &(struct pcapng_section){ .application = "abc", .comment = "case=1;" });
}

static void write_interface(struct writer *w)
{
	pcapng_interface(w, &(struct pcapng_interface){ .link_type = PCAPNG_COOKED,
							.name = "host@lo",
							.filter = "tcp" });
}

static void write_packet(struct writer *w)
{
	pcapng_packet(w, &(struct pcapng_packet){ .interface = 1,
						  .wall_ns = 0x0102030405060708,
						  .data = "\x45\x00\x05",
						  .caplen = 3,
						  .len = 1500,
						  .direction = 2,
						  .number = 9,
						  .queue = 1,
						  .comment = "pid=4;",
						  .custom = "xyz",
						  .custom_len = 3 });
}

static void write_after_loss(struct writer *w)
{
	pcapng_packet(w, &(struct pcapng_packet){ .wall_ns = -1, .dropped = 258, .number = 1 });
}

static void write_statistics(struct writer *w)
{
	pcapng_statistics(w, &(struct pcapng_statistics){ .interface = 2,
							  .wall_ns = 0x100000002,
							  .start_ns = 3,
							  .end_ns = 4,
							  .received = 5,
							  .accepted = 6,
							  .dropped = 7,
							  .delivered = 8 });
}

/* As draft-ietf-opsawg-pcapng lays them out. */
static const struct row rows[] = {
	{ "section", write_section,
	  BYTES(0x0a, 0x0d, 0x0d, 0x0a, 52, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, /**/
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /**/
		4, 0, 3, 0, 'a', 'b', 'c', 0, /**/
		1, 0, 7, 0, 'c', 'a', 's', 'e', '=', '1', ';', 0, /**/
		0, 0, 0, 0, 52, 0, 0, 0) },
	{ "interface", write_interface,
	  BYTES(1, 0, 0, 0, 52, 0, 0, 0, 113, 0, 0, 0, 0, 0, 4, 0, /**/
		2, 0, 7, 0, 'h', 'o', 's', 't', '@', 'l', 'o', 0, /**/
		9, 0, 1, 0, 9, 0, 0, 0, /**/
		11, 0, 4, 0, 0, 't', 'c', 'p', /**/
		0, 0, 0, 0, 52, 0, 0, 0) },
	{ "packet", write_packet,
	  BYTES(6, 0, 0, 0, 92, 0, 0, 0, 1, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 3, 0, 0, 0, 0xdc, 5, 0,
		0, /**/
		0x45, 0, 5, 0, /**/
		1, 0, 6, 0, 'p', 'i', 'd', '=', '4', ';', 0, 0, /**/
		2, 0, 4, 0, 2, 0, 0, 0, /**/
		5, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0, /**/
		6, 0, 4, 0, 1, 0, 0, 0, /**/
		0xad, 0x0b, 7, 0, 0xd9, 0x7e, 0, 0, 'x', 'y', 'z', 0, /**/
		0, 0, 0, 0, 92, 0, 0, 0) },
	{ "packet after a loss", write_after_loss,
	  BYTES(6, 0, 0, 0, 76, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0, 0, 0, 0, 0, 0, 0, 0, /**/
		2, 0, 4, 0, 0, 0, 0, 0, /**/
		4, 0, 8, 0, 2, 1, 0, 0, 0, 0, 0, 0, /**/
		5, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, /**/
		6, 0, 4, 0, 0, 0, 0, 0, /**/
		0, 0, 0, 0, 76, 0, 0, 0) },
	{ "statistics", write_statistics,
	  BYTES(5, 0, 0, 0, 100, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, /**/
		2, 0, 8, 0, 0, 0, 0, 0, 3, 0, 0, 0, /**/
		3, 0, 8, 0, 0, 0, 0, 0, 4, 0, 0, 0, /**/
		4, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0, /**/
		6, 0, 8, 0, 6, 0, 0, 0, 0, 0, 0, 0, /**/
		7, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0, /**/
		8, 0, 8, 0, 8, 0, 0, 0, 0, 0, 0, 0, /**/
		0, 0, 0, 0, 100, 0, 0, 0) },
};

/* Nothing is written past the room there is, and the writer says so. */
static void test_no_room(void **state)
{
	const struct row *row = *state;
	uint8_t buf[sizeof(row->want.b) + 1];

	for (size_t room = 0; room < row->want.len; room++) {
		struct writer w = writer_init(buf, room);

		memset(buf, 0xee, sizeof(buf));
		row->write(&w);
		assert_true(w.bad);
		assert_int_equal(buf[room], 0xee);
	}
}

static void test_long_text(void **state)
{
	static char text[2 * PCAPNG_TEXT_MAX + 1];
	static uint8_t buf[PCAPNG_OVERHEAD_MAX];
	struct writer w = writer_init(buf, sizeof(buf));

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	pcapng_interface(&w, &(struct pcapng_interface){
				     .name = text, .description = text, .filter = text });
	assert_false(w.bad);
	assert_int_equal(buf[18] | buf[19] << 8, PCAPNG_TEXT_MAX);
}

static void test_bytes(void **state)
{
	const struct row *row = *state;
	uint8_t buf[sizeof(row->want.b)];
	struct writer w = writer_init(buf, sizeof(buf));

	row->write(&w);
	assert_false(w.bad);
	assert_int_equal(w.done, row->want.len);
	assert_memory_equal(buf, row->want.b, row->want.len);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, test_no_room, rows);
	ADD_TEST(&t, test_long_text);
	ADD_ROWS(&t, test_bytes, rows);
	return tests_run(&t, "pcapng");
}
