/* SPDX-License-Identifier: Apache-2.0 */
/* A set of SHA-256 values, by their first 16 bytes: who could make two of the same could do worse. One owner. */
#ifndef COLLECTOR_LEDGER_OBJECTS_H
#define COLLECTOR_LEDGER_OBJECTS_H

#include "proto/base/base.h"
#include "proto/seal.h"

struct ledger_objects;

struct ledger_objects *ledger_objects_new(void); /* NULL: out of memory */
void ledger_objects_free(struct ledger_objects *o); /* NULL allowed */
MUST_CHECK int ledger_objects_add(struct ledger_objects *o, const uint8_t hash[SEAL_HASH_LEN]);
bool ledger_objects_has(const struct ledger_objects *o, const uint8_t hash[SEAL_HASH_LEN]);
/* Different ones. */
uint64_t ledger_objects_count(const struct ledger_objects *o);

#endif
