/* SPDX-License-Identifier: Apache-2.0 */
/* What the types of a BTF are called in a symbol file, which wants one definition for each name: a type
 * without a name has that of the first typedef for it, else unnamed_ID; of several with one name the one
 * with the most members counts. Pure. */
#ifndef COLLECTOR_ISF_NAMES_H
#define COLLECTOR_ISF_NAMES_H

#include "collector/isf_btf.h"

#define ISF_NAME_MAX 24 /* of a made name, with NUL */

enum isf_space { ISF_SPACE_NONE, ISF_SPACE_BASE, ISF_SPACE_USER, ISF_SPACE_ENUM };

struct isf_names;

/* b: borrowed as long as ret lives. -ENOMEM. */
MUST_CHECK int isf_names_new(const struct isf_btf *b, struct isf_names **ret, struct error *e);
void isf_names_free(struct isf_names *n); /* NULL allowed */
static inline void isf_names_free_ptr(struct isf_names **n)
{
	isf_names_free(*n);
}
/* Where types of this kind stand: base types, user types (structures, unions), enumerations, nowhere. */
enum isf_space isf_space_of(enum isf_btf_kind kind);
/* buf: for a made name. Never NULL. */
const char *isf_name(const struct isf_names *n, uint32_t id, char buf[static ISF_NAME_MAX]);
/* Of all types with its name and space, this one counts. */
bool isf_chosen(const struct isf_names *n, uint32_t id);
/* The one that counts; 0: none has this name. */
uint32_t isf_find(const struct isf_names *n, enum isf_space space, const char *name);

#endif
