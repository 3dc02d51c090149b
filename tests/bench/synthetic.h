/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of a host that does not exist: 20 % exec, 20 % exit, 30 % connect, 30 % modify, as
 * research for the store measured with; container ids, random temporary names and arguments. The same
 * seed makes the same batches. One thread per host. */
#ifndef BENCH_SYNTHETIC_H
#define BENCH_SYNTHETIC_H

#include "proto/batch.h"

#define SYNTHETIC_EVENTS 500 /* per batch */

/* What a needle batch holds, once each, for questions. */
#define SYNTHETIC_ADDRESS "203.0.113.66" /* connected to */
#define SYNTHETIC_PATH "/etc/cron.d/needle" /* modified */
#define SYNTHETIC_TEXT "zqx-needle" /* in the arguments of an exec */

struct synthetic;

/* The events of batch after batch lie step_ns apart on average, the first at begin_wall_ns. */
struct synthetic_config {
	const char *tenant, *host_id;
	struct seal_key *key; /* borrowed */
	uint64_t seed;
	int64_t begin_wall_ns;
	uint64_t step_ns;
	struct synthetic *
		shared; /* whose buffers and sealer are used, for many hosts of one thread; NULL: own */
};

struct synthetic *synthetic_new(const struct synthetic_config *c); /* NULL: out of memory */
void synthetic_free(struct synthetic *s); /* NULL allowed */
/* The next batch: of the critical lane (exec, exit) two times of five, else of the bulk lane; a needle
 * batch holds what questions ask for, and is of the lane that has it. ret_bytes: a SignedBatch, s's until
 * the next call. */
enum synthetic_needle { SYNTHETIC_PLAIN, SYNTHETIC_NEEDLE_BULK, SYNTHETIC_NEEDLE_CRITICAL };
MUST_CHECK int synthetic_batch(struct synthetic *s, enum synthetic_needle needle,
			       struct batch_header *ret_h, const uint8_t **ret_bytes,
			       size_t *ret_len, struct error *e);
/* The entries of the batch made last, as they were before compression; s's until the next call. */
const uint8_t *synthetic_raw(const struct synthetic *s, size_t *ret_len);
/* Both lanes are alive and idle: a SignedIdle in arena a. */
MUST_CHECK int synthetic_idle(struct synthetic *s, enum batch_lane lane, struct arena *a,
			      const uint8_t **ret_bytes, size_t *ret_len, struct error *e);
/* process.entity_id of the process whose children the critical needles are. */
const char *synthetic_entity(const struct synthetic *s);

#endif
