/* SPDX-License-Identifier: Apache-2.0 */
/* An order as an approver must see it before signing: every field that was set, out of the very bytes that are
 * signed. */
#ifndef CLI_ORDER_DESCRIBE_H
#define CLI_ORDER_DESCRIBE_H

#include <stdio.h>

#include "proto/order.h"

void order_describe(FILE *out, const Exhibit__V1__Order *o);

#endif
