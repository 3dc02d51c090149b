/* SPDX-License-Identifier: Apache-2.0 */
/* What a start, or the next call after a failure, makes of incoming/ID. A line of chunks.jsonl counts when it
 * is whole; what it names was synced before it. The last group of lines may be torn anywhere: it is cut off from
 * there, and so are bytes of items that no line names. What stays is synced before anybody hears of it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/vault_chunks.h"
#include "collector/vault_internal.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/openssl_util.h"

struct load {
	struct vault_upload *u;
	uint8_t *buffer; /* VAULT_CHUNK_BYTES */
	bool lacked; /* memory */
	struct error *e;
};

PRINTF(2, 3)
static void damaged(struct vault_upload *u, const char *fmt, ...)
{
	va_list args;

	if (u->damage[0] != '\0')
		return;
	va_start(args, fmt);
	(void)vsnprintf(u->damage, sizeof(u->damage), fmt, args);
	va_end(args);
}

static int take_item(struct load *l, const struct vault_line *line)
{
	struct vault_upload *u = l->u;
	struct vault_item *i;
	int r;

	if (line->item != u->n_items + 1) {
		damaged(u, "chunks.jsonl begins item %u, the next one is %u", line->item,
			u->n_items + 1);
		return 0;
	}
	i = vault_item_add(u);
	if (i == NULL)
		return error_set(l->e, -ENOMEM, "cannot read an exhibit back: out of memory");
	memcpy(i->name, line->name, sizeof(i->name));
	memcpy(i->format, line->format, sizeof(i->format));
	i->expected_bytes = line->expected_bytes;
	r = vault_item_open(u, line->item, O_RDWR, l->e);
	if (r == -ENOENT) {
		damaged(u, "the bytes of item %u are gone", line->item);
		return 0;
	}
	return r;
}

/* false: no memory, which is no damage. */
static bool hash_chunk(struct load *l, uint32_t bytes, struct seal_hash *ret)
{
	unsigned int n = SEAL_HASH_LEN;

	l->lacked = EVP_Digest(l->buffer, bytes, ret->b, &n, EVP_sha256(), NULL) != 1;
	return !l->lacked;
}

/* false: damaged from here on, or no memory. */
static bool take_chunk(struct load *l, struct vault_item *i, const struct vault_line *line)
{
	struct vault_upload *u = l->u;
	struct seal_hash got;

	if (i->ended || line->offset != i->taken || i->fd < 0) {
		damaged(u, "chunks.jsonl names byte %llu of item %u out of place",
			(unsigned long long)line->offset, line->item);
		return false;
	}
	if (pread(i->fd, l->buffer, line->bytes, (off_t)line->offset) != (ssize_t)line->bytes ||
	    !hash_chunk(l, line->bytes, &got) || memcmp(got.b, line->hash.b, SEAL_HASH_LEN) != 0) {
		if (l->lacked)
			return false;
		damaged(u, "item %u is damaged on disk at bytes %llu to %llu", line->item,
			(unsigned long long)line->offset,
			(unsigned long long)(line->offset + line->bytes - 1));
		return false;
	}
	if (EVP_DigestUpdate(i->md, l->buffer, line->bytes) != 1) {
		l->lacked = true;
		return false;
	}
	i->taken = i->synced = line->offset + line->bytes;
	i->short_chunks += line->bytes < VAULT_CHUNK_BYTES;
	u->bytes += line->bytes;
	return true;
}

static bool take_end(struct load *l, struct vault_item *i, const struct vault_line *line)
{
	l->lacked = vault_item_hash(i, &i->hash) < 0;
	if (l->lacked)
		return false;
	if (i->ended || line->offset != i->taken ||
	    memcmp(i->hash.b, line->hash.b, SEAL_HASH_LEN) != 0) {
		damaged(l->u, "chunks.jsonl ends item %u at byte %llu, which is not what is here",
			line->item, (unsigned long long)line->offset);
		return false;
	}
	i->ended = i->end_synced = true;
	close_fd(&i->fd);
	i->fd = -1;
	return true;
}

static int take_line(struct load *l, const struct vault_line *line)
{
	struct vault_upload *u = l->u;

	if (line->kind == VAULT_LINE_ITEM)
		return take_item(l, line);
	if (line->item > u->n_items)
		damaged(u, "chunks.jsonl names item %u, which it did not begin", line->item);
	else if (line->kind == VAULT_LINE_CHUNK)
		(void)take_chunk(l, &u->items[line->item - 1], line);
	else
		(void)take_end(l, &u->items[line->item - 1], line);
	return l->lacked ? error_set(l->e, -ENOMEM, "cannot read an exhibit back: out of memory") :
			   0;
}

/* Whether one of the lines that are left is of a group that began behind byte `at`: so what stands there was durable,
 * and is damaged. */
static int later_group(FILE *in, uint64_t at, bool *ret)
{
	char text[VAULT_LINE_MAX + 2];
	struct vault_line line;

	for (*ret = false; !*ret && fgets(text, sizeof(text), in) != NULL;) {
		size_t len = strlen(text);
		int r = len > 0 && text[len - 1] == '\n' ? vault_line_read(text, len - 1, &line) :
							   -EBADMSG;

		if (r == -ENOMEM)
			return r;
		*ret = r == 0 && line.group > at;
	}
	return 0;
}

static int read_lines(struct load *l, FILE *in, off_t size)
{
	struct vault_upload *u = l->u;
	char text[VAULT_LINE_MAX + 2];
	struct vault_line line;
	int r = 0;

	while (r == 0 && u->damage[0] == '\0' && fgets(text, sizeof(text), in) != NULL) {
		size_t len = strlen(text);

		int bad = len > 0 && text[len - 1] == '\n' ? vault_line_read(text, len - 1, &line) :
							     -EBADMSG;
		bool durable = false;

		/* A torn end: half a line, or the zeros that a loss of power leaves. */
		if (bad == -EBADMSG)
			bad = later_group(in, u->chunks_len, &durable) < 0 ? -ENOMEM : bad;
		if (bad == -ENOMEM)
			return error_set(l->e, bad, "cannot read an exhibit back: out of memory");
		if (bad < 0 && durable)
			damaged(u, "a line of chunks.jsonl at byte %llu cannot be read",
				(unsigned long long)u->chunks_len);
		if (bad < 0)
			break;
		r = take_line(l, &line);
		if (r == 0 && u->damage[0] == '\0')
			u->chunks_len += len;
	}
	if (ferror(in))
		return error_set(l->e, -EIO, "cannot read '%s/" VAULT_FILE_CHUNKS "'", u->folder);
	if (r == 0 && u->damage[0] == '\0' && (off_t)u->chunks_len < size)
		log_info("cut off what an interrupted upload left", KV_STR("folder", u->folder),
			 KV_U64("bytes", (uint64_t)size - u->chunks_len));
	return r;
}

/* Only now is it known what counts. The lines of a process that was killed may not be durable yet. */
static int cut(struct vault_upload *u, struct error *e)
{
	for (uint32_t i = 0; i < u->n_items; i++)
		if (u->items[i].fd >= 0 && ftruncate(u->items[i].fd, (off_t)u->items[i].taken) < 0)
			return error_set(e, -errno, "cannot cut item %u of '%s': %m", i + 1,
					 u->folder);
	if (u->damage[0] == '\0' &&
	    (ftruncate(u->chunks_fd, (off_t)u->chunks_len) < 0 || fdatasync(u->chunks_fd) < 0))
		return error_set(e, -errno, "cannot cut '%s/" VAULT_FILE_CHUNKS "': %m", u->folder);
	return 0;
}

int vault_upload_load(struct vault_upload *u, struct error *e)
{
	AUTO(free_ptr) uint8_t *buffer = malloc(VAULT_CHUNK_BYTES);
	struct load l = { .u = u, .buffer = buffer, .e = e };
	char path[PATH_MAX + 32];
	struct stat st;
	FILE *in;
	int r;

	(void)snprintf(path, sizeof(path), "%s/" VAULT_FILE_CHUNKS, u->folder);
	u->chunks_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (u->chunks_fd < 0 || fstat(u->chunks_fd, &st) < 0)
		return error_set(e, -errno, "cannot open '%s': %m", path);
	in = fopen(path, "re");
	if (in == NULL || buffer == NULL) {
		r = error_set(e, buffer == NULL ? -ENOMEM : -errno, "cannot read '%s': %m", path);
		if (in != NULL)
			(void)fclose(in);
		return r;
	}
	r = read_lines(&l, in, st.st_size);
	(void)fclose(in);
	return r == 0 ? cut(u, e) : r;
}
