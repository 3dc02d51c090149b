/* SPDX-License-Identifier: Apache-2.0 */
/* A symbol file for Volatility 3 (its schema 6.2.0, "intermediate symbol format"), made from what a host told
 * of its own kernel: no debug package, no compiler. Pure, streaming: the same inputs give the same bytes. */
#ifndef COLLECTOR_ISF_H
#define COLLECTOR_ISF_H

#include <stdio.h>

#include "proto/base/base.h"
#include "proto/base/error.h"

#define ISF_BANNER_MAX KiB(4)

/* As acquired with the image; borrowed, all hostile. */
struct isf_inputs {
	const void *btf, *kallsyms, *vmcoreinfo, *banner; /* banner: /proc/version */
	size_t btf_len, kallsyms_len, vmcoreinfo_len, banner_len;
	/* Name dwarf2json as the producer, as Volatility's hidden_modules demands (it refuses all others);
	 * ours then stands under "generator". */
	bool as_dwarf2json;
};

/* JSON to out (borrowed; ask ferror at the end). Errors before anything is written: those of isf_btf_open and
 * isf_symbols_new, -EBADMSG for a banner that is none. -EIO: out. */
MUST_CHECK int isf_write(const struct isf_inputs *in, FILE *out, struct error *e);
/* The same as a gzip file (zlib; no time or name inside), which Volatility reads as NAME.json.gz. -EEXIST. */
MUST_CHECK int isf_write_file(const struct isf_inputs *in, const char *path, struct error *e);

#endif
