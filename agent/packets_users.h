/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of bpf/packets_users.bpf.h, attached: from now on every new socket's users are known, and those of the
 * sockets that exist are found. For the recorder and for a capture that finds none. */
#ifndef AGENT_PACKETS_USERS_H
#define AGENT_PACKETS_USERS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

struct bpf_link;
struct bpf_program;

struct packets_users_programs {
	struct bpf_program *create, *stock;
	struct bpf_program *sent, *received; /* NULL: this kernel does not have them */
};

#define PACKETS_USERS_LINKS 3

struct packets_users_links {
	struct bpf_link *link[PACKETS_USERS_LINKS];
};

/* -ENOTSUP: this kernel is too old for the programs that see packets. */
MUST_CHECK int packets_users_check(struct error *e);
/* The root of cgroup v2, open. -ENOENT: not mounted. */
MUST_CHECK int packets_users_root(int *ret_fd, struct error *e);
MUST_CHECK int packets_users_attach(const struct packets_users_programs *p,
				    struct packets_users_links *ret, struct error *e);
void packets_users_detach(struct packets_users_links *l);

#endif
