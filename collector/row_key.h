/* SPDX-License-Identifier: Apache-2.0 */
/* The order of rows in an answer: by time, then lane, sequence, and where the batch lies, which makes it
 * total even over conflicting batches. Kept as bytes that memcmp orders; an answer's cursor is the key of
 * its last row. */
#ifndef COLLECTOR_ROW_KEY_H
#define COLLECTOR_ROW_KEY_H

#include "collector/store.h"
#include "proto/base/base.h"

#define ROW_KEY_LEN (8 + 4 + 8 + 16 + 8 + 4)

struct row_key {
	uint8_t b[ROW_KEY_LEN];
};

struct row_key row_key_of(int64_t time_ns, uint64_t sequence, uint32_t index,
			  const struct store_ref *ref);
/* The smallest key of a time; INT64_MAX's is above all rows. */
struct row_key row_key_from(int64_t time_ns);
int64_t row_key_time(const struct row_key *k);
int row_key_compare(const struct row_key *a, const struct row_key *b);

#endif
