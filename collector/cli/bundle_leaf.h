/* SPDX-License-Identifier: Apache-2.0 */
/* A leaf's facts in JSON, the same in every document of a bundle. */
#ifndef CLI_BUNDLE_LEAF_H
#define CLI_BUNDLE_LEAF_H

#include "collector/cli/bundle.h"
#include "proto/json.h"

/* Into an object that is open. */
void bundle_put_leaf(struct json *j, const struct bundle_leaf *l);

#endif
