/* SPDX-License-Identifier: Apache-2.0 */
/* What an acquirer that was taken over may hand to the uplink: cut into messages at random, pushed, sent, acknowledged. */
#include <stdlib.h>
#include <string.h>

#include "agent/upload_queue.h"
#include "tests/fuzz/fuzz.h"

static void push(struct upload_queue *q, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	if (copy == NULL)
		abort();
	memcpy(copy, data, len);
	if (upload_queue_push(q, copy, len) < 0)
		free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct upload_queue *q = upload_queue_new();
	const uint8_t *next;
	size_t len;

	if (q == NULL)
		abort();
	while (size > 1) {
		uint8_t op = data[0];
		size_t n = data[1] < size - 2 ? data[1] : size - 2;

		data += 2;
		size -= 2;
		if (op % 4 == 0)
			upload_queue_durable(q, n);
		else if (op % 4 == 1)
			upload_queue_rewind(q, op / 4, n);
		else if (op % 4 == 2 && upload_queue_next(q, &next, &len))
			upload_queue_sent(q);
		else if (op % 4 == 3) {
			push(q, data, n);
			data += n;
			size -= n;
		}
	}
	upload_queue_free(q);
	return 0;
}
