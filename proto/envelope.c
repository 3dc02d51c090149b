/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/envelope.h"

#include <errno.h>

#include "proto/base/writer.h"
#include "proto/wire.h"

int envelope_open(const void *data, size_t len, uint32_t max_field, uint32_t *ret_field,
		  const uint8_t **ret_body, size_t *ret_len)
{
	struct reader r = reader_init(data, len);
	struct wire_field f, found = { 0 };

	while (wire_next(&r, &f))
		if (f.number <= max_field && f.type == WIRE_LEN)
			found = f;
	if (r.bad)
		return -EBADMSG;
	if (found.number == 0)
		return -ENOMSG;
	*ret_field = found.number;
	*ret_body = found.bytes;
	*ret_len = found.len;
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
