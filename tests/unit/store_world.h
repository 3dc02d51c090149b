/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a folder of its own, and hosts that seal real batches into it. An entry of these batches is
 * a word, and its token is the word's hash. Failures end the test through cmocka. */
#ifndef TESTS_UNIT_STORE_WORLD_H
#define TESTS_UNIT_STORE_WORLD_H

#include "collector/store.h"

#define WORLD_ITEMS_MAX 64
#define WORLD_OFFSET 1000000000000LL /* wall minus boottime */

/* One chain of one host. */
struct world_stream {
	const char *tenant, *host;
	uint8_t boot, epoch;
	enum batch_lane lane;
	uint64_t number, sequence; /* last used */
	bool has_previous;
	struct seal_hash previous;
};

struct world_item {
	uint8_t *bytes;
	struct arena *arena;
	struct batch_view view;
	struct batch_tombstone tombstone;
	struct seal_hash hash;
	uint64_t *tokens;
	size_t n_tokens;
};

struct world {
	char dir[64];
	struct seal_key *key;
	struct batch_sealer *sealer;
	struct store_config config; /* may be changed before world_open */
	struct store *store;
	struct store_item items[WORLD_ITEMS_MAX]; /* to be put */
	struct world_item behind[WORLD_ITEMS_MAX];
	size_t n;
	uint64_t stored; /* calls of on_stored */
	int64_t now_ns; /* received_ns of what is made */
	struct error error; /* of the last call */
};

struct world *world_new(void);
/* Closes, removes the folder. */
void world_free(struct world *w);
void world_open(struct world *w);
void world_close(struct world *w);
void world_reopen(struct world *w);

struct world_stream world_stream(const char *host, uint8_t boot, enum batch_lane lane);
/* Seal the stream's next batch; words: space-separated entries, one event each, at boottime_s seconds.
 * It waits in items. Returns its place there. */
size_t world_batch(struct world *w, struct world_stream *s, uint64_t boottime_s, const char *words);
/* A tombstone for the next n numbers. */
size_t world_tombstone(struct world *w, struct world_stream *s, uint64_t boottime_s, size_t n);
size_t world_host_record(struct world *w, const char *tenant, const char *host, uint8_t variant);
/* Put what waits; returns store_put's result. Items stay readable until the next world_batch... */
int world_put(struct world *w);
/* Put, and every one of them has this result. */
void world_put_all(struct world *w, enum store_result result);
/* One batch, stored. */
void world_store(struct world *w, struct world_stream *s, uint64_t boottime_s, const char *words);

/* How many references a question about one word gives; NULL: no filter. Each is read, parsed and
 * compared with its reference. */
size_t world_find(struct world *w, const char *tenant, const char *host, const char *word);
struct store_stream world_view(struct world *w, const struct world_stream *s);
/* Faults that check finds; the store must be closed. first: sentence of the first one. */
uint64_t world_check(struct world *w, char first[static 1024]);

/* The n-th file (by name) of a tenant's folder that ends in suffix, as a path. false: there is none. */
bool world_file(struct world *w, const char *tenant, const char *suffix, size_t n,
		char path[static 256]);
size_t world_files(struct world *w, const char *tenant, const char *suffix);
void world_flip(const char *path, long offset, uint8_t bits); /* negative: from the end */
void world_cut(const char *path, long bytes); /* from the end */
int world_tokenize(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
		   struct arena *a, uint64_t **ret_tokens, size_t *ret_n, struct error *e);
uint64_t world_token(const char *word);

/* A test as a row: played in a world of its own. */
struct world_scene {
	const char *name;
	void (*play)(struct world *w);
};
#define SCENE(fn)                                                                                  \
	{                                                                                          \
#fn, fn                                                                            \
	}
void world_play(void **state);

#endif
