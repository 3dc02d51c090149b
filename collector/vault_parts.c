/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/archive.h"
#include "collector/ledger_calls.h"
#include "collector/server.h"
#include "collector/vault_archive.h"
#include "collector/vault_keeper.h"
#include "proto/base/clock.h"

struct vault_parts {
	struct orders *orders;
	struct vault *vault;
	struct vault_uploads *uploads;
	struct vault_service *service;
	struct vault_keeper *keeper;
	struct vault_archive *exhibits;
	struct archive *archive;
	struct ledger *ledger;
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
					     .requester = sent.requester,
					     .max_bytes = sent.max_bytes,
					     .over = sent.over };
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

/* The leaf of an exhibit is to lie beside it. */
static void on_archived(void *ctx)
{
	const struct vault_parts *p = ctx;

	archive_poke(p->archive);
}

static int start_archive(const struct collector_config *c, struct store *store,
			 struct vault_parts *p, struct error *e)
{
	char dir[SERVER_PATH_MAX], cert[SERVER_PATH_MAX];
	struct ledger_config ledger;
	int r = c->s3_endpoint[0] == '\0' ? 1 : server_ledger_config(c, dir, cert, &ledger, e);

	if (r == 0)
		r = archive_start(&(struct archive_config){ .bucket = vault_parts_bucket(c),
							    .store_dir = c->store_dir,
							    .cert_file = cert,
							    .ledger = p->ledger,
							    .store = store,
							    .age_ms = c->s3_age_ms,
							    .leaves = c->s3_leaves,
							    .segments = c->s3_segments },
				  &p->archive, e);
	return r < 0 ? r : 0;
}

static int start_exhibits(const struct collector_config *c, struct vault_parts *p, struct error *e)
{
	if (c->s3_endpoint[0] == '\0')
		return 0;
	return vault_archive_start(&(struct vault_archive_config){ .vault = p->vault,
								   .bucket = vault_parts_bucket(c),
								   .on_archived = on_archived,
								   .ctx = p },
				   &p->exhibits, e);
}

int vault_parts_open(const struct collector_config *c, struct hosts *hosts, struct orders *orders,
		     struct ledger *ledger, struct store *store, struct vault_parts **ret,
		     struct error *e)
{
	struct vault_parts *p = calloc(1, sizeof(*p));
	int r;

	if (p == NULL)
		return error_set(e, -ENOMEM, "cannot open the vault: out of memory");
	p->orders = orders;
	p->ledger = ledger;
	r = open_vault(c, ledger, &p->vault, e);
	if (r == 0)
		r = start_archive(c, store, p, e);
	if (r == 0)
		r = start_exhibits(c, p, e);
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

bool vault_parts_status(struct vault_parts *p, Exhibit__V1__StatusArchive *ret)
{
	struct vault_archive_status exhibits;
	AUTO(free_ptr) char *note = NULL;
	struct archive_status s;
	const char *why;
	uint64_t size = 0;

	if (p == NULL || p->archive == NULL || p->exhibits == NULL)
		return false;
	archive_status(p->archive, &s);
	vault_archive_status(p->exhibits, &exhibits);
	if (ledger_newest(p->ledger, &note, &size, NULL) < 0)
		size = s.size;
	ret->leaves = s.size;
	ret->leaves_waiting = size > s.size ? size - s.size : 0;
	ret->archived_ns = s.at_ns;
	ret->exhibits_waiting = exhibits.waiting;
	ret->holds_waiting = exhibits.holds_waiting;
	why = exhibits.why[0] != '\0' ? exhibits.why : s.why;
	ret->failure.data = why[0] != '\0' ? (uint8_t *)strdup(why) : NULL;
	ret->failure.len = ret->failure.data != NULL ? strlen(why) : 0;
	return true;
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
	vault_archive_stop(p->exhibits);
	archive_stop(p->archive);
	vault_close(p->vault);
	free(p);
}
