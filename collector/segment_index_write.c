/* SPDX-License-Identifier: Apache-2.0 */
/* The index file written, once, when its segment is sealed or the index is built again. */
#include "collector/segment_index_format.h"

#include "proto/base/writer.h"

#include <errno.h>
#include <zlib.h>

struct place {
	uint32_t stream, row;
	uint64_t number;
};

struct build {
	struct index_source *source;
	struct outfile out;
	struct index_layout layout;
	uint32_t *order; /* old stream number to new */
	struct place *places;
};

static void build_release(struct build *b)
{
	outfile_close(&b->out);
	free(b->order);
	free(b->places);
}

static int by_hash(const void *a, const void *b, void *streams)
{
	const struct index_stream *s = streams;
	uint64_t x = s[*(const uint32_t *)a].key_hash, y = s[*(const uint32_t *)b].key_hash;

	return x < y ? -1 : x > y;
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* sorted[i]: the old number of the stream that comes i-th; order: the inverse. */
static int sort_streams(struct build *b, uint32_t **ret_sorted)
{
	uint32_t n = b->source->n_streams;
	uint32_t *sorted = calloc((size_t)n + 1, sizeof(*sorted));

	b->order = calloc((size_t)n + 1, sizeof(*b->order));
	b->places = calloc((size_t)b->source->n_rows + 1, sizeof(*b->places));
	*ret_sorted = sorted;
	if (!sorted || !b->order || !b->places)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		sorted[i] = i;
	qsort_r(sorted, n, sizeof(*sorted), by_hash, b->source->streams);
	for (uint32_t i = 0; i < n; i++)
		b->order[sorted[i]] = i;
	return 0;
}

static void write_rows(struct build *b)
{
	for (uint32_t i = 0; i < b->source->n_rows; i++) {
		struct row row = b->source->rows[i];
		uint8_t packed[ROW_PACKED];

		if (row.stream != ROW_NO_STREAM)
			row.stream = b->order[row.stream];
		b->places[i] = (struct place){ row.stream, i, row.number };
		row_pack(&row, i, packed);
		outfile_write(&b->out, packed, sizeof(packed));
	}
	b->layout.by_stream = b->out.offset;
	if (b->source->n_rows > 0)
		qsort(b->places, b->source->n_rows, sizeof(*b->places), by_place);
}

static void write_list(struct build *b, const uint32_t *sorted)
{
	const struct row *rows = b->source->rows;

	/* What belongs to no stream is sorted to the end, and not listed. */
	for (uint32_t i = 0; i < b->source->n_rows; i++) {
		const struct place *p = &b->places[i];
		struct index_stream *s;
		uint8_t v[4];
		struct writer w = writer_init(v, sizeof(v));

		if (p->stream == ROW_NO_STREAM)
			break;
		writer_u32(&w, p->row);
		outfile_write(&b->out, v, sizeof(v));
		s = &b->source->streams[sorted[p->stream]];
		if (s->rows++ == 0) {
			s->first = i;
			s->first_number = p->number;
			s->list_crc = 0;
		}
		if (p->number + rows[p->row].numbers - 1 > s->last_number)
			s->last_number = p->number + rows[p->row].numbers - 1;
		s->list_crc = (uint32_t)crc32(s->list_crc, v, sizeof(v));
	}
	b->layout.names = b->out.offset;
}

static void write_names(struct build *b, const uint32_t *sorted)
{
	for (uint32_t i = 0; i < b->source->n_streams; i++) {
		const struct batch_name *host = &b->source->streams[sorted[i]].key.host_id;

		outfile_write(&b->out, host->b, host->len);
	}
	b->layout.streams = b->out.offset;
}

static void write_streams(struct build *b, const uint32_t *sorted)
{
	uint32_t name = 0;

	for (uint32_t i = 0; i < b->source->n_streams; i++) {
		const struct index_stream *s = &b->source->streams[sorted[i]];
		uint8_t packed[INDEX_STREAM_PACKED];
		struct writer w = writer_init(packed, sizeof(packed));

		writer_u64(&w, s->key_hash);
		writer_bytes(&w, s->key.boot_id, BATCH_BOOT_LEN);
		writer_bytes(&w, s->key.epoch, BATCH_EPOCH_LEN);
		writer_u8(&w, s->key.lane);
		writer_u8(&w, s->key.host_id.len);
		writer_u16(&w, 0);
		writer_u32(&w, name);
		writer_u64(&w, s->first_number);
		writer_u64(&w, s->last_number);
		writer_u32(&w, s->first);
		writer_u32(&w, s->rows);
		writer_u32(&w, s->list_crc);
		writer_u32(&w, index_stream_crc(packed, i, &s->key.host_id));
		outfile_write(&b->out, packed, sizeof(packed));
		name += s->key.host_id.len;
	}
}

static int write_sections(struct build *b)
{
	AUTO(free_ptr) uint32_t *sorted = NULL;
	uint8_t head[INDEX_HEAD] = { 0 };
	int r = sort_streams(b, &sorted);

	if (r)
		return r;
	for (uint32_t i = 0; i < b->source->n_streams; i++) {
		b->source->streams[i].rows = 0;
		b->source->streams[i].last_number = 0;
	}
	outfile_write(&b->out, head, sizeof(head));
	write_rows(b);
	write_list(b, sorted);
	write_names(b, sorted);
	write_streams(b, sorted);
	r = token_index_write(b->source->tokens, b->source->n_rows, &b->out, &b->layout.tokens);
	if (r)
		return r;
	b->layout.summary.index_bytes = b->out.offset;
	index_layout_pack(&b->layout, head);
	return outfile_finish(&b->out, head, sizeof(head));
}

int segment_index_write(struct index_source *s, int dirfd, const char *name,
			struct index_summary *ret_summary, struct error *e)
{
	AUTO(build_release) struct build b = { .source = s, .out.fd = -1 };
	int r = outfile_open(&b.out, dirfd, name);

	b.layout.summary = s->summary;
	b.layout.summary.rows = s->n_rows;
	b.layout.summary.streams = s->n_streams;
	if (s->n_streams > 0)
		b.layout.tenant = s->streams[0].key.tenant;
	if (!r)
		r = write_sections(&b);
	if (r)
		return error_set(e, r, "cannot write the index '%s': %m", name);
	*ret_summary = b.layout.summary;
	return 0;
}
