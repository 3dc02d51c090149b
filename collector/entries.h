/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the entries of an opened batch are what its signed header says: a host that lies about its own
 * numbers would make completeness a lie. Pure. */
#ifndef COLLECTOR_ENTRIES_H
#define COLLECTOR_ENTRIES_H

#include "proto/batch.h"

/* raw: as batch_open gives it. Events carry first_sequence, first_sequence + 1 ... last_sequence in order,
 * count and gaps are right, and each event names a process that was said before it in this batch (or
 * none). -EBADMSG with one sentence. Reads the few fields that it needs, without unpacking. */
MUST_CHECK int entries_check(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
			     struct error *e);

#endif
