/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/rebuild.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/offline.h"
#include "collector/rebuild_internal.h"
#include "proto/base/files.h"

#define OBJECT_MAX TiB(5) /* S3's own limit */

/* ---- what all steps use -------------------------------------------------------------------------------------- */

void rebuild_hex(const uint8_t *data, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", data[i]);
}

void rebuild_say(struct rebuild *b, const char *what, const char *fmt, ...)
{
	char text[6144];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	(void)printf("%s: %s\n", what, text);
	b->faults += strcmp(what, "damaged") == 0;
	b->lost += strcmp(what, "lost") == 0;
	b->later += strcmp(what, "later") == 0;
}

int rebuild_folders(const char *path, struct error *e)
{
	char folder[PATH_MAX];

	(void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	return files_mkdirs(folder, 0700, e);
}

struct walk {
	struct rebuild *b;
	int (*fn)(void *ctx, const struct s3_version *v, struct error *e);
	void *ctx;
	struct s3_version below;
};

static int walk_one(void *ctx, const struct s3_version *v, struct error *e)
{
	struct walk *w = ctx;
	size_t prefix = strlen(w->b->bucket->prefix);

	w->below = *v;
	memmove(w->below.key, v->key + prefix, strlen(v->key + prefix) + 1);
	return w->fn(w->ctx, &w->below, e);
}

int rebuild_each(struct rebuild *b, const char *prefix,
		 int (*fn)(void *ctx, const struct s3_version *v, struct error *e), void *ctx,
		 struct error *e)
{
	struct walk *w = calloc(1, sizeof(*w));
	char full[S3_KEY_MAX];
	int r;

	if (!w)
		return error_set(e, -ENOMEM, "cannot rebuild: out of memory");
	w->b = b;
	w->fn = fn;
	w->ctx = ctx;
	(void)snprintf(full, sizeof(full), "%.200s%.800s", b->bucket->prefix, prefix);
	r = archive_index_each_seen(b->index, full, walk_one, w, e);
	free(w);
	return r;
}

/* ---- one object ------------------------------------------------------------------------------------------------ */

struct fetching {
	struct rebuild *b;
	const struct rebuild_get *get;
	struct rebuild_got got;
	int result; /* -ENOENT until one is tried; 0 once one is good */
	struct error why;
};

static int fetch_version(struct fetching *f, const struct s3_version *v, struct error *e)
{
	char full[S3_KEY_MAX], part[PATH_MAX];
	int r;

	(void)snprintf(part, sizeof(part), "%.4000s.part", f->get->path);
	(void)snprintf(full, sizeof(full), "%.200s%.800s", f->b->bucket->prefix, v->key);
	AUTO(close_fd) int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, f->get->mode);

	if (fd < 0)
		return error_set(e, -errno, "cannot make '%s': %m", part);
	r = s3_get(f->b->bucket->s3, full, v->version, fd, OBJECT_MAX, f->get->sha256,
		   f->got.sha256, &f->why);
	if (r == 0 && f->get->check)
		r = f->get->check(f->get->ctx, part, &f->why);
	if (r == -EBADMSG && f->get->check)
		(void)error_wrap(&f->why, r, "'%s' is damaged in the bucket", full);
	f->result = r;
	if (r < 0 && !(r == -EBADMSG && f->get->keep)) {
		(void)unlink(part);
		return r == -EBADMSG || r == -ENOENT ? 0 : error_set(e, r, "%s", f->why.text);
	}
	if (fchmod(fd, f->get->mode) < 0 || fsync(fd) < 0 || rename(part, f->get->path) < 0)
		return error_set(e, -errno, "cannot keep '%s': %m", f->get->path);
	(void)snprintf(f->got.version, sizeof(f->got.version), "%s", v->version);
	f->got.size = v->size;
	return 0;
}

static int try_version(void *ctx, const struct s3_version *v, struct error *e)
{
	struct fetching *f = ctx;

	/* Longer names that begin so are listed too. */
	return f->result == 0 || strcmp(v->key, f->get->key) != 0 ? 0 : fetch_version(f, v, e);
}

int rebuild_fetch(struct rebuild *b, const struct rebuild_get *get, struct rebuild_got *ret,
		  struct error *e)
{
	struct fetching f = { .b = b, .get = get, .result = -ENOENT };
	int r;

	(void)error_set(&f.why, -ENOENT, "'%s%s' is not in the bucket", b->bucket->prefix,
			get->key);
	r = rebuild_folders(get->path, e);
	if (r == 0)
		r = rebuild_each(b, get->key, try_version, &f, e);
	if (r < 0)
		return r;
	if (f.result < 0 && e)
		*e = f.why;
	if (f.result == 0 && ret)
		*ret = f.got;
	return f.result;
}

/* ---- the steps ------------------------------------------------------------------------------------------------- */

static int refuse_full(const char *dir, struct error *e)
{
	DIR *d = opendir(dir);
	const struct dirent *entry;
	int r = 0;

	if (!d)
		return errno == ENOENT ? 0 : error_set(e, -errno, "cannot open '%s': %m", dir);
	while (r == 0 && (entry = readdir(d)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    strcmp(entry->d_name, "lost+found") != 0)
			r = -ENOTEMPTY;
	(void)closedir(d);
	if (r < 0) {
		(void)error_set(e, r, "'%s' is not empty: a rebuild replaces nothing", dir);
		error_hint(e, "move it away, or name another folder");
	}
	return r;
}

static int mark_path(const char *store_dir, char path[static PATH_MAX], struct error *e)
{
	return snprintf(path, PATH_MAX, "%s/" REBUILD_MARK, store_dir) < PATH_MAX ?
		       0 :
		       error_set(e, -ENAMETOOLONG, "store.dir is too long");
}

int rebuild_refuse_half(const char *store_dir, struct error *e)
{
	char path[PATH_MAX];
	int r = mark_path(store_dir, path, e);

	if (r < 0 || access(path, F_OK) < 0)
		return r;
	(void)error_set(e, -EBUSY, "'%s' is there: a rebuild of this folder did not end", path);
	error_hint(e, "empty the folder and run 'exhibit-collector rebuild' again");
	return -EBUSY;
}

static int prepare(struct rebuild *b, const struct bucket_config *bucket, struct error *e)
{
	const struct collector_config *c = b->c;
	char path[PATH_MAX];
	int r;

	if (snprintf(b->ledger_dir, sizeof(b->ledger_dir), "%s/" LEDGER_FOLDER, c->store_dir) >=
	    3000)
		return error_set(e, -ENAMETOOLONG, "store.dir is too long");
	r = vault_parts_dir(c, b->vault_dir, e);
	if (r == 0)
		r = refuse_full(c->store_dir, e);
	if (r == 0)
		r = refuse_full(b->vault_dir, e);
	if (r == 0)
		r = authorities_load(NULL, c->tls_order_ca, &b->authorities, e);
	if (r == 0)
		r = bucket_open(bucket, &b->bucket, e);
	if (r == 0)
		r = files_mkdirs(b->ledger_dir, 0755, e);
	if (r == 0)
		r = files_mkdirs(b->vault_dir, 0700, e);
	if (r == 0)
		r = mark_path(c->store_dir, path, e);
	if (r == 0)
		r = files_replace(path, "", 0, 0600, e);
	return r == 0 ? archive_index_open(c->store_dir, &b->index, e) : r;
}

static int see(void *ctx, const struct s3_version *v, struct error *e)
{
	const struct rebuild *b = ctx;

	return archive_index_seen(b->index, v, e);
}

static int list(struct rebuild *b, struct error *e)
{
	int r = archive_index_begin(b->index, e);

	if (r == 0)
		r = s3_list(b->bucket->s3, b->bucket->prefix, see, b, e);
	return r == 0 ? archive_index_commit(b->index, e) : r;
}

static int finish(struct rebuild *b, struct error *e)
{
	char path[PATH_MAX];
	int r = archive_index_unsee(b->index, e);

	archive_index_close(TAKE(b->index));
	if (r == 0)
		r = mark_path(b->c->store_dir, path, e);
	if (r == 0 && unlink(path) < 0)
		r = error_set(e, -errno, "cannot remove '%s': %m", path);
	return r;
}

static int rebuild(struct rebuild *b, const struct bucket_config *bucket, struct error *e)
{
	int r = prepare(b, bucket, e);

	if (r == 0)
		r = list(b, e);
	if (r == 0)
		r = rebuild_ledger(b, e);
	if (r == 0)
		r = rebuild_leaves(b, e);
	if (r == 0)
		r = rebuild_segments(b, e);
	if (r == 0)
		r = rebuild_orders(b, e);
	if (r == 0)
		r = rebuild_vault(b, e);
	if (r == 0)
		r = rebuild_begin(b, e);
	return r == 0 ? finish(b, e) : r;
}

/* ---- the verb --------------------------------------------------------------------------------------------------- */

static void say_result(const struct rebuild *b)
{
	char root[64];

	(void)EVP_EncodeBlock((uint8_t *)root, b->checkpoint.root.b, SEAL_HASH_LEN);
	(void)printf("rebuilt: %" PRIu64 " leaves, root %s, of the log %s\n", b->checkpoint.size,
		     root, b->key.name);
	(void)printf("rebuilt: %" PRIu64 " segments, %" PRIu64 " exhibits, %" PRIu64 " orders\n",
		     b->n_segments, b->n_exhibits, b->n_orders);
	(void)printf(
		"what hosts know beyond these leaves they say when they connect: see 'exhibit status'\n");
}

int rebuild_from(const struct collector_config *c, const struct bucket_config *bucket,
		 uint64_t *ret_faults, uint64_t *ret_size, struct error *e)
{
	struct rebuild *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return error_set(e, -ENOMEM, "cannot rebuild: out of memory");
	b->c = c;
	r = rebuild(b, bucket, e);
	if (r == 0)
		say_result(b);
	*ret_faults = b->faults + b->lost;
	*ret_size = b->checkpoint.size;
	rebuild_leaves_free(b);
	archive_index_close(b->index);
	bucket_close(b->bucket);
	authorities_free(b->authorities);
	free(b->note);
	free(b);
	return r;
}

static int work(const struct collector_config *c)
{
	struct bucket_config bucket = vault_parts_bucket(c);
	uint64_t faults = 0, again = 0, size;
	struct error e = { 0 };
	int r = 0;

	if (c->s3_endpoint[0] == '\0') {
		r = error_set(&e, -EINVAL, "there is no bucket to rebuild from");
		error_hint(&e, "give vault.s3.endpoint and what goes with it");
	}
	if (r == 0)
		r = rebuild_from(c, &bucket, &faults, &size, &e);
	if (r == 0)
		r = offline_check(c, &again, &e);
	if (r < 0)
		return offline_fail(&e);
	(void)fprintf(stderr,
		      faults + again == 0 ? "whole: '%s'\n" : "not whole, see above: '%s'\n",
		      c->store_dir);
	return faults + again == 0 ? 0 : 1;
}

int rebuild_main(int argc, char **argv)
{
	return offline_run(argc, argv, work);
}
