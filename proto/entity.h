/* SPDX-License-Identifier: Apache-2.0 */
/* process.entity_id: the process image key as text, BOOTID-PID-STARTNS-EXECID: 32 lower-case hex digits
 * and three decimals without leading zeros. One image has one text, so ids compare as bytes. */
#ifndef PROTO_ENTITY_H
#define PROTO_ENTITY_H

#include "proto/base/base.h"

#define ENTITY_BOOT_LEN 16
#define ENTITY_TEXT_MAX (32 + 1 + 10 + 1 + 20 + 1 + 20 + 1) /* with NUL */
#define ENTITY_ENCODED_LEN (ENTITY_BOOT_LEN + 4 + 8 + 8)

struct entity {
	uint8_t boot_id[ENTITY_BOOT_LEN];
	uint32_t pid;
	uint64_t start_ns; /* boottime of the process's start */
	uint64_t exec_id;
};

/* Returns buf, terminated. */
const char *entity_format(const struct entity *id, char buf[static ENTITY_TEXT_MAX]);
/* The canonical text only. -EINVAL otherwise. */
MUST_CHECK int entity_parse(const void *text, size_t len, struct entity *ret);
/* The form that index tokens hash: boot id, pid, start, exec id, little-endian. */
void entity_encode(const struct entity *id, uint8_t buf[static ENTITY_ENCODED_LEN]);
/* The same process, whichever image it ran. */
bool entity_same_process(const struct entity *a, const struct entity *b);
bool entity_equal(const struct entity *a, const struct entity *b);

#endif
