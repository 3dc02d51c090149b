/* SPDX-License-Identifier: Apache-2.0 */
/* The signed records of who seals for a host, as the store keeps them. */
#include "collector/streams.h"

#include <errno.h>
#include <string.h>

static struct host_record *find(struct stream_host *h, const uint8_t *bytes, size_t len)
{
	for (uint32_t i = 0; i < h->n_records; i++)
		if (h->records[i].len == len && memcmp(h->records[i].bytes, bytes, len) == 0)
			return &h->records[i];
	return NULL;
}

int host_record_plan(struct stream_host *h, const uint8_t *bytes, size_t len, uint32_t pending,
		     bool *ret_known)
{
	struct host_record *records;

	*ret_known = find(h, bytes, len) != NULL;
	if (*ret_known)
		return 0;
	if (h->n_records + pending >= STORE_HOST_RECORDS_MAX)
		return -EDQUOT;
	records = realloc(h->records, (h->n_records + pending + 1) * sizeof(*records));
	if (!records)
		return -ENOMEM;
	h->records = records;
	return 0;
}

void host_record_add(struct stream_host *h, uint8_t *copy, size_t len, int64_t received_ns,
		     uint64_t segment)
{
	struct host_record *known = find(h, copy, len);

	if (known) {
		known->segment = segment;
		free(copy);
		return;
	}
	h->records[h->n_records++] = (struct host_record){ copy, len, received_ns, segment };
}
