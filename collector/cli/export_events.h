/* SPDX-License-Identifier: Apache-2.0 */
/* The events that belong to a case: of each exhibit's target (host, container, process) from an hour before its order
 * until the exhibit ended, or as --since and --until say; the newest --limit of them. */
#ifndef CLI_EXPORT_EVENTS_H
#define CLI_EXPORT_EVENTS_H

#include "collector/cli/export_ask.h"

/* After exhibits and orders. Nothing with --no-events. */
MUST_CHECK int export_events(const struct args *a, const struct exhibit_list *list,
			     struct bundle *b, struct error *e);
/* For people, on standard error: how many, of what, what was cut or is missing. */
void export_events_say(const struct bundle *b);
/* Nothing was cut, and nothing is missing. */
bool export_events_complete(const struct bundle *b);

#endif
