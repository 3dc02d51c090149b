/* SPDX-License-Identifier: Apache-2.0 */
/* What each process gives up, once, before it has threads. */
#ifndef AGENT_PRIVILEGE_H
#define AGENT_PRIVILEGE_H

#include "proto/base/base.h"
#include "proto/base/error.h"

/* -EINVAL: user is root, who would keep what the uplink must not have. */
MUST_CHECK int privilege_check_user(const char *user, struct error *e);
/* The process with the network socket: another uid without groups, no capability in any set, no new
 * privileges, and a seccomp filter that allows only what gRPC over TLS needs (no exec, no ptrace, no
 * file created or written: everything else fails with EPERM). user: name or number; an unknown name
 * falls back to 65534 and says so in the log. */
MUST_CHECK int privilege_drop_uplink(const char *user, struct error *e);
/* The process with the kernel's privileges: keeps the capabilities that sensing needs, no new
 * privileges, and a seccomp filter under which it can never open a network socket. */
MUST_CHECK int privilege_drop_sense(struct error *e);
/* The launcher (launch.h): keeps what changing the uid takes, and `also` (bits 1 << CAP_*), no new
 * privileges. */
MUST_CHECK int privilege_drop_launcher(uint64_t also, struct error *e);
/* Before an exec: the program will have these, if we have them, and nothing else, whichever user we are. */
MUST_CHECK int privilege_hand_down(uint64_t capabilities, struct error *e);
/* Keep the capabilities whose bits (1 << CAP_*) are set, and are there, in the permitted and effective set,
 * nothing in any other set. */
MUST_CHECK int privilege_keep(uint64_t capabilities, struct error *e);
/* The first capability that sensing needs and this process lacks, or NULL. */
const char *privilege_missing(void);

#endif
