/* SPDX-License-Identifier: Apache-2.0 */
/* Between the table of fields and the functions that read them. */
#ifndef PROTO_FIELDS_INTERNAL_H
#define PROTO_FIELDS_INTERNAL_H

#include "proto/fields.h"

/* Which message of the row a field stands in. */
enum part {
	PART_CONTEXT,
	PART_EVENT,
	PART_PROCESS,
	PART_IMAGE, /* the process, where the event is about it: exec, fork, stock-taking */
	PART_KEY,
	PART_PARENT,
	PART_EXEC,
	PART_REPLACED,
	PART_EXIT,
	PART_FILE,
	PART_NET,
	PART_GAP,
	PART_COVERAGE,
	PART_AGENT,
	PART_ORDER,
	PART_ROW,
};

struct field {
	const char *name;
	enum value_type type;
	enum part part;
	bool (*get)(const struct field *f, const void *message, struct subject *s,
		    struct value *ret);
	size_t offset; /* of the member, or a number that get understands */
	size_t presence; /* offset of a oneof's case */
	unsigned int groups;
};

/* How one kind of value is read from message, which is f's part of the row. false: absent. */
#define FIELD_GETTER(name)                                                                         \
	bool name(const struct field *f, const void *message, struct subject *s, struct value *ret)

FIELD_GETTER(field_get_bytes);
FIELD_GETTER(field_get_u32);
FIELD_GETTER(field_get_u32_set);
FIELD_GETTER(field_get_u64);
FIELD_GETTER(field_get_u64_set);
FIELD_GETTER(field_get_u64_oneof);
FIELD_GETTER(field_get_u32_oneof);
FIELD_GETTER(field_get_id32);
FIELD_GETTER(field_get_id32_set);
FIELD_GETTER(field_get_owner);
FIELD_GETTER(field_get_id64_set);
FIELD_GETTER(field_get_device);
FIELD_GETTER(field_get_mode);
FIELD_GETTER(field_get_ip);
FIELD_GETTER(field_get_time);
FIELD_GETTER(field_get_truth);
FIELD_GETTER(field_get_boottime);
FIELD_GETTER(field_get_flag);
FIELD_GETTER(field_get_existing);
FIELD_GETTER(field_get_event_id);
FIELD_GETTER(field_get_boot);
FIELD_GETTER(field_get_hex);
FIELD_GETTER(field_get_order_kind);
FIELD_GETTER(field_get_order_state);
FIELD_GETTER(field_get_action);
FIELD_GETTER(field_get_kind);
FIELD_GETTER(field_get_category);
FIELD_GETTER(field_get_type);
FIELD_GETTER(field_get_outcome);
FIELD_GETTER(field_get_class);
FIELD_GETTER(field_get_lane);
FIELD_GETTER(field_get_hook);
FIELD_GETTER(field_get_via);
FIELD_GETTER(field_get_error);
FIELD_GETTER(field_get_gap_where);
FIELD_GETTER(field_get_gap_class);
FIELD_GETTER(field_get_entity);
FIELD_GETTER(field_get_args);
FIELD_GETTER(field_get_args_count);
FIELD_GETTER(field_get_command_line);
FIELD_GETTER(field_get_capabilities);
FIELD_GETTER(field_get_exit_code);
FIELD_GETTER(field_get_transport);
FIELD_GETTER(field_get_network_type);
FIELD_GETTER(field_get_direction);
FIELD_GETTER(field_get_coverage);

#endif
