/* SPDX-License-Identifier: Apache-2.0 */
/* Home directories of the view: those that /etc/passwd names, and the folders in /home of users whom a directory
 * service knows. */
#ifndef ACQUIRE_TRIAGE_HOMES_H
#define ACQUIRE_TRIAGE_HOMES_H

#include "agent/acquire/triage.h"

#define TRIAGE_HOMES_MAX 256

struct triage_homes {
	char *paths[TRIAGE_HOMES_MAX]; /* absolute, each once */
	size_t n;
};

void triage_homes_find(struct triage *t, struct triage_homes *ret);
void triage_homes_release(struct triage_homes *h);

#endif
