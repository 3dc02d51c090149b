/* SPDX-License-Identifier: Apache-2.0 */
/* JSON of hosts and of our own files, by jansson, which calls a lack of memory a syntax error: what is whole must not
 * pass for torn because of it. Any thread. */
#ifndef COLLECTOR_VAULT_JSON_H
#define COLLECTOR_VAULT_JSON_H

#include <jansson.h>

#include "proto/base/base.h"

/* 0: ret is set (json_decref). -EBADMSG: why says what; -ENOMEM. A key that stands twice is refused. why may be NULL. */
MUST_CHECK int vault_json_load(const void *data, size_t len, json_t **ret, json_error_t *why);

#endif
