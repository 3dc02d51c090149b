/* SPDX-License-Identifier: Apache-2.0 */
/* All exhibits that are on their way, below events: they send only when events have nothing that waits for
 * the connection, and no faster than uplink.upload-rate. Owned by the uplink's main thread. */
#ifndef AGENT_UPLINK_UPLOADS_H
#define AGENT_UPLINK_UPLOADS_H

#include <poll.h>

#include "agent/uplink_wire.h"

#define UPLOADS_MAX 32

struct uplink_uploads;

/* wire: borrowed. bytes_per_second: 0: no limit. */
MUST_CHECK int uplink_uploads_new(struct uplink_wire *wire, uint64_t bytes_per_second,
				  struct uplink_uploads **ret, struct error *e);
void uplink_uploads_free(struct uplink_uploads *u); /* NULL allowed */
/* LINK_UPLOAD (fd: its descriptor, owned from now on) or LINK_MANIFEST came. */
void uplink_uploads_take(struct uplink_uploads *u, const struct link_message *m, int fd);
/* Fill fds with what to wait for; how many. */
size_t uplink_uploads_poll(const struct uplink_uploads *u, struct pollfd fds[static UPLOADS_MAX]);
bool uplink_uploads_inbox(struct uplink_uploads *u, struct inbox_item *i);
/* Read payloads, send. connected: events flow; idle: none of them waits. */
void uplink_uploads_tick(struct uplink_uploads *u, bool connected, bool idle);
/* There is more to send at once. */
bool uplink_uploads_busy(const struct uplink_uploads *u);

#endif
