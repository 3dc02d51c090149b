/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's tiles and its checkpoint, as files of C2SP tlog-tiles below LOG/. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/archive_internal.h"
#include "collector/ledger_tiles.h"
#include "proto/base/files.h"
#include "proto/base/reader.h"

#define CERTIFICATE_MAX KiB(16)
#define TRIES 5

/* Bytes of the first width entries. -EBADMSG: they are not all there. */
static int entries_len(const uint8_t *data, size_t len, unsigned int width, size_t *ret)
{
	struct reader r = reader_init(data, len);
	size_t n;

	*ret = 0;
	for (unsigned int i = 0; i < width; i++) {
		if (tiles_next_entry(&r, &n) == NULL)
			return -EBADMSG;
		*ret += 2 + n;
	}
	return 0;
}

/* A partial tile goes as soon as a fuller one is there, whose beginning it is: read whichever there is. */
static int read_tile(const struct archive *a, int dirfd, int level, uint64_t index,
		     unsigned int width, uint8_t **ret, size_t *ret_len, struct error *e)
{
	char path[TLOG_TILE_PATH_MAX];
	AUTO(free_ptr) char *note = NULL;
	uint64_t size = a->shot.size;
	int r = -ENOENT;

	for (int i = 0; i < TRIES && r == -ENOENT; i++) {
		unsigned int now = tlog_tile_width(level, index, size);

		r = files_read_at(dirfd, tlog_tile_path(level, index, now, path), TILES_ENTRIES_MAX,
				  ret, ret_len, e);
		if (r != -ENOENT)
			break;
		free(TAKE(note));
		r = ledger_newest(a->c.ledger, &note, &size, e);
		r = r == 0 ? -ENOENT : r;
	}
	if (r < 0)
		return error_wrap(e, r, "cannot archive '%s'", path);
	if (level != TLOG_ENTRIES && *ret_len >= width * SEAL_HASH_LEN)
		*ret_len = width * SEAL_HASH_LEN;
	else if (level != TLOG_ENTRIES || entries_len(*ret, *ret_len, width, ret_len) < 0) {
		free(TAKE(*ret));
		return error_set(e, -EBADMSG, "cannot archive '%s': it is damaged, run check",
				 path);
	}
	return 0;
}

static int send_tile(struct archive *a, int dirfd, int level, uint64_t index, unsigned int width,
		     struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	char path[TLOG_TILE_PATH_MAX], key[S3_KEY_MAX];
	size_t len;
	int r;

	(void)snprintf(key, sizeof(key), ARCHIVE_LEDGER "%s/%s", a->log,
		       tlog_tile_path(level, index, width, path));
	r = archive_index_has(a->index, key, e);
	if (r != 0)
		return r < 0 ? r : 0;
	r = read_tile(a, dirfd, level, index, width, &data, &len, e);
	return r == 0 ? archive_put_bytes(a, key, data, len, width == TLOG_TILE_WIDTH, e) : r;
}

static int send_level(struct archive *a, int dirfd, int level, uint64_t from, struct error *e)
{
	int shift = TLOG_TILE_HEIGHT * (level == TLOG_ENTRIES ? 0 : level);
	uint64_t index = (from >> shift) / TLOG_TILE_WIDTH;
	unsigned int width;
	int r = 0;

	while (r == 0 && (width = tlog_tile_width(level, index, a->shot.size)) > 0) {
		if (archive_stopping(a))
			return error_set(e, -ECANCELED, "the collector is stopping");
		r = send_tile(a, dirfd, level, index++, width, e);
	}
	return r;
}

int archive_send_tiles(struct archive *a, uint64_t from, struct error *e)
{
	char path[4200];
	int r;

	if (snprintf(path, sizeof(path), "%s/" LEDGER_FOLDER, a->store_dir) >= (int)sizeof(path))
		return error_set(e, -ENAMETOOLONG, "the path '%.100s...' is too long", path);
	AUTO(close_fd) int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dirfd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", path);
	r = send_level(a, dirfd, TLOG_ENTRIES, from, e);
	for (int level = 0; level < TLOG_TILE_LEVELS && r == 0; level++)
		r = send_level(a, dirfd, level, from, e);
	return r;
}

int archive_send_note(struct archive *a, struct error *e)
{
	AUTO(free_ptr) uint8_t *certificate = NULL;
	char key[S3_KEY_MAX];
	size_t len;
	int r = files_read(a->cert_file, CERTIFICATE_MAX, &certificate, &len, e);

	(void)snprintf(key, sizeof(key), ARCHIVE_LEDGER "%s/" ARCHIVE_CERTIFICATE, a->log);
	if (r == 0)
		r = archive_put_bytes(a, key, certificate, len, true, e);
	(void)snprintf(key, sizeof(key), ARCHIVE_LEDGER "%s/" ARCHIVE_CHECKPOINT "%020" PRIu64,
		       a->log, a->shot.size);
	return r == 0 ? archive_put_bytes(a, key, a->shot.note, strlen(a->shot.note), true, e) : r;
}
