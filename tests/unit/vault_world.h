/* SPDX-License-Identifier: Apache-2.0 */
/* A vault in a folder of its own with a clock and a ledger of the test's. Failures end the test. */
#ifndef TESTS_UNIT_VAULT_WORLD_H
#define TESTS_UNIT_VAULT_WORLD_H

#include "collector/vault.h"
#include "collector/vault_keys.h"

#define WORLD_DAY_MS (24 * 3600 * 1000ULL)

/* What another thread does while a leaf is appended. */
enum vault_world_during { VAULT_WORLD_NOTHING, VAULT_WORLD_HOLD, VAULT_WORLD_TICK };

struct vault_world {
	char dir[64]; /* the vault is dir/vault */
	char vault_dir[80];
	struct vault_config config; /* may be changed before vault_world_open */
	struct vault *v;
	struct vault_begin begin; /* acme, web-1, an order for memory */
	struct vault_upload *u;
	struct vault_receipt receipt;
	struct vault_durable durable;
	struct error error; /* of the last call */
	struct seal_key *key; /* of web-1 */
	struct vault_keys keys; /* what a check knows: that one */
	/* The ledger. */
	int ledger_fails; /* errno of the next calls; 0: none */
	unsigned int leaves;
	Exhibit__V1__LedgerKind kinds[64];
	char text[1200]; /* of the newest leaf */
	enum vault_world_during during; /* of the next leaf alone */
	int during_result;
};

struct vault_world *vault_world_new(void);
void vault_world_free(struct vault_world *w);
void vault_world_open(struct vault_world *w);
void vault_world_close(struct vault_world *w); /* as a kill would: what is unsynced is dropped */
extern int64_t vault_world_now_ns;

/* Begin and expect r. */
void vault_world_begin(struct vault_world *w, int r);
/* `len` bytes of the item's pattern at offset; zeros where the pattern of a whole MiB with an odd number is asked
 * for. */
void vault_world_bytes(uint32_t item, uint64_t offset, uint8_t *out, size_t len);
/* An item of so many bytes, in chunks, with its end. */
void vault_world_item(struct vault_world *w, uint32_t item, const char *name, uint64_t bytes);
int vault_world_chunk(struct vault_world *w, uint32_t item, uint64_t offset, size_t len);
void vault_world_chunks(struct vault_world *w, uint32_t item, uint64_t from, uint64_t to);
int vault_world_end(struct vault_world *w, uint32_t item, uint64_t bytes);
void vault_world_hash(uint32_t item, uint64_t bytes, struct seal_hash *ret);
/* {"exhibit_id":..,"order_id":..,"items":[ITEMS]EXTRA}; items: "1 memory.lime 1048576, 2 ..." malloc'ed. */
char *vault_world_manifest(const struct vault_world *w, const char *items, const char *extra);
int vault_world_seal(struct vault_world *w, const char *manifest);
/* The exhibit as the vault shows it. */
Exhibit__V1__ExhibitInfo *vault_world_info(struct vault_world *w);
/* DIR/vault/acme/sub, ID when sub ends in a slash, then leaf. */
const char *vault_world_path(struct vault_world *w, const char *sub, const char *leaf);
/* Faults that a check finds; the vault must be closed. first: sentence of the first. */
uint64_t vault_world_check(struct vault_world *w, char first[static 2048]);

/* An exhibit of one item, sealed. */
void vault_world_whole(struct vault_world *w, const char *name, uint64_t bytes);
/* Its state, and what its reason holds. */
void vault_world_state_is(struct vault_world *w, Exhibit__V1__ExhibitState state,
			  const char *reason);
/* A test's setup: *state is an open world, which the test frees. */
int vault_world_setup(void **state);
#define ADD_SCENE(t, fn)                                                                           \
	(ADD_TEST((t), fn), (void)((t)->test[(t)->n - 1].setup_func = vault_world_setup))

#define SEALED EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED
#define INCOMPLETE EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_INCOMPLETE
#define ARRIVING EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING

#endif
