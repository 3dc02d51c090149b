/* SPDX-License-Identifier: Apache-2.0 */
/* Whether this host's papers fit together: a host record of another host, or of another sealing key,
 * would have the collector refuse everything for ever. Told at the start instead. */
#ifndef AGENT_INTRODUCTION_H
#define AGENT_INTRODUCTION_H

#include "proto/batch.h"

#define INTRODUCTION_RECORD_MAX KiB(8)

/* record: a SignedHostRecord, its signature left to the collector. -EINVAL with a sentence. Pure. */
MUST_CHECK int introduction_check(const void *record, size_t len, const struct batch_name *tenant,
				  const struct batch_name *host_id,
				  const uint8_t sealing_key[static SEAL_PUBLIC_LEN],
				  struct error *e);

#endif
