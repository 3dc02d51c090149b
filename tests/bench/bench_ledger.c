/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves into the ledger: how many a second, durable, from one caller and from several, and how long until a signed
 * checkpoint holds the last of them. Prints "KEY VALUE" lines.
 *
 * bench_ledger DIR LEAVES GROUP THREADS: DIR on the disk in question; GROUP leaves per call */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "collector/ledger.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/certs.h"

#define GROUP_MAX 4096
#define THREADS_MAX 16

struct bench {
	struct ledger *l;
	size_t leaves, group; /* of each thread */
	int result;
};

/* As large as a batch's leaf. */
static void fill(Exhibit__V1__LedgerEntry *m, uint8_t object[static 32])
{
	static uint8_t tenant[] = "default", host[] = "0123456789abcdef0123456789abcdef";

	exhibit__v1__ledger_entry__init(m);
	m->kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH;
	m->tenant = (ProtobufCBinaryData){ sizeof(tenant) - 1, tenant };
	m->host_id = (ProtobufCBinaryData){ sizeof(host) - 1, host };
	m->object = (ProtobufCBinaryData){ 32, object };
	m->size = 20000;
}

static void *append(void *arg)
{
	struct bench *b = arg;
	Exhibit__V1__LedgerEntry m;
	const Exhibit__V1__LedgerEntry *list[GROUP_MAX];
	uint8_t object[32] = { 1 };
	struct error e = { 0 };

	fill(&m, object);
	for (size_t i = 0; i < b->group; i++)
		list[i] = &m;
	for (size_t done = 0; done < b->leaves && b->result == 0; done += b->group) {
		b->result = ledger_append(b->l, list, b->group, NULL, &e);
		if (b->result < 0)
			(void)fprintf(stderr, "bench_ledger: %s\n", e.text);
	}
	return NULL;
}

static int run(struct bench *b, size_t threads, struct error *e)
{
	pthread_t thread[THREADS_MAX];
	uint64_t begun = clock_monotonic_ns(), appended, signed_ns;
	size_t n = 0;
	int r;

	b->leaves /= threads;
	while (n < threads && pthread_create(&thread[n], NULL, append, b) == 0)
		n++;
	for (size_t i = 0; i < n; i++)
		(void)pthread_join(thread[i], NULL);
	appended = clock_monotonic_ns();
	r = b->result < 0 || n < threads ? -EIO : ledger_checkpoint(b->l, e);
	signed_ns = clock_monotonic_ns();
	(void)printf("leaves_per_second %.0f\ncheckpoint_ms %.1f\n",
		     (double)(b->leaves * threads) / ((double)(appended - begun) / 1e9),
		     (double)(signed_ns - appended) / 1e6);
	return r;
}

int main(int argc, char **argv)
{
	char key[4200], folder[4200];
	struct ledger_config c = { .dir = folder, .key_file = key, .origin = "example.org/bench" };
	struct bench b = { 0 };
	struct error e = { 0 };
	uint8_t public[32];
	size_t threads = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
	int r;

	if (threads < 1 || threads > THREADS_MAX) {
		(void)fprintf(stderr, "usage: bench_ledger DIR LEAVES GROUP THREADS\n");
		return 2;
	}
	b.leaves = strtoul(argv[2], NULL, 10);
	b.group = strtoul(argv[3], NULL, 10);
	if (b.group < 1 || b.group > GROUP_MAX)
		return 2;
	(void)snprintf(key, sizeof(key), "%s/ledger.key", argv[1]);
	(void)snprintf(folder, sizeof(folder), "%s/ledger", argv[1]);
	r = files_mkdirs(argv[1], 0755, &e);
	if (r == 0)
		r = certs_sealing_key(key, public, &e);
	if (r == 0)
		r = ledger_open(&c, &b.l, &e);
	if (r == 0)
		r = run(&b, threads, &e);
	ledger_close(b.l);
	if (r < 0)
		(void)fprintf(stderr, "bench_ledger: %s\n", e.text);
	return r < 0 ? 1 : 0;
}
