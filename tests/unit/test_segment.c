/* SPDX-License-Identifier: Apache-2.0 */
/* Frames in a row: read back, recovered after a cut at every byte, told from damage. */
#include "tests/unit/rows.h"

#include "collector/segment.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <string.h>

#define FRAMES 6
#define FILE_MAX 4096

struct bytes {
	uint8_t data[FILE_MAX];
	size_t len;
	uint64_t at[FRAMES + 1]; /* where each frame begins, and the end */
};

static const struct segment_id id = { "\0\0\0\0\0\0\0\7randomxx" };

static ssize_t read_bytes(void *ctx, uint64_t offset, void *buf, size_t len)
{
	const struct bytes *b = ctx;

	if (offset >= b->len)
		return 0;
	if (len > b->len - offset)
		len = b->len - (size_t)offset;
	memcpy(buf, b->data + offset, len);
	return (ssize_t)len;
}

/* Groups: 0 alone, 1 and 2, 3 alone, 4 and 5. */
static void make(struct bytes *b)
{
	static const uint32_t groups[FRAMES] = { 0, 1, 1, 3, 4, 4 };

	b->len = 0;
	for (uint32_t i = 0; i < FRAMES; i++) {
		uint8_t body[100];
		struct frame f = { .kind = i ? FRAME_BATCH : FRAME_BEGIN,
				   .ordinal = i,
				   .group = groups[i],
				   .received_ns = -5,
				   .length = 20 + 10 * i,
				   .body = body };

		memset(body, 'a' + (int)i, sizeof(body));
		b->at[i] = b->len;
		segment_frame_head(&id, &f, b->data + b->len);
		memcpy(b->data + b->len + SEGMENT_HEAD, body, f.length);
		b->len += SEGMENT_HEAD + f.length;
	}
	b->at[FRAMES] = b->len;
}

/* Whole frames from the front; *ret_fault: what ends them. */
static uint32_t count(struct bytes *b, enum segment_fault *ret_fault)
{
	struct segment_scan *s;
	struct frame f;
	uint32_t n = 0;
	int r;

	assert_int_equal(segment_scan_new(read_bytes, b, &id, b->len, &s, NULL), 0);
	while ((r = segment_scan_next(s, &f, NULL)) == 1) {
		assert_int_equal(f.ordinal, n);
		assert_int_equal(f.length, 20 + 10 * n);
		assert_int_equal(f.body[f.length - 1], 'a' + (int)n);
		assert_int_equal(f.received_ns, -5);
		n++;
	}
	*ret_fault = SEGMENT_INTACT;
	if (r == -EBADMSG)
		assert_int_equal(segment_scan_judge(s, 0, ret_fault, NULL), 0);
	else
		assert_int_equal(r, 0);
	segment_scan_free(s);
	return n;
}

static void a_cut_anywhere_is_a_torn_tail(void **state)
{
	enum segment_fault fault;
	struct bytes b;

	(void)state;
	make(&b);
	for (size_t len = b.len; len-- > 0;) {
		uint32_t whole = 0;

		b.len = len;
		while (b.at[whole + 1] <= len)
			whole++;
		assert_int_equal(count(&b, &fault), whole);
		assert_int_equal(fault, len == b.at[whole] ? SEGMENT_INTACT : SEGMENT_TORN);
	}
}

struct flip {
	const char *name;
	uint32_t frame; /* a bit of it is flipped */
	enum segment_fault fault;
};

static const struct flip flips[] = {
	{ "the first frame: groups follow", 0, SEGMENT_DAMAGED },
	{ "first of a group, more groups follow", 1, SEGMENT_DAMAGED },
	{ "second of a group, more groups follow", 2, SEGMENT_DAMAGED },
	{ "a group of one, one more follows", 3, SEGMENT_DAMAGED },
	{ "first of the last group: never acknowledged", 4, SEGMENT_TORN },
	{ "last of the last group: never acknowledged", 5, SEGMENT_TORN },
};

static void a_flipped_bit_is_found(void **state)
{
	const struct flip *row = *state;
	enum segment_fault fault;
	struct bytes b;

	make(&b);
	for (uint64_t at = b.at[row->frame]; at < b.at[row->frame + 1]; at++)
		for (int bit = 0; bit < 8; bit += 3) {
			b.data[at] ^= (uint8_t)(1 << bit);
			assert_int_equal(count(&b, &fault), row->frame);
			assert_int_equal(fault, row->fault);
			b.data[at] ^= (uint8_t)(1 << bit);
		}
}

static void behind_damage_it_goes_on(void **state)
{
	struct segment_scan *s;
	struct frame f;
	struct bytes b;

	(void)state;
	make(&b);
	b.data[b.at[2] + 40] ^= 1;
	assert_int_equal(segment_scan_new(read_bytes, &b, &id, b.len, &s, NULL), 0);
	assert_int_equal(segment_scan_next(s, &f, NULL), 1);
	assert_int_equal(segment_scan_next(s, &f, NULL), 1);
	assert_int_equal(segment_scan_next(s, &f, NULL), -EBADMSG);
	assert_int_equal(segment_scan_offset(s), b.at[2]);
	assert_int_equal(segment_scan_skip(s, NULL), 0);
	for (uint32_t i = 3; i < FRAMES; i++) {
		assert_int_equal(segment_scan_next(s, &f, NULL), 1);
		assert_int_equal(f.ordinal, i);
	}
	assert_int_equal(segment_scan_next(s, &f, NULL), 0);
	segment_scan_free(s);
}

/* A host cannot know the random half of the id: what it sends cannot pass for a frame. */
static void frames_of_another_segment_are_none(void **state)
{
	struct segment_id other = id;
	enum segment_fault fault;
	struct segment_scan *s;
	struct frame f;
	struct bytes b;

	(void)state;
	make(&b);
	other.b[15] ^= 1;
	assert_int_equal(segment_scan_new(read_bytes, &b, &other, b.len, &s, NULL), 0);
	assert_int_equal(segment_scan_next(s, &f, NULL), -EBADMSG);
	assert_int_equal(segment_scan_judge(s, 0, &fault, NULL), 0);
	assert_int_equal(fault, SEGMENT_TORN);
	segment_scan_free(s);
}

static void one_frame_by_its_place(void **state)
{
	uint8_t *body = NULL;
	struct error e = { 0 };
	struct frame f;
	struct bytes b;

	(void)state;
	make(&b);
	assert_int_equal(segment_read_frame(read_bytes, &b, &id, b.at[4], &f, &body, &e), 0);
	assert_int_equal(f.length, 60);
	assert_int_equal(body[59], 'e');
	free(body);
	assert_int_equal(segment_read_frame(read_bytes, &b, &id, b.at[4] + 1, &f, &body, &e),
			 -EBADMSG);
	b.data[b.at[4] + 50] ^= 1;
	assert_int_equal(segment_read_frame(read_bytes, &b, &id, b.at[4], &f, &body, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "checksum"));
}

static void names_of_segments(void **state)
{
	char text[SEGMENT_ID_TEXT];
	struct segment_id made, read;

	(void)state;
	segment_id_make(&made, 258, (const uint8_t *)"abcdefgh");
	assert_string_equal(segment_id_text(&made, text), "00000000000001026162636465666768");
	assert_true(segment_id_parse(text, 32, &read));
	assert_memory_equal(&made, &read, sizeof(made));
	assert_int_equal(segment_id_sequence(&read), 258);
	text[3] = 'G';
	assert_false(segment_id_parse(text, 32, &read));
	assert_false(segment_id_parse(text, 31, &read));
}

static void first_and_last_bodies(void **state)
{
	struct segment_begin b = { .id = id,
				   .created_ns = -1,
				   .retention_class = 1,
				   .previous_length = 77,
				   .tenant = { 4, "acme" } };
	struct segment_begin read;
	uint8_t buf[SEGMENT_BEGIN_MAX], trailer[SEGMENT_TRAILER];
	size_t len = segment_begin_pack(&b, buf);
	uint64_t end;

	(void)state;
	for (size_t n = 0; n < len; n++)
		assert_int_equal(segment_begin_parse(buf, n, &read, NULL), -EBADMSG);
	assert_int_equal(segment_begin_parse(buf, len, &read, NULL), 0);
	assert_memory_equal(&b, &read, sizeof(b));
	segment_trailer_pack(12345, trailer);
	assert_true(segment_trailer_parse(trailer, &end));
	assert_int_equal(end, 12345);
	trailer[9] ^= 1;
	assert_false(segment_trailer_parse(trailer, &end));
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, a_cut_anywhere_is_a_torn_tail);
	ADD_ROWS(&t, a_flipped_bit_is_found, flips);
	ADD_TEST(&t, behind_damage_it_goes_on);
	ADD_TEST(&t, frames_of_another_segment_are_none);
	ADD_TEST(&t, one_frame_by_its_place);
	ADD_TEST(&t, names_of_segments);
	ADD_TEST(&t, first_and_last_bodies);
	return tests_run(&t, "segment");
}
