/* SPDX-License-Identifier: Apache-2.0 */
/* Tell the service manager (sd_notify(3), "Description": one datagram to $NOTIFY_SOCKET). Our own, since
 * libsystemd has no static archive. */
#ifndef AGENT_NOTIFY_H
#define AGENT_NOTIFY_H

/* state: "READY=1", "STOPPING=1". Does nothing without a service manager. Main thread. */
void notify_state(const char *state);

#endif
