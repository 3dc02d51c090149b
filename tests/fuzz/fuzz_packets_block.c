/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of a packet socket's ring as hostile as they can be: every packet lies in its block, and there is an end. The
 * first byte says whether link headers are made. */
#include <stdlib.h>

#include "agent/acquire/packets_block.h"
#include "tests/fuzz/fuzz.h"

#define PACKETS_MAX MiB(1) /* more than a block has bytes */

static void check(const struct packets_block_packet *p, bool cooked)
{
	uint8_t sum = 0;
	uint32_t more = cooked ? PACKETS_COOKED_LEN : 0;

	if (p->head.caplen > PACKETS_BYTES_MAX)
		abort();
	for (uint32_t i = 0; i < p->head.caplen + more && i < 4; i++)
		sum ^= p->data[i];
	if (p->head.caplen + more > 0)
		sum ^= p->data[p->head.caplen + more - 1];
	__asm__ volatile("" : : "r"(sum));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t room[PACKETS_COOKED_LEN + PACKETS_BYTES_MAX];
	struct packets_block_packet p;
	uint64_t n = 0;

	if (size == 0 || size > PACKETS_MAX)
		return 0;
	struct packets_block b = {
		.facts = { .cooked = data[0] & 1 }, .at = data + 1, .len = size - 1, .room = room
	};

	if (packets_block_open(&b, NULL) < 0)
		return 0;
	while (packets_block_next(&b, &p, NULL) == 1) {
		check(&p, b.facts.cooked);
		if (++n > PACKETS_MAX)
			abort();
	}
	return 0;
}
