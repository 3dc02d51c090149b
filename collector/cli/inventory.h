/* SPDX-License-Identifier: Apache-2.0 */
/* A list of the hosts that there should be, as comma-separated values (RFC 4180): a header row that has a column
 * 'host' or 'name', optionally 'id' (the agent's host id) and 'owner'; any other column is passed over. Lines may end in
 * LF too; a byte order mark and empty lines are skipped. One thread. */
#ifndef CLI_INVENTORY_H
#define CLI_INVENTORY_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define INVENTORY_BYTES_MAX MiB(32)
#define INVENTORY_HOSTS_MAX 100000
#define INVENTORY_COLUMNS_MAX 64
#define INVENTORY_FIELD_MAX 1024 /* bytes of a name, an id or an owner */

struct inventory_host { /* strings are the inventory's */
	const char *name; /* not empty */
	const char *id, *owner; /* empty: not given */
	size_t line; /* 1 is the header's */
};

struct inventory {
	char *text; /* that the strings point into */
	struct inventory_host *hosts; /* in the file's order, each name and id once */
	size_t n, cap;
	size_t repeated; /* rows left out: their name and id stand in an earlier one */
	size_t repeated_line; /* the first of them */
};

/* path: in sentences. data: malloc'ed, taken over also on failure, with a NUL at data[len]. -EINVAL with path, line and
 * what is wrong; -E2BIG: too many rows. Release in either case. */
MUST_CHECK int inventory_parse(const char *path, uint8_t *data, size_t len, struct inventory *ret,
			       struct error *e);
MUST_CHECK int inventory_load(const char *path, struct inventory *ret, struct error *e);
void inventory_release(struct inventory *v);

#endif
