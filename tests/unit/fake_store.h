/* SPDX-License-Identifier: Apache-2.0 */
/* A store in memory, in place of the real one, for tests of what asks it: real sealed batches and real
 * tokens, found by looking at each. Defines the store's symbols, so only one file of a program includes it. */
#ifndef TESTS_UNIT_FAKE_STORE_H
#define TESTS_UNIT_FAKE_STORE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "batch.pb-c.h"
#include "collector/hosts.h"
#include "collector/store.h"
#include "collector/tokens.h"
#include "proto/actions.h"
#include "proto/base/writer.h"
#include "proto/certs.h"

#define FAKE_BATCHES_MAX 512
#define FAKE_OFFSET 1000000000 /* wall minus boottime */

struct fake_batch {
	struct store_ref ref;
	uint8_t *bytes;
	size_t len;
	uint64_t *tokens;
	size_t n_tokens;
};

struct store {
	struct fake_batch batches[FAKE_BATCHES_MAX];
	size_t n;
	struct store_stream streams[16];
	size_t n_streams;
	struct store_removed removed;
	size_t reads; /* of batches, so far */
	size_t max; /* refs that one store_find gives; 0: as asked */
	bool no_index; /* find everything: what a scan sees */
	struct batch_sealer *sealer;
	struct seal_key *key;
};

struct hosts {
	struct host_info items[8];
	size_t n;
};

static inline struct batch_name fake_name(const char *text)
{
	struct batch_name n = { .len = (uint8_t)strlen(text) };

	memcpy(n.b, text, n.len);
	return n;
}

static inline struct store *fake_store_new(void)
{
	struct store *s = calloc(1, sizeof(*s));
	char path[] = "/tmp/exhibit-fake-XXXXXX";
	uint8_t public[SEAL_PUBLIC_LEN];
	char file[64];

	assert_non_null(s);
	assert_non_null(mkdtemp(path));
	(void)snprintf(file, sizeof(file), "%s/key", path);
	assert_int_equal(certs_sealing_key(file, public, NULL), 0);
	assert_int_equal(seal_key_load(file, &s->key, NULL), 0);
	(void)unlink(file);
	(void)rmdir(path);
	assert_int_equal(batch_sealer_new(s->key, &s->sealer, NULL), 0);
	return s;
}

static inline void fake_store_free(struct store *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->batches[i].bytes);
		free(s->batches[i].tokens);
	}
	batch_sealer_free(s->sealer);
	seal_key_free(s->key);
	free(s);
}

/* ---- building one batch ---------------------------------------------------------------------------- */

struct fake_builder {
	struct batch_header h;
	uint8_t raw[BATCH_RAW_MAX];
	struct writer w;
	uint32_t processes;
};

static inline void fake_begin(struct fake_builder *b, const char *host, uint8_t boot,
			      enum batch_lane lane, uint64_t number, uint64_t sequence)
{
	memset(&b->h, 0, sizeof(b->h));
	b->w = writer_init(b->raw, sizeof(b->raw));
	b->processes = 0;
	b->h.tenant = fake_name("t");
	b->h.host_id = fake_name(host);
	b->h.host_name = fake_name(host);
	memset(b->h.boot_id, boot, sizeof(b->h.boot_id));
	memset(b->h.epoch, 7, sizeof(b->h.epoch));
	b->h.lane = lane;
	b->h.number = number;
	b->h.first_sequence = sequence;
	b->h.last_sequence = sequence - 1;
	b->h.has_previous = number > 1;
	b->h.first_boottime_ns = UINT64_MAX;
}

static inline void fake_entry(struct fake_builder *b, Exhibit__V1__Entry *entry)
{
	size_t len = exhibit__v1__entry__get_packed_size(entry);
	uint8_t *bytes = malloc(len + 1);

	assert_non_null(bytes);
	(void)exhibit__v1__entry__pack(entry, bytes);
	writer_varint(&b->w, len);
	writer_bytes(&b->w, bytes, len);
	assert_false(b->w.bad);
	free(bytes);
	b->h.entries++;
}

/* Returns its number in the batch. */
static inline uint32_t fake_process(struct fake_builder *b, Exhibit__V1__Process *p)
{
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;

	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_PROCESS;
	entry.process = p;
	fake_entry(b, &entry);
	return ++b->processes;
}

static inline void fake_event(struct fake_builder *b, Exhibit__V1__Event *e)
{
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;

	e->sequence = ++b->h.last_sequence;
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_EVENT;
	entry.event = e;
	fake_entry(b, &entry);
	b->h.count++;
	b->h.gaps += e->action == (int)ACTION_GAP;
	if (e->boottime_ns < b->h.first_boottime_ns)
		b->h.first_boottime_ns = e->boottime_ns;
	if (e->boottime_ns > b->h.last_boottime_ns)
		b->h.last_boottime_ns = e->boottime_ns;
}

static inline void fake_end(struct fake_builder *b, struct store *s)
{
	struct fake_batch *batch = &s->batches[s->n];
	struct arena *a = arena_new(MiB(16), 0);
	struct batch_view view;
	const uint8_t *bytes;
	uint64_t *tokens;
	struct error e = { 0 };
	struct seal_hash hash;

	assert_true(s->n < FAKE_BATCHES_MAX);
	b->h.sealed_boottime_ns = b->h.last_boottime_ns;
	b->h.sealed_wall_ns = (int64_t)b->h.last_boottime_ns + FAKE_OFFSET;
	b->h.watermark_ns = b->h.last_boottime_ns;
	if (batch_seal(s->sealer, &b->h, b->raw, b->w.done, &bytes, &batch->len, &hash, &e) != 0)
		fail_msg("%s", e.text);
	batch->bytes = malloc(batch->len);
	memcpy(batch->bytes, bytes, batch->len);
	if (batch_parse(batch->bytes, batch->len, a, &view, &e) != 0 ||
	    tokens_extract(&view.header, b->raw, b->w.done, a, &tokens, &batch->n_tokens, &e) != 0)
		fail_msg("%s", e.text);
	batch->tokens = malloc(batch->n_tokens * sizeof(*tokens) + 1);
	memcpy(batch->tokens, tokens, batch->n_tokens * sizeof(*tokens));
	batch->ref = (struct store_ref){
		.segment = { 1 },
		.offset = s->n,
		.len = (uint32_t)batch->len,
		.kind = STORE_BATCH,
		.tenant = b->h.tenant,
		.host_id = b->h.host_id,
		.lane = b->h.lane,
		.number = b->h.number,
		.first_sequence = b->h.first_sequence,
		.last_sequence = b->h.last_sequence,
		.count = b->h.count,
		.gaps = b->h.gaps,
		.first_wall_ns = (int64_t)b->h.first_boottime_ns + FAKE_OFFSET,
		.last_wall_ns = (int64_t)b->h.last_boottime_ns + FAKE_OFFSET,
		.offset_ns = FAKE_OFFSET,
		.received_ns = 1,
	};
	memcpy(batch->ref.boot_id, b->h.boot_id, sizeof(b->h.boot_id));
	memcpy(batch->ref.epoch, b->h.epoch, sizeof(b->h.epoch));
	s->n++;
	arena_free(a);
}

/* ---- the store's symbols ----------------------------------------------------------------------------- */

static inline bool fake_has(const struct fake_batch *b, const struct store_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		for (size_t k = 0; k < b->n_tokens; k++)
			if (b->tokens[k] == g->tokens[i])
				return true;
	return false;
}

static inline bool fake_wanted(const struct store *s, const struct fake_batch *b,
			       const struct store_question *q)
{
	bool host = q->n_hosts == 0;

	for (size_t i = 0; i < q->n_hosts; i++)
		host |= q->hosts[i].len == b->ref.host_id.len &&
			memcmp(q->hosts[i].b, b->ref.host_id.b, b->ref.host_id.len) == 0;
	if (!host || b->ref.last_wall_ns < q->since_ns || b->ref.first_wall_ns >= q->until_ns)
		return false;
	for (size_t i = 0; i < q->n_groups && !s->no_index; i++)
		if (!fake_has(b, &q->groups[i]))
			return false;
	return true;
}

static inline int fake_by_time(const void *a, const void *b)
{
	const struct store_ref *x = a, *y = b;

	return x->first_wall_ns < y->first_wall_ns ? -1 : x->first_wall_ns > y->first_wall_ns;
}

int store_find(struct store *s, const struct store_question *q, struct store_ref **ret_refs,
	       size_t *ret_n, struct error *e)
{
	struct store_ref *refs = calloc(FAKE_BATCHES_MAX, sizeof(*refs));
	size_t n = 0, max = s->max && s->max < q->max ? s->max : q->max;

	for (size_t i = 0; i < s->n; i++)
		if (fake_wanted(s, &s->batches[i], q))
			refs[n++] = s->batches[i].ref;
	if (n > max) {
		free(refs);
		return error_set(e, -E2BIG, "too many");
	}
	qsort(refs, n, sizeof(*refs), fake_by_time);
	*ret_refs = refs;
	*ret_n = n;
	return 0;
}

int store_read(struct store *s, const struct store_ref *ref, uint8_t **ret_bytes, size_t *ret_len,
	       struct error *e)
{
	const struct fake_batch *b = &s->batches[ref->offset];

	s->reads++;
	if (!b->bytes)
		return error_set(e, -EBADMSG, "segment x is damaged at byte 7");
	*ret_bytes = malloc(b->len);
	memcpy(*ret_bytes, b->bytes, b->len);
	*ret_len = b->len;
	return 0;
}

int store_streams(struct store *s, const struct batch_name *tenant,
		  const struct batch_name *host_id, struct store_stream **ret, size_t *ret_n,
		  struct error *e)
{
	(void)tenant, (void)host_id, (void)e;
	*ret = calloc(s->n_streams + 1, sizeof(**ret));
	memcpy(*ret, s->streams, s->n_streams * sizeof(**ret));
	*ret_n = s->n_streams;
	return 0;
}

bool store_removed(struct store *s, const struct batch_name *tenant, struct store_removed *ret)
{
	(void)tenant;
	*ret = s->removed;
	return ret->segments > 0;
}

int store_hosts(struct store *s, struct store_host **ret, size_t *ret_n, struct error *e)
{
	(void)s, (void)e;
	*ret = NULL;
	*ret_n = 0;
	return 0;
}

void store_hosts_free(struct store_host *h, size_t n)
{
	(void)n;
	free(h);
}

void store_totals(struct store *s, struct store_totals *ret)
{
	*ret = (struct store_totals){ .batches = s->n };
}

int hosts_snapshot(struct hosts *h, const struct batch_name *tenant, struct host_info **ret,
		   size_t *ret_n, struct error *e)
{
	(void)tenant, (void)e;
	*ret = calloc(h->n + 1, sizeof(**ret));
	memcpy(*ret, h->items, h->n * sizeof(**ret));
	*ret_n = h->n;
	return 0;
}

#endif
