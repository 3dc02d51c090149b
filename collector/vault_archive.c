/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/vault_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "proto/json.h"
#include "proto/openssl_util.h"

#define LOOK_MS 1000
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 300000

/* Exhibits that cannot be read at one time; behind them nothing is archived until they can. */
#define SKIPPED_MAX 256
#define SENT_MAX (VAULT_ITEMS_MAX + 8)

/* An object of the exhibit that was tried last: put, locked and read back. It is not put again, as a version of its own
 * that nobody can delete either. */
struct sent {
	char key[S3_KEY_MAX + 1], version[S3_WORD_MAX], sha256[2 * SEAL_HASH_LEN + 1];
};

struct vault_archive {
	struct vault *vault;
	struct bucket *bucket;
	void (*on_archived)(void *ctx);
	void *ctx;
	struct queue *stop; /* closed: end */
	pthread_t thread;
	struct sent *sent; /* the thread's alone */
	size_t n_sent;
	uint8_t sent_of[VAULT_ID_LEN];
	pthread_mutex_t lock; /* of what follows */
	char why[ERROR_TEXT_MAX]; /* of the last failure; empty: none */
};

/* ---- one exhibit ----------------------------------------------------------------------------------------- */

struct sending {
	struct vault_archive *a;
	const struct batch_name *tenant;
	const Exhibit__V1__ExhibitInfo *info;
	struct s3_lock lock;
	struct json *j; /* archive.json's list of objects */
};

static void say_object(const struct sending *s, const char *key, const char *version, uint64_t size,
		       const char *sha256)
{
	struct json *j = s->j;

	json_open(j, NULL, 0, '{');
	json_text(j, "key", key);
	json_text(j, "version_id", version);
	json_u64(j, "bytes", size);
	json_text(j, "sha256", sha256);
	json_text(j, "lock_mode", s3_lock_name(s->lock.mode));
	json_time(j, "locked_until", s->lock.until_s * (int64_t)NSEC_PER_SEC);
	json_close(j, '}');
}

/* What an earlier try put there, if it still is as it shall be. */
static const struct sent *find_sent(const struct sending *s, const char *key, uint64_t size,
				    const char *sha256)
{
	const struct vault_archive *a = s->a;

	for (size_t i = 0; i < a->n_sent; i++)
		if (strcmp(a->sent[i].key, key) == 0 && strcmp(a->sent[i].sha256, sha256) == 0 &&
		    s3_verify(a->bucket->s3, key, a->sent[i].version, size, &s->lock, NULL) == 0)
			return &a->sent[i];
	return NULL;
}

static void keep_sent(struct vault_archive *a, const char *key, const char *version,
		      const char *sha256)
{
	struct sent *sent = &a->sent[a->n_sent];

	if (a->n_sent == SENT_MAX)
		return;
	(void)snprintf(sent->key, sizeof(sent->key), "%s", key);
	(void)snprintf(sent->version, sizeof(sent->version), "%s", version);
	(void)snprintf(sent->sha256, sizeof(sent->sha256), "%s", sha256);
	a->n_sent++;
}

static int send_fd(const struct sending *s, const char *key, int fd, const char *sha256,
		   struct error *e)
{
	char version[S3_WORD_MAX];
	const struct sent *before;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return error_set(e, -EUCLEAN, "cannot read what is to be archived: %s",
				 strerror(errno));
	before = find_sent(s, key, (uint64_t)st.st_size, sha256);
	if (before != NULL) {
		say_object(s, key, before->version, (uint64_t)st.st_size, sha256);
		return 0;
	}
	r = s3_put(s->a->bucket->s3, key, fd, (uint64_t)st.st_size, sha256, &s->lock, version, e);
	if (r == 0) {
		keep_sent(s->a, key, version, sha256);
		say_object(s, key, version, (uint64_t)st.st_size, sha256);
	}
	return r;
}

/* -EUCLEAN: the fault is of this exhibit, not of the server. */
static int send_item(const struct sending *s, const Exhibit__V1__ItemInfo *item, struct error *e)
{
	char path[PATH_MAX], key[S3_KEY_MAX], hash[2 * SEAL_HASH_LEN + 1];

	vault_hex(item->sha256.data, SEAL_HASH_LEN, hash);
	vault_object_path(s->a->vault, s->tenant, item->sha256.data, path);
	(void)snprintf(key, sizeof(key), "%s%.*s/sha256/%.2s/%s", s->a->bucket->prefix,
		       s->tenant->len, (const char *)s->tenant->b, hash, hash);
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return error_set(e, -EUCLEAN, "cannot open '%s': %s", path, strerror(errno));
	return send_fd(s, key, fd, hash, e);
}

static int hash_path(const char *path, char out[static 2 * SEAL_HASH_LEN + 1], int *ret_fd,
		     struct error *e)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO(free_ptr) uint8_t *buffer = malloc(VAULT_CHUNK_BYTES);
	uint8_t digest[SEAL_HASH_LEN];
	ssize_t n = -1;

	if (fd < 0)
		return error_set(e, -EUCLEAN, "cannot open '%s': %s", path, strerror(errno));
	if (md == NULL || buffer == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash '%s': out of memory", path);
	while ((n = read(fd, buffer, VAULT_CHUNK_BYTES)) > 0)
		if (EVP_DigestUpdate(md, buffer, (size_t)n) != 1)
			break;
	if (n != 0 || EVP_DigestFinal_ex(md, digest, NULL) != 1)
		return error_set(e, -EUCLEAN, "cannot read '%s'", path);
	vault_hex(digest, sizeof(digest), out);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int send_file(const struct sending *s, const char *leaf, struct error *e)
{
	char path[PATH_MAX], key[S3_KEY_MAX], id[VAULT_ID_TEXT], hash[2 * SEAL_HASH_LEN + 1];
	AUTO(close_fd) int fd = -1;

	vault_tenant_path(s->a->vault, s->tenant, path, "exhibits", s->info->exhibit_id.data, leaf);
	(void)snprintf(key, sizeof(key), "%s%.*s/exhibits/%s/%s", s->a->bucket->prefix,
		       s->tenant->len, (const char *)s->tenant->b,
		       vault_id_text(s->info->exhibit_id.data, id), leaf);
	int r = hash_path(path, hash, &fd, e);

	return r == 0 ? send_fd(s, key, fd, hash, e) : r;
}

static int send_all(const struct sending *s, struct error *e)
{
	static const char *const files[] = { VAULT_FILE_CHUNKS, VAULT_FILE_MANIFEST,
					     VAULT_FILE_SIGNATURE, VAULT_FILE_RECORD };
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->info->n_items; i++)
		r = send_item(s, s->info->items[i], e);
	/* exhibit.json last: whoever finds it in the bucket finds the rest. */
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++)
		if (s->info->manifest_sha256.len > 0 || i == 0 || i == ARRAY_LEN(files) - 1)
			r = send_file(s, files[i], e);
	return r;
}

static int archive_one(struct vault_archive *a, const struct batch_name *tenant,
		       const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r;

	if (out == NULL)
		return error_set(e, -ENOMEM, "cannot archive an exhibit: out of memory");
	if (memcmp(a->sent_of, info->exhibit_id.data, VAULT_ID_LEN) != 0)
		a->n_sent = 0;
	memcpy(a->sent_of, info->exhibit_id.data, VAULT_ID_LEN);
	struct json j = json_init(out);
	struct sending s = { a, tenant, info,
			     bucket_lock(a->bucket, info->sealed_ns / (int64_t)NSEC_PER_SEC), &j };

	json_open(&j, NULL, 0, '{');
	json_u64(&j, "version", 1);
	json_text(&j, "bucket", a->bucket->name);
	json_open(&j, "objects", 7, '[');
	r = send_all(&s, e);
	json_close(&j, ']');
	json_close(&j, '}');
	json_line(&j);
	if (fclose(out) != 0 && r == 0)
		r = error_set(e, -ENOMEM, "cannot archive an exhibit: out of memory");
	return r == 0 ? vault_archived(a->vault, tenant, info->exhibit_id.data, text, len, e) : r;
}

/* ---- the thread ------------------------------------------------------------------------------------------ */

static int archive_next(struct vault_archive *a, const struct batch_name *tenant,
			const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	char id[VAULT_ID_TEXT];
	int r = bucket_prove(a->bucket, e);

	if (r == 0)
		r = archive_one(a, tenant, info, e);
	if (r < 0)
		return r;
	log_info("exhibit archived", KV_STR("exhibit", vault_id_text(info->exhibit_id.data, id)),
		 KV_STR("bucket", a->bucket->name));
	if (a->on_archived != NULL)
		a->on_archived(a->ctx);
	return 0;
}

/* All that wait, oldest first. One that cannot be read does not keep the others; any other failure ends it. The first
 * failure is told. */
static int archive_waiting(struct vault_archive *a, struct error *e)
{
	Exhibit__V1__ExhibitInfo *info = NULL;
	struct batch_name tenant;
	size_t skip = 0;
	int first = 0;

	while (skip < SKIPPED_MAX && !queue_closed(a->stop) &&
	       vault_unarchived(a->vault, skip, &tenant, &info)) {
		struct error why = { 0 };
		int r = archive_next(a, &tenant, info, &why);

		exhibit__v1__exhibit_info__free_unpacked(info, NULL);
		if (r < 0 && first == 0) {
			first = r;
			*e = why;
		}
		if (r < 0 && r != -EUCLEAN)
			break;
		skip += r < 0;
	}
	return first;
}

static int hold_waiting(struct vault_archive *a, struct error *e)
{
	uint64_t exhibits, before, after;
	int r;

	vault_waiting(a->vault, &exhibits, &before);
	r = vault_hold_waiting(a->vault, a->bucket, a->stop, e);
	vault_waiting(a->vault, &exhibits, &after);
	if (after < before && a->on_archived != NULL)
		a->on_archived(a->ctx);
	return r;
}

static void note_failure(struct vault_archive *a, int r, const struct error *why)
{
	(void)pthread_mutex_lock(&a->lock);
	(void)snprintf(a->why, sizeof(a->why), "%s", r < 0 ? why->text : "");
	(void)pthread_mutex_unlock(&a->lock);
}

void vault_archive_status(struct vault_archive *a, struct vault_archive_status *ret)
{
	*ret = (struct vault_archive_status){ 0 };
	vault_waiting(a->vault, &ret->waiting, &ret->holds_waiting);
	(void)pthread_mutex_lock(&a->lock);
	memcpy(ret->why, a->why, sizeof(ret->why));
	(void)pthread_mutex_unlock(&a->lock);
}

/* r, e: of the archiving, and of the first failure when this returns. */
static int set_holds(struct vault_archive *a, int r, struct error *e)
{
	struct error why = { 0 };
	int held = hold_waiting(a, &why);

	if (held < 0)
		log_failure(held == -EAGAIN ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR,
			    "legal holds wait to be set in S3", &why);
	if (held == 0 || r < 0)
		return r;
	*e = why;
	return held;
}

static void *work(void *arg)
{
	struct vault_archive *a = arg;
	uint64_t backoff = BACKOFF_FIRST_MS;

	while (!queue_closed(a->stop)) {
		struct error e = { 0 };
		int r = archive_waiting(a, &e);

		if (r == -ECANCELED)
			break;
		if (r < 0)
			log_failure(r == -EAGAIN ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR,
				    "exhibits wait to be archived", &e);
		if (r == 0 || r == -EUCLEAN)
			r = set_holds(a, r, &e);
		note_failure(a, r, &e);
		backoff = r == 0                       ? BACKOFF_FIRST_MS :
			  2 * backoff < BACKOFF_MAX_MS ? 2 * backoff :
							 BACKOFF_MAX_MS;
		(void)queue_pop(a->stop, r == 0 ? LOOK_MS : (int)backoff);
	}
	return NULL;
}

/* ---- starting -------------------------------------------------------------------------------------------- */

static void archive_free(struct vault_archive *a)
{
	bucket_close(a->bucket);
	queue_free(a->stop);
	(void)pthread_mutex_destroy(&a->lock);
	free(a->sent);
	free(a);
}

/* A stop of the collector does not wait for a server. */
static bool cancelled(void *ctx)
{
	const struct vault_archive *a = ctx;

	return queue_closed(a->stop);
}

static int start(struct vault_archive *a, const struct vault_archive_config *c, struct error *e)
{
	struct bucket_config bucket = c->bucket;
	int r;

	bucket.cancelled = cancelled;
	bucket.cancelled_ctx = a;
	r = bucket_open(&bucket, &a->bucket, e);

	if (r == 0)
		r = bucket_prove(a->bucket, e);
	if (r == -EAGAIN) {
		log_failure(LOG_LEVEL_WARN, "exhibits wait to be archived", e);
		r = 0;
	}
	if (r < 0)
		return r;
	*e = (struct error){ 0 };
	vault_keep_unarchived(a->vault);
	r = pthread_create(&a->thread, NULL, work, a);
	return r != 0 ? error_set(e, -r, "cannot start the archive's thread: %m") : 0;
}

int vault_archive_start(const struct vault_archive_config *c, struct vault_archive **ret,
			struct error *e)
{
	struct vault_archive *a = calloc(1, sizeof(*a));
	struct error why = { 0 };
	int r;

	if (a == NULL)
		return error_set(e, -ENOMEM, "cannot archive exhibits: out of memory");
	a->vault = c->vault;
	a->on_archived = c->on_archived;
	a->ctx = c->ctx;
	(void)pthread_mutex_init(&a->lock, NULL);
	a->stop = queue_new(1);
	a->sent = calloc(SENT_MAX, sizeof(*a->sent));
	if (a->stop == NULL || a->sent == NULL)
		r = error_set(&why, -ENOMEM, "out of memory");
	else
		r = start(a, c, &why);
	if (r < 0) {
		archive_free(a);
		if (e != NULL)
			*e = why;
		return error_wrap(e, r, "cannot archive exhibits to S3");
	}
	*ret = a;
	return 0;
}

void vault_archive_stop(struct vault_archive *a)
{
	if (a == NULL)
		return;
	queue_close(a->stop);
	(void)pthread_join(a->thread, NULL);
	archive_free(a);
}
