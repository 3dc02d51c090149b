/* SPDX-License-Identifier: Apache-2.0 */
/* A collector's store and ledger that go to a bucket in memory, and what is made from it. Failures end the test. */
#ifndef TESTS_UNIT_ARCHIVE_WORLD_H
#define TESTS_UNIT_ARCHIVE_WORLD_H

#include "collector/archive.h"
#include "service.pb-c.h"
#include "tests/unit/fake_bucket.h"
#include "tests/unit/rpc_fixture.h"
#include "tests/unit/store_world.h"

/* Of the scene that runs. */
extern struct pki aw_pki;
extern struct fake_bucket *aw_fake;
extern struct ledger *aw_log; /* open between aw_open and aw_close */
extern struct archive *aw_archive;
extern char aw_target[100]; /* store.dir of the collector that is rebuilt */

void aw_must(int r, const struct error *e);
/* A ledger key that counts from now on: DIR/NAME.key with the order authority's certificate. */
void aw_key(const char *dir, const char *name);
void aw_open(struct world *w);
void aw_close(struct world *w);
/* One batch, with its leaf. */
void aw_store(struct world *w, struct world_stream *s, const char *words);
/* Leaves of a checkpoint over all there is. */
uint64_t aw_newest(void);
/* Everything stored so far lies in the bucket; leaves of the checkpoint that says so. */
uint64_t aw_archived(void);

int aw_rebuild(uint64_t *faults, uint64_t *size, struct error *e);
uint64_t aw_batches(void); /* that the rebuilt store has */
struct ledger *aw_ledger(void); /* the rebuilt one; to be closed */
Exhibit__V1__LedgerEntry *aw_leaf(struct ledger *l, uint64_t index); /* to be freed */
/* The archived root, as the rebuilt log gives it for that many leaves; the leaf behind says what happened. */
void aw_follows(uint64_t size);

#endif
