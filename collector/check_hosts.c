/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/check_hosts.h"

#include <errno.h>
#include <stdio.h>

#include "collector/retention_record.h"

#define SENTENCE_MAX 1024

static bool is_good(const struct stream_host *h, const struct host_record *r)
{
	struct host_record_info info;

	return host_record_open(r->bytes, r->len, &info) == 0 &&
	       batch_name_equal(&info.tenant, &h->tenant) &&
	       batch_name_equal(&info.host_id, &h->host_id);
}

static bool look_at(void *ctx, struct stream_host *h)
{
	struct check *k = ctx;
	char sentence[SENTENCE_MAX];

	for (uint32_t i = 0; i < h->n_records; i++) {
		if (is_good(h, &h->records[i]))
			continue;
		(void)snprintf(
			sentence, sizeof(sentence),
			"'%s/catalog.sqlite': the record of host %.*s of %.*s cannot be read, and the "
			"collector refuses this host; 'exhibit-collector reindex' reads it from the "
			"segments again",
			k->s->dir, h->host_id.len, (const char *)h->host_id.b, h->tenant.len,
			(const char *)h->tenant.b);
		k->faults++;
		k->report(k->ctx, sentence);
	}
	return true;
}

/* A catalog that cannot be loaded at all is made anew at the start: nobody relies on it. */
int check_hosts(struct check *k, struct error *e)
{
	AUTO(streams_free_ptr) struct streams *s = streams_new();

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot allocate the table of streams");
	if (k->s->catalog != NULL && catalog_load(k->s->catalog, s, NULL) == 0)
		streams_each_host(s, look_at, k);
	return 0;
}
