/* SPDX-License-Identifier: Apache-2.0 */
/* libbpf's own messages: debug lines of our log (of the verifier's, its end), and the first complaint
 * kept as a reason (those after it only repeat that loading failed). libbpf has one printer per
 * process, without a context; what it keeps here is therefore per thread. */
#ifndef AGENT_HOOKS_LOG_H
#define AGENT_HOOKS_LOG_H

void hooks_log_capture(void);
void hooks_log_clear(void);
/* The first complaint on this thread since clear, without newline; "libbpf gives no reason" if
 * none. */
const char *hooks_log_reason(void);

#endif
