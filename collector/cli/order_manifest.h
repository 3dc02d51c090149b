/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of an exhibit that has just come, for whoever waited for it. */
#ifndef CLI_ORDER_MANIFEST_H
#define CLI_ORDER_MANIFEST_H

#include "collector/cli/args.h"
#include "order.pb-c.h"

/* As one line of JSON in ASCII, an object, malloc'ed. -EBADMSG: not the one whose hash the step names, or no
 * JSON object. */
MUST_CHECK int order_manifest(const struct args *a, const Exhibit__V1__OrderStep *step, char **ret,
			      struct error *e);

#endif
