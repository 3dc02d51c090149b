/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/batch_signed.h"

#include <errno.h>

#include "proto/base/writer.h"
#include "proto/wire.h"

#define MESSAGE_TAG (1 << 3 | WIRE_LEN)
#define SIGNATURE_TAG (2 << 3 | WIRE_LEN)
#define FRAMING_MAX 16 /* two tags, two lengths */

int batch_signed_seal(struct seal_key *k, const char *domain, const void *message, size_t len,
		      struct arena *a, const uint8_t **ret_bytes, size_t *ret_len, struct error *e)
{
	uint8_t signature[SEAL_SIGNATURE_LEN];
	size_t max = len + sizeof(signature) + FRAMING_MAX;
	uint8_t *bytes = arena_alloc(a, max);
	struct writer w = writer_init(bytes, bytes ? max : 0);
	int r = seal_sign(k, domain, message, len, signature, e);

	if (r < 0)
		return r;
	writer_varint(&w, MESSAGE_TAG);
	writer_varint(&w, len);
	writer_bytes(&w, message, len);
	writer_varint(&w, SIGNATURE_TAG);
	writer_varint(&w, sizeof(signature));
	writer_bytes(&w, signature, sizeof(signature));
	if (w.bad)
		return error_set(e, -ENOMEM, "cannot seal a message of %zu bytes: %m", len);
	if (w.done > BATCH_MESSAGE_MAX)
		return error_set(e, -EMSGSIZE, "cannot seal a message of %zu bytes: it is too long",
				 len);
	*ret_bytes = bytes;
	*ret_len = w.done;
	return 0;
}

int batch_signed_open(struct seal_verifier *v, const char *domain, const void *bytes, size_t len,
		      const uint8_t **ret_message, size_t *ret_len, struct error *e)
{
	struct reader r = reader_init(bytes, len);
	const uint8_t *message = NULL, *signature = NULL;
	size_t message_len = 0, signature_len = 0;
	struct wire_field f;
	int bad = len > BATCH_MESSAGE_MAX ? -EBADMSG : 0;

	while (bad == 0 && wire_next(&r, &f)) {
		if (f.number == 1)
			bad = wire_once(&f, &message, &message_len);
		else if (f.number == 2)
			bad = wire_once(&f, &signature, &signature_len);
	}
	if (r.bad || bad < 0 || !message || !signature || signature_len != SEAL_SIGNATURE_LEN)
		return error_set(e, -EBADMSG, "it is not a message and a signature");
	if (v) {
		int false_signature =
			seal_verify(v, domain, message, message_len, signature, signature_len);

		if (false_signature < 0)
			return error_set(e, false_signature,
					 "its signature is not that of the host's sealing key");
	}
	*ret_message = message;
	*ret_len = message_len;
	return 0;
}
