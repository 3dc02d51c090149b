/* SPDX-License-Identifier: Apache-2.0 */
/* Drives collector/store.h for tests that cut the power under it, or let calls fail.
 *
 * driver_store put DIR KEY COUNT SEED: COUNT groups of batches and tombstones of three hosts in both
 *	lanes, sealing and removing now and then. Marks: "try HASH" before the put, "ack HASH STREAM NUMBER
 *	KIND" after it returned; STREAM is host and lane, KIND batch or tombstone.
 * driver_store dump DIR KEY: opens, prints "batch HASH STREAM NUMBER" of all that is found and read,
 *	"unfound STREAM NUMBER" of what its token does not find, "stream STREAM CONTIGUOUS REMOVED", puts
 *	one more batch into every stream, closes, checks: "faults N".
 * driver_store find DIR KEY: the same, and every batch is looked for by its token, not the newest alone.
 * An error is one sentence on standard error and exit status 1. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "batch.pb-c.h"
#include "collector/store_internal.h"
#include "proto/base/writer.h"
#include "tests/system/marks.h"

#define HOSTS 3
#define ENTRIES_MAX 40
#define GROUP_MAX 6
#define RETAIN_BYTES KiB(250)
#define START_NS 1700000000000000000LL

struct chain {
	uint8_t host, lane;
	uint64_t number, sequence;
	bool has_previous;
	struct seal_hash previous;
};

struct made {
	uint8_t *bytes;
	struct arena *arena;
	struct batch_view view;
	struct batch_tombstone tombstone;
	struct batch_name tenant, host_id;
	struct seal_hash hash;
	uint64_t token;
	uint8_t chain;
};

struct driver {
	struct seal_key *key;
	struct batch_sealer *sealer;
	struct store *s;
	struct store_config c;
	struct chain chains[2 * HOSTS];
	struct store_item items[GROUP_MAX];
	struct made made[GROUP_MAX];
	size_t n;
	uint64_t rng;
	int64_t now_ns;
	bool failed, all;
};

static struct batch_name host_name(uint8_t host)
{
	return (struct batch_name){ .len = 2, .b = { 'h', (uint8_t)('0' + host) } };
}

static const struct batch_name tenant = { .len = 4, .b = "acme" };

/* The token of every batch is its own number: nothing of it has to be known again. */
static int tokenize(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
		    struct arena *a, uint64_t **ret_tokens, size_t *ret_n, struct error *e)
{
	uint64_t *t = arena_alloc(a, sizeof(*t));

	(void)raw, (void)raw_len;
	if (!t)
		return error_set(e, -ENOMEM, "no memory");
	*t = h->number << 40;
	*ret_tokens = t;
	*ret_n = 1;
	return 0;
}

static void drop_made(struct driver *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->made[i].bytes);
		arena_free(d->made[i].arena);
	}
	d->n = 0;
}

static struct made *make(struct driver *d, enum store_kind kind, uint8_t chain)
{
	struct made *m = &d->made[d->n];

	*m = (struct made){ .chain = chain, .arena = arena_new(MiB(4), 0), .tenant = tenant };
	if (!m->arena)
		return NULL;
	m->host_id = host_name(d->chains[chain].host);
	d->items[d->n++] = (struct store_item){
		.kind = kind, .received_ns = d->now_ns, .tenant = &m->tenant, .host_id = &m->host_id
	};
	return m;
}

static int take(struct driver *d, struct made *m, const void *bytes, size_t len, struct error *e)
{
	m->bytes = malloc(len + 1);
	if (!m->bytes)
		return error_set(e, -ENOMEM, "cannot allocate a batch");
	memcpy(m->bytes, bytes, len);
	d->items[d->n - 1].bytes = m->bytes;
	d->items[d->n - 1].len = len;
	return 0;
}

static int add_batch(struct driver *d, uint8_t at, struct error *e)
{
	struct chain *c = &d->chains[at];
	uint8_t raw[ENTRIES_MAX * 200];
	struct writer w = writer_init(raw, sizeof(raw));
	uint32_t entries = (uint32_t)(1 + next_random(&d->rng) % (ENTRIES_MAX - 1));
	struct batch_header h = {
		.tenant = tenant,
		.host_id = host_name(c->host),
		.host_name = host_name(c->host),
		.lane = (enum batch_lane)c->lane,
		.number = c->number + 1,
		.count = entries,
		.entries = entries,
		.first_sequence = c->sequence + 1,
		.last_sequence = c->sequence + entries,
		.first_boottime_ns = 1000,
		.last_boottime_ns = 2000,
		.sealed_boottime_ns = 2000,
		.watermark_ns = 2000,
		.sealed_wall_ns = d->now_ns,
		.has_previous = c->has_previous,
		.previous = c->previous,
	};
	struct made *m = make(d, STORE_BATCH, at);
	const uint8_t *bytes;
	size_t len;
	int r;

	if (!m)
		return error_set(e, -ENOMEM, "cannot allocate a batch");
	memset(h.boot_id, 1, sizeof(h.boot_id));
	memset(h.epoch, 2, sizeof(h.epoch));
	for (uint32_t i = 0; i < entries; i++) {
		uint8_t entry[100];
		size_t n = 1 + next_random(&d->rng) % sizeof(entry);

		for (size_t k = 0; k < n; k++)
			entry[k] = (uint8_t)next_random(&d->rng);
		writer_varint(&w, n);
		writer_bytes(&w, entry, n);
	}
	r = batch_seal(d->sealer, &h, raw, w.done, &bytes, &len, &m->hash, e);
	if (!r)
		r = take(d, m, bytes, len, e);
	if (!r)
		r = batch_parse(m->bytes, len, m->arena, &m->view, e);
	if (r)
		return r;
	m->token = h.number << 40;
	d->items[d->n - 1].view = &m->view;
	d->items[d->n - 1].tokens = &m->token;
	d->items[d->n - 1].n_tokens = 1;
	c->number++;
	c->sequence += entries;
	c->has_previous = true;
	c->previous = m->hash;
	return 0;
}

static int add_tombstone(struct driver *d, uint8_t at, struct error *e)
{
	struct chain *c = &d->chains[at];
	struct made *m = make(d, STORE_TOMBSTONE, at);
	struct batch_dropped dropped = { .number = c->number + 1,
					 .first_sequence = c->sequence + 1,
					 .last_sequence = c->sequence + 1,
					 .first_boottime_ns = 1000,
					 .last_boottime_ns = 2000,
					 .has_previous = c->has_previous,
					 .previous = c->previous,
					 .counts = { [1] = 1 } };
	struct batch_tombstone t = { .tenant = tenant,
				     .host_id = host_name(c->host),
				     .lane = (enum batch_lane)c->lane,
				     .wall_ns = d->now_ns,
				     .offset_ns = d->now_ns,
				     .reason = "journal full",
				     .n_dropped = 1,
				     .dropped = &dropped };
	const uint8_t *bytes;
	size_t len;
	int r;

	if (!m)
		return error_set(e, -ENOMEM, "cannot allocate a tombstone");
	memset(t.boot_id, 1, sizeof(t.boot_id));
	memset(t.epoch, 2, sizeof(t.epoch));
	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		dropped.header_hash.b[i] = (uint8_t)next_random(&d->rng);
	r = batch_seal_tombstone(d->key, &t, m->arena, &bytes, &len, e);
	if (!r)
		r = take(d, m, bytes, len, e);
	if (!r)
		r = batch_open_tombstone(m->bytes, len, NULL, m->arena, &m->tombstone, e);
	if (r)
		return r;
	d->items[d->n - 1].tombstone = &m->tombstone;
	m->hash = dropped.header_hash;
	c->number++;
	c->sequence++;
	c->has_previous = true;
	c->previous = m->hash;
	return 0;
}

static int add_record(struct driver *d, uint8_t host, struct error *e)
{
	Exhibit__V1__HostRecord record = EXHIBIT__V1__HOST_RECORD__INIT;
	Exhibit__V1__SignedHostRecord message = EXHIBIT__V1__SIGNED_HOST_RECORD__INIT;
	struct made *m = make(d, STORE_HOST_RECORD, (uint8_t)(2 * host));
	uint8_t public[SEAL_PUBLIC_LEN], packed[512], out[1024];

	if (!m)
		return error_set(e, -ENOMEM, "cannot allocate a host record");
	seal_key_public(d->key, public);
	record.version = 1;
	record.tenant = (ProtobufCBinaryData){ m->tenant.len, m->tenant.b };
	record.host_id = (ProtobufCBinaryData){ m->host_id.len, m->host_id.b };
	record.sealing_key = (ProtobufCBinaryData){ sizeof(public), public };
	message.record =
		(ProtobufCBinaryData){ exhibit__v1__host_record__pack(&record, packed), packed };
	message.signature = (ProtobufCBinaryData){ 1, public };
	return take(d, m, out, exhibit__v1__signed_host_record__pack(&message, out), e);
}

/* What failed is made again with the next group: the chains are put back. */
static int put_group(struct driver *d, const struct chain *before, struct error *e)
{
	int r;

	for (size_t i = 0; i < d->n; i++)
		if (d->items[i].kind != STORE_HOST_RECORD)
			say("try %s\n", hex(&d->made[i].hash).text);
	r = store_put(d->s, d->items, d->n, e);
	for (size_t i = 0; i < d->n && !r; i++) {
		const struct made *m = &d->made[i];
		const struct chain *c = &d->chains[m->chain];

		if (d->items[i].kind == STORE_HOST_RECORD)
			continue;
		if (d->items[i].result != STORE_STORED)
			say("unexpected result %d\n", (int)d->items[i].result);
		say("ack %s %u.%u %" PRIu64 " %s\n", hex(&m->hash).text, c->host, c->lane,
		    d->items[i].kind == STORE_BATCH ? m->view.header.number :
						      m->tombstone.dropped[0].number,
		    d->items[i].kind == STORE_BATCH ? "batch" : "tombstone");
	}
	if (r && before)
		memcpy(d->chains, before, sizeof(d->chains));
	return r;
}

static int one_group(struct driver *d, struct error *e)
{
	struct chain before[2 * HOSTS];
	size_t n = 1 + next_random(&d->rng) % GROUP_MAX;
	int r = 0;

	memcpy(before, d->chains, sizeof(before));
	d->now_ns += 100000000;
	for (size_t i = 0; i < n && !r; i++) {
		uint64_t dice = next_random(&d->rng);
		uint8_t chain = (uint8_t)(dice % (2 * HOSTS));

		r = dice >> 32 & 7 ? add_batch(d, chain, e) : add_tombstone(d, chain, e);
	}
	if (r)
		memcpy(d->chains, before, sizeof(before));
	else
		r = put_group(d, before, e);
	drop_made(d);
	return r;
}

static int put_records(struct driver *d, struct error *e)
{
	int r = 0;

	for (uint8_t host = 0; host < HOSTS && !r; host++)
		r = add_record(d, host, e);
	if (!r)
		r = put_group(d, NULL, e);
	drop_made(d);
	return r;
}

static void put_all(struct driver *d, unsigned long count)
{
	for (unsigned long i = 0; i < count; i++) {
		struct error e = { 0 };

		/* One failure is allowed in a run; a group that failed is tried once more, as agents do. */
		for (int attempt = 0; attempt < 2; attempt++) {
			uint64_t rng = d->rng;
			int r = i == 0 ? put_records(d, &e) : one_group(d, &e);

			report(r, &e, &d->failed);
			if (!r)
				break;
			d->rng = rng;
		}
		report(store_retain(d->s, d->now_ns, &e), &e, &d->failed);
	}
}

/* ---- what is there ---- */

static int print_batch(struct driver *d, const struct store_ref *ref, struct error *e)
{
	AUTO(free_ptr) uint8_t *bytes = NULL;
	struct arena *a = arena_new(MiB(4), 0);
	struct batch_view view;
	size_t len;
	int r = a ? store_read(d->s, ref, &bytes, &len, e) : error_set(e, -ENOMEM, "no memory");

	if (!r && ref->kind == STORE_BATCH) {
		r = batch_parse(bytes, len, a, &view, e);
		if (!r)
			say("batch %s %c.%d %" PRIu64 "\n", hex(&view.hash).text, ref->host_id.b[1],
			    (int)ref->lane, ref->number);
	} else if (!r) {
		say("tombstone %c.%d %" PRIu64 "\n", ref->host_id.b[1], (int)ref->lane,
		    ref->number);
	}
	arena_free(a);
	return r;
}

static bool among(const struct store_ref *one, const struct store_ref *refs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (refs[i].kind == one->kind && refs[i].number == one->number &&
		    refs[i].lane == one->lane && refs[i].host_id.b[1] == one->host_id.b[1])
			return true;
	return false;
}

/* Whatever is there is found by its token, too, wherever the index took that from. */
static int find_number(struct driver *d, uint64_t number, const struct store_ref *refs, size_t n,
		       struct error *e)
{
	uint64_t token = number << 40;
	struct store_group group = { .tokens = &token, .n = 1 };
	struct store_question q = { .tenant = &tenant,
				    .since_ns = INT64_MIN,
				    .until_ns = INT64_MAX,
				    .groups = &group,
				    .n_groups = 1,
				    .max = 1000000 };
	AUTO(free_ptr) struct store_ref *found = NULL;
	size_t n_found = 0;
	int r = store_find(d->s, &q, &found, &n_found, e);

	for (size_t i = 0; i < n && !r; i++)
		if (refs[i].number == number && !among(&refs[i], found, n_found))
			say("unfound %c.%d %" PRIu64 "\n", refs[i].host_id.b[1], (int)refs[i].lane,
			    number);
	return r;
}

static int print_all(struct driver *d, struct error *e)
{
	struct store_question q = {
		.tenant = &tenant, .since_ns = INT64_MIN, .until_ns = INT64_MAX, .max = 1000000
	};
	AUTO(free_ptr) struct store_ref *refs = NULL;
	uint64_t newest = 0;
	size_t n = 0;
	int r = store_find(d->s, &q, &refs, &n, e);

	for (size_t i = 0; i < n && !r; i++) {
		if (refs[i].number > newest)
			newest = refs[i].number;
		r = print_batch(d, &refs[i], e);
	}
	for (uint64_t number = d->all ? 1 : newest; number <= newest && !r; number++)
		r = find_number(d, number, refs, n, e);
	return r;
}

static void resume_chain(struct driver *d, struct chain *c)
{
	struct stream_key k = { .tenant = tenant, .host_id = host_name(c->host), .lane = c->lane };
	const struct stream *s;

	memset(k.boot_id, 1, sizeof(k.boot_id));
	memset(k.epoch, 2, sizeof(k.epoch));
	s = streams_find(d->s->streams, &k);
	if (!s)
		return;
	c->number = s->contiguous;
	c->sequence = 1000000 + s->contiguous;
	c->has_previous = s->contiguous > 0;
	c->previous = s->contiguous_hash;
	say("stream %u.%u %" PRIu64 " %" PRIu64 " breaks %" PRIu64 " conflicts %" PRIu64
	    " holes %u\n",
	    c->host, c->lane, s->contiguous, s->removed_last, s->chain_breaks, s->conflicts,
	    s->n_runs);
}

static void fault(void *ctx, const char *sentence)
{
	(void)ctx;
	say("fault %.400s\n", sentence);
}

static int dump(struct driver *d, struct error *e)
{
	uint64_t faults = 0;
	int r = print_all(d, e);

	for (size_t i = 0; i < ARRAY_LEN(d->chains) && !r; i++)
		resume_chain(d, &d->chains[i]);
	/* Host records may not have got through; a duplicate otherwise. */
	d->now_ns += 3600000000000LL;
	if (!r)
		r = put_records(d, e);
	for (uint8_t i = 0; i < ARRAY_LEN(d->chains) && !r; i++) {
		r = add_batch(d, i, e);
		if (!r)
			r = put_group(d, NULL, e);
		drop_made(d);
	}
	store_close(d->s);
	d->s = NULL;
	if (!r)
		r = store_check(&d->c, fault, NULL, &faults, e);
	if (!r)
		say("faults %" PRIu64 "\n", faults);
	return r;
}

static int drive(struct driver *d, int argc, char **argv, struct error *e)
{
	int r = seal_key_load(argv[3], &d->key, e);

	if (!r)
		r = batch_sealer_new(d->key, &d->sealer, e);
	if (r)
		return r;
	for (uint8_t i = 0; i < 2 * HOSTS; i++)
		d->chains[i] = (struct chain){ .host = i / 2, .lane = (uint8_t)(1 + i % 2) };
	d->now_ns = START_NS;
	d->c = (struct store_config){ .dir = argv[2],
				      .segment_bytes = KiB(64),
				      .segment_age_ms = 1500,
				      .retain_bytes = RETAIN_BYTES,
				      .ledger_key = d->key,
				      .tokenize = tokenize };
	count_from_here();
	d->rng = argc > 5 ? strtoul(argv[5], NULL, 10) : (unsigned long)getpid();
	r = store_open(&d->c, &d->s, e);
	if (r)
		return r;
	d->all = strcmp(argv[1], "find") == 0;
	if (d->all || strcmp(argv[1], "dump") == 0)
		return dump(d, e);
	put_all(d, strtoul(argv[4], NULL, 10));
	return 0;
}

int main(int argc, char **argv)
{
	struct driver *d = calloc(1, sizeof(*d));
	struct error e = { 0 };
	bool failed;

	if (!d || argc < 4 || (strcmp(argv[1], "put") == 0 && argc < 6))
		return 2;
	report(drive(d, argc, argv, &e), &e, &d->failed);
	store_close(d->s);
	batch_sealer_free(d->sealer);
	seal_key_free(d->key);
	failed = d->failed;
	free(d);
	return failed ? 1 : 0;
}
