/* SPDX-License-Identifier: Apache-2.0 */
/* Which boot of which machine this is. */
#ifndef AGENT_BOOTID_H
#define AGENT_BOOTID_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define BOOTID_FILE "/proc/sys/kernel/random/boot_id"
#define BOOTID_LEN 16

/* text: 8-4-4-4-12 hex digits with dashes, perhaps a newline. Pure. -EINVAL. */
MUST_CHECK int bootid_parse(const char *text, size_t len, uint8_t ret_id[static BOOTID_LEN]);
MUST_CHECK int bootid_read(uint8_t ret_id[static BOOTID_LEN], struct error *e);

#endif
