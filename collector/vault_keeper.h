/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that calls vault_tick every few seconds. */
#ifndef COLLECTOR_VAULT_KEEPER_H
#define COLLECTOR_VAULT_KEEPER_H

#include "collector/vault.h"

struct vault_keeper;

MUST_CHECK int vault_keeper_start(struct vault *v, struct vault_keeper **ret, struct error *e);
/* Waits for what it is doing. Before vault_close; NULL allowed. */
void vault_keeper_stop(struct vault_keeper *k);

#endif
