/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/segment_table.h"

#include <errno.h>
#include <string.h>

#define FIRST_ROWS 64u

void segment_table_init(struct segment_table *t)
{
	*t = (struct segment_table){
		.first_wall_ns = INT64_MAX,
		.last_wall_ns = INT64_MIN,
		.first_received_ns = INT64_MAX,
		.last_received_ns = INT64_MIN,
	};
}

void segment_table_release(struct segment_table *t)
{
	for (uint32_t i = 0; i < t->n_rows; i++)
		free(t->tokens[i].hashes);
	free(t->rows);
	free(t->tokens);
	free(t->streams);
	free(t->stream_map);
	free(t->row_map);
	*t = (struct segment_table){ 0 };
}

static uint32_t mix(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ b * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;

	return (uint32_t)(h ^ h >> 32);
}

static void map_put(uint32_t *map, uint32_t slots, uint32_t hash, uint32_t value)
{
	uint32_t at = hash & (slots - 1);

	while (map[at])
		at = (at + 1) & (slots - 1);
	map[at] = value + 1;
}

static uint32_t row_hash(const struct segment_table *t, const struct row *row)
{
	return mix(t->streams[row->stream].key_hash, row->number);
}

/* A map with room for n entries when half full, and what is there put in again. */
static int grow_maps(struct segment_table *t, uint32_t rows, uint32_t streams)
{
	uint32_t row_slots = t->map_rows ? t->map_rows : 2 * FIRST_ROWS;
	uint32_t stream_slots = t->map_streams ? t->map_streams : 2 * FIRST_ROWS;
	uint32_t *map;

	while (row_slots < 2 * rows)
		row_slots *= 2;
	while (stream_slots < 2 * streams)
		stream_slots *= 2;
	if (row_slots != t->map_rows) {
		map = calloc(row_slots, sizeof(*map));
		if (!map)
			return -ENOMEM;
		for (uint32_t i = 0; i < t->n_rows; i++)
			if (t->rows[i].stream != ROW_NO_STREAM)
				map_put(map, row_slots, row_hash(t, &t->rows[i]), i);
		free(t->row_map);
		t->row_map = map;
		t->map_rows = row_slots;
	}
	if (stream_slots != t->map_streams) {
		map = calloc(stream_slots, sizeof(*map));
		if (!map)
			return -ENOMEM;
		for (uint32_t i = 0; i < t->n_streams; i++)
			map_put(map, stream_slots, (uint32_t)t->streams[i].key_hash, i);
		free(t->stream_map);
		t->stream_map = map;
		t->map_streams = stream_slots;
	}
	return 0;
}

static uint32_t grown(uint32_t max, uint32_t want)
{
	if (max == 0)
		max = FIRST_ROWS;
	while (max < want)
		max *= 2;
	return max;
}

static int grow_rows(struct segment_table *t, uint32_t want)
{
	uint32_t max = grown(t->max_rows, want);
	struct row *rows;
	struct token_row *tokens;

	if (max == t->max_rows)
		return 0;
	rows = realloc(t->rows, max * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	t->rows = rows;
	tokens = realloc(t->tokens, max * sizeof(*tokens));
	if (!tokens)
		return -ENOMEM;
	t->tokens = tokens;
	t->max_rows = max;
	return 0;
}

int segment_table_reserve(struct segment_table *t, uint32_t n)
{
	uint32_t streams = t->n_streams + n, max = grown(t->max_streams, streams);
	int r;

	if (t->n_rows + n >= TOKEN_ROWS_MAX)
		return -EFBIG;
	r = grow_rows(t, t->n_rows + n);
	if (!r && max != t->max_streams) {
		struct index_stream *s = realloc(t->streams, max * sizeof(*s));

		if (!s)
			return -ENOMEM;
		t->streams = s;
		t->max_streams = max;
	}
	return r ? r : grow_maps(t, t->n_rows + n, streams);
}

static uint32_t find_stream(const struct segment_table *t, const struct stream_key *k,
			    uint64_t key_hash)
{
	uint32_t at = (uint32_t)key_hash & (t->map_streams - 1);

	for (; t->map_streams && t->stream_map[at]; at = (at + 1) & (t->map_streams - 1)) {
		uint32_t i = t->stream_map[at] - 1;

		if (t->streams[i].key_hash == key_hash && stream_key_equal(&t->streams[i].key, k))
			return i;
	}
	return ROW_NO_STREAM;
}

uint32_t segment_table_stream(struct segment_table *t, const struct stream_key *k,
			      uint64_t key_hash)
{
	uint32_t i = find_stream(t, k, key_hash);

	if (i != ROW_NO_STREAM)
		return i;
	i = t->n_streams++;
	t->streams[i] = (struct index_stream){ .key = *k, .key_hash = key_hash };
	map_put(t->stream_map, t->map_streams, (uint32_t)key_hash, i);
	t->end_bytes += (uint64_t)SEGMENT_END_STREAM_MAX - BATCH_NAME_MAX + k->host_id.len;
	return i;
}

static void widen(struct segment_table *t, const struct row *row)
{
	if (row->first_wall_ns < t->first_wall_ns)
		t->first_wall_ns = row->first_wall_ns;
	if (row->last_wall_ns > t->last_wall_ns)
		t->last_wall_ns = row->last_wall_ns;
}

static void widen_received(struct segment_table *t, const struct row *row)
{
	if (row->received_ns < t->first_received_ns)
		t->first_received_ns = row->received_ns;
	if (row->received_ns > t->last_received_ns)
		t->last_received_ns = row->received_ns;
}

void segment_table_add(struct segment_table *t, const struct row *row, struct token_row tokens)
{
	uint32_t i = t->n_rows++;

	t->rows[i] = *row;
	t->tokens[i] = tokens;
	t->token_bytes += (uint64_t)tokens.n * sizeof(*tokens.hashes);
	widen_received(t, row);
	if (row->stream == ROW_NO_STREAM)
		return;
	map_put(t->row_map, t->map_rows, row_hash(t, row), i);
	widen(t, row);
	if (row->kind == FRAME_TOMBSTONE) {
		t->tombstones++;
		return;
	}
	t->batches++;
	t->events += row->count;
}

bool segment_table_find(const struct segment_table *t, const struct stream_key *k,
			uint64_t key_hash, uint64_t number, uint32_t *ret_row, uint32_t *ret_slot)
{
	uint32_t mask = t->map_rows - 1;

	if (!t->map_rows)
		return false;
	*ret_slot = *ret_row == UINT32_MAX ? mix(key_hash, number) & mask : (*ret_slot + 1) & mask;
	for (; t->row_map[*ret_slot]; *ret_slot = (*ret_slot + 1) & mask) {
		const struct row *row = &t->rows[t->row_map[*ret_slot] - 1];

		if (row->number != number || t->streams[row->stream].key_hash != key_hash ||
		    !stream_key_equal(&t->streams[row->stream].key, k))
			continue;
		*ret_row = t->row_map[*ret_slot] - 1;
		return true;
	}
	return false;
}
