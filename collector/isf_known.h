/* SPDX-License-Identifier: Apache-2.0 */
/* Types of the kernel's variables that its BTF does not tell (it has those of per-CPU variables only): facts of
 * the kernel's own source, for the symbols that Volatility's plugins dereference. */
#ifndef COLLECTOR_ISF_KNOWN_H
#define COLLECTOR_ISF_KNOWN_H

#include "collector/isf_names.h"

#define ISF_PLAIN (-1) /* no array */
#define ISF_TO_NEXT (-2) /* an array up to the next symbol */

struct isf_known {
	const char *symbol; /* a leading '*': any symbol that ends so */
	enum isf_space space;
	const char *type;
	unsigned int pointers; /* in front of it */
	int count; /* of an array, or ISF_* */
	unsigned int element; /* bytes, for ISF_TO_NEXT; 0: sizeof the type */
};

/* NULL: none. */
const struct isf_known *isf_known_find(const char *symbol);

#endif
