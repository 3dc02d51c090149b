/* SPDX-License-Identifier: Apache-2.0 */
/* The unprivileged process with the network socket: asks sense for sealed frames, sends them over
 * `Events`, passes acknowledgements back. Knows no key but its TLS key, reads no other file. */
#ifndef AGENT_UPLINK_H
#define AGENT_UPLINK_H

#include "agent/config.h"

/* The whole life of the process, on the main thread; LAUNCH_LINK_FD is its end of the link. Reads its
 * certificate and key, then drops every privilege, then talks. Returns 0 when sense ended it, else a
 * negative errno with e. */
MUST_CHECK int uplink_run(const struct agent_config *config, struct error *e);

#endif
