/* SPDX-License-Identifier: Apache-2.0 */
/* What libpcap compiled for packets as they stand in the file, made into what the kernel runs on packets as they come to a
 * packet socket. Pure. */
#ifndef ACQUIRE_PACKETS_CBPF_H
#define ACQUIRE_PACKETS_CBPF_H

#include <linux/filter.h>

#include "proto/base/base.h"

#define PACKETS_CBPF_MAX BPF_MAXINSNS

/* Let so many bytes (at most) of each packet through that passes the n instructions of `from`; none: of every packet. What has a VLAN
 * tag passes always, as the kernel has taken it out of the bytes that the expression looks at: the expression is to be asked
 * again. cooked: the packet's bytes begin behind the link header. Returns the instructions; 0: it cannot be said so. */
size_t packets_cbpf(const struct sock_filter *from, size_t n, bool cooked, uint32_t bytes,
		    struct sock_filter ret[static PACKETS_CBPF_MAX]);

#endif
