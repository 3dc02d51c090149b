/* SPDX-License-Identifier: Apache-2.0 */
/* Is a batch there already? The stream says that its number is known; here its header hash is compared
 * with what is stored under that number, wherever it lies. */
#include "collector/store_internal.h"

#include <errno.h>
#include <string.h>

struct search {
	const struct stream *stream;
	struct stream_key key;
	const struct row *row;
	bool same;
	uint32_t others;
};

/* One row with the same number. */
static void compare(struct search *q, const struct row *found)
{
	if (found->kind != q->row->kind || found->number != q->row->number)
		return;
	if (memcmp(found->hash.b, q->row->hash.b, SEAL_HASH_LEN) == 0 &&
	    found->numbers == q->row->numbers)
		q->same = true;
	else
		q->others++;
}

static void search_table(struct search *q, const struct segment_table *t)
{
	uint32_t row = UINT32_MAX, slot = 0;

	while (!q->same &&
	       segment_table_find(t, &q->key, q->stream->key_hash, q->row->number, &row, &slot))
		compare(q, &t->rows[row]);
}

/* The first place of the stream's part of the list with at least the number. */
static int first_place(const struct segment_index *i, struct row_cursor *c,
		       const struct index_stream *s, uint64_t number, uint32_t *ret)
{
	uint32_t low = s->first, high = s->first + s->rows;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2, ordinal;
		struct row row;
		int r = segment_index_by_stream(i, middle, &ordinal);

		if (!r)
			r = row_cursor_get(c, ordinal, &row);
		if (r)
			return r;
		if (row.number < number)
			low = middle + 1;
		else
			high = middle;
	}
	*ret = low;
	return 0;
}

static int search_rows(struct search *q, const struct segment_index *i,
		       const struct index_stream *s, uint32_t no)
{
	AUTO(row_cursor_release) struct row_cursor c;
	uint32_t place = 0, ordinal;
	struct row row;
	int r;

	row_cursor_init(&c, i);
	r = first_place(i, &c, s, q->row->number, &place);
	for (; !r && place < s->first + s->rows && !q->same; place++) {
		r = segment_index_by_stream(i, place, &ordinal);
		if (!r)
			r = row_cursor_get(&c, ordinal, &row);
		if (!r && row.stream != no)
			r = -EBADMSG;
		if (r || row.number != q->row->number)
			break;
		compare(q, &row);
	}
	return r;
}

static int search_index(struct search *q, struct segment *g, struct error *e)
{
	AUTO(segment_index_close_ptr) struct segment_index *i = NULL;
	char name[SEGMENT_NAME_MAX];
	struct index_stream s;
	uint32_t no;
	int r = segment_index_open(g->tenant->dirfd, segment_name_index(&g->id, name), &i, e);

	if (!r) {
		r = segment_index_stream(i, &q->key, q->stream->key_hash, &s, &no);
		if (!r && q->row->number >= s.first_number && q->row->number <= s.last_number)
			r = search_rows(q, i, &s, no);
		if (r && r != -ENOENT)
			error_set(e, r, "the index '%s' is damaged", name);
		if (r == -ENOENT)
			r = 0;
	} else if (r == -ENOENT) {
		r = -EBADMSG;
	}
	if (r == -EBADMSG) {
		error_hint(
			e,
			"it is built again by and by; the batch will be accepted when it is sent again");
		atomic_store(&g->index, INDEX_DAMAGED);
	}
	return r;
}

int store_twin(struct store *s, const struct stream *stream, const struct row *row, enum twin *ret,
	       struct error *e)
{
	struct search q = { .stream = stream, .row = row };
	const struct tenant *t;
	int r = 0;

	stream_key_of(stream, &q.key);
	t = store_tenant(s, &q.key.tenant);
	for (size_t i = t->n_segments; i-- > 0 && !r && !q.same;) {
		struct segment *g = t->segments[i];

		if (g->sequence > stream->last_segment)
			continue;
		if (g->sequence < stream->first_segment)
			break;
		if (g->state != SEGMENT_SEALED)
			search_table(&q, segment_writer_table(g->writer));
		else if (atomic_load(&g->index) != INDEX_LOST)
			r = search_index(&q, g, e);
	}
	*ret = q.same                          ? TWIN_SAME :
	       q.others == 0                   ? TWIN_NONE :
	       q.others >= STORE_CONFLICTS_MAX ? TWIN_TOO_MANY :
						 TWIN_OTHER;
	return r;
}
