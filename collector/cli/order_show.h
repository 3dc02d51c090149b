/* SPDX-License-Identifier: Apache-2.0 */
/* Orders and their steps for people and for programs. */
#ifndef CLI_ORDER_SHOW_H
#define CLI_ORDER_SHOW_H

#include "collector/cli/outcome.h"
#include "proto/order.h"

#define ORDER_ID_TEXT (2 * ORDER_ID_LEN + 1)

const char *order_id_text(const ProtobufCBinaryData *id, char buf[static ORDER_ID_TEXT]);
/* Hex digits, the beginning of an id. ret: ORDER_ID_TEXT bytes, lower case. false: not hex, or too long. */
MUST_CHECK bool order_id_prefix(const char *text, char ret[static ORDER_ID_TEXT]);
bool order_state_is_over(Exhibit__V1__OrderState state);
enum color order_state_color(Exhibit__V1__OrderState state);
/* "pid 42", "container 3f..", "whole host" */
const char *order_target_text(const Exhibit__V1__Order *o, char *buf, size_t size);
/* One line of JSON: a step, with what is known of its order (NULL: nothing more) and the manifest of its exhibit
 * (order_manifest.h; NULL: none). */
void order_step_json(FILE *out, const Exhibit__V1__Order *o, const Exhibit__V1__OrderStep *step,
		     const char *manifest);
/* What stands behind the state in one line: reason, bytes, exhibit. */
void order_step_note(const Exhibit__V1__OrderStep *step, char *buf, size_t size);

#endif
