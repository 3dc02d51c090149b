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
	int64_t first_seen_ns; /* Unix time when its first record was stored; 0: none is */
	int64_t last_seen_ns; /* newest batch, tombstone or idle message */
};

#define HOSTS_MAX 65536
#define HOST_KEYS_MAX 8 /* sealing keys of one host; the oldest is forgotten */
#define HOST_RECORD_MAX KiB(4) /* a SignedHostRecord as bytes */

struct authorities;

MUST_CHECK int hosts_new(struct hosts **ret_h, struct error *e);
void hosts_free(struct hosts *h); /* NULL allowed */
/* Take a SignedHostRecord: checked against the fleet authority (a NULL: it was checked before it was
 * stored). ret_new: it is not stored yet (hosts_stored), store it. ret_tenant, ret_host: whose it is. */
MUST_CHECK int hosts_register(struct hosts *h, const struct authorities *a, const void *record,
			      size_t len, bool *ret_new, struct batch_name *ret_tenant,
			      struct batch_name *ret_host, struct error *e);
/* What the store has of this host cannot be read: it counts as registered, and hosts_register refuses whatever
 * it brings with -EUCLEAN until the collector starts anew. Returns -EUCLEAN with the sentence for the log, or
 * another error: no room for it. */
MUST_CHECK int hosts_unreadable(struct hosts *h, const struct batch_name *tenant,
				const struct batch_name *host_id, struct error *e);
/* A record that was registered is durable now, received at that time: it is not new any more. */
void hosts_stored(struct hosts *h, const void *record, size_t len, int64_t received_ns);
/* Every DIR/NAME.record; each new one is handed to store (which may be NULL). A bad file is logged and
 * skipped. Returns how many files were read, or a negative errno. */
MUST_CHECK int hosts_load_dir(struct hosts *h, const struct authorities *a, const char *dir,
			      void (*store)(void *ctx, const struct batch_name *tenant,
					    const struct batch_name *host, const void *record,
					    size_t len),
			      void *ctx, struct error *e);
/* The public sealing key of a host by its id. false: not registered with that key. */
MUST_CHECK bool hosts_sealing_key(struct hosts *h, const struct batch_name *tenant,
				  const struct batch_name *host,
				  const uint8_t key_id[static SEAL_KEY_ID_LEN],
				  uint8_t ret_public[static SEAL_PUBLIC_LEN]);
/* As the host calls itself. false: not known. */
MUST_CHECK bool hosts_name(struct hosts *h, const struct batch_name *tenant,
			   const struct batch_name *host, struct batch_name *ret);
/* An Events stream of a registered host began or ended. version may be NULL. */
void hosts_connected(struct hosts *h, const struct batch_name *tenant,
		     const struct batch_name *host, bool connected, const char *version);
/* Something verified came from it. name: as it calls itself, or NULL. */
void hosts_seen(struct hosts *h, const struct batch_name *tenant, const struct batch_name *host,
		int64_t now_ns, const struct batch_name *name);
/* uname release, from agent_start. */
void hosts_kernel(struct hosts *h, const struct batch_name *tenant, const struct batch_name *host,
		  const char *kernel);
size_t hosts_connected_total(struct hosts *h);

/* All hosts of one tenant, ordered by host id. ret: malloc'ed copies. */
MUST_CHECK int hosts_snapshot(struct hosts *h, const struct batch_name *tenant,
			      struct host_info **ret, size_t *ret_n, struct error *e);

#endif
