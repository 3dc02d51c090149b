/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of event.action: name, class, lane, ECS categories. And the names of classes, lanes,
 * hooks, gap places. Adding an action is one row in actions.c. Numbers are those of event.proto. */
#ifndef PROTO_ACTIONS_H
#define PROTO_ACTIONS_H

#include "proto/base/base.h"

struct action {
	uint32_t number;
	const char *name; /* event.action */
	uint32_t class;
	const char *category; /* event.category: "process", "file", "network", "host" */
	const char *type; /* event.type: "start", "end", "creation", ... */
	const char *kind; /* event.kind: "event", "metric", "pipeline_error" */
};

/* NULL: unknown number or name (stored and shown as unknown). */
const struct action *action_by_number(uint32_t number);
const struct action *action_by_name(const char *name);
/* The i-th row, NULL past the end (for help and completion). */
const struct action *action_at(size_t i);

/* "exec", "file_open"...; "class 99" never: "unknown". */
const char *class_name(uint32_t class);
/* BATCH_LANE_CRITICAL or BATCH_LANE_BULK; critical for what is unknown. */
uint32_t class_lane(uint32_t class);
const char *lane_name(uint32_t lane);
const char *hook_name(uint32_t hook);
const char *gap_where_name(uint32_t where);
const char *via_name(uint32_t via);

#endif
