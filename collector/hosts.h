/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of hosts: who is enrolled, who is connected, what each said of itself. Any thread; ingest
 * writes, queries take snapshots. Completeness is counted over what is registered here. */
#ifndef COLLECTOR_HOSTS_H
#define COLLECTOR_HOSTS_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/batch.h"

#define HOST_VERSION_MAX 64 /* with NUL */
#define HOST_KERNEL_MAX 128 /* with NUL */

struct hosts;

struct host_info {
	struct batch_name tenant, host_id, host_name;
	bool registered; /* a signed host record is stored */
	bool connected; /* an Events stream is open now */
	char version[HOST_VERSION_MAX]; /* of the agent, from its hello; empty: not known */
	char kernel[HOST_KERNEL_MAX]; /* uname release, from agent_start; empty: not known */
	int64_t first_seen_ns; /* Unix time; 0: never */
	int64_t last_seen_ns; /* newest batch, tombstone or idle message */
};

/* All hosts of one tenant, ordered by host id. ret: malloc'ed copies. */
MUST_CHECK int hosts_snapshot(struct hosts *h, const struct batch_name *tenant, struct host_info **ret, size_t *ret_n,
			      struct error *e);

#endif
