/* SPDX-License-Identifier: Apache-2.0 */
/* The table of hosts and their streams. What one stream knows stands in stream.c. */
#include "collector/streams.h"

#include <errno.h>
#include <string.h>

#define BUCKETS_FIRST 256

struct streams {
	struct stream_host **buckets;
	size_t n_buckets, n_hosts;
};

struct streams *streams_new(void)
{
	struct streams *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->n_buckets = BUCKETS_FIRST;
	s->buckets = calloc(s->n_buckets, sizeof(struct stream_host *));
	if (!s->buckets) {
		free(s);
		return NULL;
	}
	return s;
}

static void stream_free(struct stream *s)
{
	free(s->runs);
	free(s);
}

static void host_free(struct stream_host *h)
{
	while (h->streams) {
		struct stream *next = h->streams->next;

		stream_free(h->streams);
		h->streams = next;
	}
	for (uint32_t i = 0; i < h->n_records; i++)
		free(h->records[i].bytes);
	free(h->records);
	free(h);
}

void streams_free(struct streams *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_buckets; i++) {
		while (s->buckets[i]) {
			struct stream_host *next = s->buckets[i]->chain;

			host_free(s->buckets[i]);
			s->buckets[i] = next;
		}
	}
	free(s->buckets);
	free(s);
}

/* FNV-1a: names come from certificates, which hosts do not choose. */
static uint64_t name_hash(const struct batch_name *tenant, const struct batch_name *host_id)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < tenant->len; i++)
		h = (h ^ tenant->b[i]) * 0x100000001b3u;
	h = (h ^ 0xffu) * 0x100000001b3u;
	for (size_t i = 0; i < host_id->len; i++)
		h = (h ^ host_id->b[i]) * 0x100000001b3u;
	return h ^ h >> 32;
}

struct stream_host *streams_host(const struct streams *s, const struct batch_name *tenant,
				 const struct batch_name *host_id)
{
	struct stream_host *h = s->buckets[name_hash(tenant, host_id) % s->n_buckets];

	while (h &&
	       !(batch_name_equal(&h->host_id, host_id) && batch_name_equal(&h->tenant, tenant)))
		h = h->chain;
	return h;
}

/* Twice the buckets; when memory is short the old ones do. */
static void grow(struct streams *s)
{
	size_t n = s->n_buckets * 2;
	struct stream_host **buckets = calloc(n, sizeof(struct stream_host *));

	if (!buckets)
		return;
	for (size_t i = 0; i < s->n_buckets; i++) {
		while (s->buckets[i]) {
			struct stream_host *h = s->buckets[i];
			size_t to = name_hash(&h->tenant, &h->host_id) % n;

			s->buckets[i] = h->chain;
			h->chain = buckets[to];
			buckets[to] = h;
		}
	}
	free(s->buckets);
	s->buckets = buckets;
	s->n_buckets = n;
}

int streams_host_get(struct streams *s, const struct batch_name *tenant,
		     const struct batch_name *host_id, struct stream_host **ret)
{
	struct stream_host *h = streams_host(s, tenant, host_id);
	size_t to;

	*ret = h;
	if (h)
		return 0;
	if (s->n_hosts >= STREAMS_HOSTS_MAX)
		return -EDQUOT;
	if (s->n_hosts >= s->n_buckets)
		grow(s);
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->tenant = *tenant;
	h->host_id = *host_id;
	to = name_hash(tenant, host_id) % s->n_buckets;
	h->chain = s->buckets[to];
	s->buckets[to] = h;
	s->n_hosts++;
	*ret = h;
	return 0;
}

static bool is_stream(const struct stream *s, const struct stream_key *k)
{
	return s->lane == k->lane && memcmp(s->boot_id, k->boot_id, BATCH_BOOT_LEN) == 0 &&
	       memcmp(s->epoch, k->epoch, BATCH_EPOCH_LEN) == 0;
}

void stream_key_of(const struct stream *s, struct stream_key *ret_key)
{
	*ret_key = (struct stream_key){ .tenant = s->host->tenant,
					.host_id = s->host->host_id,
					.lane = s->lane };
	memcpy(ret_key->boot_id, s->boot_id, BATCH_BOOT_LEN);
	memcpy(ret_key->epoch, s->epoch, BATCH_EPOCH_LEN);
}

struct stream *streams_find(const struct streams *s, const struct stream_key *k)
{
	struct stream_host *h = streams_host(s, &k->tenant, &k->host_id);
	struct stream *stream = h ? h->streams : NULL;

	while (stream && !is_stream(stream, k))
		stream = stream->next;
	return stream;
}

int streams_get(struct streams *s, const struct stream_key *k, struct stream **ret)
{
	struct stream *stream = streams_find(s, k);
	struct stream_host *h;
	int r;

	*ret = stream;
	if (stream)
		return 0;
	r = streams_host_get(s, &k->tenant, &k->host_id, &h);
	if (r)
		return r;
	if (h->n_streams >= STORE_STREAMS_MAX)
		return -EDQUOT;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return -ENOMEM;
	stream->lane = k->lane;
	memcpy(stream->boot_id, k->boot_id, BATCH_BOOT_LEN);
	memcpy(stream->epoch, k->epoch, BATCH_EPOCH_LEN);
	if (stream_key_hash(k, &stream->key_hash)) {
		free(stream);
		return -ENOMEM;
	}
	stream->host = h;
	stream->next = h->streams;
	h->streams = stream;
	h->n_streams++;
	*ret = stream;
	return 0;
}

void streams_forget(struct streams *s, struct stream *stream)
{
	struct stream_host *h = stream->host;
	struct stream **at = &h->streams;

	(void)s;
	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
	h->n_streams--;
	stream_free(stream);
}

void streams_each_host(const struct streams *s, bool (*fn)(void *ctx, struct stream_host *h),
		       void *ctx)
{
	for (size_t i = 0; i < s->n_buckets; i++)
		for (struct stream_host *h = s->buckets[i]; h; h = h->chain)
			if (!fn(ctx, h))
				return;
}
