/* SPDX-License-Identifier: Apache-2.0 */
/* How manifests write values: text of any bytes, numbers that every reader of JSON takes, protobuf messages
 * by their descriptors. */
#ifndef AGENT_MANIFEST_JSON_H
#define AGENT_MANIFEST_JSON_H

#include "order.pb-c.h"
#include "proto/json.h"
#include "proto/seal.h"

/* NUL, which many readers refuse even escaped, is shown as U+2400. max: longer is cut, and "..." added. */
void manifest_put_text(struct json *j, const char *key, const void *data, size_t len, size_t max);
/* A number as far as readers take it exactly (2^63 - 1), else text. */
void manifest_put_u64(struct json *j, const char *key, uint64_t v);
void manifest_put_hex(struct json *j, const char *key, const void *data, size_t len);
/* An object of all fields that are set (not zero, not empty). NULL: null. */
void manifest_put_message(struct json *j, const char *key, const ProtobufCMessage *m);

#endif
