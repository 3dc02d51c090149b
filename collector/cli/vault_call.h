/* SPDX-License-Identifier: Apache-2.0 */
/* What exhibits, fetch and hold share: which exhibits are meant, and how one is shown. */
#ifndef CLI_VAULT_CALL_H
#define CLI_VAULT_CALL_H

#include "collector/cli/outcome.h"
#include "collector/cli/screen.h"
#include "collector/vault.h"

#define VAULT_PATH_EXHIBITS "/exhibit.v1.Vault/Exhibits"
#define VAULT_PATH_FETCH "/exhibit.v1.Vault/Fetch"
#define VAULT_PATH_HOLD "/exhibit.v1.Vault/Hold"

struct exhibit_list {
	size_t n, size;
	Exhibit__V1__ExhibitInfo **at; /* owned */
};

void exhibit_list_release(struct exhibit_list *l);
/* Ask `path` (whose answer is a stream of ExhibitInfo) and collect. */
MUST_CHECK int exhibit_list_ask(const struct args *a, const char *path, const void *question,
				struct exhibit_list *ret, struct error *e);
/* The one exhibit whose id begins with text (at least 4 digits). -ENOENT, -EINVAL (none, several). */
MUST_CHECK int exhibit_find(const struct args *a, const char *text, struct exhibit_list *ret,
			    struct error *e);
/* As a table on a terminal, else JSON lines. */
void exhibit_list_show(const struct args *a, const struct exhibit_list *l, struct outcome *o);
void exhibit_json(FILE *out, const Exhibit__V1__ExhibitInfo *info);

#endif
