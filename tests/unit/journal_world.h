/* SPDX-License-Identifier: Apache-2.0 */
/* A journal in a folder of its own, and batches that continue it, for tests of what becomes of it. */
#ifndef TESTS_UNIT_JOURNAL_WORLD_H
#define TESTS_UNIT_JOURNAL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "agent/journal.h"
#include "tests/unit/sealing.h"

#define JOURNAL_WORLD_BUDGET KiB(512) /* files of 16 KiB */

struct journal_world {
	struct sealing s;
	struct journal_config c;
	struct journal *j;
	struct journal_recovery rec;
	char dir[96];
	uint8_t epochs; /* drawn so far */
	struct batch_dropped dropped[BATCH_DROPPED_MAX];
	struct error e;
};

void journal_world_begin(struct journal_world *w);
void journal_world_end(struct journal_world *w);
void journal_world_close(struct journal_world *w); /* the journal alone */
void journal_world_reopen(struct journal_world *w); /* w->rec: what recovery found */
/* One batch of n events of about 20 incompressible bytes that continues the lane; as journal_append. */
int journal_world_append(struct journal_world *w, enum batch_lane lane, uint32_t n,
			 struct seal_hash *ret_hash);
void journal_world_append_many(struct journal_world *w, enum batch_lane lane, size_t n,
			       struct seal_hash *hashes);
void journal_world_assert_frame(struct journal_world *w, enum batch_lane lane, uint64_t position,
				const struct seal_hash *hash);
void journal_world_assert_range(struct journal_world *w, enum batch_lane lane, uint64_t first,
				uint64_t last);
/* Frames that can still be read. */
size_t journal_world_readable(struct journal_world *w, enum batch_lane lane);
/* Of the file with this name, e.g. "critical-0000000000000001.jrn"; valid until the next call. */
char *journal_world_path(struct journal_world *w, const char *name);
bool journal_world_exists(struct journal_world *w, const char *name);
off_t journal_world_size(struct journal_world *w, const char *name);
/* One bit of the byte at; below 0: from the end. */
void journal_world_flip(struct journal_world *w, const char *name, off_t at);

#endif
