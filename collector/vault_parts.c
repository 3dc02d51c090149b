/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/ledger_calls.h"
#include "collector/vault_archive.h"
#include "collector/vault_keeper.h"
#include "proto/base/clock.h"

struct vault_parts {
	struct orders *orders;
	struct vault *vault;
	struct vault_uploads *uploads;
	struct vault_service *service;
	struct vault_keeper *keeper;
	struct vault_archive *archive;
};

int vault_parts_dir(const struct collector_config *c, char ret[static VAULT_DIR_MAX],
		    struct error *e)
{
	int n = c->vault_dir[0] != '\0' ?
			snprintf(ret, VAULT_DIR_MAX, "%s", c->vault_dir) :
			snprintf(ret, VAULT_DIR_MAX, "%s/" VAULT_FOLDER, c->store_dir);

	return n < VAULT_DIR_MAX ? 0 : error_set(e, -ENAMETOOLONG, "vault.dir is too long");
}

static int ask_orders(void *ctx, const struct batch_name *tenant, const struct batch_name *host_id,
		      const uint8_t order_id[static VAULT_ID_LEN], struct vault_order *ret,
		      struct error *e)
{
	struct vault_parts *p = ctx;
	struct orders_sent sent;
	int r = orders_sent(p->orders, tenant, host_id, order_id, &sent, e);

	if (r == 0)
		*ret = (struct vault_order){ .kind = sent.kind,
					     .case_id = sent.case_id,
					     .requester = sent.requester };
	return r;
}

static int open_vault(const struct collector_config *c, struct ledger *ledger, struct vault **ret,
		      struct error *e)
{
	char dir[VAULT_DIR_MAX];
	int r = vault_parts_dir(c, dir, e);

	return r < 0 ? r :
		       vault_open(&(struct vault_config){ .dir = dir,
							  .reserve_bytes = c->vault_reserve_bytes,
							  .exhibit_bytes = c->vault_exhibit_bytes,
							  .retain_ms = c->vault_retain_ms,
							  .abandon_ms = c->vault_abandon_ms,
							  .immutable = c->vault_immutable,
							  .now = clock_wall_ns,
							  .ledger = ledger_call_leaf_at,
							  .ledger_ctx = ledger },
				  ret, e);
}

struct bucket_config vault_parts_bucket(const struct collector_config *c)
{
	return (struct bucket_config){ .endpoint = c->s3_endpoint,
				       .name = c->s3_bucket,
				       .region = c->s3_region,
				       .prefix = c->s3_prefix,
				       .access_key_file = c->s3_access_key_file,
				       .ca_file = c->s3_ca_file,
				       .lock_mode = c->s3_lock_mode,
				       .retain_days = c->s3_retain_days };
}

static int start_archive(const struct collector_config *c, struct vault_parts *p, struct error *e)
{
	if (c->s3_endpoint[0] == '\0')
		return 0;
	return vault_archive_start(
		&(struct vault_archive_config){ .vault = p->vault,
						.bucket = vault_parts_bucket(c) },
		&p->archive, e);
}

int vault_parts_open(const struct collector_config *c, struct hosts *hosts, struct orders *orders,
		     struct ledger *ledger, struct vault_parts **ret, struct error *e)
{
	struct vault_parts *p = calloc(1, sizeof(*p));
	int r;

	if (p == NULL)
		return error_set(e, -ENOMEM, "cannot open the vault: out of memory");
	p->orders = orders;
	r = open_vault(c, ledger, &p->vault, e);
	if (r == 0)
		r = start_archive(c, p, e);
	if (r == 0)
		r = vault_uploads_new(
			&(struct vault_upload_config){ .vault = p->vault,
						       .hosts = hosts,
						       .calls = (unsigned int)c->vault_uploads,
						       .order = ask_orders,
						       .ctx = p },
			&p->uploads, e);
	if (r == 0)
		r = vault_service_new(p->vault, &p->service, e);
	if (r == 0)
		r = vault_keeper_start(p->vault, &p->keeper, e);
	if (r < 0)
		vault_parts_free(p);
	else
		*ret = p;
	return r;
}

int vault_parts_register(struct vault_parts *p, struct rpc_server *server, struct error *e)
{
	struct rpc_method method = vault_uploads_method(p->uploads);
	int r = rpc_server_method(server, &method, e);

	return r == 0 ? vault_service_register(p->service, server, e) : r;
}

void vault_parts_stop(struct vault_parts *p)
{
	if (p == NULL)
		return;
	vault_uploads_close(p->uploads);
	vault_service_close(p->service);
}

void vault_parts_free(struct vault_parts *p)
{
	if (p == NULL)
		return;
	vault_uploads_free(p->uploads);
	vault_service_free(p->service);
	vault_keeper_stop(p->keeper);
	vault_archive_stop(p->archive);
	vault_close(p->vault);
	free(p);
}
