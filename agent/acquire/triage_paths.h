/* SPDX-License-Identifier: Apache-2.0 */
/* Files by name: rows of globs, each with bounds and a reason. Directories before the first wildcard are resolved as
 * a process of the view would; after it no symbolic link is followed (it is kept as one), so that nobody in the view
 * makes a file appear under another's name. */
#ifndef ACQUIRE_TRIAGE_PATHS_H
#define ACQUIRE_TRIAGE_PATHS_H

#include "agent/acquire/triage.h"

enum triage_big { /* a file longer than a row allows */
		  TRIAGE_LEAVE, /* is told of and left out: its beginning alone is of no use */
		  TRIAGE_END, /* gives its end, from the beginning of a line on */
		  TRIAGE_RECORDS, /* gives its end in whole records of utmp(5) */
};

#define TRIAGE_EXCEPT_MAX 8

struct triage_path {
	const char *
		glob; /* absolute, or "~/...": below every home. The last component may be "**": everything */
	const char *why;
	uint64_t file_max, all_max; /* bytes; newest files first */
	uint32_t files_max;
	enum triage_big big;
	const char *except
		[TRIAGE_EXCEPT_MAX]; /* other rows', or never wanted; fnmatch(3) of the whole path */
};

MUST_CHECK int triage_put_paths(struct triage *t, const struct triage_path *rows, size_t n,
				struct error *e);

#endif
