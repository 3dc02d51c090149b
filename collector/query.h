/* SPDX-License-Identifier: Apache-2.0 */
/* Answers questions from the store: events (also live), trees of processes, hosts, coverage, status. Runs on
 * query threads, one question at a time each; shares nothing but store, hosts and live, which lock for
 * themselves. Every answer ends with its completeness. Errors become the call's status: -EINVAL and
 * -EBADMSG a bad question, -ENOENT nobody of that name, -E2BIG too much asked, -ECANCELED the asker left or
 * time ran out, -ENOSPC too many tails. */
#ifndef COLLECTOR_QUERY_H
#define COLLECTOR_QUERY_H

#include "collector/answer.h"
#include "collector/hosts.h"
#include "collector/live.h"
#include "collector/store.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/identity.h"
#include "service.pb-c.h"

struct ledger;

struct query_env {
	struct store *store;
	struct ledger *ledger; /* NULL: none; its questions fail then */
	struct hosts *hosts;
	struct live *live;
	int64_t (*now)(void); /* Unix time in ns */
	/* Fills what the store does not know: connected, rejected, version, started_ns. version is borrowed as
	 * long as the env. May be NULL. */
	void (*status)(void *ctx, Exhibit__V1__StoreStatus *s);
	void (*status_release)(Exhibit__V1__StoreStatus *s); /* what it allocated; may be NULL */
	void *status_ctx;
};

/* Who asks, for which tenant, and where the answer goes. */
struct query {
	const struct query_env *env;
	const struct identity *who;
	struct batch_name tenant;
	struct answer_sink sink;
};

MUST_CHECK int query_events(const struct query *q, const Exhibit__V1__EventsQuery *m,
			    struct error *e);
MUST_CHECK int query_tree(const struct query *q, const Exhibit__V1__TreeQuery *m, struct error *e);
MUST_CHECK int query_hosts(const struct query *q, const Exhibit__V1__HostsRequest *m,
			   struct error *e);
MUST_CHECK int query_coverage(const struct query *q, const Exhibit__V1__CoverageRequest *m,
			      struct error *e);
MUST_CHECK int query_status(const struct query *q, const Exhibit__V1__StatusRequest *m,
			    struct error *e);
/* The service Ledger. */
MUST_CHECK int query_ledger_checkpoint(const struct query *q,
				       const Exhibit__V1__CheckpointRequest *m, struct error *e);
MUST_CHECK int query_ledger_entries(const struct query *q, const Exhibit__V1__EntriesRequest *m,
				    struct error *e);

#endif
