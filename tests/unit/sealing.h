/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, batches and folders for the tests of what is sealed. Failures end the test. */
#ifndef TESTS_UNIT_SEALING_H
#define TESTS_UNIT_SEALING_H

#include "proto/batch.h"

struct sealing {
	struct seal_key *key;
	struct seal_verifier *verifier;
	struct batch_sealer *sealer;
	struct batch_opener *opener;
	struct arena *arena;
	char dir[64]; /* a temporary folder with seal.pem in it */
};

/* The key is always the same: made from 32 bytes that count up from 0. */
void sealing_begin(struct sealing *s);
void sealing_end(struct sealing *s); /* removes the folder */
/* seal.pem of the key, for files that are compared byte for byte. text: terminated. */
extern const char sealing_pem[];
/* n entries, of 3 to 40 bytes. Returns bytes used. */
size_t sealing_entries(uint8_t *raw, size_t size, uint32_t n);
/* A header of n events that follows nothing. */
void sealing_header(struct batch_header *h, enum batch_lane lane, uint64_t number, uint32_t n);
/* { header = 1, signature = 2, payload = 3 }, signed with s->key. Returns bytes used. */
size_t sealing_wrap(struct sealing *s, const void *header, size_t header_len, const void *payload,
		    size_t payload_len, uint8_t *out, size_t size);

#endif
