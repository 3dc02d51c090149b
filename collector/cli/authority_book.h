/* SPDX-License-Identifier: Apache-2.0 */
/* What the order authority remembers of the people it issued to: DIR/issued and DIR/revoked, a line per
 * certificate: "NOT_AFTER SERIAL USE SPIFFE-NAME", NOT_AFTER in Unix seconds (0: not known), USE "tls",
 * "sign" or "any". Lines of certificates that ended long ago are left out when a file is written anew. */
#ifndef CLI_AUTHORITY_BOOK_H
#define CLI_AUTHORITY_BOOK_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/identity.h"

#define BOOK_USE_MAX 8

struct book_entry {
	int64_t not_after_s;
	char serial[IDENTITY_SERIAL_MAX + 1];
	char use[BOOK_USE_MAX];
	char name[IDENTITY_SPIFFE_MAX];
};

struct book {
	size_t n, room;
	struct book_entry *entries;
};

/* A file that does not exist is an empty book. */
MUST_CHECK int book_load(const char *path, struct book *ret, struct error *e);
/* Nothing happens when the serial is there already. */
MUST_CHECK int book_add(struct book *b, const struct book_entry *entry, struct error *e);
const struct book_entry *book_find(const struct book *b, const char *serial); /* NULL: none */
MUST_CHECK int book_save(const struct book *b, const char *path, int64_t now_s, struct error *e);
void book_release(struct book *b);

#endif
