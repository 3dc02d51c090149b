/* SPDX-License-Identifier: Apache-2.0 */
/* How often ingest says something of one host: a peer can provoke a line with each message, so each host has
 * one line in INGEST_LOG_EVERY_NS, and what was held back is counted and told later. A fixed table: with more
 * noisy hosts than that in one interval, the quietest place is given away and its count is told with the
 * others'. Any thread; zeroed is not ready. */
#ifndef COLLECTOR_INGEST_LOG_H
#define COLLECTOR_INGEST_LOG_H

#include "proto/batch.h"

#define INGEST_LOG_HOSTS 1024 /* remembered at one time */
#define INGEST_LOG_EVERY_NS (NSEC_PER_SEC)

struct ingest_log;

struct ingest_log *ingest_log_new(void); /* NULL: out of memory */
void ingest_log_free(struct ingest_log *l); /* NULL allowed */
/* Whether to say it now. ret_held: lines of this host that were held back since its last one. */
MUST_CHECK bool ingest_log_may(struct ingest_log *l, const struct batch_name *tenant,
			       const struct batch_name *host, uint64_t now_ns, uint64_t *ret_held);
/* The next host whose lines were held back and that has been quiet since for an interval; its count is taken.
 * host->len 0: of hosts that lost their place in the table. false: none. */
MUST_CHECK bool ingest_log_take(struct ingest_log *l, uint64_t now_ns,
				struct batch_name *ret_tenant, struct batch_name *ret_host,
				uint64_t *ret_held);

#endif
