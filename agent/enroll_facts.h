/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine says of itself, kept beside its identity (STATE/enrolled, 'name=value' lines): a copy of the disk that
 * starts on another machine shows by it. */
#ifndef AGENT_ENROLL_FACTS_H
#define AGENT_ENROLL_FACTS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define ENROLL_FACT_MAX 254 /* with NUL */

struct enroll_facts {
	char machine_id[ENROLL_FACT_MAX], dmi_uuid[ENROLL_FACT_MAX];
	char cloud_instance[ENROLL_FACT_MAX]; /* as cloud-init knows it; empty: none */
};

/* Of this machine; what cannot be read is empty. root: "" but in tests. */
void enroll_facts_read(const char *root, struct enroll_facts *ret);
/* Pure. false: not what enroll_facts_format writes. */
MUST_CHECK bool enroll_facts_parse(const char *text, size_t len, struct enroll_facts *ret);
/* buf: ENROLL_FACTS_TEXT bytes. Returns the length. */
#define ENROLL_FACTS_TEXT 1024
size_t enroll_facts_format(const struct enroll_facts *f, char buf[static ENROLL_FACTS_TEXT]);
/* The name of the first fact that both have and that differs; NULL: the same machine. */
const char *enroll_facts_differ(const struct enroll_facts *held, const struct enroll_facts *now);

#endif
