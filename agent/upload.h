/* SPDX-License-Identifier: Apache-2.0 */
/* One exhibit on its way to the collector: from the acquirer's payload socket to a call of Agent.Upload, again
 * and again until there is a receipt or a refusal. Owned by the uplink's main thread. */
#ifndef AGENT_UPLOAD_H
#define AGENT_UPLOAD_H

#include "agent/uplink_wire.h"

struct upload;

/* start: UploadStart, packed, borrowed. payload: owned from now on, also on failure. */
MUST_CHECK int upload_new(struct uplink_wire *wire, const uint8_t id[static LINK_ID_LEN],
			  const uint8_t *start, size_t len, int payload, struct upload **ret,
			  struct error *e);
void upload_free(struct upload *u); /* NULL allowed */
const uint8_t *upload_id(const struct upload *u);
/* SignedManifest: it goes when everything else has gone. */
void upload_manifest(struct upload *u, const uint8_t *manifest, size_t len);
/* The payload socket to wait for; -1: nothing is wanted of it now. */
int upload_fd(const struct upload *u);
void upload_readable(struct upload *u);
/* false: it is of another stream. */
bool upload_inbox(struct upload *u, struct inbox_item *i);
/* connected: events flow. bytes_allowed: how much may be sent now; what is sent is taken off. */
void upload_tick(struct upload *u, bool connected, uint64_t *bytes_allowed);
bool upload_wants_to_send(const struct upload *u); /* and may */
bool upload_over(const struct upload *u); /* sense was told: free it */

#endif
