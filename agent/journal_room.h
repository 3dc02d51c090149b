/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's budget; for the files of journal.h only. */
#ifndef AGENT_JOURNAL_ROOM_H
#define AGENT_JOURNAL_ROOM_H

#include "agent/journal_state.h"

/* A frame of len bytes in this lane stays within the budget. */
bool journal_fits(const struct journal *j, const struct journal_lane *l, size_t len);

#endif
