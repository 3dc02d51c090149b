/* SPDX-License-Identifier: Apache-2.0 */
/* What every question shares: the hosts it is about, its tools for reading, and at its end the completeness
 * over those hosts. One thread. */
#ifndef COLLECTOR_QUERY_SCOPE_H
#define COLLECTOR_QUERY_SCOPE_H

#include "collector/query.h"
#include "collector/reading.h"

struct query_scope {
	const struct query *query;
	struct host_info *hosts; /* asked about, malloc'ed */
	size_t n_hosts;
	struct batch_name *ids; /* theirs */
	size_t n_ids; /* for store_find; 0: all of the tenant */
	struct reading reading;
	struct missing_list missing;
	int64_t now_ns;
	int64_t shown_since_ns; /* as in completeness_question */
};

/* names: ids or names of hosts; none: all of the tenant. -ENOENT: a name that nobody has, with a hint. */
MUST_CHECK int scope_init(struct query_scope *s, const struct query *q,
			  const ProtobufCBinaryData *names, size_t n_names, struct error *e);
void scope_release(struct query_scope *s);
/* The question turned out to be about this host alone. */
void scope_only(struct query_scope *s, const struct batch_name *host);
/* A question to the store over the scope's hosts. */
struct store_question scope_question(const struct query_scope *s, int64_t since_ns,
				     int64_t until_ns);
/* Look for gaps and compute. classes: bits that matter. since_ns, until_ns: 0 since and INT64_MAX until: open. */
MUST_CHECK int scope_complete(struct query_scope *s, int64_t since_ns, int64_t until_ns,
			      uint32_t classes, struct completeness *ret, struct error *e);

#endif
