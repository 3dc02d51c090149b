/* SPDX-License-Identifier: Apache-2.0 */
/* What a segment says of streams, hosts and removals, told to memory again. */
#include "collector/retention_record.h"
#include "collector/store_internal.h"

#include <errno.h>

static int replay_record(struct store *s, const struct segment *g, const struct row *row,
			 struct error *e)
{
	AUTO(free_ptr) uint8_t *body = NULL;
	struct host_record_info info;
	struct stream_host *h;
	size_t len;
	bool known;
	int r = segment_body(g, row->offset, (enum frame_kind)row->kind, &body, &len, e);

	if (r == -EBADMSG)
		return 0; /* damaged: check names it */
	if (r)
		return r;
	if (row->kind == FRAME_RETENTION)
		return retention_apply(s, g->tenant, body, len, g->sequence, e);
	/* Twice: protobuf-c does not tell short memory from bad bytes, and what is stored was good. */
	if ((host_record_open(body, len, &info) && host_record_open(body, len, &info)) ||
	    !batch_name_equal(&info.tenant, &g->tenant->name))
		return 0;
	r = streams_host_get(s->streams, &info.tenant, &info.host_id, &h);
	if (!r)
		r = host_record_plan(h, body, len, 0, &known);
	if (r)
		return r == -EDQUOT ? 0 : error_set(e, r, "cannot keep a host record: %m");
	host_record_add(h, TAKE(body), len, row->received_ns, g->sequence);
	return 0;
}

static int replay_row(struct store *s, const struct segment *g, const struct row *row,
		      const struct stream_key *key, struct error *e)
{
	struct stream *stream;
	int r;

	if (row->stream == ROW_NO_STREAM)
		return replay_record(s, g, row, e);
	r = streams_get(s->streams, key, &stream);
	if (!r)
		r = stream_reserve(stream, row->number > stream->contiguous + 1);
	if (r)
		return r == -EDQUOT ? 0 : error_set(e, r, "cannot keep a stream: %m");
	stream_add(stream, row, g->sequence);
	return 0;
}

static int replay_index(struct store *s, const struct segment *g, const struct segment_index *i,
			struct error *e)
{
	AUTO(row_cursor_release) struct row_cursor c;
	AUTO(free_ptr) struct index_stream *streams = NULL;
	uint32_t n = segment_index_summary(i)->rows;
	struct row row;
	size_t n_streams;
	int r = segment_index_streams(i, &streams, &n_streams);

	row_cursor_init(&c, i);
	/* All must be readable before the first is applied: nothing can be taken back. */
	for (uint32_t k = 0; k < n && !r; k++)
		r = row_cursor_get(&c, k, &row);
	if (r)
		return error_set(e, r, "the index is damaged");
	for (uint32_t k = 0; k < n && !r; k++) {
		r = row_cursor_get(&c, k, &row);
		if (!r)
			r = replay_row(
				s, g, &row,
				row.stream == ROW_NO_STREAM ? NULL : &streams[row.stream].key, e);
	}
	return r;
}

int store_replay_sealed(struct store *s, struct segment *g, struct error *e)
{
	for (int attempt = 0;; attempt++) {
		AUTO(segment_index_close_ptr) struct segment_index *i = NULL;
		char name[SEGMENT_NAME_MAX];
		int r = segment_index_open(g->tenant->dirfd, segment_name_index(&g->id, name), &i,
					   e);

		if (!r)
			r = replay_index(s, g, i, e);
		if (r != -EBADMSG || attempt > 0)
			return r;
		r = store_rebuild_index(s, g, e);
		if (r)
			return r;
	}
}

int store_replay_table(struct store *s, struct segment *g, struct error *e)
{
	const struct segment_table *t = segment_writer_table(g->writer);
	int r = 0;

	for (uint32_t i = 0; i < t->n_rows && !r; i++) {
		const struct row *row = &t->rows[i];

		r = replay_row(s, g, row,
			       row->stream == ROW_NO_STREAM ? NULL : &t->streams[row->stream].key,
			       e);
	}
	return r;
}
