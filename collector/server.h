/* SPDX-License-Identifier: Apache-2.0 */
/* The collector as a daemon: opens the parts in the order of the data, runs until told to stop, closes
 * them in reverse. */
#ifndef COLLECTOR_SERVER_H
#define COLLECTOR_SERVER_H

#include "collector/config.h"
#include "collector/ledger.h"
#include "collector/store.h"

/* What store_open needs, from the configuration; key: borrowed by ret as long as it is used. */
void server_store_config(const struct collector_config *c, struct seal_key *key,
			 struct store_config *ret);
/* What ledger_open needs; ret borrows from c, dir and cert. -ENAMETOOLONG. */
#define SERVER_PATH_MAX 4200
MUST_CHECK int server_ledger_config(const struct collector_config *c,
				    char dir[static SERVER_PATH_MAX],
				    char cert[static SERVER_PATH_MAX], struct ledger_config *ret,
				    struct error *e);
/* Runs until SIGTERM or SIGINT. SIGHUP: read certificates, deny list and host records again. */
MUST_CHECK int server_run(const struct collector_config *c, struct error *e);

#endif
