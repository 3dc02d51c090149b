/* SPDX-License-Identifier: Apache-2.0 */
/* An exhibit's bytes on their way in. Order on disk: an item's bytes are synced, then the lines of chunks.jsonl
 * that name them are written and synced, then the host is told. So what chunks.jsonl names is there. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "collector/vault_internal.h"
#include "proto/base/files.h"
#include "proto/openssl_util.h"

/* ---- what comes ------------------------------------------------------------------------------------------ */

/* Lines that the next sync appends. fmt: without the end of the line. */
PRINTF(2, 3)
static int add_line(struct vault_upload *u, const char *fmt, ...)
{
	va_list args;
	int n;

	if (u->size_lines - u->n_lines < VAULT_LINE_MAX) {
		size_t size = u->size_lines ? 2 * u->size_lines : KiB(16);
		char *lines = realloc(u->lines, size);

		if (lines == NULL)
			return -ENOMEM;
		u->lines = lines;
		u->size_lines = size;
	}
	va_start(args, fmt);
	n = vsnprintf(u->lines + u->n_lines, VAULT_LINE_MAX, fmt, args);
	va_end(args);
	n += snprintf(u->lines + u->n_lines + n, VAULT_LINE_MAX - (size_t)n, ",\"group\":%llu}\n",
		      (unsigned long long)u->chunks_len);
	u->n_lines += (size_t)n;
	return 0;
}

static int broke(struct vault_upload *u, int r)
{
	u->broken = true;
	return r;
}

static struct vault_item *item_at(struct vault_upload *u, uint32_t item, struct error *e)
{
	if (item >= 1 && item <= u->n_items)
		return &u->items[item - 1];
	(void)error_set(e, -EBADMSG, "item %u was not begun", item);
	return NULL;
}

static bool same_text(const char *ours, const void *data, size_t len)
{
	return strlen(ours) == len && memcmp(ours, data, len) == 0;
}

static int check_item(struct vault_upload *u, uint32_t item, const void *name, size_t name_len,
		      const void *format, size_t format_len, struct error *e)
{
	size_t open = 0;

	if (!vault_name_valid(name, name_len))
		return error_set(
			e, -EBADMSG,
			"the name of item %u is not 1 to %d of [A-Za-z0-9._-] without leading dot",
			item, VAULT_NAME_MAX);
	if (vault_name_reserved(name, name_len))
		return error_set(e, -EBADMSG,
				 "item %u has a name that the exhibit itself needs: '%.*s'", item,
				 (int)name_len, (const char *)name);
	if (format_len == 0 || format_len > VAULT_FORMAT_MAX ||
	    !vault_name_valid(format, format_len))
		return error_set(e, -EBADMSG, "the format of item %u is not a short word", item);
	if (item != u->n_items + 1)
		return error_set(e, -EBADMSG, "item %u is begun, but the next one is %u", item,
				 u->n_items + 1);
	if (u->n_items == VAULT_ITEMS_MAX)
		return error_set(e, -EBADMSG, "an exhibit has at most %d items", VAULT_ITEMS_MAX);
	for (uint32_t i = 0; i < u->n_items; i++) {
		open += !u->items[i].ended;
		if (same_text(u->items[i].name, name, name_len))
			return error_set(e, -EBADMSG, "items %u and %u have the same name", i + 1,
					 item);
	}
	if (open >= VAULT_OPEN_ITEMS_MAX)
		return error_set(e, -EBADMSG, "more than %d items are open at one time",
				 VAULT_OPEN_ITEMS_MAX);
	return 0;
}

int vault_upload_item(struct vault_upload *u, uint32_t item, const void *name, size_t name_len,
		      const void *format, size_t format_len, uint64_t expected_bytes,
		      struct error *e)
{
	struct vault_item *i;
	int r;

	/* Said again after a broken link. */
	if (item >= 1 && item <= u->held_items) {
		i = &u->items[item - 1];
		if (same_text(i->name, name, name_len) && same_text(i->format, format, format_len))
			return 0;
		return error_set(e, -EBADMSG, "item %u was begun with another name or format",
				 item);
	}
	r = check_item(u, item, name, name_len, format, format_len, e);
	if (r < 0)
		return r;
	i = vault_item_add(u);
	if (i == NULL)
		return broke(u, error_set(e, -ENOMEM, "cannot begin an item: out of memory"));
	memcpy(i->name, name, name_len);
	memcpy(i->format, format, format_len);
	i->expected_bytes = expected_bytes;
	/* What is there was never told to be durable. */
	r = vault_item_open(u, item, O_RDWR | O_CREAT | O_TRUNC, e);
	if (r < 0)
		return broke(u, r);
	u->new_files = true;
	if (add_line(u, "{\"item\":%u,\"name\":\"%s\",\"format\":\"%s\",\"expected\":%llu", item,
		     i->name, i->format, (unsigned long long)(expected_bytes & INT64_MAX)) < 0)
		return broke(u, error_set(e, -ENOMEM, "cannot begin an item: out of memory"));
	return 0;
}

static bool all_zeros(const uint8_t *raw, size_t len)
{
	return len == 0 || (raw[0] == 0 && memcmp(raw, raw + 1, len - 1) == 0);
}

static const uint8_t zeros[VAULT_CHUNK_BYTES];

static int check_hash(uint32_t item, uint64_t offset, const void *raw, size_t len,
		      const struct seal_hash *sha256, struct error *e)
{
	struct seal_hash got;
	unsigned int n = SEAL_HASH_LEN;

	if (EVP_Digest(raw, len, got.b, &n, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash a chunk: %s", openssl_reason());
	if (memcmp(got.b, sha256->b, SEAL_HASH_LEN) == 0)
		return 0;
	return error_set(
		e, -EBADMSG,
		"the chunk of item %u at byte %llu does not have the SHA-256 that it names", item,
		(unsigned long long)offset);
}

/* A chunk that was here before this call: the same bytes are no harm; others would be a later read of a source
 * that has changed. */
static int compare_held(const struct vault_item *i, uint32_t item, uint64_t offset,
			const uint8_t *raw, size_t len, struct error *e)
{
	AUTO(free_ptr) uint8_t *ours = malloc(len);

	if (ours == NULL)
		return error_set(e, -ENOMEM, "cannot compare a chunk: out of memory");
	if (offset + len <= i->held && pread(i->fd, ours, len, (off_t)offset) == (ssize_t)len &&
	    memcmp(ours, raw, len) == 0)
		return 0;
	return error_set(
		e, -EBADMSG,
		"the chunk of item %u at byte %llu is not what was stored before: its source has "
		"changed, and reads of different times are not spliced",
		item, (unsigned long long)offset);
}

static int place_chunk(const struct vault_upload *u, const struct vault_item *i, uint32_t item,
		       uint64_t offset, size_t len, struct error *e)
{
	if (len == 0 || len > VAULT_CHUNK_BYTES)
		return error_set(e, -EBADMSG, "a chunk of item %u has %zu bytes, not 1 to %llu",
				 item, len, (unsigned long long)VAULT_CHUNK_BYTES);
	if (i->ended)
		return error_set(e, -EBADMSG, "a chunk of item %u comes after its end", item);
	if (offset < i->taken && offset >= i->held)
		return error_set(e, -EBADMSG, "the chunk of item %u at byte %llu comes twice", item,
				 (unsigned long long)offset);
	if (offset < i->held)
		return 0;
	if (offset != i->taken)
		return error_set(
			e, -EBADMSG,
			"the chunk of item %u at byte %llu is out of place, byte %llu is next",
			item, (unsigned long long)offset, (unsigned long long)i->taken);
	if (len < VAULT_CHUNK_BYTES && i->short_chunks >= VAULT_SHORT_MAX)
		return error_set(e, -EBADMSG,
				 "item %u has more than %d chunks of fewer than %llu bytes", item,
				 VAULT_SHORT_MAX, (unsigned long long)VAULT_CHUNK_BYTES);
	if (u->max_bytes != 0 && u->bytes + len > u->max_bytes)
		return error_set(e, -E2BIG, "the exhibit is larger than %s (%llu bytes)",
				 u->max_whose, (unsigned long long)u->max_bytes);
	return 0;
}

static int store_chunk(struct vault_upload *u, struct vault_item *i, uint64_t offset,
		       const uint8_t *raw, size_t len, struct error *e)
{
	size_t done = 0;

	if (all_zeros(raw, len))
		return 0; /* a hole, once the file has its length */
	while (done < len) {
		ssize_t n = pwrite(i->fd, raw + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(e, -errno, "cannot write '%s': %m", u->folder);
		done += (size_t)n;
	}
	return 0;
}

int vault_upload_chunk(struct vault_upload *u, uint32_t item, uint64_t offset, const void *raw,
		       size_t len, const struct seal_hash *sha256, struct error *e)
{
	struct vault_item *i = item_at(u, item, e);
	char hash[2 * SEAL_HASH_LEN + 1];
	int r = i != NULL ? 0 : -EBADMSG;

	/* What was whole before this call may be said again. */
	if (r == 0 && i->held_end && offset + len <= i->held)
		return raw != NULL ? check_hash(item, offset, raw, len, sha256, e) : 0;
	if (r == 0)
		r = place_chunk(u, i, item, offset, len, e);
	if (r < 0)
		return r;
	if (raw == NULL)
		raw = zeros;
	r = check_hash(item, offset, raw, len, sha256, e);
	if (r < 0)
		return r;
	if (offset < i->held)
		return compare_held(i, item, offset, raw, len, e);
	r = vault_room(u->vault, len, e);
	if (r < 0)
		return r;
	r = store_chunk(u, i, offset, raw, len, e);
	if (r < 0)
		return broke(u, r);
	vault_hex(sha256->b, SEAL_HASH_LEN, hash);
	if (EVP_DigestUpdate(i->md, raw, len) != 1 ||
	    add_line(u, "{\"item\":%u,\"offset\":%llu,\"bytes\":%zu,\"sha256\":\"%s\"", item,
		     (unsigned long long)offset, len, hash) < 0)
		return broke(u, error_set(e, -ENOMEM, "cannot take a chunk: out of memory"));
	i->taken += len;
	i->short_chunks += len < VAULT_CHUNK_BYTES;
	u->bytes += len;
	u->unsynced += len;
	return 0;
}

int vault_upload_end(struct vault_upload *u, uint32_t item, uint64_t bytes,
		     const struct seal_hash *sha256, struct error *e)
{
	struct vault_item *i = item_at(u, item, e);
	char hash[2 * SEAL_HASH_LEN + 1];
	struct seal_hash got;

	if (i == NULL)
		return -EBADMSG;
	if (i->ended && !i->held_end)
		return error_set(e, -EBADMSG, "the end of item %u comes twice", item);
	if (i->taken != bytes)
		return error_set(e, -EBADMSG, "item %u ends at byte %llu, but %llu bytes arrived",
				 item, (unsigned long long)bytes, (unsigned long long)i->taken);
	if (vault_item_hash(i, &got) < 0)
		return error_set(e, -ENOMEM, "cannot hash an item: %s", openssl_reason());
	if (memcmp(got.b, sha256->b, SEAL_HASH_LEN) != 0)
		return error_set(e, -EBADMSG,
				 "item %u does not have the SHA-256 that its end names", item);
	if (i->ended)
		return 0;
	vault_hex(got.b, SEAL_HASH_LEN, hash);
	if (add_line(u, "{\"item\":%u,\"end\":%llu,\"sha256\":\"%s\"", item,
		     (unsigned long long)bytes, hash) < 0)
		return broke(u, error_set(e, -ENOMEM, "cannot end an item: out of memory"));
	i->hash = got;
	i->ended = true;
	return 0;
}

/* ---- durable --------------------------------------------------------------------------------------------- */

uint64_t vault_upload_unsynced(const struct vault_upload *u)
{
	return u->unsynced + u->n_lines;
}

static int sync_item(struct vault_upload *u, uint32_t item, struct error *e)
{
	struct vault_item *i = &u->items[item - 1];

	if (i->fd >= 0 && i->synced < i->taken) {
		/* Holes at the end have no bytes that would give the file its length. */
		if (ftruncate(i->fd, (off_t)i->taken) < 0 || fdatasync(i->fd) < 0)
			return error_set(e, -errno, "cannot sync item %u of '%s': %m", item,
					 u->folder);
		i->synced = i->taken;
	}
	return 0;
}

static int append_lines(struct vault_upload *u, struct error *e)
{
	size_t done = 0;

	while (done < u->n_lines) {
		ssize_t n = pwrite(u->chunks_fd, u->lines + done, u->n_lines - done,
				   (off_t)(u->chunks_len + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(e, -errno, "cannot write '%s/" VAULT_FILE_CHUNKS "': %m",
					 u->folder);
		done += (size_t)n;
	}
	if (done > 0 && fdatasync(u->chunks_fd) < 0)
		return error_set(e, -errno, "cannot sync '%s/" VAULT_FILE_CHUNKS "': %m",
				 u->folder);
	u->chunks_len += done;
	u->n_lines = 0;
	return 0;
}

static void tell_durable(const struct vault_upload *u, struct vault_durable *ret)
{
	uint32_t i = 0;

	while (i < u->n_items && u->items[i].end_synced)
		i++;
	*ret = (struct vault_durable){ .item = i + 1,
				       .offset = i < u->n_items ? u->items[i].synced : 0 };
}

static void show_bytes(struct vault_upload *u)
{
	struct vault *v = u->vault;

	(void)pthread_mutex_lock(&v->lock);
	u->entry->record.info->bytes = u->bytes;
	u->entry->touched_ns = vault_now(v);
	(void)pthread_mutex_unlock(&v->lock);
}

int vault_upload_sync(struct vault_upload *u, struct vault_durable *ret, struct error *e)
{
	int r = 0;

	if (u->broken)
		return error_set(e, -EIO, "a write of this exhibit failed before");
	for (uint32_t item = 1; r == 0 && item <= u->n_items; item++)
		r = sync_item(u, item, e);
	if (r == 0 && u->new_files)
		r = files_sync_dir(u->folder, e);
	if (r == 0)
		r = append_lines(u, e);
	if (r < 0)
		return broke(u, r);
	u->new_files = false;
	u->unsynced = 0;
	for (uint32_t i = 0; i < u->n_items; i++)
		if (u->items[i].ended && !u->items[i].end_synced) {
			u->items[i].end_synced = true;
			close_fd(&u->items[i].fd);
			u->items[i].fd = -1;
		}
	show_bytes(u);
	tell_durable(u, ret);
	return 0;
}

/* After a failed sync, pages that the kernel gave up look as if they were there: what is not durable goes, and is sent
 * again. */
static void cut_back(struct vault_upload *u)
{
	for (uint32_t i = 0; i < u->n_items; i++)
		if (u->items[i].fd >= 0)
			(void)!ftruncate(u->items[i].fd, (off_t)u->items[i].synced);
	(void)!ftruncate(u->chunks_fd, (off_t)u->chunks_len);
}

void vault_upload_leave(struct vault_upload *u)
{
	struct vault_durable durable;
	struct vault_entry *entry;
	struct vault *v;

	if (u == NULL)
		return;
	v = u->vault;
	entry = u->entry;
	if (u->broken || vault_upload_sync(u, &durable, NULL) < 0) {
		cut_back(u);
		vault_upload_free(u);
		u = NULL;
	}
	(void)pthread_mutex_lock(&v->lock);
	entry->kept = u;
	entry->busy = false;
	entry->touched_ns = vault_now(v);
	(void)pthread_mutex_unlock(&v->lock);
}
