/* SPDX-License-Identifier: Apache-2.0 */
/* The names in a journal's folder; for journal_recover.c only. */
#ifndef AGENT_JOURNAL_LIST_H
#define AGENT_JOURNAL_LIST_H

#include "agent/journal_state.h"

#define JOURNAL_NAMES_MAX 65536

struct journal_name {
	char text[JOURNAL_NAME_MAX];
	enum batch_lane lane;
	bool tombstone;
	uint64_t number; /* of the file; a tombstone's position */
};

struct journal_names {
	struct journal_name *at; /* by number, ascending */
	size_t n, max;
	char (*leftovers)[JOURNAL_NAME_MAX +
			  16]; /* to be removed: temporary files, old damaged ones */
	size_t n_leftovers, max_leftovers;
	uint64_t next_file; /* above every number that was ever used and still shows */
};

/* text: a file's name. false: it is not one of a journal's files. Fuzzed. */
MUST_CHECK bool journal_name_parse(const char *text, struct journal_name *ret);
/* dir: for messages. */
MUST_CHECK int journal_list(int dir_fd, const char *dir, struct journal_names *ret,
			    struct error *e);
void journal_names_release(struct journal_names *n);

#endif
