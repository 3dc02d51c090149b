/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sealing.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/files.h"
#include "proto/base/writer.h"
#include "tests/unit/rows.h"

const char sealing_pem[] = "-----BEGIN PRIVATE KEY-----\n"
			   "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
			   "-----END PRIVATE KEY-----\n";

void sealing_begin(struct sealing *s)
{
	uint8_t public[SEAL_PUBLIC_LEN];
	char path[96];

	*s = (struct sealing){ .dir = "/tmp/exhibit-test.XXXXXX" };
	assert_non_null(mkdtemp(s->dir));
	(void)snprintf(path, sizeof(path), "%s/seal.pem", s->dir);
	assert_int_equal(files_replace(path, sealing_pem, strlen(sealing_pem), 0600, NULL), 0);
	assert_int_equal(seal_key_load(path, &s->key, NULL), 0);
	seal_key_public(s->key, public);
	assert_int_equal(seal_verifier_new(public, &s->verifier, NULL), 0);
	assert_int_equal(batch_sealer_new(s->key, &s->sealer, NULL), 0);
	assert_int_equal(batch_opener_new(&s->opener, NULL), 0);
	s->arena = arena_new(MiB(16), MiB(1));
	assert_non_null(s->arena);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void sealing_end(struct sealing *s)
{
	arena_free(s->arena);
	batch_opener_free(s->opener);
	batch_sealer_free(s->sealer);
	seal_verifier_free(s->verifier);
	seal_key_free(s->key);
	assert_int_equal(nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

size_t sealing_entries(uint8_t *raw, size_t size, uint32_t n)
{
	struct writer w = writer_init(raw, size);

	for (uint32_t i = 0; i < n; i++) {
		size_t len = 3 + i % 38;

		writer_varint(&w, len);
		for (size_t k = 0; k < len; k++)
			writer_u8(&w, (uint8_t)(i + k));
	}
	assert_false(w.bad);
	return w.done;
}

void sealing_header(struct batch_header *h, enum batch_lane lane, uint64_t number, uint32_t n)
{
	*h = (struct batch_header){
		.tenant = { .len = 7, .b = "default" },
		.host_id = { .len = 4, .b = "host" },
		.host_name = { .len = 3, .b = "web" },
		.boot_id = "bootbootbootboo",
		.epoch = "epochepochepoch",
		.lane = lane,
		.number = number,
		.first_sequence = n > 0 ? 1 : 0,
		.last_sequence = n,
		.count = n,
		.entries = n,
		.first_boottime_ns = 100,
		.last_boottime_ns = 200,
		.sealed_boottime_ns = 300,
		.sealed_wall_ns = 1700000000000000000,
		.watermark_ns = 250,
		.has_previous = number > 1,
	};
}

static void put(struct writer *w, uint32_t number, const void *data, size_t len)
{
	writer_varint(w, number << 3 | 2);
	writer_varint(w, len);
	writer_bytes(w, data, len);
}

size_t sealing_wrap(struct sealing *s, const void *header, size_t header_len, const void *payload,
		    size_t payload_len, uint8_t *out, size_t size)
{
	struct writer w = writer_init(out, size);
	uint8_t signature[SEAL_SIGNATURE_LEN];

	assert_int_equal(seal_sign(s->key, SEAL_DOMAIN_BATCH, header, header_len, signature, NULL),
			 0);
	put(&w, 1, header, header_len);
	put(&w, 2, signature, sizeof(signature));
	put(&w, 3, payload, payload_len);
	assert_false(w.bad);
	return w.done;
}
