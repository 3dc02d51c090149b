/* SPDX-License-Identifier: Apache-2.0 */
/* What an event costs from a ring's record to an entry of a batch, without the kernel's part, the
 * sealing and the journal: build/bench/pipeline. Median of RUNS, one line per kind of record. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/encode.h"
#include "proto/base/clock.h"

#define RUNS 5
#define EVENTS 200000
#define PROCESSES 100 /* that take turns */
#define BASE_NS 1000000000ULL

struct bench {
	struct enricher en;
	struct batch_builder *builder;
	struct encoder *x;
	uint64_t raw_bytes, events;
	uint64_t cgroup_id; /* one that exists, as almost always */
};

static struct rec_header header(const struct bench *b, uint16_t type, uint8_t class, uint32_t len,
				uint32_t pid)
{
	return (struct rec_header){
		.len = len,
		.type = type,
		.seq = 1,
		.boottime_ns = BASE_NS,
		.layout = REC_LAYOUT,
		.ring = type == REC_FILE_OPEN ? REC_RING_BULK : REC_RING_CRITICAL,
		.class = class,
		.actor = { .image = { pid, 1, pid },
			   .tid = pid,
			   .cgroup_id = b->cgroup_id,
			   .comm = "bench" },
	};
}

static void feed(struct bench *b, const void *record, size_t len)
{
	static const struct decode_hooks hooks;
	struct batch_closed *closed;
	struct enriched who;
	struct decoded d;
	const char *why;

	if (decode_record(&hooks, record, len, &d, &why) < 0)
		abort();
	enrich_record(&b->en, &d, BASE_NS, &who);
	if (encode_event(b->x, &d.event, &who, BASE_NS) < 0)
		abort();
	b->events++;
	if (!batch_builder_due(b->builder, BASE_NS))
		return;
	if (batch_builder_close(b->builder, &closed) < 0)
		abort();
	b->raw_bytes += closed->raw_len;
	batch_closed_free(closed);
}

static const char exec_tail[] = "/usr/bin/git"
				"/srv/team/src"
				"git\0status\0--porcelain\0";
static const char file_tail[] = "/srv/team/src/project/build/object.o";

static void feed_exec(struct bench *b, uint32_t i)
{
	static _Alignas(8) uint8_t record[sizeof(struct rec_exec) + sizeof(exec_tail) - 1];
	struct rec_exec x = {
		.h = header(b, REC_EXEC, REC_CLASS_EXEC, sizeof(record), 1000 + i % PROCESSES),
		.args_bytes = 23,
		.args_len = 23,
		.path_len = 12,
		.cwd_len = 14,
	};

	x.h.actor.image.exec_id = i;
	memcpy(record, &x, sizeof(x));
	memcpy(record + sizeof(x), exec_tail, sizeof(exec_tail) - 1);
	feed(b, record, sizeof(record));
}

static void feed_exit(struct bench *b, uint32_t i)
{
	struct rec_exit x = { .h = header(b, REC_EXIT, REC_CLASS_EXIT, sizeof(x),
					  1000 + i % PROCESSES) };

	feed(b, &x, sizeof(x));
}

static void feed_file(struct bench *b, uint32_t i)
{
	static _Alignas(8) uint8_t record[sizeof(struct rec_file_open) + sizeof(file_tail) - 1];
	struct rec_file_open x = {
		.h = header(b, REC_FILE_OPEN, REC_CLASS_FILE_OPEN, sizeof(record),
			    1000 + i % PROCESSES),
		.path_len = sizeof(file_tail) - 1,
		.op = REC_FILE_OPEN_WRITE,
		.mode = 0100644,
	};

	memcpy(record, &x, sizeof(x));
	memcpy(record + sizeof(x), file_tail, sizeof(file_tail) - 1);
	feed(b, record, sizeof(record));
}

static void feed_tcp(struct bench *b, uint32_t i)
{
	struct rec_tcp x = {
		.h = header(b, REC_TCP, REC_CLASS_TCP, sizeof(x), 1000 + i % PROCESSES),
		.op = REC_TCP_CONNECT,
		.family = 4,
		.local_port = 40000,
		.remote_port = 443,
	};

	x.h.ring = REC_RING_BULK;
	feed(b, &x, sizeof(x));
}

static const struct kind {
	const char *name;
	void (*feed)(struct bench *b, uint32_t i);
} kinds[] = {
	{ "exec", feed_exec },
	{ "exit", feed_exit },
	{ "open for writing", feed_file },
	{ "connect", feed_tcp },
};

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t some_cgroup(void)
{
	struct stat st = { 0 };

	if (stat("/sys/fs/cgroup/unified", &st) < 0 && stat("/sys/fs/cgroup", &st) < 0)
		return 0;
	return st.st_ino;
}

static void measure(struct bench *b, const struct kind *kind)
{
	double ns[RUNS];

	b->raw_bytes = b->events = 0;
	for (size_t run = 0; run < RUNS; run++) {
		uint64_t from = clock_monotonic_ns();

		for (uint32_t i = 0; i < EVENTS; i++)
			kind->feed(b, i + 1);
		ns[run] = (double)(clock_monotonic_ns() - from) / EVENTS;
	}
	qsort(ns, RUNS, sizeof(ns[0]), by_value);
	printf("%-18s %6.0f ns %6.1f bytes before compression, its share of the process included\n",
	       kind->name, ns[RUNS / 2], (double)b->raw_bytes / (double)b->events);
}

int main(void)
{
	const struct process_config processes = { .entries_max = 65536, .bytes_max = MiB(24) };
	const struct cgroups_config cgroups = { .root = "/sys/fs/cgroup",
						.proc = "/proc",
						.max = 4096 };
	struct bench b = { .en = { .table = process_table_new(&processes),
				   .users = users_new("/etc/passwd") } };
	struct error e;

	b.cgroup_id = some_cgroup();
	if (batch_builder_new(BATCH_LANE_BULK, 4, 1, NSEC_PER_SEC, &b.builder, &e) < 0)
		return 1;
	if (cgroups_open(&cgroups, &b.en.cgroups, &e) < 0)
		fprintf(stderr, "%s\n", e.text);
	b.x = encoder_new(b.builder, &b.en);
	if (!b.x || !b.en.table)
		return 1;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		measure(&b, &kinds[i]);
	encoder_free(b.x);
	batch_builder_free(b.builder);
	cgroups_close(b.en.cgroups);
	users_free(b.en.users);
	process_table_free(b.en.table);
	return 0;
}
