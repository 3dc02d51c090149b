/* SPDX-License-Identifier: Apache-2.0 */
/* Segments put together from their pieces, and the copy of the orders that the ledger names. */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/orders_store.h"
#include "collector/rebuild_internal.h"
#include "collector/segment.h"
#include "order.pb-c.h"
#include "proto/base/files.h"

#define BUFFER KiB(256)
#define OFFSET_DIGITS 16
#define HASH_DIGITS 64
#define TRAILER_TEXT "EXHFSEND"

/* ---- segments ----------------------------------------------------------------------------------------------- */

struct building {
	struct rebuild *b;
	char group[BATCH_NAME_MAX + SEGMENT_ID_TEXT + 2]; /* "TENANT/ID"; "": none */
	char path[SERVER_PATH_MAX + 512];
	int fd;
	uint64_t length;
	bool skipped; /* removed by retention, or a piece is missing */
	char done[S3_KEY_MAX + 1]; /* the last key: its other versions are not looked at */
};

static int end_group(struct building *g, struct error *e)
{
	char trailer[sizeof(TRAILER_TEXT)] = "", to[SERVER_PATH_MAX + 512], *open_at;
	AUTO(close_fd) int fd = take_fd(&g->fd);
	bool sealed;

	g->group[0] = '\0';
	if (fd < 0)
		return 0;
	sealed = g->length > SEGMENT_TRAILER &&
		 pread(fd, trailer, sizeof(trailer) - 1,
		       (off_t)(g->length - sizeof(trailer) + 1)) == (ssize_t)sizeof(trailer) - 1 &&
		 memcmp(trailer, TRAILER_TEXT, sizeof(trailer) - 1) == 0;
	if (fsync(fd) < 0 || (sealed && fchmod(fd, 0444) < 0))
		return error_set(e, -errno, "cannot keep '%s': %m", g->path);
	g->b->n_segments++;
	if (!sealed)
		return 0;
	memcpy(to, g->path, sizeof(to));
	open_at = strstr(strrchr(to, '/'), "open-");
	memmove(open_at, open_at + 5, strlen(open_at + 5) + 1);
	return rename(g->path, to) < 0 ? error_set(e, -errno, "cannot rename '%s': %m", g->path) :
					 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int begin_group(struct building *g, const char *group, size_t len, struct error *e)
{
	const char *id;
	struct segment_id parsed;
	int r = end_group(g, e);

	if (r < 0)
		return r;
	g->length = 0;
	g->skipped = true;
	(void)snprintf(g->group, sizeof(g->group), "%.*s", (int)len, group);
	id = strrchr(g->group, '/');
	if (!id || !segment_id_parse(id + 1, strlen(id + 1), &parsed) ||
	    !vault_name_valid(g->group, (size_t)(id - g->group))) {
		rebuild_say(g->b, "damaged", "'" ARCHIVE_SEGMENTS "%s' is no name of a segment",
			    g->group);
		return 0;
	}
	if (tfind(g->group, &g->b->removed_segments, by_text))
		return 0;
	(void)snprintf(g->path, sizeof(g->path), "%.4000s/%.*s/open-%s.seg", g->b->c->store_dir,
		       (int)(id - g->group), g->group, id + 1);
	r = rebuild_folders(g->path, e);
	if (r < 0)
		return r;
	g->fd = open(g->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	g->skipped = g->fd < 0;
	return g->fd < 0 ? error_set(e, -errno, "cannot make '%s': %m", g->path) : 0;
}

static int copy_piece(struct building *g, const char *from, uint64_t offset, struct error *e)
{
	AUTO(close_fd) int fd = open(from, O_RDONLY | O_CLOEXEC);
	AUTO(free_ptr) uint8_t *buffer = malloc(BUFFER);
	ssize_t n;

	if (fd < 0 || !buffer)
		return error_set(e, fd < 0 ? -errno : -ENOMEM, "cannot read '%s': %m", from);
	while ((n = read(fd, buffer, BUFFER)) > 0) {
		if (pwrite(g->fd, buffer, (size_t)n, (off_t)offset) != n)
			return error_set(e, errno == ENOSPC ? -ENOSPC : -EIO,
					 "cannot write '%s': %m", g->path);
		offset += (uint64_t)n;
	}
	return n < 0 ? error_set(e, -errno, "cannot read '%s': %m", from) : 0;
}

/* Bytes that are damaged in the bucket are kept in their place all the same: `check` tells which frames they hit. */
static int take_piece(struct building *g, const char *key, const char *hash, uint64_t offset,
		      const struct s3_version *v, struct error *e)
{
	char path[SERVER_PATH_MAX + 64];
	struct rebuild_got got = { .size = v->size };
	struct error why = { 0 };
	uint64_t more = offset + v->size - g->length;
	int r;

	(void)snprintf(path, sizeof(path), "%.4000s/" ARCHIVE_FOLDER "/piece", g->b->c->store_dir);
	r = rebuild_fetch(
		g->b,
		&(struct rebuild_get){
			.key = key, .path = path, .sha256 = hash, .mode = 0600, .keep = true },
		&got, &why);
	if (r < 0 && r != -EBADMSG)
		return error_set(e, r, "%s", why.text);
	if (r == -EBADMSG)
		rebuild_say(g->b, "damaged", "%s", why.text);
	int copied = copy_piece(g, path, offset, e);

	(void)unlink(path);
	g->length = offset + v->size;
	if (copied < 0 || r == -EBADMSG)
		return copied;
	/* Not to be sent again. */
	return archive_index_add(g->b->index,
				 &(struct archive_object){ .key = key,
							   .version = got.version,
							   .group = g->group,
							   .bytes = more,
							   .renew = true },
				 e);
}

/* ".segments/TENANT/ID/OFFSET-SHA256", by name: per segment by offset. */
static int take_key(void *ctx, const struct s3_version *v, struct error *e)
{
	struct building *g = ctx;
	const char *group = v->key + strlen(ARCHIVE_SEGMENTS), *piece = strrchr(v->key, '/') + 1;
	uint64_t offset;
	int r = 0;

	if (strcmp(v->key, g->done) == 0)
		return 0;
	(void)snprintf(g->done, sizeof(g->done), "%s", v->key);
	if (piece <= group || strlen(piece) != OFFSET_DIGITS + 1 + HASH_DIGITS ||
	    piece[OFFSET_DIGITS] != '-')
		return 0;
	if (strlen(g->group) != (size_t)(piece - 1 - group) ||
	    strncmp(g->group, group, strlen(g->group)) != 0)
		r = begin_group(g, group, (size_t)(piece - 1 - group), e);
	if (r < 0 || g->skipped)
		return r;
	offset = strtoull(piece, NULL, 16);
	if (offset > g->length) {
		rebuild_say(g->b, "lost",
			    "segment %s from byte %llu on: its piece there is not in the bucket",
			    g->group, (unsigned long long)g->length);
		g->skipped = true;
		return 0;
	}
	if (offset + v->size <= g->length)
		return 0;
	return take_piece(g, v->key, piece + OFFSET_DIGITS + 1, offset, v, e);
}

int rebuild_segments(struct rebuild *b, struct error *e)
{
	struct building *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return error_set(e, -ENOMEM, "cannot make segments: %m");
	g->b = b;
	g->fd = -1;
	r = rebuild_each(b, ARCHIVE_SEGMENTS, take_key, g, e);
	if (r == 0)
		r = end_group(g, e);
	close_fd(&g->fd);
	free(g);
	return r;
}

/* ---- orders ------------------------------------------------------------------------------------------------- */

static int by_hash(const void *x, const void *y)
{
	const struct rebuild_order *a = x, *b = y;

	return memcmp(a->hash, b->hash, SEAL_HASH_LEN);
}

static int see_order(void *ctx, const struct orders_row *row)
{
	struct rebuild *b = ctx;
	Exhibit__V1__SignedOrder *m =
		exhibit__v1__signed_order__unpack(NULL, row->len, row->signed_order);
	struct rebuild_order o, **at;
	struct seal_hash hash;
	int r;

	if (!m)
		return 0;
	r = seal_sha256(m->order.data, m->order.len, &hash);
	memcpy(o.hash, hash.b, SEAL_HASH_LEN);
	at = r == 0 ? tfind(&o, &b->orders, by_hash) : NULL;
	if (at)
		(*at)->found = true;
	b->n_orders++;
	exhibit__v1__signed_order__free_unpacked(m, NULL);
	return r;
}

static void name_missing(const void *node, VISIT visit, void *ctx)
{
	const struct rebuild_order *o = *(struct rebuild_order *const *)node;
	char hash[65];

	if ((visit != postorder && visit != leaf) || o->found)
		return;
	rebuild_hex(o->hash, SEAL_HASH_LEN, hash);
	rebuild_say(ctx, "lost",
		    "the order of leaf %llu (SHA-256 %s): it is not in the copy of the orders",
		    (unsigned long long)o->index, hash);
}

int rebuild_orders(struct rebuild *b, struct error *e)
{
	char dir[SERVER_PATH_MAX], path[SERVER_PATH_MAX + 64], key[S3_KEY_MAX], hash[65];
	struct orders_store *s = NULL;
	struct error why = { 0 };
	int r;

	if (b->has_orders) {
		rebuild_hex(b->orders_copy, SEAL_HASH_LEN, hash);
		(void)snprintf(dir, sizeof(dir), "%.4000s/" ORDERS_FOLDER, b->c->store_dir);
		(void)snprintf(path, sizeof(path), "%s/" ORDERS_FILE, dir);
		(void)snprintf(key, sizeof(key), ARCHIVE_ORDERS "%s", hash);
		r = rebuild_fetch(b,
				  &(struct rebuild_get){
					  .key = key, .path = path, .sha256 = hash, .mode = 0600 },
				  NULL, &why);
		if (r < 0 && r != -ENOENT && r != -EBADMSG)
			return error_set(e, r, "%s", why.text);
		if (r < 0)
			rebuild_say(b, r == -ENOENT ? "lost" : "damaged", "the orders: %s",
				    why.text);
		else if ((r = orders_store_open(dir, &s, e)) < 0)
			return r;
	}
	if (s) {
		r = orders_store_each(s, &(struct orders_which){ .limit = 0 }, see_order, b, e);
		orders_store_close(s);
		if (r < 0)
			return r;
	}
	twalk_r(b->orders, name_missing, b);
	return 0;
}
