/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/token_log.h"

#include "collector/store.h"
#include "collector/tokens.h"
#include "proto/base/files.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#define NAME_MAX_BYTES (SEGMENT_ID_TEXT + 16)
#define HEAD                                                                                       \
	24 /* offset u64, first 8 bytes of the header hash, count u32, CRC-32 of id, the rest of it and the tokens */
#define BUFFER_BYTES KiB(256)

struct token_log {
	int fd, dirfd;
	struct segment_id id;
	uint8_t *buffer; /* BUFFER_BYTES */
};

struct token_log_reader {
	int fd;
	struct segment_id id;
	uint64_t at;
	bool ended;
	uint8_t head[HEAD];
	uint8_t *tokens; /* of the record at hand: STORE_TOKENS_MAX of u32 */
	uint64_t offset; /* its row; UINT64_MAX: none at hand */
	uint32_t n;
};

static const char *name_of(const struct segment_id *id, char buf[static NAME_MAX_BYTES])
{
	char text[SEGMENT_ID_TEXT];

	(void)snprintf(buf, NAME_MAX_BYTES, "%s.tok", segment_id_text(id, text));
	return buf;
}

static uint32_t crc_of(const struct segment_id *id, const uint8_t *head, const uint8_t *tokens,
		       size_t len)
{
	static const uint8_t version = TOKENS_VERSION;
	uLong crc = crc32(crc32(crc32(0, &version, 1), id->b, SEGMENT_ID_LEN), head, HEAD - 4);

	return len ? (uint32_t)crc32(crc, tokens, (uInt)len) : (uint32_t)crc;
}

struct token_log *token_log_new(int dirfd, const struct segment_id *id)
{
	struct token_log *l = calloc(1, sizeof(*l));
	char name[NAME_MAX_BYTES];

	if (!l)
		return NULL;
	l->dirfd = dirfd;
	l->id = *id;
	l->buffer = malloc(BUFFER_BYTES + HEAD + STORE_TOKENS_MAX * sizeof(uint32_t));
	l->fd = openat(dirfd, name_of(id, name),
		       O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (!l->buffer || l->fd < 0) {
		token_log_free(l);
		return NULL;
	}
	return l;
}

void token_log_free(struct token_log *l)
{
	if (!l)
		return;
	close_fd(&l->fd);
	free(l->buffer);
	free(l);
}

void token_log_remove(int dirfd, const struct segment_id *id)
{
	char name[NAME_MAX_BYTES];

	(void)unlinkat(dirfd, name_of(id, name), 0);
}

static void pack_record(const struct token_log *l, const struct row *row, const struct token_row *t,
			struct writer *w)
{
	uint8_t *head = w->at;
	struct writer crc;

	writer_u64(w, row->offset);
	writer_bytes(w, row->hash.b, 8);
	writer_u32(w, t->n);
	writer_u32(w, 0);
	for (uint32_t i = 0; i < t->n; i++)
		writer_u32(w, t->hashes[i]);
	crc = writer_init(head + HEAD - 4, 4);
	writer_u32(&crc, crc_of(&l->id, head, head + HEAD, (size_t)t->n * 4));
}

static void flush(struct token_log *l, size_t len)
{
	if (l->fd < 0 || len == 0 || files_write_all(l->fd, l->buffer, len, NULL) == 0)
		return;
	close_fd(&l->fd);
	l->fd = -1;
	token_log_remove(l->dirfd, &l->id);
}

void token_log_write(struct token_log *l, const struct segment_table *t, uint32_t first)
{
	struct writer w;

	if (!l || l->fd < 0)
		return;
	w = writer_init(l->buffer, BUFFER_BYTES + HEAD + STORE_TOKENS_MAX * sizeof(uint32_t));
	for (uint32_t i = first; i < t->n_rows; i++) {
		if (t->rows[i].kind != FRAME_BATCH)
			continue;
		pack_record(l, &t->rows[i], &t->tokens[i], &w);
		if (w.done < BUFFER_BYTES)
			continue;
		flush(l, w.done);
		w = writer_init(l->buffer,
				BUFFER_BYTES + HEAD + STORE_TOKENS_MAX * sizeof(uint32_t));
	}
	flush(l, w.done);
}

struct token_log_reader *token_log_read(int dirfd, const struct segment_id *id)
{
	struct token_log_reader *r = calloc(1, sizeof(*r));
	char name[NAME_MAX_BYTES];

	if (!r)
		return NULL;
	r->id = *id;
	r->offset = UINT64_MAX;
	r->tokens = malloc((size_t)STORE_TOKENS_MAX * 4);
	r->fd = openat(dirfd, name_of(id, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (!r->tokens || r->fd < 0) {
		token_log_read_end(r);
		return NULL;
	}
	return r;
}

void token_log_read_end(struct token_log_reader *r)
{
	if (!r)
		return;
	close_fd(&r->fd);
	free(r->tokens);
	free(r);
}

/* The next whole record; the first one that is not ends the log. */
static bool advance(struct token_log_reader *r)
{
	struct reader head = reader_init(r->head, HEAD);
	size_t len;

	r->ended = true;
	if (segment_pread(&r->fd, r->at, r->head, HEAD) != HEAD)
		return false;
	r->offset = reader_u64(&head);
	reader_skip(&head, 8);
	r->n = reader_u32(&head);
	len = (size_t)r->n * 4;
	if (r->n > STORE_TOKENS_MAX ||
	    segment_pread(&r->fd, r->at + HEAD, r->tokens, len) != (ssize_t)len ||
	    reader_u32(&head) != crc_of(&r->id, r->head, r->tokens, len)) {
		r->offset = UINT64_MAX;
		return false;
	}
	r->at += HEAD + len;
	r->ended = false;
	return true;
}

bool token_log_find(struct token_log_reader *r, uint64_t offset, const struct seal_hash *hash,
		    struct token_row *ret)
{
	struct reader tokens;

	if (!r)
		return false;
	while (!r->ended && (r->offset == UINT64_MAX || r->offset < offset))
		(void)advance(r);
	if (r->offset != offset || memcmp(r->head + 8, hash->b, 8) != 0)
		return false;
	ret->hashes = malloc(((size_t)r->n + 1) * sizeof(*ret->hashes));
	if (!ret->hashes)
		return false;
	tokens = reader_init(r->tokens, (size_t)r->n * 4);
	for (ret->n = 0; ret->n < r->n; ret->n++)
		ret->hashes[ret->n] = reader_u32(&tokens);
	return true;
}
