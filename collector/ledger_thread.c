/* SPDX-License-Identifier: Apache-2.0 */
/* From pending leaves to tiles and a signed checkpoint, and then to whoever wants to know. A checkpoint is signed
 * only over leaves that are durable, after the tiles that give its root: so whatever is lost in a crash, the
 * next start makes the same tree, or a longer one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "collector/ledger_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define RETRY_MS 1000

/* Wait until there is something to do; when: monotonic, 0: as long as it takes. Under the lock. */
static void wait_until(struct ledger *l, uint64_t when_ns)
{
	struct timespec at = { .tv_sec = (time_t)(when_ns / NSEC_PER_SEC),
			       .tv_nsec = (long)(when_ns % NSEC_PER_SEC) };

	if (when_ns == 0)
		(void)pthread_cond_wait(&l->changed, &l->lock);
	else
		(void)pthread_cond_timedwait(&l->changed, &l->lock, &at);
}

/* Half of the time is for writing it. */
static uint64_t due_ns(const struct ledger *l)
{
	return l->fresh_since_ns + l->checkpoint_ms * NSEC_PER_MSEC / 2;
}

static bool asked(const struct ledger *l)
{
	return l->closing || l->wanted > l->size;
}

static int make_note(struct ledger *l, const struct tiles_edge *t, char **ret, struct error *e)
{
	struct checkpoint c = { .size = t->size };
	char text[CHECKPOINT_TEXT_MAX], note[LEDGER_CHECKPOINT_MAX];
	size_t len;
	int r = tiles_edge_root(t, &c.root, e);

	(void)snprintf(c.origin, sizeof(c.origin), "%s", l->note_key.name);
	len = checkpoint_format(&c, text);
	if (r == 0)
		r = note_sign(&l->note_key, l->key, text, len, note, sizeof(note), &len, e);
	if (r < 0)
		return r;
	*ret = strdup(note);
	return *ret ? 0 : error_set(e, -ENOMEM, "cannot make a checkpoint: %m");
}

static int store_note(const struct ledger *l, const char *note, struct error *e)
{
	char path[4200];

	if (snprintf(path, sizeof(path), "%s/checkpoint", l->dir) >= (int)sizeof(path))
		return error_set(e, -ENAMETOOLONG, "the folder '%.100s...' is too long", l->dir);
	return files_replace(path, note, strlen(note), 0644, e);
}

/* The leaves that this checkpoint takes: borrowed, they stay in fresh until it is written. Under the lock. */
static struct leaf **borrow(const struct ledger *l, size_t *ret_n)
{
	struct leaf **all = malloc((l->fresh.n + 1) * sizeof(*all));

	*ret_n = l->fresh.n;
	if (all && l->fresh.n > 0)
		memcpy(all, l->fresh.at, l->fresh.n * sizeof(*all));
	return all;
}

/* A new file for what comes, so that the old one can go once this checkpoint holds all of it. Under the lock, while
 * nobody leads; returns the number below which files are not needed then. */
static uint64_t rotate(struct ledger *l)
{
	struct pending *p = NULL;
	struct error e = { 0 };

	/* Who leads may be about to make a file. */
	if (!l->pending)
		return l->leading ? 0 : l->next_seq;
	if (l->leading || pending_bytes(l->pending) < LEDGER_ROTATE_BYTES)
		return pending_seq(l->pending);
	if (pending_make(l->dirfd, l->next_seq++, &p, &e) < 0)
		return pending_seq(l->pending); /* the old one serves on */
	pending_close(l->pending);
	l->pending = p;
	return pending_seq(p);
}

/* What others see changes here. Under the lock. */
static void publish(struct ledger *l, char *note, size_t n)
{
	free(l->note);
	l->note = note;
	l->size = l->work.size;
	leaves_drop(&l->fresh, n);
	l->fresh_since_ns = l->fresh.n > 0 ? clock_monotonic_ns() : 0;
}

static int write_checkpoint(struct ledger *l, struct leaf *const *leaves, size_t n, char **ret_note,
			    struct error *e)
{
	int r;

	tiles_edge_copy(&l->work, &l->edge);
	r = tiles_write(l->dirfd, &l->work, leaves, n, e);
	if (r == 0)
		r = make_note(l, &l->work, ret_note, e);
	if (r == 0)
		r = store_note(l, *ret_note, e);
	return r < 0 ? error_wrap(e, r, "cannot write the ledger's checkpoint") : 0;
}

static void after(struct ledger *l, uint64_t old, uint64_t seq)
{
	struct error e = { 0 };

	tiles_tidy(l->dirfd, old, l->edge.size);
	pending_remove(l->dirfd, seq);
	if (ledger_index_grow(l->index, l->edge.size, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "the ledger's index does not grow", &e);
	(void)pthread_mutex_lock(&l->told);
	if (l->on_checkpoint)
		l->on_checkpoint(l->on_checkpoint_ctx);
	(void)pthread_mutex_unlock(&l->told);
}

/* Under the lock, which is let go meanwhile. */
static void checkpoint(struct ledger *l)
{
	struct error e = { 0 };
	uint64_t seq = rotate(l), old = l->size;
	char *note = NULL;
	size_t n;
	struct leaf **leaves = borrow(l, &n);
	bool before = l->failed.code == 0;
	int r = leaves ? 0 : error_set(&e, -ENOMEM, "cannot write the ledger's checkpoint: %m");

	(void)pthread_mutex_unlock(&l->lock);
	if (r == 0)
		r = write_checkpoint(l, leaves, n, &note, &e);
	free(leaves);
	if (r == 0)
		tiles_edge_copy(&l->edge, &l->work);
	else if (before)
		log_failure(LOG_LEVEL_ERROR, "no checkpoint; leaves are kept until there is one",
			    &e);
	(void)pthread_mutex_lock(&l->lock);
	if (r == 0)
		publish(l, TAKE(note), n);
	l->failed = e;
	l->tries++;
	(void)pthread_cond_broadcast(&l->changed);
	free(note);
	if (r < 0)
		return;
	(void)pthread_mutex_unlock(&l->lock);
	after(l, old, seq);
	(void)pthread_mutex_lock(&l->lock);
}

/* A first checkpoint, of nothing, when the log is made: so that its absence is never innocent. */
static bool needed(const struct ledger *l)
{
	return l->fresh.n > 0 || !l->note;
}

void *ledger_thread(void *arg)
{
	struct ledger *l = arg;

	(void)pthread_mutex_lock(&l->lock);
	for (;;) {
		uint64_t now = clock_monotonic_ns();

		if (needed(l) && (asked(l) || now >= due_ns(l))) {
			checkpoint(l);
			if (l->failed.code == 0)
				continue;
			if (l->closing)
				break;
			wait_until(l, clock_monotonic_ns() + RETRY_MS * NSEC_PER_MSEC);
		} else if (l->closing) {
			break;
		} else {
			wait_until(l, needed(l) ? due_ns(l) : 0);
		}
	}
	(void)pthread_mutex_unlock(&l->lock);
	return NULL;
}
