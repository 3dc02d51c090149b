/* SPDX-License-Identifier: Apache-2.0 */
/* Which orders this host has taken: each is taken once, also after a restart or with the clock set back.
 * One file, append-only until it is opened again. Orders thread.
 *
 * File, little-endian: "EXHNONC1", horizon i64 (Unix ns: orders that expired up to here may have been
 * forgotten), CRC-32 u32 of the 16 bytes before; then per order: id 16 bytes, expires i64, taken i64, SHA-256
 * of the requester's name (first 8 bytes), CRC-32 u32 of the 40 bytes before. */
#ifndef AGENT_ORDERS_NONCES_H
#define AGENT_ORDERS_NONCES_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/order.h"

#define NONCES_MAX 65536

struct nonces;

/* Makes the file when it is missing; forgets what expired a day ago. -EBADMSG: damaged in the middle; then no
 * order may run, since any might be a repetition. A torn end is cut off. */
MUST_CHECK int nonces_open(const char *path, int64_t now_ns, struct nonces **ret, struct error *e);
void nonces_free(struct nonces *n); /* NULL allowed */
bool nonces_known(const struct nonces *n, const uint8_t id[static ORDER_ID_LEN]);
/* Durable when this returns 0. -EEXIST: taken before; -EKEYEXPIRED: so old that it may have been forgotten;
 * -ENOSPC: NONCES_MAX are remembered; -EIO. caller: SPIFFE name. */
MUST_CHECK int nonces_take(struct nonces *n, const uint8_t id[static ORDER_ID_LEN],
			   int64_t expires_ns, int64_t now_ns, const char *caller, struct error *e);
/* How many were taken since then; caller NULL: by anybody. */
uint64_t nonces_since(const struct nonces *n, int64_t since_ns, const char *caller);

#endif
