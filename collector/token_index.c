/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/token_index.h"

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#define BUCKET_TOKENS_LOG2 6 /* about 64 tokens of rows per bucket */
#define PARTITION_LOG2 8 /* of the hash space, sorted one at a time */
#define PARTITIONS (1u << PARTITION_LOG2)
#define CRC_LEN 4
#define VARINT_MAX 10

uint32_t token_index_hash(uint64_t token)
{
	uint32_t hash = (uint32_t)(token >> 32);

	return hash == TOKEN_ANY ? 1 : hash;
}

struct bytes {
	uint8_t *data;
	size_t len, size;
};

struct build {
	const struct token_row *rows;
	uint32_t n_rows;
	uint32_t *cursor; /* per row: its first token that is not yet written */
	uint64_t *pairs, *scratch; /* hash << 32 | row */
	size_t pairs_max;
	uint32_t bits;
	uint32_t *directory;
	uint32_t bucket; /* being filled */
	uint32_t next_hash; /* gaps count from here */
	struct bytes out; /* of the bucket */
	uint64_t done; /* bytes of finished buckets */
	struct outfile *o;
};

static int reserve(struct bytes *b, size_t more)
{
	size_t size = b->size ? b->size : KiB(4);
	uint8_t *data;

	if (b->len + more <= b->size)
		return 0;
	while (size < b->len + more)
		size *= 2;
	if (size > 2 * TOKEN_BUCKET_MAX)
		return -EFBIG;
	data = realloc(b->data, size);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->size = size;
	return 0;
}

static void put_varint(struct bytes *b, uint64_t v)
{
	struct writer w = writer_init(b->data + b->len, b->size - b->len);

	writer_varint(&w, v);
	b->len += w.done;
}

static uint32_t bucket_first(const struct build *b, uint32_t bucket)
{
	return bucket << (32 - b->bits);
}

/* The number is part of the sum: a wrong directory cannot pass off another bucket. */
static uint32_t bucket_crc(uint32_t bucket, const uint8_t *data, size_t len)
{
	uint8_t number[4];
	struct writer w = writer_init(number, sizeof(number));
	uLong crc;

	writer_u32(&w, bucket);
	crc = crc32(0, number, sizeof(number));
	return len ? (uint32_t)crc32(crc, data, (uInt)len) : (uint32_t)crc;
}

/* An empty bucket has its checksum too, so that a damaged directory cannot say "nothing". */
static int finish_bucket(struct build *b)
{
	uint8_t crc[CRC_LEN];
	struct writer w = writer_init(crc, sizeof(crc));

	writer_u32(&w, bucket_crc(b->bucket, b->out.data, b->out.len));
	outfile_write(b->o, crc, sizeof(crc));
	outfile_write(b->o, b->out.data, b->out.len);
	b->done += CRC_LEN + b->out.len;
	b->out.len = 0;
	if (b->done > UINT32_MAX)
		return -EFBIG;
	b->bucket++;
	b->directory[b->bucket] = (uint32_t)b->done;
	b->next_hash = b->bucket < 1u << b->bits ? bucket_first(b, b->bucket) : 0;
	return b->o->error;
}

/* n pairs of one hash. */
static int put_token(struct build *b, const uint64_t *pairs, size_t n)
{
	uint32_t hash = (uint32_t)(pairs[0] >> 32), last = 0;
	int r = 0;

	while (b->bucket != hash >> (32 - b->bits) && !r)
		r = finish_bucket(b);
	if (!r)
		r = reserve(&b->out, (n + 2) * VARINT_MAX);
	if (r)
		return r;
	put_varint(&b->out, (uint64_t)(hash - b->next_hash) << 1 | (n == 1));
	if (n > 1)
		put_varint(&b->out, n);
	for (size_t i = 0; i < n; i++) {
		put_varint(&b->out, (uint32_t)pairs[i] - last);
		last = (uint32_t)pairs[i];
	}
	b->next_hash = hash;
	return 0;
}

static int grow_pairs(struct build *b, size_t n)
{
	size_t max = b->pairs_max ? b->pairs_max : 4096;
	uint64_t *pairs, *scratch;

	while (max < n)
		max *= 2;
	if (max == b->pairs_max)
		return 0;
	pairs = realloc(b->pairs, max * sizeof(*pairs));
	if (!pairs)
		return -ENOMEM;
	b->pairs = pairs;
	scratch = realloc(b->scratch, max * sizeof(*scratch));
	if (!scratch)
		return -ENOMEM;
	b->scratch = scratch;
	b->pairs_max = max;
	return 0;
}

static int gather(struct build *b, uint32_t partition, size_t *ret_n)
{
	size_t n = 0;

	for (uint32_t row = 0; row < b->n_rows; row++) {
		const struct token_row *t = &b->rows[row];
		uint32_t i = b->cursor[row];
		int r = grow_pairs(b, n + (t->n - i));

		if (r)
			return r;
		for (; i < t->n && t->hashes[i] >> (32 - PARTITION_LOG2) == partition; i++)
			b->pairs[n++] = (uint64_t)t->hashes[i] << 32 | row;
		b->cursor[row] = i;
	}
	*ret_n = n;
	return 0;
}

/* Rows were gathered in order and the sort is stable: only the hash's lower 24 bits are keys. */
static void sort_pairs(struct build *b, size_t n)
{
	for (unsigned int shift = 32; shift < 56; shift += 8) {
		size_t count[256] = { 0 }, at = 0;
		uint64_t *swap = b->pairs;

		for (size_t i = 0; i < n; i++)
			count[b->pairs[i] >> shift & 255]++;
		for (size_t i = 0; i < 256; i++) {
			size_t c = count[i];

			count[i] = at;
			at += c;
		}
		for (size_t i = 0; i < n; i++)
			b->scratch[count[b->pairs[i] >> shift & 255]++] = b->pairs[i];
		b->pairs = b->scratch;
		b->scratch = swap;
	}
}

static int write_partition(struct build *b, uint32_t partition)
{
	size_t n = 0;
	int r = gather(b, partition, &n);

	if (r || n == 0)
		return r;
	sort_pairs(b, n);
	for (size_t i = 0; i < n && !r;) {
		size_t end = i + 1;

		while (end < n && b->pairs[end] >> 32 == b->pairs[i] >> 32)
			end++;
		r = put_token(b, b->pairs + i, end - i);
		i = end;
	}
	return r;
}

static uint32_t bits_for(uint64_t tokens)
{
	uint32_t bits = TOKEN_BITS_MIN;

	while (bits < TOKEN_BITS_MAX && tokens >> (bits + BUCKET_TOKENS_LOG2) > 0)
		bits++;
	return bits;
}

static void build_release(struct build *b)
{
	free(b->cursor);
	free(b->pairs);
	free(b->scratch);
	free(b->directory);
	free(b->out.data);
}

static int write_directory(struct build *b, struct outfile *o)
{
	for (uint32_t i = 0; i <= 1u << b->bits; i++) {
		uint8_t v[4];
		struct writer w = writer_init(v, sizeof(v));

		writer_u32(&w, b->directory[i]);
		outfile_write(o, v, sizeof(v));
	}
	return o->error;
}

int token_index_write(const struct token_row *rows, uint32_t n_rows, struct outfile *o,
		      struct token_index *ret)
{
	AUTO(build_release) struct build b = { .rows = rows, .n_rows = n_rows, .o = o };
	uint64_t tokens = 0;
	int r = 0;

	for (uint32_t i = 0; i < n_rows; i++)
		tokens += rows[i].n;
	b.bits = bits_for(tokens);
	b.cursor = calloc((size_t)n_rows + 1, sizeof(*b.cursor));
	b.directory = calloc((1u << b.bits) + 1, sizeof(*b.directory));
	if (!b.cursor || !b.directory)
		return -ENOMEM;
	*ret = (struct token_index){ .postings = o->offset, .bits = b.bits, .rows = n_rows };
	for (uint32_t p = 0; p < PARTITIONS && !r; p++)
		r = write_partition(&b, p);
	while (b.bucket < 1u << b.bits && !r)
		r = finish_bucket(&b);
	if (r)
		return r;
	ret->postings_len = b.done;
	ret->directory = o->offset;
	return write_directory(&b, o);
}

/* Read n row numbers; those of the wanted token go to hits. */
static void read_rows(struct reader *r, uint64_t n, struct bitmap *hits)
{
	uint64_t row = 0;

	for (uint64_t i = 0; i < n && !r->bad; i++) {
		row += reader_varint(r);
		if (row >= (hits ? hits->n : TOKEN_ROWS_MAX))
			r->bad = true;
		else if (hits && !r->bad)
			bitmap_set(hits, row);
	}
}

int token_index_search(const uint8_t *bucket, size_t len, uint32_t first_hash, uint32_t hash,
		       struct bitmap *hits)
{
	struct reader r = reader_init(bucket, len);
	uint64_t at = first_hash;

	while (r.left > 0 && !r.bad) {
		uint64_t v = reader_varint(&r);
		uint64_t n = v & 1 ? 1 : reader_varint(&r);

		if (v >> 1 > UINT32_MAX || n > r.left)
			return -EBADMSG;
		at += v >> 1;
		if (at > hash)
			return r.bad ? -EBADMSG : 0;
		read_rows(&r, n, at == hash ? hits : NULL);
	}
	return r.bad ? -EBADMSG : 0;
}

int token_index_find(const struct token_index *t, segment_read_fn read, void *ctx, uint32_t hash,
		     struct bitmap *hits)
{
	uint32_t bucket = hash >> (32 - t->bits);
	AUTO(free_ptr) uint8_t *data = NULL;
	uint8_t entry[8];
	ssize_t n = read(ctx, t->directory + 4 * (uint64_t)bucket, entry, sizeof(entry));
	struct reader r = reader_init(entry, sizeof(entry));
	uint32_t from = reader_u32(&r), to = reader_u32(&r), crc;

	if (n < 0)
		return (int)n;
	if (n != sizeof(entry) || to < from || to > t->postings_len || to - from < CRC_LEN ||
	    to - from > TOKEN_BUCKET_MAX)
		return -EBADMSG;
	data = malloc(to - from);
	if (!data)
		return -ENOMEM;
	n = read(ctx, t->postings + from, data, to - from);
	if (n < 0)
		return (int)n;
	r = reader_init(data, (size_t)n);
	crc = reader_u32(&r);
	if (n != (ssize_t)(to - from) || r.bad || crc != bucket_crc(bucket, r.at, r.left))
		return -EBADMSG;
	return token_index_search(r.at, r.left, bucket << (32 - t->bits), hash, hits);
}
