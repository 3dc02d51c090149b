/* SPDX-License-Identifier: Apache-2.0 */
/* How a host without an identity gets one: it makes its keys, shows a token to the collector's enrolment port and
 * keeps what it is answered. The certificate is written last: without it there is no identity, and whoever starts
 * again goes on with the same keys, for which the collector gives the same answer. */
#ifndef AGENT_ENROLL_H
#define AGENT_ENROLL_H

#include "agent/config.h"

/* `exhibit-agent enroll`, the whole process. Returns its exit status. argv[0] is the word. */
enum enroll_exit {
	ENROLL_DONE = 0,
	ENROLL_FAILED = 2, /* configuration, files, or there is an identity already */
	ENROLL_REFUSED = 3, /* by the collector: the token */
	ENROLL_UNREACHABLE = 4, /* no collector, or not one that the order authority signed */
};
int enroll_main(int argc, char **argv);

/* At the start of the agent, before it has threads or has forked: when there is no certificate and enrol.token-file
 * exists, enrol, in a process of its own. When the identity was made on another machine (enroll_facts.h), enrol anew
 * with a token, else refuse. 0: there is an identity, or nothing was asked for. */
MUST_CHECK int enroll_at_start(const struct agent_config *c, struct error *e);

#endif
