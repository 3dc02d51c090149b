/* SPDX-License-Identifier: Apache-2.0 */
/* What the collector's acknowledgement of a journal frame will name. `sense` asks before it gives a frame away,
 * `uplink` before it sends it: what one of them can read the other can. Pure. */
#ifndef AGENT_FRAME_ID_H
#define AGENT_FRAME_ID_H

#include "agent/journal.h"
#include "agent/window.h"

#define FRAME_ID_ARENA_MAX MiB(4)

/* a: FRAME_ID_ARENA_MAX; reset by this. -EBADMSG: the frame is none, it can never be sent; -ENOMEM. */
MUST_CHECK int frame_id(enum journal_kind kind, const void *bytes, size_t len, struct arena *a,
			struct window_id *ret, struct error *e);

#endif
