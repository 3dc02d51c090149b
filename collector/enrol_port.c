/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/enrol_port.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "collector/enrol.h"
#include "collector/enrol_store.h"
#include "collector/ledger_calls.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/rpc_server.h"

#define CALLS_PER_SECOND 10 /* of one address: a rack behind one NAT, not who guesses */

struct enrol_port {
	struct enrol_port_config c;
	struct enrol *enrol;
	struct rpc_server *rpc;
};

/* Counted among the hosts from now on, whether it ever connects or not. */
static void on_enrolled(void *ctx, const void *record, size_t len)
{
	struct enrol_port *p = ctx;
	struct batch_name tenant, host;
	struct error e = { 0 };
	bool new = false;

	if (hosts_register(p->c.hosts, NULL, record, len, &new, &tenant, &host, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "an enrolled host is not counted yet", &e);
	else if (new)
		p->c.record(p->c.ctx, &tenant, &host, record, len);
}

static uint8_t *list_of(void *ctx, const struct batch_name *tenant, size_t *ret_len)
{
	const struct enrol_port *p = ctx;

	return orders_list_copy(p->c.orders, tenant, ret_len);
}

static int serve(struct enrol_port *p, struct error *e)
{
	const struct collector_config *c = p->c.c;
	struct rpc_method method = enrol_method(p->enrol);
	uint16_t port;
	int r = rpc_server_new(p->c.loop,
			       &(struct rpc_server_config){ .address = c->enrol_listen,
							    .cert_file = c->tls_cert,
							    .key_file = c->tls_key,
							    .fleet_ca_file = c->tls_fleet_ca,
							    .order_ca_file = c->tls_order_ca,
							    .memory_limit_bytes = c->memory_bytes,
							    .streams_per_connection = 1,
							    .calls_per_second = CALLS_PER_SECOND,
							    .anonymous = true,
							    .on_wedged = p->c.on_wedged,
							    .on_wedged_ctx = p->c.ctx },
			       &p->rpc, e);

	if (r == 0)
		r = rpc_server_method(p->rpc, &method, e);
	if (r == 0)
		r = rpc_server_start(p->rpc, &port, e);
	if (r == 0)
		log_info("hosts can enrol", KV_STR("listen", c->enrol_listen),
			 KV_U64("port", port));
	return r;
}

static int start(struct enrol_port *p, struct error *e)
{
	const struct collector_config *c = p->c.c;
	char dir[PATH_MAX];

	if (snprintf(dir, sizeof(dir), "%s/" ENROL_FOLDER, c->store_dir) >= (int)sizeof(dir))
		return error_set(e, -ENAMETOOLONG, "store.dir is too long");
	return enrol_start(&(struct enrol_config){ .dir = dir,
						   .authority = c->enrol_authority,
						   .fleet_ca = c->tls_fleet_ca,
						   .collector_cert = c->tls_cert,
						   .now = clock_wall_ns,
						   .leaf = ledger_call_leaf,
						   .ledger_ctx = p->c.ledger,
						   .enrolled = on_enrolled,
						   .revocations = list_of,
						   .ctx = p },
			   &p->enrol, e);
}

static void enrol_port_free_ptr(struct enrol_port **p)
{
	enrol_port_free(*p);
}

int enrol_port_open(const struct enrol_port_config *c, struct enrol_port **ret, struct error *e)
{
	AUTO(enrol_port_free_ptr) struct enrol_port *p = NULL;
	int r;

	*ret = NULL;
	if (c->c->enrol_listen == NULL || *c->c->enrol_listen == '\0')
		return 0;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return error_set(e, -ENOMEM, "cannot enrol hosts: %m");
	p->c = *c;
	r = start(p, e);
	if (r == 0)
		r = serve(p, e);
	if (r == 0)
		*ret = TAKE(p);
	return r;
}

int enrol_port_reload(struct enrol_port *p, struct error *e)
{
	int r = p == NULL ? 0 : rpc_server_reload(p->rpc, e);

	return r < 0 || p == NULL ? r : enrol_reload(p->enrol, e);
}

void enrol_port_free(struct enrol_port *p)
{
	if (p == NULL)
		return;
	rpc_server_free(p->rpc);
	enrol_free(p->enrol);
	free(p);
}
