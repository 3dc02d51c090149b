/* SPDX-License-Identifier: Apache-2.0 */
/* Which program this is, and which kernel's types it met, for manifests: hashes of our own file, of the BPF
 * objects in it, of the kernel's BTF; the machine's product uuid. */
#ifndef AGENT_ORDERS_TOOL_H
#define AGENT_ORDERS_TOOL_H

#include "agent/manifest.h"

#define ORDERS_UUID_MAX 64

/* What cannot be read stays unknown. uuid: "" when the firmware says none. Cost: reads some 20 MB. */
void orders_tool_read(struct manifest_tool *ret, char ret_uuid[static ORDERS_UUID_MAX]);

#endif
