/* SPDX-License-Identifier: Apache-2.0 */
/* Segments, in pieces as they grow, and the orders, as a copy of their database. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/archive_internal.h"
#include "collector/orders_store.h"
#include "collector/segment.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define PIECE_MAX MiB(64)
#define BUFFER KiB(256)
#define COPY_NAME "orders"

/* ---- segments --------------------------------------------------------------------------------------------- */

static int copy_bytes(int from, uint64_t offset, uint64_t len, int to, struct error *e)
{
	AUTO(free_ptr) uint8_t *buffer = malloc(BUFFER);

	if (!buffer)
		return error_set(e, -ENOMEM, "cannot archive a segment: %m");
	while (len > 0) {
		ssize_t n = pread(from, buffer, len < BUFFER ? len : BUFFER, (off_t)offset);
		int r = n > 0 ? files_write_all(to, buffer, (size_t)n, e) :
				error_set(e, -EIO, "cannot read a segment to archive it: %s",
					  n < 0 ? strerror(errno) : "it is shorter than it was");

		if (r < 0)
			return r;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

static int send_piece(struct archive *a, const char *group, int fd, uint64_t offset, uint64_t len,
		      struct error *e)
{
	char folder[4200], key[S3_KEY_MAX], hash[65];
	int r;

	(void)snprintf(folder, sizeof(folder), "%.4000s/" ARCHIVE_FOLDER, a->store_dir);
	AUTO(close_fd) int piece = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	if (piece < 0)
		return error_set(e, -errno, "cannot make a temporary file in '%s': %m", folder);
	r = copy_bytes(fd, offset, len, piece, e);
	if (r == 0)
		r = archive_hash(piece, len, hash, e);
	if (r < 0)
		return r;
	(void)snprintf(key, sizeof(key), ARCHIVE_SEGMENTS "%s/%016" PRIx64 "-%s", group, offset,
		       hash);
	return archive_put(a, key, piece, len, hash, group, true, e);
}

static void group_of(const struct store_file *f, char *ret, size_t size)
{
	struct segment_id id;
	char text[SEGMENT_ID_TEXT];

	memcpy(id.b, f->segment, SEGMENT_ID_LEN);
	(void)snprintf(ret, size, "%.*s/%s", f->tenant.len, (const char *)f->tenant.b,
		       segment_id_text(&id, text));
}

/* It is renamed when it is sealed, which may be now. */
static int open_segment(const struct archive *a, const char *group)
{
	const char *id = strrchr(group, '/') + 1;
	static const char *const names[] = { "open-", "", "open-", "" };
	char path[4600];
	int fd = -1;

	for (size_t i = 0; fd < 0 && i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "%.4000s/%.*s/%s%s.seg", a->store_dir,
			       (int)(id - 1 - group), group, names[i], id);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	}
	return fd;
}

bool archive_has_segment(const struct archive *a, const char *group)
{
	AUTO(close_fd) int fd = open_segment(a, group);

	return fd >= 0;
}

static int send_segment(struct archive *a, const struct store_file *f, struct error *e)
{
	char group[BATCH_NAME_MAX + SEGMENT_ID_TEXT + 2];
	uint64_t done;
	int r;

	group_of(f, group, sizeof(group));
	r = archive_index_bytes(a->index, group, &done, e);
	if (r < 0 || done >= f->bytes)
		return r;
	AUTO(close_fd) int fd = open_segment(a, group);

	/* Retention was there first; its record says so. */
	if (fd < 0)
		return 0;
	while (r == 0 && done < f->bytes) {
		uint64_t len = f->bytes - done < PIECE_MAX ? f->bytes - done : PIECE_MAX;

		if (archive_stopping(a))
			return error_set(e, -ECANCELED, "the collector is stopping");
		r = send_piece(a, group, fd, done, len, e);
		done += len;
	}
	return r;
}

int archive_send_segments(struct archive *a, struct error *e)
{
	AUTO(free_ptr) struct store_file *files = NULL;
	size_t n = 0;
	int r = store_files(a->c.store, &files, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = send_segment(a, &files[i], e);
	return r;
}

/* ---- orders ----------------------------------------------------------------------------------------------- */

static int sqlite_copy(const char *from, const char *to, struct error *e)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *q = NULL;
	int r = 0;

	if (sqlite3_open_v2(from, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(db, 5000) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &q, NULL) != SQLITE_OK ||
	    sqlite3_bind_text(q, 1, to, -1, SQLITE_STATIC) != SQLITE_OK ||
	    sqlite3_step(q) != SQLITE_DONE)
		r = error_set(e, -EIO, "cannot copy the orders to archive them: %s",
			      db ? sqlite3_errmsg(db) : "out of memory");
	(void)sqlite3_finalize(q);
	(void)sqlite3_close(db);
	return r;
}

static int open_copy(const struct archive *a, struct stat *st, struct error *e)
{
	char path[4200];
	int fd;

	(void)snprintf(path, sizeof(path), "%.4000s/" ARCHIVE_FOLDER "/" COPY_NAME, a->store_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, st) < 0) {
		(void)error_set(e, -errno, "cannot open '%s': %m", path);
		close_fd(&fd);
		return e && e->code < 0 ? e->code : -EIO;
	}
	return fd;
}

int archive_copy_orders(struct archive *a, char ret[static 65], uint64_t *ret_bytes,
			struct error *e)
{
	char from[4300], to[4300];
	struct stat st;
	int r;

	(void)snprintf(from, sizeof(from), "%.4000s/" ORDERS_FOLDER "/" ORDERS_FILE, a->store_dir);
	(void)snprintf(to, sizeof(to), "%.4000s/" ARCHIVE_FOLDER "/" COPY_NAME, a->store_dir);
	if (access(from, F_OK) < 0)
		return 1;
	if (unlink(to) < 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot remove '%s': %m", to);
	r = sqlite_copy(from, to, e);
	if (r < 0)
		return r;
	AUTO(close_fd) int fd = open_copy(a, &st, e);

	*ret_bytes = fd < 0 ? 0 : (uint64_t)st.st_size;
	return fd < 0 ? fd : archive_hash(fd, *ret_bytes, ret, e);
}

int archive_send_orders(struct archive *a, struct error *e)
{
	char key[S3_KEY_MAX];
	struct stat st;

	if (a->shot.orders[0] == '\0')
		return 0;
	AUTO(close_fd) int fd = open_copy(a, &st, e);

	if (fd < 0)
		return fd;
	(void)snprintf(key, sizeof(key), ARCHIVE_ORDERS "%s", a->shot.orders);
	/* The newest one is of use, as long as the checkpoint that names it is. */
	return archive_put(a, key, fd, (uint64_t)st.st_size, a->shot.orders, "", true, e);
}
