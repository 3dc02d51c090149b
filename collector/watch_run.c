/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/watch_run.h"

#include <errno.h>
#include <string.h>

#include "collector/tokens.h"
#include "proto/actions.h"
#include "proto/base/writer.h"

#define RUNS_MAX 4096 /* batches that tell of starts, of one host */
#define STOCK_NS (600 * (int64_t)NSEC_PER_SEC) /* from start to the end of the stock, at most */

static int find_action(struct query_scope *s, const struct batch_name *host, uint32_t action,
		       int64_t since_ns, int64_t until_ns, size_t max, struct store_ref **ret,
		       size_t *ret_n, struct error *e)
{
	struct store_question q = scope_question(s, since_ns, until_ns);
	uint8_t buf[4];
	struct writer w = writer_init(buf, sizeof(buf));
	uint64_t token;
	const struct store_group group = { &token, 1 };
	int r;

	writer_u32(&w, action);
	token = token_hash(TOKEN_ACTION, buf, sizeof(buf));
	q.hosts = host;
	q.n_hosts = 1;
	q.groups = &group;
	q.n_groups = 1;
	q.max = max;
	r = store_find(s->reading.store, &q, ret, ret_n, e);
	/* Of a host that says so much nothing is concluded. */
	if (r == -E2BIG && e)
		*e = (struct error){ 0 };
	return r == -E2BIG ? 0 : r;
}

static int note_start(void *ctx, const struct scan_row *row)
{
	int64_t *start_ns = ctx;

	if (row->subject.event->action == (int)ACTION_AGENT_START && row->time_ns > *start_ns)
		*start_ns = row->time_ns;
	return 0;
}

/* The index may name a batch that has no start: start_ns stays. */
static int read_start(struct query_scope *s, const struct store_ref *ref, int64_t *start_ns,
		      struct error *e)
{
	const struct filter *filter = s->reading.filter;
	int r;

	s->reading.filter = NULL;
	r = reading_batch(&s->reading, ref, false, note_start, start_ns, e);
	s->reading.filter = filter;
	return r;
}

/* Whether the stock of the run that began with ref was told by at_ns: the agent says so after the last of it, in the
 * same lane. */
static int find_stock(struct query_scope *s, const struct store_ref *ref, int64_t start_ns,
		      int64_t at_ns, struct watch_run *ret, struct error *e)
{
	AUTO(free_ptr) struct store_ref *refs = NULL;
	int64_t end_ns = INT64_MAX;
	size_t n = 0;
	int r = find_action(s, &ref->host_id, ACTION_AGENT_STOCK, start_ns, start_ns + STOCK_NS,
			    RUNS_MAX, &refs, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		if (refs[i].kind == STORE_BATCH && refs[i].number >= ref->number &&
		    memcmp(refs[i].boot_id, ref->boot_id, sizeof(ref->boot_id)) == 0 &&
		    memcmp(refs[i].epoch, ref->epoch, sizeof(ref->epoch)) == 0 &&
		    refs[i].last_wall_ns < end_ns)
			end_ns = refs[i].last_wall_ns;
	if (r < 0 || end_ns == INT64_MAX || end_ns > at_ns)
		return r;
	ret->known = true;
	memcpy(ret->boot_id, ref->boot_id, sizeof(ret->boot_id));
	memcpy(ret->epoch, ref->epoch, sizeof(ret->epoch));
	ret->number = ref->number;
	ret->start_ns = start_ns;
	ret->stock_end_ns = end_ns;
	return 0;
}

int watch_run_find(struct query_scope *s, const struct batch_name *host, int64_t at_ns,
		   struct watch_run *ret, struct error *e)
{
	AUTO(free_ptr) struct store_ref *refs = NULL;
	size_t n = 0;
	int r = find_action(s, host, ACTION_AGENT_START, INT64_MIN,
			    at_ns == INT64_MAX ? at_ns : at_ns + 1, RUNS_MAX, &refs, &n, e);

	*ret = (struct watch_run){ 0 };
	for (size_t i = n; r == 0 && !ret->known && i-- > 0;) {
		int64_t start_ns = INT64_MIN;

		if (refs[i].kind != STORE_BATCH)
			continue;
		r = read_start(s, &refs[i], &start_ns, e);
		if (r == 0 && start_ns != INT64_MIN && start_ns <= at_ns)
			r = find_stock(s, &refs[i], start_ns, at_ns, ret, e);
	}
	return r;
}

bool watch_run_told(const struct watch_run *w, const struct store_ref *ref)
{
	if (memcmp(w->boot_id, ref->boot_id, sizeof(w->boot_id)) == 0 &&
	    memcmp(w->epoch, ref->epoch, sizeof(w->epoch)) == 0)
		return ref->number >= w->number;
	return ref->first_wall_ns >= w->start_ns;
}
