/* SPDX-License-Identifier: Apache-2.0 */
/* When the programs that see packets cannot be had: a packet socket in their place, for what needs no owner. */
#ifndef ACQUIRE_PACKETS_FALLBACK_H
#define ACQUIRE_PACKETS_FALLBACK_H

#include "agent/acquire/packets_capture.h"

/* c->file is open. why: what is wrong with the programs; it is in the manifest, or in the refusal. Capturing begins.
 * -ENOTSUP: what is asked for takes owners. */
MUST_CHECK int packets_fallback_start(struct capture *c, const struct error *why, struct error *e);

#endif
