/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of an acquisition that is not over, one file each. Pure but for the files.
 *
 * File, little-endian: "EXHRUN01", attempts u32, exhibit id 16, boot id 16, begun: wall i64, monotonic u64,
 * boottime u64, SignedOrder u32 length and bytes, SignedManifest u32 length (0: not written yet) and bytes,
 * CRC-32 u32 of all before. */
#ifndef AGENT_ORDERS_STATE_H
#define AGENT_ORDERS_STATE_H

#include "agent/manifest.h"

#define ORDERS_STATE_MANIFEST_MAX (MANIFEST_MAX + KiB(1))
#define ORDERS_STATE_MAX (ORDER_SIGNED_MAX + ORDERS_STATE_MANIFEST_MAX + 128)

struct orders_state {
	uint32_t attempts;
	uint8_t exhibit_id[MANIFEST_ID_LEN], boot_id[16];
	int64_t wall_ns;
	uint64_t monotonic_ns, boottime_ns;
	const uint8_t *order, *manifest; /* borrowed */
	size_t order_len, manifest_len;
};

/* ret borrows from data. -EBADMSG. Fuzzed. */
MUST_CHECK int orders_state_parse(const void *data, size_t len, struct orders_state *ret);
/* Durable when it returns 0. */
MUST_CHECK int orders_state_save(const char *path, const struct orders_state *s, struct error *e);

#endif
