/* SPDX-License-Identifier: Apache-2.0 */
/* What an acquirer gives up before it looks at anything: every capability but those of its kind, new
 * privileges, starting programs, making or changing files, network sockets (packets: all but AF_PACKET). */
#ifndef ACQUIRE_CONFINE_H
#define ACQUIRE_CONFINE_H

#include "agent/acquire/acquire.h"

MUST_CHECK int confine(const struct acquire_kind *kind, struct error *e);

#endif
