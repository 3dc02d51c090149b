/* SPDX-License-Identifier: Apache-2.0 */
/* Merkle tree hash of RFC 6962 section 2.1, computed leaf by leaf with log2(n) memory. */
#ifndef PROTO_MERKLE_H
#define PROTO_MERKLE_H

#include "proto/seal.h"

struct merkle;

struct merkle *merkle_new(void); /* NULL: out of memory */
void merkle_free(struct merkle *m);
void merkle_reset(struct merkle *m);
MUST_CHECK int merkle_add(struct merkle *m, const void *leaf, size_t len);
/* The root over what was added; SHA-256("") for none. The tree can go on. */
MUST_CHECK int merkle_root(const struct merkle *m, struct seal_hash *ret_root);

#endif
