/* SPDX-License-Identifier: Apache-2.0 */
/* The fleet as it should be and as it is: hosts that the collector knows, held against an inventory. Pure functions of
 * what was read and answered. One thread. */
#ifndef CLI_FLEET_H
#define CLI_FLEET_H

#include "collector/cli/inventory.h"
#include "service.pb-c.h"

/* In the order of rows: what stands first is the worst. */
enum fleet_problem {
	FLEET_NO_AGENT, /* in the inventory, unknown to the collector */
	FLEET_NEVER_SEEN, /* enrolled, nothing ever came */
	FLEET_AWAY,
	FLEET_BEHIND,
	FLEET_LOST, /* in the time asked for */
	FLEET_CONFLICT,
	FLEET_CLASS_MISSING,
	FLEET_TWICE, /* several agents for one row of the inventory */
	FLEET_OLD,
	FLEET_UNLISTED, /* not in the inventory */
	FLEET_PROBLEMS
};
/* What makes an answer incomplete; the others are only named. */
#define FLEET_SERIOUS ((1U << FLEET_TWICE) - 1)
#define FLEET_BEHIND_NS (60 * (uint64_t)NSEC_PER_SEC)

const char *fleet_problem_name(enum fleet_problem p);

struct fleet_class {
	char name[24], state[16], reason[256];
};

struct fleet_host {
	Exhibit__V1__HostRow *row; /* owned; NULL: no agent */
	const struct inventory_host *listed; /* NULL: not in the inventory, or there is none */
	unsigned int problems; /* bits 1 << FLEET_* */
	char *loss; /* owned, the first sentence of what is missing; NULL: nothing */
	struct fleet_class *missing; /* owned */
	size_t n_missing;
};

struct fleet {
	struct fleet_host *hosts; /* after fleet_judge: the worst first, then by name */
	size_t n, cap;
	size_t at; /* the host found last: answers come in the hosts' order */
	char version[64]; /* the newest of collector and agents; empty: not known */
	uint64_t counts[FLEET_PROBLEMS], well;
};

/* A copy is kept. -ENOMEM. Before fleet_match. */
MUST_CHECK int fleet_add(struct fleet *f, const Exhibit__V1__HostRow *row);
/* Also the collector's; only a newer one is kept. */
void fleet_version(struct fleet *f, const ProtobufCBinaryData *version);
/* What the host cannot see. Once for each host, after all were added and before fleet_match. */
MUST_CHECK int fleet_coverage(struct fleet *f, const Exhibit__V1__HostCoverage *c);
void fleet_losses(struct fleet *f, const Exhibit__V1__Completeness *c);
/* Hold it against v, which outlives f: by id where the row has one, else by name without regard to case; a name without
 * dots equals the first label of one with dots where only one row has it. Once. -ENOMEM. */
MUST_CHECK int fleet_match(struct fleet *f, const struct inventory *v);
/* Name every host's problems, sort, count. listed: it was matched. Last. */
void fleet_judge(struct fleet *f, bool listed);
void fleet_release(struct fleet *f);

#endif
