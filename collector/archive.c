/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/archive.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "collector/archive_internal.h"
#include "collector/vault_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "proto/openssl_util.h"

#define LOOK_MS 1000
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 300000
#define RENEW_EVERY_NS (3600 * NSEC_PER_SEC)
#define RENEW_MAX 200 /* locks of one look */
#define DAY_S 86400
#define BUFFER KiB(256)

bool archive_stopping(const struct archive *a)
{
	return queue_closed(a->wake);
}

/* ---- one object ------------------------------------------------------------------------------------------- */

int archive_hash(int fd, uint64_t len, char ret[static 65], struct error *e)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();
	AUTO(free_ptr) uint8_t *buffer = malloc(BUFFER);
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (md == NULL || buffer == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash what is to be archived: out of memory");
	for (uint64_t at = 0; at < len;) {
		size_t n = len - at < BUFFER ? (size_t)(len - at) : BUFFER;

		if (pread(fd, buffer, n, (off_t)at) != (ssize_t)n)
			return error_set(e, -EIO, "cannot read what is to be archived: %m");
		if (EVP_DigestUpdate(md, buffer, n) != 1)
			return error_set(e, -ENOMEM, "cannot hash what is to be archived");
		at += n;
	}
	if (EVP_DigestFinal_ex(md, digest, NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash what is to be archived");
	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

static int64_t now_s(void)
{
	return clock_wall_ns() / (int64_t)NSEC_PER_SEC;
}

int archive_put(struct archive *a, const char *key, int fd, uint64_t len, const char *sha256,
		const char *group, bool renew, struct error *e)
{
	struct s3_lock lock = bucket_lock(a->bucket, now_s());
	char full[S3_KEY_MAX], version[S3_WORD_MAX];
	int r = archive_index_has(a->index, key, e);

	if (r != 0)
		return r < 0 ? r : 0;
	if (snprintf(full, sizeof(full), "%s%s", a->bucket->prefix, key) >= (int)sizeof(full))
		return error_set(e, -ENAMETOOLONG, "the name of an object is too long: '%s'", key);
	r = s3_put(a->bucket->s3, full, fd, len, sha256, &lock, version, e);
	if (r < 0)
		return r;
	return archive_index_add(a->index,
				 &(struct archive_object){ .key = key,
							   .version = version,
							   .group = group,
							   .bytes = len,
							   .until_s = lock.until_s,
							   .renew = renew },
				 e);
}

int archive_put_bytes(struct archive *a, const char *key, const void *data, size_t len, bool renew,
		      struct error *e)
{
	AUTO(close_fd) int fd = memfd_create("archive", MFD_CLOEXEC);
	char hash[65];
	int r = fd < 0 ? error_set(e, -errno, "cannot archive '%s': %m", key) :
			 files_write_all(fd, data, len, e);

	if (r == 0)
		r = archive_hash(fd, len, hash, e);
	return r == 0 ? archive_put(a, key, fd, len, hash, "", renew, e) : r;
}

/* ---- one checkpoint ---------------------------------------------------------------------------------------- */

/* The copy of the orders is named in the ledger, so that nobody can put another one into the bucket. */
static int say_archived(struct archive *a, uint64_t orders_bytes, struct error *e)
{
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	const Exhibit__V1__LedgerEntry *list[1] = { &entry };
	static const char text[] = "archived up to here; object: the copy of the orders";
	uint8_t hash[SEAL_HASH_LEN];

	entry.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_ARCHIVE;
	entry.size = orders_bytes;
	if (vault_unhex(a->shot.orders, hash, sizeof(hash)))
		entry.object = (ProtobufCBinaryData){ SEAL_HASH_LEN, hash };
	entry.text = (ProtobufCBinaryData){ sizeof(text) - 1, (uint8_t *)(uintptr_t)text };
	return ledger_append(a->c.ledger, list, 1, NULL, e);
}

static void drop_shot(struct archive *a)
{
	free(a->shot.note);
	a->shot = (struct archive_shot){ 0 };
}

static int take_shot(struct archive *a, struct error *e)
{
	uint64_t bytes = 0;
	int r = archive_copy_orders(a, a->shot.orders, &bytes, e);

	if (r == 1)
		a->shot.orders[0] = '\0';
	if (r >= 0)
		r = say_archived(a, bytes, e);
	if (r == 0)
		r = ledger_checkpoint(a->c.ledger, e);
	if (r == 0)
		r = ledger_newest(a->c.ledger, &a->shot.note, &a->shot.size, e);
	if (r < 0)
		drop_shot(a);
	return r;
}

/* Of the checkpoints and copies only the newest is to be locked for longer. */
static int newest_is(struct archive *a, const char *word, const char *key, struct error *e)
{
	char old[S3_KEY_MAX];
	int r = archive_index_get(a->index, word, old, sizeof(old), e);

	if (r == 0 && old[0] != '\0' && strcmp(old, key) != 0)
		r = archive_index_renewed(a->index, old, 0, false, e);
	return r == 0 ? archive_index_set(a->index, word, key, e) : r;
}

static int note_shot(struct archive *a, struct error *e)
{
	char text[32], key[S3_KEY_MAX];
	int64_t now = clock_wall_ns();
	int r;

	(void)snprintf(key, sizeof(key), ARCHIVE_LEDGER "%s/" ARCHIVE_CHECKPOINT "%020" PRIu64,
		       a->log, a->shot.size);
	r = newest_is(a, "checkpoint", key, e);
	(void)snprintf(key, sizeof(key), ARCHIVE_ORDERS "%s", a->shot.orders);
	if (r == 0 && a->shot.orders[0] != '\0')
		r = newest_is(a, "orders", key, e);
	(void)snprintf(text, sizeof(text), "%" PRIu64, a->shot.size);
	if (r == 0)
		r = archive_index_set(a->index, "size", text, e);
	(void)snprintf(text, sizeof(text), "%" PRId64, now);
	if (r == 0)
		r = archive_index_set(a->index, "at", text, e);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&a->lock);
	a->status.size = a->shot.size;
	a->status.at_ns = now;
	(void)pthread_mutex_unlock(&a->lock);
	log_info("checkpoint archived", KV_U64("leaves", a->shot.size),
		 KV_STR("bucket", a->bucket->name));
	a->since_ns = clock_monotonic_ns();
	return 0;
}

/* What the checkpoint speaks of first, the checkpoint last. */
static int send_shot(struct archive *a, struct error *e)
{
	int r = archive_send_orders(a, e);

	if (r == 0 && a->c.segments)
		r = archive_send_segments(a, e);
	if (r == 0)
		r = archive_send_tiles(a, a->status.size, e);
	if (r == 0)
		r = archive_send_note(a, e);
	return r == 0 ? note_shot(a, e) : r;
}

static bool due(struct archive *a, bool poked)
{
	AUTO(free_ptr) char *note = NULL;
	uint64_t size = 0, now = clock_monotonic_ns();

	if (a->shot.note != NULL)
		return true;
	if (ledger_newest(a->c.ledger, &note, &size, NULL) < 0 || size <= a->status.size)
		return false;
	return poked || a->status.at_ns == 0 || size - a->status.size >= a->c.leaves ||
	       now - a->since_ns >= a->c.age_ms * NSEC_PER_MSEC;
}

static int archive_now(struct archive *a, struct error *e)
{
	int r = bucket_prove(a->bucket, e);

	if (r == 0 && a->shot.note == NULL)
		r = take_shot(a, e);
	if (r == 0)
		r = send_shot(a, e);
	if (r == 0)
		drop_shot(a);
	return r;
}

/* ---- locks ------------------------------------------------------------------------------------------------- */

struct renewal {
	struct archive_object at[RENEW_MAX];
	size_t n;
};

static int take_due(void *ctx, const struct archive_object *o)
{
	struct renewal *d = ctx;
	struct archive_object *to = &d->at[d->n];

	to->key = strdup(o->key);
	to->version = strdup(o->version);
	to->group = strdup(o->group);
	d->n++;
	return to->key != NULL && to->version != NULL && to->group != NULL ? 0 : -ENOMEM;
}

static void renewal_free(struct renewal *d)
{
	for (size_t i = 0; d != NULL && i < d->n; i++) {
		free((void *)(uintptr_t)d->at[i].key);
		free((void *)(uintptr_t)d->at[i].version);
		free((void *)(uintptr_t)d->at[i].group);
	}
	free(d);
}

static int renew_one(struct archive *a, const struct archive_object *o, struct error *e)
{
	struct s3_lock lock = bucket_lock(a->bucket, now_s());
	char full[S3_KEY_MAX];
	int r;

	/* What retention removed here is not kept there for longer either. */
	if (o->group[0] != '\0' && !archive_has_segment(a, o->group))
		return archive_index_renewed(a->index, o->key, 0, false, e);
	(void)snprintf(full, sizeof(full), "%.200s%.800s", a->bucket->prefix, o->key);
	r = s3_extend(a->bucket->s3, full, o->version, &lock, e);
	return r == 0 ? archive_index_renewed(a->index, o->key, lock.until_s, true, e) : r;
}

/* Locks of which less than half is left. */
static int renew(struct archive *a, struct error *e)
{
	struct renewal *d = calloc(1, sizeof(*d));
	int64_t half = now_s() + (int64_t)a->bucket->retain_days * DAY_S / 2;
	int r = d == NULL ? error_set(e, -ENOMEM, "cannot renew locks: %m") :
			    archive_index_due(a->index, half, RENEW_MAX, take_due, d, e);

	for (size_t i = 0; r == 0 && i < d->n && !archive_stopping(a); i++)
		r = renew_one(a, &d->at[i], e);
	/* More of them: at the next look. */
	if (r == 0 && d->n < RENEW_MAX)
		a->looked_ns = clock_monotonic_ns();
	renewal_free(d);
	return r;
}

/* ---- the thread -------------------------------------------------------------------------------------------- */

static void note_failure(struct archive *a, int r, const struct error *why)
{
	(void)pthread_mutex_lock(&a->lock);
	(void)snprintf(a->status.why, sizeof(a->status.why), "%s", r < 0 ? why->text : "");
	(void)pthread_mutex_unlock(&a->lock);
	if (r < 0 && r != -ECANCELED)
		log_failure(r == -EAGAIN ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR,
			    "the ledger waits to be archived", why);
}

static void *work(void *arg)
{
	struct archive *a = arg;
	uint64_t backoff = BACKOFF_FIRST_MS;
	bool poked = false;

	while (!archive_stopping(a)) {
		struct error e = { 0 };
		int r = due(a, poked) ? archive_now(a, &e) : 0;

		if (r == 0 &&
		    (a->looked_ns == 0 || clock_monotonic_ns() - a->looked_ns >= RENEW_EVERY_NS))
			r = renew(a, &e);
		note_failure(a, r, &e);
		backoff = r == 0                       ? BACKOFF_FIRST_MS :
			  2 * backoff < BACKOFF_MAX_MS ? 2 * backoff :
							 BACKOFF_MAX_MS;
		poked = queue_pop(a->wake, r == 0 ? LOOK_MS : (int)backoff) != NULL ||
			(poked && r < 0);
	}
	return NULL;
}

void archive_poke(struct archive *a)
{
	if (a != NULL && !queue_try_push(a->wake, a))
		return; /* a full queue already wakes */
}

void archive_status(struct archive *a, struct archive_status *ret)
{
	(void)pthread_mutex_lock(&a->lock);
	*ret = a->status;
	(void)pthread_mutex_unlock(&a->lock);
}

/* ---- starting ---------------------------------------------------------------------------------------------- */

/* A ledger with another key, or an index that was lost: all of the ledger is sent anew, beside what is there. */
static int new_log(struct archive *a, const char *origin, struct error *e)
{
	uint8_t random[ARCHIVE_LOG_LEN / 2];
	int r;

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return error_set(e, -EIO, "cannot get random bytes: %m");
	for (size_t i = 0; i < sizeof(random); i++)
		(void)snprintf(a->log + 2 * i, 3, "%02x", random[i]);
	r = archive_index_set(a->index, "size", "0", e);
	if (r == 0)
		r = archive_index_set(a->index, "at", "0", e);
	if (r == 0)
		r = archive_index_set(a->index, "origin", origin, e);
	return r == 0 ? archive_index_set(a->index, "log", a->log, e) : r;
}

static int load_log(struct archive *a, struct error *e)
{
	const char *name = ledger_key(a->c.ledger)->name;
	char origin[NOTE_NAME_MAX + 1], text[32];
	int r = archive_index_get(a->index, "log", a->log, sizeof(a->log), e);

	if (r == 0)
		r = archive_index_get(a->index, "origin", origin, sizeof(origin), e);
	if (r < 0)
		return r;
	if (strlen(a->log) != ARCHIVE_LOG_LEN || strcmp(origin, name) != 0)
		return new_log(a, name, e);
	r = archive_index_get(a->index, "size", text, sizeof(text), e);
	a->status.size = strtoull(text, NULL, 10);
	if (r == 0)
		r = archive_index_get(a->index, "at", text, sizeof(text), e);
	a->status.at_ns = strtoll(text, NULL, 10);
	return r;
}

static void archive_free(struct archive *a)
{
	drop_shot(a);
	archive_index_close(a->index);
	bucket_close(a->bucket);
	queue_free(a->wake);
	(void)pthread_mutex_destroy(&a->lock);
	free(a->store_dir);
	free(a->cert_file);
	free(a);
}

static bool cancelled(void *ctx)
{
	return archive_stopping(ctx);
}

/* A stop of the collector does not wait for a server. */
static int open_bucket(struct archive *a, struct error *e)
{
	struct bucket_config c = a->c.bucket;

	c.cancelled = cancelled;
	c.cancelled_ctx = a;
	return bucket_open(&c, &a->bucket, e);
}

static int start(struct archive *a, struct error *e)
{
	int r = archive_index_open(a->store_dir, &a->index, e);

	if (r == 0)
		r = load_log(a, e);
	if (r == 0)
		r = open_bucket(a, e);
	if (r < 0)
		return r;
	r = pthread_create(&a->thread, NULL, work, a);
	return r != 0 ? error_set(e, -r, "cannot start the archive's thread: %m") : 0;
}

int archive_start(const struct archive_config *c, struct archive **ret, struct error *e)
{
	struct archive *a = calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return error_set(e, -ENOMEM, "cannot archive the ledger: out of memory");
	a->c = *c;
	a->since_ns = clock_monotonic_ns();
	(void)pthread_mutex_init(&a->lock, NULL);
	a->wake = queue_new(1);
	a->store_dir = strdup(c->store_dir);
	a->cert_file = strdup(c->cert_file);
	if (a->wake == NULL || a->store_dir == NULL || a->cert_file == NULL)
		r = error_set(e, -ENOMEM, "out of memory");
	else
		r = start(a, e);
	if (r < 0) {
		archive_free(a);
		return error_wrap(e, r, "cannot archive the ledger to S3");
	}
	*ret = a;
	return 0;
}

void archive_stop(struct archive *a)
{
	if (a == NULL)
		return;
	queue_close(a->wake);
	(void)pthread_join(a->thread, NULL);
	archive_free(a);
}
