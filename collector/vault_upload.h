/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit.v1.Agent/Upload: one call brings one exhibit. Each call has a thread of its own, at most `calls` of
 * them; a host may have VAULT_UPLOADS_PER_HOST. Agents are hostile: an exhibit that no order asked this host
 * for is refused before anything is stored, and whatever is out of place ends the call with one sentence,
 * counted and logged, while what is durable waits for the next call. */
#ifndef COLLECTOR_VAULT_UPLOAD_H
#define COLLECTOR_VAULT_UPLOAD_H

#include "collector/hosts.h"
#include "collector/vault.h"
#include "proto/rpc_server.h"

#define VAULT_UPLOADS_MAX 64
#define VAULT_UPLOADS_PER_HOST 8

struct vault_upload_config {
	struct vault *vault; /* borrowed, as is hosts */
	struct hosts *hosts;
	unsigned int calls; /* 1..VAULT_UPLOADS_MAX at one time; each takes some 6 MB */
	/* Was an order with this id sent to this host? Any thread, no lock held. 0: ret is set. -ENOENT: no
	 * such order went there. */
	int (*order)(void *ctx, const struct batch_name *tenant, const struct batch_name *host_id,
		     const uint8_t order_id[static VAULT_ID_LEN], struct vault_order *ret,
		     struct error *e);
	void *ctx;
};

struct vault_uploads;

MUST_CHECK int vault_uploads_new(const struct vault_upload_config *c, struct vault_uploads **ret,
				 struct error *e);
/* The row for rpc_server_method. */
struct rpc_method vault_uploads_method(struct vault_uploads *u);
/* Cancels open calls and waits for their threads. Before the server is freed. Idempotent; NULL allowed. */
void vault_uploads_close(struct vault_uploads *u);
/* After the server is freed. NULL allowed. */
void vault_uploads_free(struct vault_uploads *u);
/* Calls that were refused since start. */
uint64_t vault_uploads_refused(const struct vault_uploads *u);

#endif
