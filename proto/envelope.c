/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/envelope.h"

#include <errno.h>

#include "proto/base/reader.h"
#include "proto/base/writer.h"

enum wire_type { WIRE_VARINT = 0, WIRE_I64 = 1, WIRE_LEN = 2, WIRE_I32 = 5 };

/* Skip a field that is not ours. Groups (3, 4) do not exist in proto3. */
static void skip_field(struct reader *r, uint64_t wire)
{
	switch (wire) {
	case WIRE_VARINT:
		(void)reader_varint(r);
		return;
	case WIRE_I64:
		reader_skip(r, 8);
		return;
	case WIRE_LEN: {
		uint64_t len = reader_varint(r);

		reader_skip(r, len > r->left ? r->left + 1 : (size_t)len);
		return;
	}
	case WIRE_I32:
		reader_skip(r, 4);
		return;
	}
	r->bad = true;
}

int envelope_open(const void *data, size_t len, uint32_t max_field, uint32_t *ret_field,
		  const uint8_t **ret_body, size_t *ret_len)
{
	struct reader r = reader_init(data, len);
	const uint8_t *body = NULL;
	size_t body_len = 0;
	uint32_t field = 0;

	while (r.left > 0 && !r.bad) {
		uint64_t tag = reader_varint(&r);
		uint64_t number = tag >> 3;

		if (number == 0 || number > max_field || (tag & 7) != WIRE_LEN) {
			skip_field(&r, tag & 7);
			continue;
		}
		uint64_t n = reader_varint(&r);

		body_len = n > r.left ? r.left + 1 : (size_t)n;
		body = reader_bytes(&r, body_len);
		field = (uint32_t)number;
	}
	if (r.bad)
		return -EBADMSG;
	if (field == 0)
		return -ENOMSG;
	*ret_field = field;
	*ret_body = body;
	*ret_len = body_len;
	return 0;
}

size_t envelope_head(uint8_t head[static ENVELOPE_HEAD_MAX], uint32_t field, size_t len)
{
	struct writer w = writer_init(head, ENVELOPE_HEAD_MAX);

	writer_varint(&w, (uint64_t)field << 3 | WIRE_LEN);
	writer_varint(&w, len);
	return w.done;
}

uint8_t *envelope_make(uint32_t field, const void *body, size_t len, size_t *ret_len)
{
	uint8_t head[ENVELOPE_HEAD_MAX];
	size_t head_len = envelope_head(head, field, len);
	uint8_t *message = malloc(head_len + len + 1);

	if (message == NULL)
		return NULL;
	memcpy(message, head, head_len);
	if (len > 0)
		memcpy(message + head_len, body, len);
	*ret_len = head_len + len;
	return message;
}
