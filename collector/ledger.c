/* SPDX-License-Identifier: Apache-2.0 */
/* Appending and opening; what the ledger's thread does is in ledger_thread.c, questions in ledger_ask.c. */
#include "collector/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/ledger_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/ledger_cert.h"

#define CHECKPOINT_MS 1000

/* ---- appending ---- */

/* One call's entries, waiting for the group that takes them. */
struct waiter {
	struct waiter *next;
	struct leaf **leaves;
	size_t n;
	uint64_t first;
	bool done;
	int result;
	struct error why;
};

static void free_leaves(struct leaf **leaves, size_t n)
{
	for (size_t i = 0; leaves && i < n; i++)
		free(leaves[i]);
	free(leaves);
}

static int pack(const Exhibit__V1__LedgerEntry *entry, struct leaf **ret, struct error *e)
{
	Exhibit__V1__LedgerEntry m = *entry;
	size_t len;

	m.version = 1;
	if (m.wall_ns == 0)
		m.wall_ns = clock_wall_ns();
	len = exhibit__v1__ledger_entry__get_packed_size(&m);
	if (len >= LEDGER_ENTRY_MAX)
		return error_set(e, -EMSGSIZE, "a ledger entry of %zu bytes is too long", len);
	*ret = malloc(sizeof(**ret) + len);
	if (!*ret)
		return error_set(e, -ENOMEM, "cannot append to the ledger: %m");
	(*ret)->len = (uint32_t)exhibit__v1__ledger_entry__pack(&m, (*ret)->bytes);
	return 0;
}

static int pack_all(const Exhibit__V1__LedgerEntry *const *entries, size_t n, struct waiter *w,
		    struct error *e)
{
	int r = 0;

	if (n == 0 || n > LEDGER_GROUP_MAX)
		return error_set(e, -EINVAL, "%zu entries are not between 1 and %d", n,
				 LEDGER_GROUP_MAX);
	w->leaves = calloc(n, sizeof(*w->leaves));
	if (!w->leaves)
		return error_set(e, -ENOMEM, "cannot append to the ledger: %m");
	w->n = n;
	for (size_t i = 0; i < n && r == 0; i++)
		r = pack(entries[i], &w->leaves[i], e);
	if (r < 0)
		free_leaves(w->leaves, n);
	return r;
}

/* The waiters that one write takes, off the queue. Under the lock. */
static struct waiter *take_waiters(struct ledger *l, size_t *ret_n)
{
	struct waiter *first = l->waiting, **at = &l->waiting;

	*ret_n = 0;
	while (*at && (*ret_n == 0 || *ret_n + (*at)->n <= LEDGER_GROUP_MAX)) {
		*ret_n += (*at)->n;
		at = &(*at)->next;
	}
	l->waiting = *at;
	if (!l->waiting)
		l->waiting_end = &l->waiting;
	*at = NULL;
	return first;
}

static void gather(const struct waiter *group, struct leaf **all)
{
	for (; group; group = group->next) {
		memcpy(all, group->leaves, group->n * sizeof(struct leaf *));
		all += group->n;
	}
}

/* A file that failed is left; what was durable of it counts. Under leading, without the lock. */
static int writable_file(struct ledger *l, struct error *e)
{
	struct pending *p;
	int r;

	if (l->pending && !pending_broken(l->pending))
		return 0;
	r = pending_make(l->dirfd, l->next_seq, &p, e);
	l->next_seq++;
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&l->lock);
	pending_close(l->pending);
	l->pending = p;
	(void)pthread_mutex_unlock(&l->lock);
	return 0;
}

/* Room for n more leaves, in memory and in what checkpoints may lag behind. Under the lock. */
static int make_room(struct ledger *l, size_t n, struct error *e)
{
	if (l->fresh.bytes > LEDGER_FRESH_MAX)
		return error_set(e, -ENOSPC,
				 "%zu leaves wait for a checkpoint, which cannot be written: %s",
				 l->fresh.n, l->failed.text);
	if (leaves_reserve(&l->fresh, n) < 0)
		return error_set(e, -ENOMEM, "cannot append to the ledger: out of memory");
	return 0;
}

/* Write one group. The lock is held on entry and exit, not across the I/O. */
static void lead(struct ledger *l)
{
	size_t n;
	struct waiter *group = take_waiters(l, &n);
	struct leaf **all = calloc(n, sizeof(*all));
	uint64_t first = l->fresh.first + l->fresh.n;
	struct error e = { 0 };
	int r = -ENOMEM;

	if (all)
		r = make_room(l, n, &e);
	else
		(void)error_set(&e, r, "cannot append to the ledger: %m");
	l->leading = true;
	(void)pthread_mutex_unlock(&l->lock);
	if (r == 0) {
		gather(group, all);
		r = writable_file(l, &e);
	}
	if (r == 0)
		r = pending_append(l->pending, first, all, n, &e);
	(void)pthread_mutex_lock(&l->lock);
	l->leading = false;
	for (size_t i = 0; i < n && r == 0; i++)
		leaves_push(&l->fresh, all[i]);
	if (r == 0 && l->fresh_since_ns == 0)
		l->fresh_since_ns = clock_monotonic_ns();
	for (struct waiter *w = group; w; w = w->next) {
		if (r < 0)
			free_leaves(w->leaves, w->n);
		else
			free(w->leaves);
		w->first = first;
		first += w->n;
		w->result = r;
		w->why = e;
		w->done = true;
	}
	free(all);
	(void)pthread_cond_broadcast(&l->changed);
}

int ledger_append(struct ledger *l, const Exhibit__V1__LedgerEntry *const *entries, size_t n,
		  uint64_t *ret_first, struct error *e)
{
	struct waiter w = { 0 };
	int r = pack_all(entries, n, &w, e);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&l->lock);
	*l->waiting_end = &w;
	l->waiting_end = &w.next;
	while (!w.done) {
		if (l->leading || l->waiting == NULL)
			(void)pthread_cond_wait(&l->changed, &l->lock);
		else
			lead(l);
	}
	(void)pthread_mutex_unlock(&l->lock);
	if (w.result < 0 && e)
		*e = w.why;
	if (w.result == 0 && ret_first)
		*ret_first = w.first;
	return w.result;
}

/* ---- opening ---- */

static int load_certificate(struct ledger *l, const struct ledger_config *c,
			    const uint8_t public[static SEAL_PUBLIC_LEN], struct error *e)
{
	int r;

	if (!c->cert_file)
		return note_key_make(c->origin, public, &l->note_key, e);
	r = ledger_cert_load(c->cert_file, &l->certificate, &l->certificate_len, e);
	if (r == 0)
		r = ledger_cert_check(l->certificate, l->certificate_len, NULL, 0, &l->note_key, e);
	if (r == 0 && memcmp(l->note_key.public, public, SEAL_PUBLIC_LEN) != 0)
		r = error_set(e, -EINVAL, "the certificate '%s' is of another key than '%s'",
			      c->cert_file, c->key_file);
	if (r < 0)
		error_hint(
			e,
			"'exhibit-collector certs init --dir DIR' makes the ledger's key and certificate");
	return r;
}

static int load_keys(struct ledger *l, const struct ledger_config *c, struct error *e)
{
	uint8_t public[SEAL_PUBLIC_LEN];
	int r = seal_key_load(c->key_file, &l->key, e);

	if (r < 0)
		return r;
	seal_key_public(l->key, public);
	return load_certificate(l, c, public, e);
}

/* There has been a log, and its checkpoint is gone: to begin anew would fork it. */
static int check_nothing_is_here(struct ledger *l, struct error *e)
{
	if (l->fresh.n == 0 && faccessat(l->dirfd, "tile", F_OK, 0) == 0) {
		(void)error_set(
			e, -EBADMSG,
			"there are tiles in '%s', but no checkpoint: a log without it cannot go on",
			l->dir);
		error_hint(e, "put 'checkpoint' back from a copy of the same or a later time");
		return -EBADMSG;
	}
	return 0;
}

static int load_checkpoint(struct ledger *l, struct checkpoint *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *note = NULL;
	size_t len;
	int r = files_read_at(l->dirfd, "checkpoint", LEDGER_CHECKPOINT_MAX, &note, &len, e);

	*ret = (struct checkpoint){ 0 };
	if (r == -ENOENT)
		return r;
	if (r == 0)
		r = checkpoint_open(&l->note_key, (char *)note, len, ret, e);
	if (r < 0) {
		(void)error_wrap(e, r, "the ledger's checkpoint in '%s' does not count", l->dir);
		return r == -ENOKEY ? -EBADMSG : r;
	}
	l->note = (char *)TAKE(note);
	return 0;
}

static int load(struct ledger *l, struct error *e)
{
	struct error why = { 0 };
	struct checkpoint c;
	uint64_t last = 0;
	int r = load_checkpoint(l, &c, &why);
	bool none = r == -ENOENT;

	if (r < 0 && !none) {
		*e = why;
		return r;
	}
	if (!none) {
		r = tiles_edge_load(l->dirfd, c.size, &c.root, &l->edge, e);
		if (r < 0)
			return error_wrap(e, r == -ENOENT ? -EBADMSG : r,
					  "the ledger in '%s' is damaged", l->dir);
	}
	l->size = c.size;
	r = pending_read_all(l->dirfd, c.size, &l->fresh, &last, e);
	l->next_seq = last + 1;
	if (r == 0 && none)
		r = check_nothing_is_here(l, e);
	if (r == 0 && l->fresh.n > 0)
		l->fresh_since_ns = clock_monotonic_ns();
	return r;
}

static void ledger_release(struct ledger *l)
{
	ledger_index_close(l->index);
	pending_close(l->pending);
	leaves_release(&l->fresh);
	tiles_edge_release(&l->edge);
	tiles_edge_release(&l->work);
	seal_key_free(l->key);
	(void)pthread_mutex_destroy(&l->lock);
	(void)pthread_mutex_destroy(&l->told);
	(void)pthread_cond_destroy(&l->changed);
	close_fd(&l->dirfd);
	free(l->certificate);
	free(l->note);
	free(l->dir);
	free(l);
}

static int open_folder(struct ledger *l, const struct ledger_config *c, struct error *e)
{
	int r = files_mkdirs(c->dir, 0755, e);

	if (r < 0)
		return r;
	l->dirfd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dirfd < 0)
		return error_set(e, -errno, "cannot open the ledger's folder '%s': %m", c->dir);
	l->dir = strdup(c->dir);
	if (!l->dir || tiles_edge_init(&l->edge) < 0 || tiles_edge_init(&l->work) < 0)
		return error_set(e, -ENOMEM, "cannot open the ledger: %m");
	return 0;
}

static int start(struct ledger *l, struct error *e)
{
	int r = -pthread_create(&l->thread, NULL, ledger_thread, l);

	if (r < 0)
		return error_set(e, r, "cannot start the ledger's thread: %m");
	(void)pthread_setname_np(l->thread, "ledger");
	return 0;
}

int ledger_open(const struct ledger_config *c, struct ledger **ret, struct error *e)
{
	struct ledger *l = calloc(1, sizeof(*l));
	pthread_condattr_t attr;
	int r;

	if (!l)
		return error_set(e, -ENOMEM, "cannot open the ledger: %m");
	l->dirfd = -1;
	l->rebuild = -1;
	l->waiting_end = &l->waiting;
	l->checkpoint_ms = c->checkpoint_ms ? c->checkpoint_ms : CHECKPOINT_MS;
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)pthread_mutex_init(&l->told, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&l->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	r = open_folder(l, c, e);
	if (r == 0)
		r = load_keys(l, c, e);
	if (r == 0)
		r = load(l, e);
	if (r == 0)
		r = ledger_index_open(c->dir, l->dirfd, l->size, &l->index, e);
	if (r == 0)
		r = start(l, e);
	if (r < 0) {
		ledger_release(l);
		return r;
	}
	*ret = l;
	return 0;
}

void ledger_close(struct ledger *l)
{
	if (!l)
		return;
	(void)pthread_mutex_lock(&l->lock);
	l->closing = true;
	(void)pthread_cond_broadcast(&l->changed);
	(void)pthread_mutex_unlock(&l->lock);
	(void)pthread_join(l->thread, NULL);
	ledger_release(l);
}

void ledger_set_rebuild(struct ledger *l, int64_t leaf)
{
	l->rebuild = leaf;
}

int64_t ledger_rebuild(const struct ledger *l)
{
	return l->rebuild;
}

const struct note_key *ledger_key(const struct ledger *l)
{
	return &l->note_key;
}

const uint8_t *ledger_certificate(const struct ledger *l, size_t *ret_len)
{
	*ret_len = l->certificate_len;
	return l->certificate;
}
