/* SPDX-License-Identifier: Apache-2.0 */
/* What an examiner needs to make sense of an image of memory, as the kernel gives it: its types, symbols, notes. They
 * go before the image, so that a broken transfer is still of use. */
#ifndef ACQUIRE_MEMORY_INPUTS_H
#define ACQUIRE_MEMORY_INPUTS_H

#include "agent/acquire/acquire.h"

/* note: VMCOREINFO of note_len bytes; NULL: the source does not tell it. What is missing is told of, and is no error.
 * -ECANCELED: the order's limits ended here; the item that was under way says so. */
MUST_CHECK int memory_inputs_take(const struct acquire_request *r, struct output *o,
				  const char *note, size_t note_len, struct error *e);

#endif
