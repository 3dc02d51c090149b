/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "collector/ledger_internal.h"
#include "proto/base/reader.h"

/* A partial tile goes when the next checkpoint has a longer one: then the question is asked again. */
#define TRIES 5

int ledger_checkpoint(struct ledger *l, struct error *e)
{
	uint64_t size, tries;
	int r = 0;

	(void)pthread_mutex_lock(&l->lock);
	size = l->fresh.first + l->fresh.n;
	if (size > l->wanted)
		l->wanted = size;
	/* One try may be under way that began before our leaves came. */
	tries = l->tries;
	(void)pthread_cond_broadcast(&l->changed);
	while ((l->size < size || !l->note) && (l->tries < tries + 2 || l->failed.code == 0))
		(void)pthread_cond_wait(&l->changed, &l->lock);
	if (l->size < size || !l->note) {
		r = l->failed.code;
		if (e)
			*e = l->failed;
	}
	(void)pthread_mutex_unlock(&l->lock);
	return r;
}

int ledger_newest(struct ledger *l, char **ret_note, uint64_t *ret_size, struct error *e)
{
	char *note = NULL;
	bool any;

	(void)pthread_mutex_lock(&l->lock);
	any = l->note != NULL;
	if (any)
		note = strdup(l->note);
	*ret_size = l->size;
	(void)pthread_mutex_unlock(&l->lock);
	if (!any)
		return error_set(e, -EAGAIN, "the ledger has no checkpoint yet");
	if (!note)
		return error_set(e, -ENOMEM, "cannot give the newest checkpoint: %m");
	*ret_note = note;
	return 0;
}

uint64_t ledger_size(struct ledger *l)
{
	uint64_t size;

	(void)pthread_mutex_lock(&l->lock);
	size = l->size;
	(void)pthread_mutex_unlock(&l->lock);
	return size;
}

struct question {
	bool inclusion;
	uint64_t a, size;
	struct seal_hash *ret;
	size_t *ret_n;
};

static int ask(struct ledger *l, const struct question *q, struct error *e)
{
	struct tiles_reader *t = calloc(1, sizeof(*t));
	int r = t ? -ENOENT : -ENOMEM;

	for (int i = 0; r == -ENOENT && i < TRIES; i++) {
		struct tlog_source s = tiles_source(t);

		*t = (struct tiles_reader){ .dirfd = l->dirfd, .size = ledger_size(l) };
		if (q->size > t->size)
			r = error_set(
				e, -ERANGE,
				"a proof for %llu leaves is asked for, the newest checkpoint has %llu",
				(unsigned long long)q->size, (unsigned long long)t->size);
		else
			r = q->inclusion ?
				    tlog_prove_inclusion(&s, q->a, q->size, q->ret, q->ret_n, e) :
				    tlog_prove_consistency(&s, q->a, q->size, q->ret, q->ret_n, e);
	}
	if (!t)
		(void)error_set(e, r, "cannot make a proof: %m");
	free(t);
	return r == -ENOENT ? -EBADMSG : r;
}

int ledger_consistency(struct ledger *l, uint64_t old_size, uint64_t size, struct seal_hash *ret,
		       size_t *ret_n, struct error *e)
{
	struct question q = { .a = old_size, .size = size, .ret = ret, .ret_n = ret_n };

	return ask(l, &q, e);
}

int ledger_inclusion(struct ledger *l, uint64_t index, uint64_t size, struct seal_hash *ret,
		     size_t *ret_n, struct error *e)
{
	struct question q = { true, index, size, ret, ret_n };

	return ask(l, &q, e);
}

int ledger_root(struct ledger *l, uint64_t size, struct seal_hash *ret, struct error *e)
{
	struct tiles_reader *t = calloc(1, sizeof(*t));
	int r = t ? -ENOENT : error_set(e, -ENOMEM, "cannot make a root: %m");

	for (int i = 0; r == -ENOENT && i < TRIES; i++) {
		struct tlog_source s = tiles_source(t);

		*t = (struct tiles_reader){ .dirfd = l->dirfd, .size = ledger_size(l) };
		r = size > t->size ?
			    error_set(e, -ERANGE, "the newest checkpoint has fewer leaves") :
			    tlog_root(&s, size, ret, e);
	}
	free(t);
	return r == -ENOENT ? -EBADMSG : r;
}

static int read_entry(struct ledger *l, uint64_t index, uint64_t size, uint8_t **ret,
		      size_t *ret_len, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	uint64_t tile = index / TLOG_TILE_WIDTH;
	const uint8_t *entry = NULL;
	struct reader reader;
	size_t len;
	int r = tiles_read_entries(l->dirfd, tile, tlog_tile_width(TLOG_ENTRIES, tile, size), &data,
				   &len, e);

	if (r < 0)
		return r;
	reader = reader_init(data, len);
	for (uint64_t i = 0; i <= index % TLOG_TILE_WIDTH; i++)
		entry = tiles_next_entry(&reader, ret_len);
	*ret = entry ? malloc(*ret_len + 1) : NULL;
	if (!*ret)
		return error_set(e, entry ? -ENOMEM : -EBADMSG, "cannot read leaf %llu: %m",
				 (unsigned long long)index);
	memcpy(*ret, entry, *ret_len);
	return 0;
}

int ledger_entry(struct ledger *l, uint64_t index, uint8_t **ret, size_t *ret_len, struct error *e)
{
	int r = -ENOENT;

	for (int i = 0; r == -ENOENT && i < TRIES; i++) {
		uint64_t size = ledger_size(l);

		if (index >= size)
			return error_set(e, -ENOENT, "the newest checkpoint has %llu leaves",
					 (unsigned long long)size);
		r = read_entry(l, index, size, ret, ret_len, e);
	}
	return r == -ENOENT ? -EBADMSG : r;
}

int ledger_find(struct ledger *l, const void *case_id, size_t case_len, const void *exhibit_id,
		size_t exhibit_len, uint64_t size, size_t max, uint64_t **ret, size_t *ret_n,
		struct error *e)
{
	/* The index may be behind the newest checkpoint by the moment between the two. */
	int r = ledger_index_grow(l->index, ledger_size(l), e);

	return r < 0 ? r :
		       ledger_index_find(l->index, case_id, case_len, exhibit_id, exhibit_len, size,
					 max, ret, ret_n, e);
}

void ledger_on_checkpoint(struct ledger *l, void (*fn)(void *ctx), void *ctx)
{
	(void)pthread_mutex_lock(&l->told);
	l->on_checkpoint = fn;
	l->on_checkpoint_ctx = ctx;
	(void)pthread_mutex_unlock(&l->told);
}
