/* SPDX-License-Identifier: Apache-2.0 */
/* What an export asks the collector for: leaves and their proofs to one checkpoint, orders, manifests, host records.
 * What comes is put into the bundle as it came; 'exhibit verify' judges it. A collector that goes away once it has
 * answered is waited for, a minute since it said something. */
#ifndef CLI_EXPORT_ASK_H
#define CLI_EXPORT_ASK_H

#include "collector/cli/bundle.h"
#include "collector/cli/vault_call.h"

/* Every message of an answer to fn; the first negative result ends it. */
MUST_CHECK int export_call(const struct args *a, const char *path, const void *question,
			   int (*fn)(void *ctx, const uint8_t *data, size_t len, struct error *e),
			   void *ctx, struct error *e);

/* Fill b and list for the case. -ENOENT: the collector knows nothing of it. */
MUST_CHECK int export_ask(const struct args *a, const char *case_id, struct bundle *b,
			  struct exhibit_list *list, struct error *e);
/* An item's bytes, in order, to fn, also across broken connections. -EBADMSG: not as many as the collector said. */
MUST_CHECK int export_item(const struct args *a, const Exhibit__V1__ExhibitInfo *info,
			   const Exhibit__V1__ItemInfo *item,
			   int (*fn)(void *ctx, const void *data, size_t len, struct error *e),
			   void *ctx, struct error *e);

#endif
