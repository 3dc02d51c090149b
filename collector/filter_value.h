/* SPDX-License-Identifier: Apache-2.0 */
/* The right side of one condition: parsed by the type of its field, compared with a row's value. */
#ifndef COLLECTOR_FILTER_VALUE_H
#define COLLECTOR_FILTER_VALUE_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/fields.h"

enum filter_op { FILTER_OP_EQUALS, FILTER_OP_PREFIX, FILTER_OP_CONTAINS, FILTER_OP_CIDR };

struct filter_value {
	enum filter_op op;
	const uint8_t *text; /* borrowed: as it was given */
	size_t text_len;
	uint64_t number;
	int64_t time_ns;
	bool truth;
	uint8_t ip[16];
	uint8_t ip_len; /* 4 or 16 */
	uint8_t ip_bits; /* of the network; all of them for one address */
};

/* v has op and text; the rest is filled by type. field: for messages. -EINVAL with a sentence. */
MUST_CHECK int filter_value_parse(struct filter_value *v, enum value_type type, const char *field,
				  struct error *e);
/* Compare by type. A list matches when one of its elements does. */
bool filter_value_match(const struct filter_value *v, enum value_type type,
			const struct value *row);

#endif
