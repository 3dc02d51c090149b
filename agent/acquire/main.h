/* SPDX-License-Identifier: Apache-2.0 */
/* `exhibit-agent acquire`: the process of one acquisition, which the launcher starts (launch.h) with the
 * control socket at CONTROL_FD and the payload socket at CONTROL_PAYLOAD_FD. */
#ifndef ACQUIRE_MAIN_H
#define ACQUIRE_MAIN_H

#include "proto/base/base.h"
#include "proto/base/error.h"

/* Take the request, give up what the kind does not need, acquire, report. Returns 0 also when the
 * acquisition failed and could say so. */
MUST_CHECK int acquire_process(struct error *e);

#endif
