/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/query_scope.h"

#include <errno.h>
#include <string.h>

#include "collector/holes.h"
#include "proto/actions.h"

static bool is_name(const struct batch_name *name, const ProtobufCBinaryData *typed)
{
	return name->len == typed->len && memcmp(name->b, typed->data, name->len) == 0;
}

/* Move the hosts that one of the names means to the front; returns how many. */
static int select_hosts(struct query_scope *s, const ProtobufCBinaryData *names, size_t n_names,
			struct error *e)
{
	size_t kept = 0;

	for (size_t i = 0; i < n_names; i++) {
		bool found = false;

		for (size_t k = 0; k < s->n_hosts; k++) {
			struct host_info *h = &s->hosts[k];

			if (!is_name(&h->host_id, &names[i]) && !is_name(&h->host_name, &names[i]))
				continue;
			found = true;
			if (k >= kept) {
				struct host_info t = s->hosts[kept];

				s->hosts[kept] = *h;
				*h = t;
				kept++;
			}
		}
		if (!found) {
			(void)error_set(e, -ENOENT, "no host is called '%.*s'",
					(int)(names[i].len < 128 ? names[i].len : 128),
					names[i].data ? (const char *)names[i].data : "");
			error_hint(e, "'exhibit hosts' lists ids and names");
			return -ENOENT;
		}
	}
	s->n_hosts = kept;
	return 0;
}

static int copy_ids(struct query_scope *s, bool named, struct error *e)
{
	s->ids = calloc(s->n_hosts + 1, sizeof(*s->ids));
	if (!s->ids)
		return error_set(e, -ENOMEM, "cannot answer: out of memory");
	for (size_t i = 0; i < s->n_hosts; i++)
		s->ids[i] = s->hosts[i].host_id;
	s->n_ids = named ? s->n_hosts : 0;
	s->reading.hosts = s->ids;
	s->reading.n_hosts = s->n_hosts;
	return 0;
}

int scope_init(struct query_scope *s, const struct query *q, const ProtobufCBinaryData *names,
	       size_t n_names, struct error *e)
{
	int r;

	*s = (struct query_scope){ .query = q,
				   .now_ns = q->env->now(),
				   .shown_since_ns = INT64_MIN };
	s->reading = (struct reading){
		.store = q->env->store,
		.cancelled = q->sink.cancelled,
		.cancel_ctx = q->sink.ctx,
		.missing = &s->missing,
	};
	r = scan_new(&s->reading.scan, e);
	if (r < 0)
		return r;
	r = hosts_snapshot(q->env->hosts, &q->tenant, &s->hosts, &s->n_hosts, e);
	if (r == 0 && n_names)
		r = select_hosts(s, names, n_names, e);
	return r < 0 ? r : copy_ids(s, n_names > 0, e);
}

void scope_release(struct query_scope *s)
{
	scan_free(s->reading.scan);
	missing_release(&s->missing);
	free(s->hosts);
	free(s->ids);
}

void scope_only(struct query_scope *s, const struct batch_name *host)
{
	for (size_t i = 0; i < s->n_hosts; i++) {
		if (s->hosts[i].host_id.len != host->len ||
		    memcmp(s->hosts[i].host_id.b, host->b, host->len) != 0)
			continue;
		s->hosts[0] = s->hosts[i];
		s->ids[0] = s->ids[i];
		s->n_hosts = s->n_ids = s->reading.n_hosts = 1;
		return;
	}
}

struct store_question scope_question(const struct query_scope *s, int64_t since_ns,
				     int64_t until_ns)
{
	return (struct store_question){
		.tenant = &s->query->tenant,
		.hosts = s->ids,
		.n_hosts = s->n_ids,
		.since_ns = since_ns,
		.until_ns = until_ns,
	};
}

static uint32_t lanes_of(uint32_t classes)
{
	uint32_t lanes = 0;

	if (classes == UINT32_MAX)
		return 1u << BATCH_LANE_CRITICAL | 1u << BATCH_LANE_BULK;
	for (uint32_t class = 0; class < 32; class ++)
		if (classes & 1u << class)
			lanes |= 1u << class_lane(class);
	return lanes;
}

/* Where a batch told the id alone. */
static void name_hosts(struct query_scope *s)
{
	for (size_t i = 0; i < s->missing.n; i++) {
		struct missing *m = &s->missing.items[i];

		for (size_t k = 0; k < s->n_hosts && m->host_name.len == 0; k++)
			if (s->hosts[k].host_id.len == m->host_id.len &&
			    memcmp(s->hosts[k].host_id.b, m->host_id.b, m->host_id.len) == 0)
				m->host_name = s->hosts[k].host_name;
	}
}

int scope_complete(struct query_scope *s, int64_t since_ns, int64_t until_ns, uint32_t classes,
		   struct completeness *ret, struct error *e)
{
	AUTO(free_ptr) struct store_stream *streams = NULL;
	struct holes_question holes = {
		.tenant = &s->query->tenant,
		.since_ns = since_ns,
		.until_ns = until_ns,
		.classes = classes,
		.named = s->n_ids > 0,
	};
	struct completeness_question q = {
		.hosts = s->hosts,
		.n_hosts = s->n_hosts,
		.since_ns = since_ns,
		.until_ns = until_ns,
		.now_ns = s->now_ns,
		.lanes = lanes_of(classes),
		.shown_since_ns = s->shown_since_ns,
	};
	struct store_removed removed;
	int r = store_streams(s->query->env->store, &s->query->tenant, NULL, &streams, &q.n_streams,
			      e);

	if (r < 0)
		return r;
	q.streams = streams;
	if (store_removed(s->query->env->store, &s->query->tenant, &removed))
		q.removed = &removed;
	reading_end(&s->reading);
	r = holes_find(&s->reading, &holes, e);
	if (r < 0)
		return r;
	completeness_compute(&q, ret, &s->missing);
	name_hosts(s);
	return 0;
}
