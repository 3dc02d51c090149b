/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an answer may lack something, and what: computed over every enrolled host, from what the store
 * knows of their streams and from the holes that a search for gaps found. A pure function. */
#ifndef COLLECTOR_COMPLETENESS_H
#define COLLECTOR_COMPLETENESS_H

#include "collector/hosts.h"
#include "collector/store.h"
#include "proto/base/base.h"

#define MISSING_MAX 1000 /* rows; more are counted */
#define MISSING_REASON_MAX 256
/* A connected host whose watermark is at most so old is up to date: it seals and says so every 5 s. */
#define COMPLETENESS_LAG_NS (60 * (int64_t)NSEC_PER_SEC)

/* One thing that is missing. */
struct missing {
	struct batch_name host_id, host_name;
	char reason[MISSING_REASON_MAX]; /* one sentence */
	uint32_t class; /* 0: no single class */
	bool has_count;
	uint64_t count;
	int64_t from_ns, to_ns; /* Unix time; 0: not known */
};

/* What is missing so far. items grow up to MISSING_MAX. */
struct missing_list {
	struct missing *items;
	size_t n, cap;
	uint64_t total; /* also those that did not fit */
};

void missing_release(struct missing_list *l);
/* Fills host and counts; the caller fills the rest of what it returns. NULL: only counted. */
struct missing *missing_add(struct missing_list *l, const struct batch_name *host_id,
			    const struct batch_name *host_name);

/* A time as sentences show it: RFC 3339 in UTC with milliseconds. buf: CLOCK_TEXT_MAX. */
const char *missing_time(int64_t wall_ns, char *buf);

struct completeness_question {
	const struct host_info *hosts; /* that were asked about */
	size_t n_hosts;
	const struct store_stream *streams; /* of the tenant, each host's together */
	size_t n_streams;
	int64_t since_ns, until_ns; /* until exclusive; INT64_MAX: open, which means now */
	int64_t now_ns;
	uint32_t lanes; /* bits 1 << lane that matter to the question */
	const struct store_removed *removed; /* of the tenant by retention; NULL: nothing */
	int64_t shown_since_ns; /* an answer cut to its newest rows begins here: what was removed before
				 * is no part of it; not cut: INT64_MIN */
};

#define LATER_MAX 20 /* more are counted */

/* A host whose record begins within the time asked for. */
struct record_begin {
	struct batch_name host_id, host_name;
	int64_t since_ns;
};

struct completeness {
	uint64_t hosts;
	/* As asked, or where the first of these hosts' records begins, if that is later; never after until_ns
	 * unless something is missing. */
	int64_t since_ns;
	int64_t until_ns; /* complete up to here on all hosts */
	/* Of these hosts nothing is known from since_ns to their own beginning. Those that begin last may not
	 * fit. */
	size_t n_later;
	uint64_t later_total;
	struct record_begin later[LATER_MAX];
};

/* Adds to missing what streams, watermarks and removals tell. Streams of one host stand in the order in which
 * they begin, as store_streams gives them. */
void completeness_compute(const struct completeness_question *q, struct completeness *ret,
			  struct missing_list *missing);

#endif
