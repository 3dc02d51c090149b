/* SPDX-License-Identifier: Apache-2.0 */
/* Read a whole segment file: for recovery after a crash, and to build an index again. */
#include "collector/store_internal.h"
#include "collector/token_log.h"

#include "proto/base/log.h"
#include "proto/base/reader.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define ARENA_MAX MiB(64)
#define ARENA_KEEP MiB(4)

struct loader {
	struct segment_load *l;
	struct arena *arena;
	struct batch_opener *opener;
	struct token_log_reader *log; /* NULL: there is none */
};

static void loader_release(struct loader *d)
{
	arena_free(d->arena);
	batch_opener_free(d->opener);
	token_log_read_end(d->log);
}

void segment_load_release(struct segment_load *l)
{
	segment_table_release(&l->table);
	segment_writer_free(TAKE(l->writer));
}

static int any_token(struct token_row *t)
{
	t->hashes = malloc(sizeof(*t->hashes));
	if (!t->hashes)
		return -ENOMEM;
	t->hashes[0] = TOKEN_ANY;
	t->n = 1;
	return 0;
}

static int copy_tokens(const uint64_t *tokens, size_t n, struct token_row *t)
{
	t->hashes = malloc((n + 1) * sizeof(*t->hashes));
	t->n = 0;
	if (!t->hashes)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		uint32_t hash = token_index_hash(tokens[i]);

		if (t->n == 0 || t->hashes[t->n - 1] != hash)
			t->hashes[t->n++] = hash;
	}
	return 0;
}

/* A batch that cannot be opened any more stays in the answer of every question. */
static int batch_tokens(struct loader *d, const struct frame *f, const struct batch_view *v,
			struct token_row *t)
{
	const uint8_t *raw;
	size_t raw_len, n = 0;
	uint64_t *tokens;
	int r;

	if (token_log_find(d->log, f->offset, &v->hash, t))
		return 0;
	r = d->l->c->tokenize ? batch_open(d->opener, v, NULL, &raw, &raw_len, NULL) : -EBADMSG;
	if (!r)
		r = d->l->c->tokenize(&v->header, raw, raw_len, d->arena, &tokens, &n, NULL);
	if (r == -ENOMEM)
		return r;
	return r || n > STORE_TOKENS_MAX ? any_token(t) : copy_tokens(tokens, n, t);
}

/* Row, key and tokens of a frame. -EBADMSG: what the frame holds makes no sense. */
static int understand(struct loader *d, const struct frame *f, struct row *row,
		      struct stream_key *key, struct token_row *tokens, struct error *e)
{
	struct batch_view view;
	struct batch_tombstone tombstone;
	int r;

	arena_reset(d->arena);
	if (f->kind == FRAME_BATCH) {
		r = batch_parse(f->body, f->length, d->arena, &view, e);
		if (r)
			return r;
		row_of_batch(&view, row, key);
		r = batch_tokens(d, f, &view, tokens);
	} else if (f->kind == FRAME_TOMBSTONE) {
		r = batch_open_tombstone(f->body, f->length, NULL, d->arena, &tombstone, e);
		if (r || tombstone.n_dropped == 0)
			return r ? r : -EBADMSG;
		row_of_tombstone(&tombstone, row, key);
		r = any_token(tokens);
	} else {
		*row = (struct row){ .kind = (uint8_t)f->kind, .stream = ROW_NO_STREAM };
		return 0;
	}
	if (!r && !batch_name_equal(&key->tenant, d->l->tenant))
		r = -EBADMSG;
	return r;
}

static int add_row(struct loader *d, const struct frame *f, struct error *e)
{
	struct segment_table *t = &d->l->table;
	struct token_row tokens = { 0 };
	struct stream_key key;
	struct row row;
	uint64_t key_hash = 0;
	int r = understand(d, f, &row, &key, &tokens, e);

	/* The frame's sum is right and it was verified before it was stored: more likely memory was short
	 * for a moment, which protobuf-c does not tell from bad bytes. */
	if (r == -EBADMSG) {
		free(TAKE(tokens.hashes));
		tokens.n = 0;
		r = understand(d, f, &row, &key, &tokens, e);
	}
	if (!r && row.stream != ROW_NO_STREAM)
		r = stream_key_hash(&key, &key_hash);
	if (!r)
		r = segment_table_reserve(t, 1);
	if (r) {
		free(tokens.hashes);
		return r;
	}
	row.offset = f->offset;
	row.length = f->length;
	row.received_ns = f->received_ns;
	if (f->flags & FRAME_CONFLICT)
		row.flags |= ROW_CONFLICT;
	if (row.stream != ROW_NO_STREAM)
		row.stream = segment_table_stream(t, &key, key_hash);
	segment_table_add(t, &row, tokens);
	return 0;
}

static int take_begin(struct segment_load *l, const struct frame *f, struct error *e)
{
	/* Lost to damage or not ours: what the file's name and folder say goes on. */
	if (!f || segment_begin_parse(f->body, f->length, &l->begin, NULL) ||
	    memcmp(l->begin.id.b, l->id.b, SEGMENT_ID_LEN) != 0) {
		l->damaged++;
		l->begin = (struct segment_begin){ .id = l->id, .tenant = *l->tenant };
	}
	if (l->writer_dirfd < 0)
		return 0;
	return segment_writer_resume(l->writer_dirfd, l->fd, &l->begin, &l->writer, e);
}

static int take_end(struct segment_load *l, const struct frame *f)
{
	struct reader r = reader_init(f->body, f->length);

	l->end_offset = f->offset;
	if (segment_end_read(&r, &l->end, NULL))
		l->damaged++;
	return 0;
}

static int take_frame(struct loader *d, const struct frame *f, struct error *e)
{
	struct segment_load *l = d->l;
	int r = 0;

	if (l->frames == 0)
		r = take_begin(l, f->kind == FRAME_BEGIN ? f : NULL, e);
	if (!r && f->kind == FRAME_END)
		return take_end(l, f);
	if (!r && f->kind != FRAME_BEGIN)
		r = add_row(d, f, e);
	if (r == -EBADMSG) {
		/* The frame is whole, yet we cannot use it: a newer collector's, or a bug. It stays. */
		log_warn("stored frame not understood", KV_U64("offset", f->offset));
		l->damaged++;
		r = 0;
	}
	if (!r && l->writer && segment_writer_leaf(l->writer, f->body, f->length))
		r = -ENOMEM;
	if (r)
		return r;
	l->frames++;
	l->length = f->offset + SEGMENT_HEAD + f->length;
	l->ordinal = f->ordinal + 1;
	return 0;
}

/* What to do about a place without a frame: 1 go on behind it, 0 the file ends here. */
static int get_past(struct segment_load *l, struct segment_scan *scan, const struct error *why,
		    struct error *e)
{
	enum segment_fault fault = SEGMENT_DAMAGED;
	char text[SEGMENT_ID_TEXT];
	int r = l->open ? segment_scan_judge(scan, l->durable.length, &fault, e) : 0;

	if (r || fault == SEGMENT_TORN)
		return r;
	log_error("stored segment damaged", KV_STR("segment", segment_id_text(&l->id, text)),
		  KV_STR("error", why->text));
	l->damaged++;
	r = segment_scan_skip(scan, e);
	return r ? r : 1;
}

static int scan_all(struct loader *d, struct segment_scan *scan, struct error *e)
{
	struct error why = { 0 };
	struct frame f;

	for (;;) {
		int r = segment_scan_next(scan, &f, &why);

		if (r == 1) {
			r = take_frame(d, &f, e);
			if (r)
				return r;
		} else if (r == -EBADMSG) {
			r = get_past(d->l, scan, &why, e);
			if (r <= 0)
				return r;
		} else {
			if (r && e)
				*e = why;
			return r;
		}
	}
}

/* The last group was durable, and no whole frame follows the damage in it, or the file is shorter than it was:
 * its bytes keep their place, so that they are never overwritten and every check names them. */
static int keep_durable(struct segment_load *l, uint64_t size, struct error *e)
{
	uint64_t end = l->durable.length < size ? l->durable.length : size;
	char text[SEGMENT_ID_TEXT];
	int r = 0;

	if (l->end_offset || l->length >= l->durable.length)
		return 0;
	if (size < l->durable.length) {
		log_error("stored segment is shorter than it was",
			  KV_STR("segment", segment_id_text(&l->id, text)), KV_U64("bytes", size),
			  KV_U64("acknowledged", l->durable.length));
		l->damaged++;
	}
	if (l->frames == 0)
		r = take_begin(l, NULL, e);
	l->length = end;
	if (l->ordinal < l->durable.ordinal)
		l->ordinal = l->durable.ordinal;
	return r;
}

static bool trailer_matches(const struct segment_load *l, uint64_t size)
{
	uint8_t trailer[SEGMENT_TRAILER];
	int fd = l->fd;
	uint64_t end;

	return l->end_offset > 0 && size > SEGMENT_TRAILER &&
	       segment_pread(&fd, size - SEGMENT_TRAILER, trailer, sizeof(trailer)) ==
		       SEGMENT_TRAILER &&
	       segment_trailer_parse(trailer, &end) && end == l->end_offset;
}

int segment_load(struct segment_load *l, uint64_t size, struct error *e)
{
	AUTO(segment_scan_free_ptr) struct segment_scan *scan = NULL;
	AUTO(loader_release) struct loader d = { .l = l };
	int r = segment_scan_new(segment_pread, &l->fd, &l->id, size, &scan, e);

	segment_table_init(&l->table);
	if (r)
		return r;
	d.arena = arena_new(ARENA_MAX, ARENA_KEEP);
	if (!d.arena)
		return error_set(e, -ENOMEM, "cannot allocate memory to read a segment");
	r = batch_opener_new(&d.opener, e);
	if (l->open && l->writer_dirfd >= 0) {
		d.log = token_log_read(l->writer_dirfd, &l->id);
		durable_mark_read(l->writer_dirfd, &l->id, &l->durable);
	}
	if (!r)
		r = scan_all(&d, scan, e);
	if (!r)
		r = keep_durable(l, size, e);
	l->complete = !r && trailer_matches(l, size);
	return r;
}
