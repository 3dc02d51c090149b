/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/encode.h"

#include <errno.h>
#include <string.h>

#include "agent/encode_message.h"
#include "proto/actions.h"

#define VARIANTS 256 /* power of two */
#define ARENA_MAX MiB(1)
#define ARENA_KEEP KiB(64)

/* An argument of n bytes takes n + 1 in the record and at most n + 4 in the message, an empty one 2. */
_Static_assert(2 * REC_ARGS_MAX + 5 * ENCODE_PATH_MAX + 6 * ENCODE_WORKLOAD_MAX + KiB(4) <=
		       BATCH_ENTRY_MAX,
	       "every process fits");
_Static_assert((2 * COVERAGE_REASON_MAX + 128) * COVERAGE_ROWS_MAX <= BATCH_ENTRY_MAX,
	       "every coverage fits");
_Static_assert(REC_ARGS_MAX * sizeof(ProtobufCBinaryData) < ARENA_MAX,
	       "every list of arguments fits");

/* A description that is in the batch although the image changed after it: so that a process that
 * changes to and fro is not described each time. */
struct variant {
	struct rec_image image;
	uint64_t version;
	uint32_t index, generation;
};

struct encoder {
	struct batch_builder *builder;
	struct enricher *enricher;
	struct arena *arena; /* of one entry */
	uint32_t generation; /* of the batch; from 1 */
	uint64_t versions[BATCH_ENTRIES_MAX + 1]; /* by index, of this batch's processes */
	struct variant variants[VARIANTS];
	uint8_t entry[BATCH_ENTRY_MAX];
};

struct encoder *encoder_new(struct batch_builder *b, struct enricher *en)
{
	struct encoder *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->builder = b;
	x->enricher = en;
	x->arena = arena_new(ARENA_MAX, ARENA_KEEP);
	if (!x->arena) {
		free(x);
		return NULL;
	}
	return x;
}

void encoder_free(struct encoder *x)
{
	if (!x)
		return;
	arena_free(x->arena);
	free(x);
}

/* The packed length, or -E2BIG. */
static int pack(struct encoder *x, const Exhibit__V1__Entry *m, size_t *ret_len)
{
	*ret_len = exhibit__v1__entry__get_packed_size(m);
	if (*ret_len > sizeof(x->entry))
		return -E2BIG;
	*ret_len = exhibit__v1__entry__pack(m, x->entry);
	return 0;
}

static struct variant *variant_of(struct encoder *x, const struct rec_image *image,
				  uint64_t version)
{
	uint64_t h = (image->start_ns ^ (uint64_t)image->pid << 32 ^ image->exec_id ^ version) *
		     0x9e3779b97f4a7c15ULL;

	return &x->variants[h >> 56 & (VARIANTS - 1)];
}

/* Index of the process entry that tells of image in this version; 0: this batch has none. */
static uint32_t said(struct encoder *x, const struct rec_image *image, uint64_t version)
{
	uint32_t index = batch_builder_process(x->builder, image);
	const struct variant *v;

	if (!index || (index <= BATCH_ENTRIES_MAX && x->versions[index] == version))
		return index;
	v = variant_of(x, image, version);
	if (v->generation != x->generation || v->version != version ||
	    !image_equal(&v->image, image))
		return 0;
	return v->index;
}

static int say(struct encoder *x, const struct enriched *who, uint64_t now_ns, uint32_t *ret_index)
{
	const struct rec_image *image = &who->process->facts.key;
	Exhibit__V1__Process m;
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;
	struct encode_process_parts parts;
	struct description about;
	size_t len;
	int r;

	arena_reset(x->arena);
	enrich_describe(x->enricher, who, now_ns, &about);
	r = encode_fill_process(&about, &m, &parts, x->arena);
	if (r < 0)
		return r;
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_PROCESS;
	entry.process = &m;
	r = pack(x, &entry, &len);
	if (r < 0)
		return r;
	r = batch_builder_add_process(x->builder, image, x->entry, len, ret_index);
	if (r < 0)
		return r;
	if (*ret_index <= BATCH_ENTRIES_MAX)
		x->versions[*ret_index] = who->version;
	*variant_of(x, image, who->version) = (struct variant){
		.image = *image,
		.version = who->version,
		.index = *ret_index,
		.generation = x->generation,
	};
	return 0;
}

static int add(struct encoder *x, Exhibit__V1__Event *m, const struct event *ev, uint64_t now_ns)
{
	struct batch_event_facts facts = {
		.class = ev->class,
		.gap = ev->action == ACTION_GAP,
		.boottime_ns = ev->boottime_ns,
		.now_ns = now_ns,
	};
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;
	size_t len;
	int r;

	if (facts.gap) {
		facts.lost_class = ev->u.gap.class;
		facts.lost_known = ev->u.gap.has_count;
		facts.lost = ev->u.gap.count;
		facts.lost_from_ns = ev->u.gap.from_ns;
		facts.lost_to_ns = ev->u.gap.to_ns;
	}
	m->sequence = batch_builder_next_sequence(x->builder);
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_EVENT;
	entry.event = m;
	r = pack(x, &entry, &len);
	if (r < 0)
		return r;
	return batch_builder_add_event(x->builder, x->entry, len, &facts);
}

/* Called before anything is added: a builder without events has begun another batch. */
static void notice_batch(struct encoder *x)
{
	if (batch_builder_empty(x->builder))
		x->generation++;
}

static int find_index(struct encoder *x, const struct enriched *who, uint64_t now_ns,
		      uint32_t *ret_index)
{
	*ret_index = 0;
	if (!who || !who->process)
		return 0;
	*ret_index = said(x, &who->process->facts.key, who->version);
	return *ret_index ? 0 : say(x, who, now_ns, ret_index);
}

int encode_event(struct encoder *x, const struct event *ev, const struct enriched *who,
		 uint64_t now_ns)
{
	Exhibit__V1__Event m;
	struct encode_parts parts;
	uint32_t index;
	int r;

	notice_batch(x);
	r = find_index(x, who, now_ns, &index);
	if (r < 0)
		return r;
	encode_fill_event(ev, &m, &parts);
	m.process = index;
	return add(x, &m, ev, now_ns);
}

static struct event agent_event(uint32_t action, uint64_t now_ns)
{
	return (struct event){
		.action = action,
		.class = CLASS_AGENT,
		.hook = HOOK_AGENT,
		.boottime_ns = now_ns,
	};
}

struct event encode_gap_event(const struct event_gap *gap, uint64_t now_ns)
{
	struct event ev = agent_event(ACTION_GAP, now_ns);

	ev.u.gap = *gap;
	return ev;
}

static void fill_row(const struct coverage_row *row, Exhibit__V1__CoverageRow *to)
{
	exhibit__v1__coverage_row__init(to);
	to->class_ = (Exhibit__V1__Class)row->class;
	to->tier = row->tier;
	to->hook = encode_text(row->hook);
	if (to->hook.len > COVERAGE_REASON_MAX)
		to->hook.len = COVERAGE_REASON_MAX;
	to->state = (Exhibit__V1__CoverageState)row->state;
	to->reason =
		encode_bytes((struct bytes){ .at = (const uint8_t *)row->reason,
					     .len = strnlen(row->reason, sizeof(row->reason)) },
			     COVERAGE_REASON_MAX);
}

static void fill_counters(const struct encode_counters *from, Exhibit__V1__Counters *to)
{
	exhibit__v1__counters__init(to);
	to->seen = from->seen;
	to->filtered = from->filtered;
	to->aggregated = from->aggregated;
	to->sent = from->sent;
	to->lost = from->lost;
}

int encode_coverage(struct encoder *x, const struct coverage *c,
		    const struct encode_counters *counters, uint64_t now_ns)
{
	struct event ev = agent_event(ACTION_COVERAGE, now_ns);
	Exhibit__V1__CoverageRow rows[COVERAGE_ROWS_MAX], *list[COVERAGE_ROWS_MAX];
	Exhibit__V1__Counters sums[COVERAGE_ROWS_MAX];
	Exhibit__V1__Coverage coverage = EXHIBIT__V1__COVERAGE__INIT;
	struct encode_parts parts;
	Exhibit__V1__Event m;

	notice_batch(x);
	for (size_t i = 0; i < c->n && i < COVERAGE_ROWS_MAX; i++) {
		fill_row(&c->row[i], &rows[i]);
		if (counters && counters[i].known) {
			fill_counters(&counters[i], &sums[i]);
			rows[i].counters = &sums[i];
		}
		list[coverage.n_rows++] = &rows[i];
	}
	coverage.rows = list;
	encode_fill_event(&ev, &m, &parts);
	m.detail_case = EXHIBIT__V1__EVENT__DETAIL_COVERAGE;
	m.coverage = &coverage;
	return add(x, &m, &ev, now_ns);
}

int encode_agent(struct encoder *x, const struct encode_agent *a, uint64_t now_ns)
{
	struct event ev = agent_event(a->action, now_ns);
	Exhibit__V1__AgentInfo info = EXHIBIT__V1__AGENT_INFO__INIT;
	struct encode_parts parts;
	Exhibit__V1__Event m;

	notice_batch(x);
	info.version = encode_text(a->version);
	info.kernel = encode_text(a->kernel);
	info.machine = encode_text(a->machine);
	info.reason = encode_text(a->reason);
	info.machine_id = encode_text(a->machine_id);
	encode_fill_event(&ev, &m, &parts);
	m.detail_case = EXHIBIT__V1__EVENT__DETAIL_AGENT;
	m.agent = &info;
	return add(x, &m, &ev, now_ns);
}
