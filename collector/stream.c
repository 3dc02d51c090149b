/* SPDX-License-Identifier: Apache-2.0 */
/* One stream: numbers, holes, chain. */
#include "collector/streams.h"

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <string.h>

#define PACK_VERSION 1
#define PACK_FIXED 512
#define PACK_RUN (8 + 8 + 32 + 32 + 8)

static bool hash_equal(const struct seal_hash *a, const struct seal_hash *b)
{
	return memcmp(a->b, b->b, SEAL_HASH_LEN) == 0;
}

bool stream_knows(const struct stream *s, uint64_t number)
{
	if (number <= s->contiguous)
		return true;
	for (uint32_t i = 0; i < s->n_runs; i++)
		if (number >= s->runs[i].first && number <= s->runs[i].last)
			return true;
	return false;
}

/* Does previous name the header at number? A conflicting twin may be the one that the chain goes on from. */
static bool names(const struct stream *s, uint64_t number, const struct seal_hash *hash,
		  const struct seal_hash *previous)
{
	if (hash_equal(hash, previous))
		return true;
	for (size_t i = 0; i < STREAM_TWINS; i++)
		if (s->twins[i].number == number && hash_equal(&s->twins[i].hash, previous))
			return true;
	return false;
}

/* The first header of a boot names the last one of the boot before, in the same epoch and lane. */
static bool names_other_boot(const struct stream *s, const struct seal_hash *previous)
{
	bool other = false;

	for (const struct stream *o = s->host->streams; o; o = o->next) {
		if (o == s || !o->stored || o->lane != s->lane ||
		    memcmp(o->epoch, s->epoch, BATCH_EPOCH_LEN) != 0)
			continue;
		other = true;
		if (names(o, o->contiguous, &o->contiguous_hash, previous) ||
		    (o->n_runs > 0 && hash_equal(&o->runs[o->n_runs - 1].last_hash, previous)))
			return true;
	}
	return !other;
}

static void advance(struct stream *s, uint64_t last, const struct seal_hash *hash,
		    int64_t watermark)
{
	s->contiguous = last;
	s->contiguous_hash = *hash;
	if (watermark > s->watermark_wall_ns)
		s->watermark_wall_ns = watermark;
}

/* Runs that now touch the contiguous part become part of it. */
static void absorb(struct stream *s)
{
	uint32_t n = 0;

	while (n < s->n_runs && s->runs[n].first <= s->contiguous + 1) {
		const struct stream_run *run = &s->runs[n++];

		if (run->first == s->contiguous + 1 &&
		    !names(s, s->contiguous, &s->contiguous_hash, &run->first_previous))
			s->chain_breaks++;
		if (run->last > s->contiguous)
			advance(s, run->last, &run->last_hash, run->watermark_wall_ns);
	}
	s->n_runs -= n;
	if (n > 0)
		memmove(s->runs, s->runs + n, s->n_runs * sizeof(*s->runs));
}

/* The oldest missing numbers are taken for lost; should they come after all, they are stored. The chain
 * is broken there. */
static void give_up_hole(struct stream *s)
{
	s->contiguous = s->runs[0].first - 1;
	s->contiguous_hash = s->runs[0].first_previous;
	s->chain_breaks++;
	absorb(s);
}

int stream_reserve(struct stream *s, uint32_t n)
{
	uint32_t want = s->n_runs + n;
	struct stream_run *runs;

	if (want == 0)
		free(TAKE(s->runs));
	if (want == 0 || want <= s->max_runs) {
		s->max_runs = want == 0 ? 0 : s->max_runs;
		return 0;
	}
	if (n > STORE_HOLES_MAX)
		return -EINVAL;
	while (s->n_runs + n > STORE_HOLES_MAX)
		give_up_hole(s);
	want = s->n_runs + n;
	if (want <= s->max_runs)
		return 0;
	runs = realloc(s->runs, want * sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	s->runs = runs;
	s->max_runs = want;
	return 0;
}

/* Join run i with its right neighbour when they touch. */
static void join(struct stream *s, uint32_t i)
{
	struct stream_run *a = &s->runs[i], *b = a + 1;

	if (i + 1 >= s->n_runs || b->first > a->last + 1)
		return;
	if (b->first == a->last + 1 && !names(s, a->last, &a->last_hash, &b->first_previous))
		s->chain_breaks++;
	if (b->last > a->last) {
		a->last = b->last;
		a->last_hash = b->last_hash;
		a->watermark_wall_ns = b->watermark_wall_ns;
	}
	s->n_runs--;
	memmove(b, b + 1, (s->n_runs - i - 1) * sizeof(*b));
}

static void insert(struct stream *s, const struct row *row)
{
	uint64_t last = row->number + row->numbers - 1;
	struct stream_run run = { row->number, last, row->previous, row->hash,
				  row->watermark_wall_ns };
	uint32_t at = 0;

	while (at < s->n_runs && s->runs[at].first < run.first)
		at++;
	memmove(s->runs + at + 1, s->runs + at, (s->n_runs - at) * sizeof(run));
	s->runs[at] = run;
	s->n_runs++;
	join(s, at);
	if (at > 0)
		join(s, at - 1);
}

static void add_conflict(struct stream *s, const struct row *row)
{
	s->twins[s->conflicts % STREAM_TWINS] = (struct stream_twin){ row->number, row->hash };
	s->conflicts++;
}

static void add_numbers(struct stream *s, const struct row *row)
{
	uint64_t last = row->number + row->numbers - 1;

	if (last > s->newest)
		s->newest = last;
	if (row->number > s->contiguous + 1) {
		insert(s, row);
		return;
	}
	if (last <= s->contiguous)
		return;
	/* A tombstone may begin among numbers that are here: its previous says nothing then. */
	if (row->number == s->contiguous + 1 &&
	    (s->contiguous > 0 ? !names(s, s->contiguous, &s->contiguous_hash, &row->previous) :
				 !names_other_boot(s, &row->previous)))
		s->chain_breaks++;
	advance(s, last, &row->hash, row->watermark_wall_ns);
	absorb(s);
}

void stream_add(struct stream *s, const struct row *row, uint64_t segment)
{
	if (!s->stored) {
		s->stored = true;
		s->first_wall_ns = row->first_wall_ns;
		s->watermark_wall_ns = INT64_MIN;
		s->first_segment = segment;
	}
	s->last_segment = segment > s->last_segment ? segment : s->last_segment;
	if (row->first_wall_ns < s->first_wall_ns)
		s->first_wall_ns = row->first_wall_ns;
	if (row->received_ns > s->received_ns)
		s->received_ns = row->received_ns;
	s->offset_ns = row->offset_ns;
	if (row->kind == FRAME_TOMBSTONE) {
		s->dropped_events += row->count;
	} else {
		s->events += row->count;
		s->gaps += row->gaps;
	}
	if (row->flags & ROW_CONFLICT)
		add_conflict(s, row);
	else
		add_numbers(s, row);
}

void stream_removed(struct stream *s, uint64_t first, uint64_t last, const struct seal_hash *hash,
		    uint64_t record_segment)
{
	if (s->removed_last == 0 || first < s->removed_first)
		s->removed_first = first;
	s->removed_segment = record_segment;
	s->stored = true;
	if (last > s->removed_last) {
		s->removed_last = last;
		s->removed_hash = *hash;
	}
	if (last > s->newest)
		s->newest = last;
	if (last > s->contiguous) {
		advance(s, last, hash, INT64_MIN);
		absorb(s);
	}
}

void stream_view(const struct stream *s, struct store_stream *ret)
{
	*ret = (struct store_stream){
		.tenant = s->host->tenant,
		.host_id = s->host->host_id,
		.lane = (enum batch_lane)s->lane,
		.contiguous = s->contiguous,
		.newest = s->newest,
		.newest_hash = s->contiguous_hash,
		.events = s->events,
		.gaps = s->gaps,
		.conflicts = s->conflicts,
		.dropped_events = s->dropped_events,
		.first_wall_ns = s->first_wall_ns,
		.watermark_wall_ns = s->watermark_wall_ns,
		.received_ns = s->received_ns,
		.offset_ns = s->offset_ns,
		.chain_breaks = s->chain_breaks,
	};
	memcpy(ret->boot_id, s->boot_id, BATCH_BOOT_LEN);
	memcpy(ret->epoch, s->epoch, BATCH_EPOCH_LEN);
}

/* The members that are plain 64-bit values, once for both directions. */
#define EACH_U64(x)                                                                                \
	x(contiguous) x(removed_first) x(removed_last) x(removed_segment) x(newest) x(events)      \
		x(gaps) x(conflicts) x(dropped_events) x(chain_breaks) x(first_segment)            \
			x(last_segment)
#define EACH_I64(x) x(first_wall_ns) x(watermark_wall_ns) x(received_ns) x(offset_ns)

uint8_t *stream_pack(const struct stream *s, size_t *ret_len)
{
	size_t size = PACK_FIXED + (size_t)s->n_runs * PACK_RUN;
	uint8_t *data = malloc(size);
	struct writer w = writer_init(data, data ? size : 0);

	if (!data)
		return NULL;
	writer_u8(&w, PACK_VERSION);
#define WRITE(member) writer_u64(&w, (uint64_t)s->member);
	EACH_U64(WRITE)
	EACH_I64(WRITE)
#undef WRITE
	writer_bytes(&w, s->contiguous_hash.b, SEAL_HASH_LEN);
	writer_bytes(&w, s->removed_hash.b, SEAL_HASH_LEN);
	for (size_t i = 0; i < STREAM_TWINS; i++) {
		writer_u64(&w, s->twins[i].number);
		writer_bytes(&w, s->twins[i].hash.b, SEAL_HASH_LEN);
	}
	writer_u32(&w, s->n_runs);
	for (uint32_t i = 0; i < s->n_runs; i++) {
		writer_u64(&w, s->runs[i].first);
		writer_u64(&w, s->runs[i].last);
		writer_bytes(&w, s->runs[i].first_previous.b, SEAL_HASH_LEN);
		writer_bytes(&w, s->runs[i].last_hash.b, SEAL_HASH_LEN);
		writer_u64(&w, (uint64_t)s->runs[i].watermark_wall_ns);
	}
	*ret_len = w.done;
	if (w.bad)
		free(TAKE(data));
	return data;
}

static int unpack_runs(struct stream *s, struct reader *r)
{
	uint32_t n = reader_u32(r);

	if (r->bad || n > STORE_HOLES_MAX || n != r->left / PACK_RUN)
		return -EBADMSG;
	if (stream_reserve(s, n))
		return -ENOMEM;
	for (uint32_t i = 0; s->runs && i < n; i++) {
		struct stream_run *run = &s->runs[i];

		run->first = reader_u64(r);
		run->last = reader_u64(r);
		reader_copy(r, run->first_previous.b, SEAL_HASH_LEN);
		reader_copy(r, run->last_hash.b, SEAL_HASH_LEN);
		run->watermark_wall_ns = (int64_t)reader_u64(r);
	}
	s->n_runs = n;
	return 0;
}

int stream_unpack(struct stream *s, const uint8_t *data, size_t len)
{
	struct reader r = reader_init(data, len);
	int e;

	if (reader_u8(&r) != PACK_VERSION)
		return -EBADMSG;
#define READ(member) s->member = (__typeof__(s->member))reader_u64(&r);
	EACH_U64(READ)
	EACH_I64(READ)
#undef READ
	reader_copy(&r, s->contiguous_hash.b, SEAL_HASH_LEN);
	reader_copy(&r, s->removed_hash.b, SEAL_HASH_LEN);
	for (size_t i = 0; i < STREAM_TWINS; i++) {
		s->twins[i].number = reader_u64(&r);
		reader_copy(&r, s->twins[i].hash.b, SEAL_HASH_LEN);
	}
	e = unpack_runs(s, &r);
	s->stored = true;
	return e ? e : reader_done(&r) ? 0 : -EBADMSG;
}
