/* SPDX-License-Identifier: Apache-2.0 */
/* The vault and all who work on it, as the collector's configuration says: opened and closed as one. */
#ifndef COLLECTOR_VAULT_PARTS_H
#define COLLECTOR_VAULT_PARTS_H

#include "collector/bucket.h"
#include "collector/config.h"
#include "collector/hosts.h"
#include "collector/ledger.h"
#include "collector/orders.h"
#include "collector/store.h"
#include "collector/vault_service.h"
#include "collector/vault_upload.h"

#define VAULT_FOLDER                                                                               \
	".vault" /* in the store's folder, where vault.dir is not set; no tenant's name begins with a dot */
#define VAULT_DIR_MAX 4096

struct vault_parts;

/* Where the vault of this configuration lies. -ENAMETOOLONG. */
MUST_CHECK int vault_parts_dir(const struct collector_config *c, char ret[static VAULT_DIR_MAX],
			       struct error *e);
/* The bucket of this configuration. */
struct bucket_config vault_parts_bucket(const struct collector_config *c);
/* All borrowed. Proves the lock of the S3 bucket, when there is one. */
MUST_CHECK int vault_parts_open(const struct collector_config *c, struct hosts *hosts,
				struct orders *orders, struct ledger *ledger, struct store *store,
				struct vault_parts **ret, struct error *e);
MUST_CHECK int vault_parts_register(struct vault_parts *p, struct rpc_server *server,
				    struct error *e);
/* What lies in the bucket, and what waits. failure is malloc'ed (or empty). false: there is no bucket. */
MUST_CHECK bool vault_parts_status(struct vault_parts *p, Exhibit__V1__StatusArchive *ret);
/* Ends calls; before the server is freed. NULL allowed, as below. */
void vault_parts_stop(struct vault_parts *p);
void vault_parts_free(struct vault_parts *p); /* after the server, before ledger, orders and hosts */

#endif
