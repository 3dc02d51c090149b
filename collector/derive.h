/* SPDX-License-Identifier: Apache-2.0 */
/* What the field's tools need beside an exhibit and what can be made from the exhibit itself. It goes into a
 * folder of its own and is never part of the evidence: made again from the same items it is the same bytes. */
#ifndef COLLECTOR_DERIVE_H
#define COLLECTOR_DERIVE_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define DERIVE_VOLATILITY "volatility"

/* For an image of memory: dir/volatility/symbols/kernel.json.gz from the items vmlinux.btf, kallsyms.txt,
 * version.txt and vmcoreinfo.txt in dir, dir/volatility/plugins/exhibit_la57.py where the host used five
 * levels of page tables, dir/volatility/README.txt with the command. An existing folder is made anew.
 * -ENOENT: an input is not there; those of isf_write. */
MUST_CHECK int derive_memory(const char *dir, struct error *e);

#endif
