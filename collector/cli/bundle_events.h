/* SPDX-License-Identifier: Apache-2.0 */
/* What the collector has stored of an exhibit's target around its order, in a bundle: events/ID.events holds the
 * question and its answers byte for byte (EventsQuery, then EventsAnswer ..., each behind its length, u32
 * little-endian), events/ID.json says how they were chosen and what is missing. Nobody but the collector vouches for
 * them, and verify says so. */
#ifndef CLI_BUNDLE_EVENTS_H
#define CLI_BUNDLE_EVENTS_H

#include "collector/cli/bundle.h"

#define BUNDLE_EVENTS_BYTES_MAX MiB(64) /* of one file */
#define BUNDLE_EVENTS_BYTES_ALL_MAX MiB(512)
#define BUNDLE_EVENTS_EACH 10000 /* of one exhibit, if nothing else is said; the newest of them */
#define BUNDLE_EVENTS_ALL_MAX 200000 /* of a bundle */

/* Append one message to what becomes x->bytes. -ENOMEM; -EFBIG: BUNDLE_EVENTS_BYTES_MAX. */
MUST_CHECK int bundle_events_append(struct bundle_events *x, const void *message, size_t len);
/* Read x->bytes. Without a question x->readable stays false. */
void bundle_events_understand(struct bundle_events *x);
void bundle_events_release(struct bundle_events *x);
uint64_t bundle_events_rows(const struct bundle_events *x);
/* NULL: there was no answer, as the bundle had its events. */
const Exhibit__V1__Completeness *bundle_events_completeness(const struct bundle_events *x);
/* Nothing was cut, nothing is missing, and the host was recorded then. */
bool bundle_events_complete(const struct bundle_events *x);
void bundle_write_events(const struct bundle_events *x, FILE *out); /* events/ID.json */

#endif
