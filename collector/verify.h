/* SPDX-License-Identifier: Apache-2.0 */
/* From one message of an agent to an item for the store's writer: everything that can be checked
 * without knowing what came before it. A verifier belongs to one worker thread. */
#ifndef COLLECTOR_VERIFY_H
#define COLLECTOR_VERIFY_H

#include "collector/hosts.h"
#include "collector/writer.h"

struct verify;

MUST_CHECK int verify_new(struct hosts *hosts, struct verify **ret_v, struct error *e);
void verify_free(struct verify *v);

/* Who sent it, from its certificate; and the key that its last batch was sealed with, parsed. */
struct verify_peer {
	struct batch_name tenant, host_id;
	uint8_t key_id[SEAL_KEY_ID_LEN];
	struct seal_verifier *key; /* NULL: none yet; verify_peer_release */
};
void verify_peer_release(struct verify_peer *p);

/* field: ENVELOPE_BATCH, ENVELOPE_TOMBSTONE or ENVELOPE_IDLE; body lies in data, which is taken over on
 * success. ret_item: done and ctx are left to the caller.
 * Errors, each one sentence for the peer and the log: -EACCES another tenant, host or an unknown sealing
 * key; -EBADMSG a false signature, hash, number or format; -EPROTONOSUPPORT; -ENOMEM. */
MUST_CHECK int verify_message(struct verify *v, struct verify_peer *p, uint32_t field,
			      uint8_t *data, const uint8_t *body, size_t len, int64_t received_ns,
			      struct writer_item **ret_item, struct error *e);

#endif
