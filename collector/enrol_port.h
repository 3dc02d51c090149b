/* SPDX-License-Identifier: Apache-2.0 */
/* The collector's second port, where hosts without a certificate enrol (enrol.listen): what enrol.c decides, wired to
 * the store's hosts, the ledger and the revocation lists. Opened, reloaded and closed by the main thread. */
#ifndef COLLECTOR_ENROL_PORT_H
#define COLLECTOR_ENROL_PORT_H

#include "collector/config.h"
#include "collector/hosts.h"
#include "collector/ledger.h"
#include "collector/orders.h"
#include "proto/rpc_loop.h"

struct enrol_port_config {
	const struct collector_config *c; /* as all that follows outlives the port */
	struct rpc_loop *loop;
	struct hosts *hosts;
	struct orders *orders;
	struct ledger *ledger;
	/* Keep the record of a host that was not known. From enrol.c's thread, as hosts_load_dir calls it. */
	void (*record)(void *ctx, const struct batch_name *tenant, const struct batch_name *host,
		       const void *record, size_t len);
	void (*on_wedged)(const char *why, void *ctx);
	void *ctx;
};

struct enrol_port;

/* *ret NULL: enrol.listen is not given. */
MUST_CHECK int enrol_port_open(const struct enrol_port_config *c, struct enrol_port **ret,
			       struct error *e);
/* Take certificate and authorities from their files again. p: NULL allowed. */
MUST_CHECK int enrol_port_reload(struct enrol_port *p, struct error *e);
void enrol_port_free(struct enrol_port *p); /* NULL allowed */

#endif
