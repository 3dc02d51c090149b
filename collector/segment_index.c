/* SPDX-License-Identifier: Apache-2.0 */
/* The index file read. What writes it stands in segment_index_write.c. */
#include "collector/segment_index_format.h"

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define CURSOR_ROWS 64

struct segment_index {
	int fd; /* -1: over other bytes */
	segment_read_fn read;
	void *ctx;
	struct index_layout layout;
};

/* One table for packing and parsing: both walk the same fields. */
static void summary_write(struct writer *w, const struct index_summary *s)
{
	writer_bytes(w, s->id.b, SEGMENT_ID_LEN);
	writer_u64(w, s->segment_bytes);
	writer_u64(w, s->index_bytes);
	writer_bytes(w, s->segment_sha256.b, SEAL_HASH_LEN);
	writer_bytes(w, s->root.b, SEAL_HASH_LEN);
	writer_u32(w, s->frames);
	writer_u32(w, s->rows);
	writer_u32(w, s->streams);
	writer_u32(w, s->batches);
	writer_u64(w, s->events);
	writer_u64(w, (uint64_t)s->first_wall_ns);
	writer_u64(w, (uint64_t)s->last_wall_ns);
	writer_u64(w, (uint64_t)s->first_received_ns);
	writer_u64(w, (uint64_t)s->last_received_ns);
}

static void summary_read(struct reader *r, struct index_summary *s)
{
	reader_copy(r, s->id.b, SEGMENT_ID_LEN);
	s->segment_bytes = reader_u64(r);
	s->index_bytes = reader_u64(r);
	reader_copy(r, s->segment_sha256.b, SEAL_HASH_LEN);
	reader_copy(r, s->root.b, SEAL_HASH_LEN);
	s->frames = reader_u32(r);
	s->rows = reader_u32(r);
	s->streams = reader_u32(r);
	s->batches = reader_u32(r);
	s->events = reader_u64(r);
	s->first_wall_ns = (int64_t)reader_u64(r);
	s->last_wall_ns = (int64_t)reader_u64(r);
	s->first_received_ns = (int64_t)reader_u64(r);
	s->last_received_ns = (int64_t)reader_u64(r);
}

void index_layout_pack(const struct index_layout *l, uint8_t head[static INDEX_HEAD])
{
	struct writer w = writer_init(head, INDEX_HEAD);

	writer_u64(&w, INDEX_MAGIC);
	writer_u32(&w, INDEX_VERSION);
	summary_write(&w, &l->summary);
	writer_u64(&w, l->by_stream);
	writer_u64(&w, l->names);
	writer_u64(&w, l->streams);
	writer_u64(&w, l->tokens.postings);
	writer_u64(&w, l->tokens.postings_len);
	writer_u64(&w, l->tokens.directory);
	writer_u32(&w, l->tokens.bits);
	writer_u8(&w, l->tenant.len);
	writer_bytes(&w, l->tenant.b, l->tenant.len);
	writer_zero(&w, INDEX_HEAD - 4 - w.done);
	writer_u32(&w, (uint32_t)crc32(0, head, INDEX_HEAD - 4));
}

/* Every section inside the file, in the order in which they were written. */
static bool layout_fits(const struct index_layout *l, uint64_t size)
{
	const struct index_summary *s = &l->summary;
	uint64_t directory_len = 4 * ((1ULL << l->tokens.bits) + 1);

	return s->index_bytes == size && s->rows < TOKEN_ROWS_MAX &&
	       s->streams <= SEGMENT_STREAMS_MAX &&
	       l->by_stream == INDEX_HEAD + (uint64_t)s->rows * ROW_PACKED &&
	       l->names >= l->by_stream && l->names <= l->by_stream + 4ULL * s->rows &&
	       l->streams >= l->names && l->streams <= size &&
	       l->tokens.postings == l->streams + (uint64_t)s->streams * INDEX_STREAM_PACKED &&
	       l->tokens.postings_len <= size &&
	       l->tokens.directory == l->tokens.postings + l->tokens.postings_len &&
	       l->tokens.directory + directory_len == size;
}

int index_layout_parse(const uint8_t head[static INDEX_HEAD], uint64_t size,
		       struct index_layout *ret_l)
{
	struct reader r = reader_init(head, INDEX_HEAD);
	struct reader end = reader_init(head + INDEX_HEAD - 4, 4);
	uint64_t magic = reader_u64(&r);
	uint32_t version = reader_u32(&r);

	summary_read(&r, &ret_l->summary);
	ret_l->by_stream = reader_u64(&r);
	ret_l->names = reader_u64(&r);
	ret_l->streams = reader_u64(&r);
	ret_l->tokens.postings = reader_u64(&r);
	ret_l->tokens.postings_len = reader_u64(&r);
	ret_l->tokens.directory = reader_u64(&r);
	ret_l->tokens.bits = reader_u32(&r);
	ret_l->tokens.rows = ret_l->summary.rows;
	ret_l->tenant.len = reader_u8(&r);
	reader_copy(&r, ret_l->tenant.b, ret_l->tenant.len);
	if (r.bad || magic != INDEX_MAGIC || version != INDEX_VERSION ||
	    reader_u32(&end) != (uint32_t)crc32(0, head, INDEX_HEAD - 4) ||
	    ret_l->tokens.bits < TOKEN_BITS_MIN || ret_l->tokens.bits > TOKEN_BITS_MAX ||
	    !layout_fits(ret_l, size))
		return -EBADMSG;
	return 0;
}

static int read_exact(const struct segment_index *i, uint64_t offset, void *buf, size_t len)
{
	ssize_t n = i->read(i->ctx, offset, buf, len);

	if (n < 0)
		return (int)n;
	return n == (ssize_t)len ? 0 : -EBADMSG;
}

static int load_head(struct segment_index *i, uint64_t size, struct error *e)
{
	uint8_t head[INDEX_HEAD];
	int r = size < INDEX_HEAD ? -EBADMSG : read_exact(i, 0, head, sizeof(head));

	if (!r)
		r = index_layout_parse(head, size, &i->layout);
	if (r)
		error_set(e, r,
			  r == -EBADMSG ? "the index's head is damaged" :
					  "cannot read the index: %m");
	return r;
}

int segment_index_over(segment_read_fn read, void *ctx, uint64_t size, struct segment_index **ret_i,
		       struct error *e)
{
	AUTO(segment_index_close_ptr) struct segment_index *i = calloc(1, sizeof(*i));
	int r;

	if (!i)
		return error_set(e, -ENOMEM, "cannot allocate an index");
	i->fd = -1;
	i->read = read;
	i->ctx = ctx;
	r = load_head(i, size, e);
	if (!r)
		*ret_i = TAKE(i);
	return r;
}

int segment_index_open(int dirfd, const char *name, struct segment_index **ret_i, struct error *e)
{
	AUTO(close_fd) int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct segment_index *i;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open the index '%s': %m", name);
	i = calloc(1, sizeof(*i));
	if (!i)
		return error_set(e, -ENOMEM, "cannot allocate an index");
	i->fd = take_fd(&fd);
	i->read = segment_pread;
	i->ctx = &i->fd;
	if (load_head(i, (uint64_t)st.st_size, e)) {
		int r = error_wrap(e, e ? e->code : -EBADMSG, "'%s'", name);

		segment_index_close(i);
		return r;
	}
	*ret_i = i;
	return 0;
}

void segment_index_close(struct segment_index *i)
{
	if (i)
		close_fd(&i->fd);
	free(i);
}

const struct index_summary *segment_index_summary(const struct segment_index *i)
{
	return &i->layout.summary;
}

uint32_t segment_index_bits(const struct segment_index *i)
{
	return i->layout.tokens.bits;
}

void row_cursor_init(struct row_cursor *c, const struct segment_index *i)
{
	*c = (struct row_cursor){ .index = i };
}

void row_cursor_release(struct row_cursor *c)
{
	free(TAKE(c->buffer));
}

int row_cursor_get(struct row_cursor *c, uint32_t ordinal, struct row *ret_row)
{
	uint32_t total = c->index->layout.summary.rows;

	if (ordinal >= total)
		return -EBADMSG;
	if (!c->buffer) {
		c->buffer = malloc(CURSOR_ROWS * ROW_PACKED);
		if (!c->buffer)
			return -ENOMEM;
	}
	if (ordinal < c->from || ordinal >= c->from + c->n) {
		uint32_t from = ordinal / CURSOR_ROWS * CURSOR_ROWS;
		uint32_t n = total - from < CURSOR_ROWS ? total - from : CURSOR_ROWS;
		int r = read_exact(c->index, INDEX_HEAD + (uint64_t)from * ROW_PACKED, c->buffer,
				   n * ROW_PACKED);

		c->n = 0;
		if (r)
			return r;
		c->from = from;
		c->n = n;
	}
	if (!row_parse(c->buffer + (size_t)(ordinal - c->from) * ROW_PACKED, ordinal, ret_row) ||
	    (ret_row->stream >= c->index->layout.summary.streams &&
	     ret_row->stream != ROW_NO_STREAM))
		return -EBADMSG;
	return 0;
}

uint32_t index_stream_crc(const uint8_t packed[static INDEX_STREAM_PACKED], uint32_t number,
			  const struct batch_name *host_id)
{
	uint8_t n[4];
	struct writer w = writer_init(n, sizeof(n));
	uLong crc;

	writer_u32(&w, number);
	crc = crc32(crc32(0, n, sizeof(n)), packed, INDEX_STREAM_PACKED - 4);
	return host_id->len ? (uint32_t)crc32(crc, host_id->b, host_id->len) : (uint32_t)crc;
}

static int stream_read(const struct segment_index *i, uint32_t number, struct index_stream *s)
{
	const struct index_layout *l = &i->layout;
	uint8_t packed[INDEX_STREAM_PACKED];
	int r = read_exact(i, l->streams + (uint64_t)number * INDEX_STREAM_PACKED, packed,
			   sizeof(packed));
	struct reader in = reader_init(packed, sizeof(packed));
	uint32_t name;

	if (r)
		return r;
	*s = (struct index_stream){ .key.tenant = l->tenant };
	s->key_hash = reader_u64(&in);
	reader_copy(&in, s->key.boot_id, BATCH_BOOT_LEN);
	reader_copy(&in, s->key.epoch, BATCH_EPOCH_LEN);
	s->key.lane = reader_u8(&in);
	s->key.host_id.len = reader_u8(&in);
	reader_skip(&in, 2);
	name = reader_u32(&in);
	s->first_number = reader_u64(&in);
	s->last_number = reader_u64(&in);
	s->first = reader_u32(&in);
	s->rows = reader_u32(&in);
	s->list_crc = reader_u32(&in);
	if (l->names + name + s->key.host_id.len > l->streams || s->first > l->summary.rows ||
	    s->rows > l->summary.rows - s->first)
		return -EBADMSG;
	r = read_exact(i, l->names + name, s->key.host_id.b, s->key.host_id.len);
	if (r)
		return r;
	return reader_u32(&in) == index_stream_crc(packed, number, &s->key.host_id) ? 0 : -EBADMSG;
}

int segment_index_streams(const struct segment_index *i, struct index_stream **ret, size_t *ret_n)
{
	size_t n = i->layout.summary.streams;
	AUTO(free_ptr) struct index_stream *all = calloc(n + 1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	for (uint32_t k = 0; k < n; k++) {
		int r = stream_read(i, k, &all[k]);

		if (r)
			return r;
	}
	*ret = TAKE(all);
	*ret_n = n;
	return 0;
}

/* The first stream with at least this hash. */
static int lower_bound(const struct segment_index *i, uint64_t key_hash, uint32_t *ret)
{
	uint32_t low = 0, high = i->layout.summary.streams;
	struct index_stream s;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int r = stream_read(i, middle, &s);

		if (r)
			return r;
		if (s.key_hash < key_hash)
			low = middle + 1;
		else
			high = middle;
	}
	*ret = low;
	return 0;
}

int segment_index_stream(const struct segment_index *i, const struct stream_key *k,
			 uint64_t key_hash, struct index_stream *ret, uint32_t *ret_no)
{
	uint32_t at = 0;
	int r = lower_bound(i, key_hash, &at);

	for (; !r && at < i->layout.summary.streams; at++) {
		r = stream_read(i, at, ret);
		if (r || ret->key_hash != key_hash)
			break;
		if (stream_key_equal(&ret->key, k)) {
			*ret_no = at;
			return 0;
		}
	}
	return r ? r : -ENOENT;
}

int segment_index_by_stream(const struct segment_index *i, uint32_t place, uint32_t *ret_row)
{
	uint8_t b[4] = { 0 };
	struct reader in = reader_init(b, sizeof(b));
	int r = place < i->layout.summary.rows ?
			read_exact(i, i->layout.by_stream + 4ULL * place, b, sizeof(b)) :
			-EBADMSG;

	*ret_row = reader_u32(&in);
	return r;
}

int segment_index_stream_rows(const struct segment_index *i, const struct index_stream *stream,
			      struct bitmap *hits)
{
	size_t len = (size_t)stream->rows * 4;
	AUTO(free_ptr) uint8_t *list = malloc(len + 1);
	struct reader in;
	int r;

	if (!list)
		return -ENOMEM;
	r = read_exact(i, i->layout.by_stream + 4ULL * stream->first, list, len);
	if (r)
		return r;
	if ((uint32_t)crc32(0, list, (uInt)len) != stream->list_crc)
		return -EBADMSG;
	in = reader_init(list, len);
	while (in.left > 0) {
		uint32_t row = reader_u32(&in);

		if (row >= hits->n)
			return -EBADMSG;
		bitmap_set(hits, row);
	}
	return 0;
}

int segment_index_token(const struct segment_index *i, uint32_t hash, struct bitmap *hits)
{
	return token_index_find(&i->layout.tokens, i->read, i->ctx, hash, hits);
}
