/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/entity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/reader.h"
#include "proto/base/writer.h"

const char *entity_format(const struct entity *id, char buf[static ENTITY_TEXT_MAX])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < ENTITY_BOOT_LEN; i++) {
		buf[2 * i] = digits[id->boot_id[i] >> 4];
		buf[2 * i + 1] = digits[id->boot_id[i] & 15];
	}
	(void)snprintf(buf + 32, ENTITY_TEXT_MAX - 32, "-%" PRIu32 "-%" PRIu64 "-%" PRIu64, id->pid,
		       id->start_ns, id->exec_id);
	return buf;
}

static uint8_t read_hex(struct reader *r)
{
	uint8_t c = reader_u8(r);

	if (c >= '0' && c <= '9')
		return (uint8_t)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (uint8_t)(c - 'a' + 10);
	r->bad = true;
	return 0;
}

/* "-" and a decimal without leading zeros that is at most max. */
static uint64_t read_part(struct reader *r, uint64_t max)
{
	uint64_t value = 0;
	size_t digits = 0;

	if (reader_u8(r) != '-')
		r->bad = true;
	while (!r->bad && r->left && *r->at != '-') {
		uint8_t c = reader_u8(r);

		if (c < '0' || c > '9' || (digits && value == 0) ||
		    __builtin_mul_overflow(value, (uint64_t)10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(c - '0'), &value))
			r->bad = true;
		digits++;
	}
	if (digits == 0 || value > max)
		r->bad = true;
	return value;
}

int entity_parse(const void *text, size_t len, struct entity *ret)
{
	struct reader r = reader_init(text, len);
	struct entity id = { 0 };

	for (size_t i = 0; i < ENTITY_BOOT_LEN; i++) {
		uint8_t high = read_hex(&r);

		id.boot_id[i] = (uint8_t)(high << 4 | read_hex(&r));
	}
	id.pid = (uint32_t)read_part(&r, UINT32_MAX);
	id.start_ns = read_part(&r, UINT64_MAX);
	id.exec_id = read_part(&r, UINT64_MAX);
	if (!reader_done(&r))
		return -EINVAL;
	*ret = id;
	return 0;
}

void entity_encode(const struct entity *id, uint8_t buf[static ENTITY_ENCODED_LEN])
{
	struct writer w = writer_init(buf, ENTITY_ENCODED_LEN);

	writer_bytes(&w, id->boot_id, ENTITY_BOOT_LEN);
	writer_u32(&w, id->pid);
	writer_u64(&w, id->start_ns);
	writer_u64(&w, id->exec_id);
}

bool entity_same_process(const struct entity *a, const struct entity *b)
{
	return a->pid == b->pid && a->start_ns == b->start_ns &&
	       memcmp(a->boot_id, b->boot_id, ENTITY_BOOT_LEN) == 0;
}

bool entity_equal(const struct entity *a, const struct entity *b)
{
	return entity_same_process(a, b) && a->exec_id == b->exec_id;
}
