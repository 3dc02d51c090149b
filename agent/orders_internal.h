/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the orders thread, which alone runs all of this. */
#ifndef AGENT_ORDERS_INTERNAL_H
#define AGENT_ORDERS_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "agent/clock_offset.h"
#include "agent/ledger_watch.h"
#include "agent/orders.h"
#include "agent/orders_nonces.h"
#include "agent/orders_state.h"
#include "agent/orders_tool.h"

#define RUNS_MAX 32
#define ATTEMPTS_MAX 1000 /* of one order that can be read again from its start */
#define STEPS_MAX 256 /* orders whose newest step is remembered */
#define RECENT_MAX 64 /* steps that are said again when a stream ends soon after */

enum run_phase {
	RUN_WAITING, /* for an uplink */
	RUN_ACQUIRING,
	RUN_UPLOADING, /* the manifest is made; the collector's receipt is not there */
};

/* One acquisition. */
struct run {
	enum run_phase phase;
	struct order_checked order;
	uint8_t *signed_order;
	size_t signed_len;
	const struct acquire_kind *kind;
	uint8_t exhibit_id[MANIFEST_ID_LEN];
	uint32_t attempts;
	uint64_t link; /* which uplink it was begun with */
	struct manifest_time started;
	uint32_t token; /* of the process; 0: none */
	int control; /* -1: none */
	struct manifest *manifest;
	bool broke_rules; /* the acquirer said what it may not */
	bool complete;
	char outcome[CONTROL_TEXT_MAX + 1]; /* of the manifest: what failed or is lacking */
	bool failed;
	uint8_t *packed; /* SignedManifest */
	size_t packed_len;
	struct seal_hash manifest_hash;
	char upload_failure[512 + 1]; /* the collector took none of it any more */
	uint64_t bytes, expected_bytes, told_ns, told_bytes;
	uint64_t lasting_ns,
		lasting_wait_ns; /* the last progress that lasts, and how long until the next */
};

struct orders_step {
	uint8_t id[ORDER_ID_LEN];
	uint8_t *packed; /* OrderStep */
	size_t len;
};

/* A step that lasts, in the order in which they were said. */
struct orders_recent {
	uint64_t stream; /* how many had begun */
	uint8_t *packed; /* OrderStep; NULL: none */
	size_t len;
};

/* Whose signatures under an order an event has told of. */
struct orders_told {
	uint8_t id[ORDER_ID_LEN];
	size_t n_approvers;
	struct seal_hash approvers[ORDER_APPROVALS_MAX]; /* their certificates */
};

struct ended {
	uint32_t token;
	int status;
};

struct orders {
	struct orders_config c;
	char *dir;
	struct manifest_tool tool;
	char uuid[ORDERS_UUID_MAX];
	char self[IDENTITY_SPIFFE_MAX]; /* this host's name */
	struct revocations *revocations;
	struct ledger_watch *ledger;
	struct nonces *nonces; /* NULL: damaged, no order runs */
	char no_nonces[ERROR_TEXT_MAX + ERROR_HINT_MAX]; /* why */
	uint64_t links; /* uplinks that there were */
	size_t n_runs;
	struct run *runs[RUNS_MAX];
	uint32_t next_token;
	size_t n_steps, next_step;
	struct orders_step steps[STEPS_MAX];
	size_t next_recent;
	struct orders_recent recent[RECENT_MAX];
	uint64_t streams; /* of orders, that began */
	size_t n_told, next_told;
	struct orders_told told[STEPS_MAX];
	bool has_previous;
	struct seal_hash previous; /* the last manifest */
	uint64_t alarms_from_ns, alarms; /* in this minute */
	struct clock_offsets clock; /* the collector's */
	struct queue *ended;
	atomic_bool busy;
	pthread_t thread;
	uint8_t buf[CONTROL_MESSAGE_MAX];
};

/* ---- orders_take.c */
void orders_take(struct orders *o, const uint8_t *data, size_t len);
void orders_take_revocations(struct orders *o, const uint8_t *data, size_t len);
void orders_tell_held(struct orders *o);
void orders_take_ledger(struct orders *o, const uint8_t *data, size_t len);
void orders_tell_checkpoint(struct orders *o); /* to the sealer */

/* ---- orders_step.c */
struct orders_said {
	Exhibit__V1__OrderState state;
	const char *reason; /* NULL: none */
	uint32_t error; /* errno of a refusal or failure */
	bool passing; /* for whoever watches only: no event, leaf or row */
};
/* A step of an order that counts, to the collector and as an event. */
void orders_say(struct orders *o, const struct run *run, const struct orders_said *said);
/* Who signed it, as far as that was verified: an event each, once. */
void orders_say_signed(struct orders *o, const struct order_checked *order);
/* Of one that does not: order: NULL when it could not be read. checked: its signatures were good. */
void orders_refuse(struct orders *o, const Exhibit__V1__Order *order, const struct seal_hash *hash,
		   bool checked, const struct error *why);
/* Somebody tries what nobody entitled ordered. At most 60 events a minute; all are counted. */
void orders_alarm(struct orders *o, const Exhibit__V1__Order *order, const struct seal_hash *hash,
		  const char *sentence, uint32_t error);

/* ---- orders_repeat.c */
void orders_send_step(struct orders *o, const Exhibit__V1__OrderStep *step);
/* The newest of this order. false: none is known. */
bool orders_repeat_step(struct orders *o, const uint8_t id[static ORDER_ID_LEN]);
void orders_repeat_steps(struct orders *o); /* a stream of orders begins */
void orders_forget_steps(struct orders *o);

/* ---- orders_runs.c */
/* Takes order over. NULL: RUNS_MAX, or out of memory. */
struct run *run_new(struct orders *o, struct order_checked *order, const uint8_t *data, size_t len);
void run_free(struct run *r); /* NULL allowed */
void run_drop(struct orders *o, struct run *run); /* it is over: its file goes too */
MUST_CHECK int run_save(const struct orders *o, const struct run *run, struct error *e);
struct run *run_by_exhibit(const struct orders *o, const uint8_t *id);
void run_say(struct orders *o, const struct run *run, Exhibit__V1__OrderState state,
	     const char *reason, uint32_t error);
void orders_load(struct orders *o); /* what was under way */

/* ---- orders_upload.c */
MUST_CHECK int run_new_manifest(struct orders *o, struct run *run, struct error *e);
void run_post_upload(struct orders *o, const struct run *run, int fd); /* fd: taken over */
/* Nothing more comes of its acquirer: write the manifest. failure: NULL: its own word counts. */
void run_end(struct orders *o, struct run *run, const char *failure);
void run_upload_manifest(struct orders *o,
			 const struct run *run); /* to an uplink without payload */
void orders_take_receipt(struct orders *o, const uint8_t *data, size_t len);
void orders_upload_failed(struct orders *o, const uint8_t *data, size_t len);

/* ---- orders_clock.c */
void orders_take_clock(struct orders *o, const uint8_t *data, size_t len); /* LINK_CLOCK */
struct manifest_time orders_now(const struct orders *o);

/* ---- orders_run.c */
/* Take ownership of a checked order: begin it. */
void orders_begin(struct orders *o, struct order_checked *order, const uint8_t *data, size_t len);
void orders_new_link(struct orders *o);
/* Its control socket is readable. Whether there may be more. */
bool orders_receive(struct orders *o, struct run *run);
void orders_process_ended(struct orders *o, uint32_t token, int status);
void orders_tell_progress(struct orders *o);
/* Ends all; what can go on later does. */
void orders_finish(struct orders *o);
/* -E2BIG: path is longer than PATH_MAX. */
MUST_CHECK int orders_path(const struct orders *o, const char *name, char ret[static PATH_MAX],
			   struct error *e);

#endif
