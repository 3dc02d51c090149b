/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/encode.h"
#include "event.pb-c.h"
#include "proto/actions.h"
#include "proto/base/reader.h"
#include "tests/unit/records.h"

#define ENTRIES_MAX 64

/* Everything from a record to a batch, and the batch read back by protobuf-c. */
struct bench {
	struct enricher en;
	struct batch_builder *builder;
	struct encoder *x;
	struct batch_closed *closed;
	Exhibit__V1__Entry *entry[ENTRIES_MAX];
	size_t len[ENTRIES_MAX];
	size_t n;
};

static const struct decode_hooks hooks = { .of = { [REC_CLASS_EXEC] = { HOOK_TP_BTF, 1 } } };

static int setup(void **state)
{
	const struct process_config c = { .entries_max = 64, .bytes_max = MiB(1) };
	struct bench *b = calloc(1, sizeof(*b));

	if (!b || batch_builder_new(BATCH_LANE_CRITICAL, 4, 1, NSEC_PER_SEC, &b->builder, NULL) < 0)
		return -1;
	b->en.table = process_table_new(&c);
	b->x = encoder_new(b->builder, &b->en);
	*state = b;
	return b->en.table && b->x ? 0 : -1;
}

static void drop_entries(struct bench *b)
{
	for (size_t i = 0; i < b->n; i++)
		exhibit__v1__entry__free_unpacked(b->entry[i], NULL);
	b->n = 0;
	batch_closed_free(TAKE(b->closed));
}

static int teardown(void **state)
{
	struct bench *b = *state;

	drop_entries(b);
	encoder_free(b->x);
	encoder_free(NULL);
	batch_builder_free(b->builder);
	process_table_free(b->en.table);
	free(b);
	return 0;
}

static int feed(struct bench *b, const struct record *r)
{
	struct enriched who;
	struct decoded d;
	const char *why;

	assert_int_equal(decode_record(&hooks, r->at, r->len, &d, &why), 0);
	enrich_record(&b->en, &d, d.event.boottime_ns, &who);
	return encode_event(b->x, &d.event, &who, d.event.boottime_ns);
}

static void close_batch(struct bench *b)
{
	struct reader r;

	drop_entries(b);
	assert_int_equal(batch_builder_close(b->builder, &b->closed), 0);
	r = reader_init(b->closed->raw, b->closed->raw_len);
	while (r.left) {
		size_t len = reader_varint(&r);
		const uint8_t *at = reader_bytes(&r, len);

		assert_non_null(at);
		assert_true(len <= BATCH_ENTRY_MAX);
		assert_true(b->n < ENTRIES_MAX);
		b->len[b->n] = len;
		b->entry[b->n] = exhibit__v1__entry__unpack(NULL, len, at);
		assert_non_null(b->entry[b->n++]);
	}
	assert_false(r.bad);
	assert_int_equal(b->n, b->closed->entries);
}

static const Exhibit__V1__Process *process_at(struct bench *b, size_t i)
{
	assert_true(i < b->n);
	assert_int_equal(b->entry[i]->kind_case, EXHIBIT__V1__ENTRY__KIND_PROCESS);
	return b->entry[i]->process;
}

static const Exhibit__V1__Event *event_at(struct bench *b, size_t i)
{
	assert_true(i < b->n);
	assert_int_equal(b->entry[i]->kind_case, EXHIBIT__V1__ENTRY__KIND_EVENT);
	return b->entry[i]->event;
}

static void assert_data(ProtobufCBinaryData b, const char *want)
{
	assert_int_equal(b.len, strlen(want));
	if (b.len)
		assert_memory_equal(b.data, want, b.len);
}

static void full_batch_is_told(void **state)
{
	struct bench *b = *state;
	struct record r = record_exit();
	int n = 0, code;

	while ((code = feed(b, &r)) == 0)
		n++;
	assert_int_equal(code, -ENOSPC);
	assert_int_equal(n, BATCH_EVENTS_MAX);
	assert_int_equal(batch_builder_close(b->builder, &b->closed), 0);
	assert_int_equal(feed(b, &r), 0);
}

/* 32 KiB of empty arguments are the longest entry that can come about. */
static void largest_process_fits(void **state)
{
	static char long_path[REC_PATH_MAX + 1], cgroup[REC_NAME_MAX + 1];
	static const uint8_t nuls[REC_ARGS_MAX];
	struct bench *b = *state;
	struct image_facts f = { .key = { .pid = 9, .start_ns = 9 },
				 .args = { nuls, sizeof(nuls) } };
	struct event ev = { .action = ACTION_EXEC, .class = CLASS_EXEC };
	struct enriched who = { .version = 1 };

	memset(long_path, 'p', REC_PATH_MAX);
	memset(cgroup, 'c', REC_NAME_MAX);
	f.executable = f.working_directory = (struct bytes){ (uint8_t *)long_path, REC_PATH_MAX };
	f.cgroup_name = (struct bytes){ (uint8_t *)cgroup, REC_NAME_MAX };
	f.args_bytes = sizeof(nuls);
	ev.u.exec.filename = f.executable;
	who.process = process_put(b->en.table, &f, PROCESS_EXEC, 1);
	assert_int_equal(encode_event(b->x, &ev, &who, 1), 0);
	close_batch(b);
	assert_int_equal(process_at(b, 0)->n_args, REC_ARGS_MAX);
	assert_int_equal(process_at(b, 0)->executable.len, REC_PATH_MAX);
	assert_true(b->len[0] > 2 * REC_ARGS_MAX);
}

static void process_is_said_once_before_its_events(void **state)
{
	struct bench *b = *state;
	struct record exec = record_exec(), file = record_file_open(),
		      tcp = record_tcp(REC_TCP_CONNECT, 0);

	assert_int_equal(feed(b, &exec), 0);
	assert_int_equal(feed(b, &file), 0);
	assert_int_equal(feed(b, &tcp), 0);
	close_batch(b);
	assert_int_equal(b->n, 4);
	assert_int_equal(b->closed->count, 3);
	assert_data(process_at(b, 0)->executable, "/usr/bin/true");
	for (size_t i = 1; i < 4; i++) {
		assert_int_equal(event_at(b, i)->process, 1);
		assert_int_equal(event_at(b, i)->sequence, i);
	}
	/* The next batch says it anew. */
	assert_int_equal(feed(b, &file), 0);
	close_batch(b);
	assert_int_equal(b->n, 2);
	assert_data(process_at(b, 0)->executable, "/usr/bin/true");
	assert_int_equal(event_at(b, 1)->process, 1);
	assert_int_equal(event_at(b, 1)->sequence, 4);
}

static void changed_process_is_said_again_but_not_each_time(void **state)
{
	struct bench *b = *state;
	struct record exec = record_exec(), as_user = record_file_open(),
		      as_root = record_file_open();
	static const uint32_t want[] = { 0, 1, 0, 2, 1, 2, 1 }; /* 0: a process entry */

	((struct rec_header *)(void *)as_root.at)->actor.uid = 0;
	assert_int_equal(feed(b, &exec), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(feed(b, &as_root), 0);
		assert_int_equal(feed(b, &as_user), 0);
	}
	close_batch(b);
	assert_int_equal(b->n, ARRAY_LEN(want));
	for (size_t i = 0; i < b->n; i++)
		if (want[i])
			assert_int_equal(event_at(b, i)->process, want[i]);
	assert_int_equal(process_at(b, 0)->uid, 1000);
	assert_int_equal(process_at(b, 2)->uid, 0);
	/* A batch that begins without a process knows nothing of the earlier one's entries. */
	assert_int_equal(encode_event(b->x,
				      &(struct event){ .action = ACTION_GAP, .class = CLASS_AGENT },
				      NULL, 1),
			 0);
	assert_int_equal(feed(b, &as_user), 0);
	assert_int_equal(feed(b, &as_root), 0);
	close_batch(b);
	assert_int_equal(b->n, 5);
	assert_int_equal(process_at(b, 1)->uid, 1000);
	assert_int_equal(process_at(b, 3)->uid, 0);
	assert_int_equal(event_at(b, 4)->process, 2);
}

static void exec_is_complete(void **state)
{
	struct bench *b = *state;
	struct record exec = record_exec();
	const Exhibit__V1__Process *p;
	const Exhibit__V1__Event *ev;

	assert_int_equal(feed(b, &exec), 0);
	close_batch(b);
	p = process_at(b, 0);
	assert_int_equal(p->key->pid, 100);
	assert_int_equal(p->key->start_ns, 1000);
	assert_int_equal(p->key->exec_id, 2);
	assert_int_equal(p->parent->pid, 1);
	assert_int_equal(p->n_args, 3);
	assert_data(p->args[0], "true");
	assert_data(p->args[1], "-v");
	assert_data(p->args[2], "x");
	assert_int_equal(p->args_bytes, 10);
	assert_data(p->name, "true");
	assert_data(p->working_directory, "/root");
	assert_int_equal(p->uid, 1000);
	assert_int_equal(p->cap_effective, 0x1ff);
	assert_int_equal(p->mnt_ns, 11);
	assert_int_equal(p->pid_ns, 12);
	assert_int_equal(p->net_ns, 13);
	assert_int_equal(p->user_ns, 14);
	assert_int_equal(p->cgroup_id, 33);
	assert_int_equal(p->inode, 77);
	assert_int_equal(p->device, 0x801);
	ev = event_at(b, 1);
	assert_int_equal(ev->action, EXHIBIT__V1__ACTION__ACTION_EXEC);
	assert_int_equal(ev->class_, EXHIBIT__V1__CLASS__CLASS_EXEC);
	assert_int_equal(ev->hook, EXHIBIT__V1__HOOK__HOOK_TP_BTF);
	assert_int_equal(ev->tier, 1);
	assert_int_equal(ev->thread_id, 100);
	assert_int_equal(ev->boottime_ns, RECORD_BOOTTIME);
	assert_int_equal(ev->detail_case, EXHIBIT__V1__EVENT__DETAIL_EXEC);
	assert_data(ev->exec->filename, "true");
	assert_int_equal(ev->exec->replaced->exec_id, 1);
	assert_int_equal(b->closed->counts[CLASS_EXEC], 1);
}

struct args_row {
	const char *name;
	const char *at;
	size_t len, n;
};

static const struct args_row args_rows[] = {
	{ "none", "", 0, 0 },
	{ "one empty", "\0", 1, 1 },
	{ "cut in the middle", "a\0bc", 4, 2 },
	{ "empty at the end", "a\0\0", 3, 2 },
};

static void args(void **state)
{
	const struct args_row *row = *state;
	struct image_facts f = {
		.key = { .pid = 9, .start_ns = 9 },
		.args = { (const uint8_t *)row->at, row->len },
	};
	struct event ev = { .action = ACTION_FORK, .class = CLASS_FORK };
	struct enriched who = { .version = 1 };
	struct bench *b;
	void *own = NULL;

	assert_int_equal(setup(&own), 0);
	b = own;
	who.process = process_put(b->en.table, &f, PROCESS_EXEC, 1);
	assert_int_equal(encode_event(b->x, &ev, &who, 1), 0);
	close_batch(b);
	assert_int_equal(process_at(b, 0)->n_args, row->n);
	assert_int_equal(event_at(b, 1)->detail_case, EXHIBIT__V1__EVENT__DETAIL__NOT_SET);
	(void)teardown(&own);
}

static void what_is_unknown_is_absent(void **state)
{
	struct bench *b = *state;
	struct record stock = record_process(), file = record_file_open(),
		      tcp = record_tcp(REC_TCP_LISTEN, 0);
	struct event_gap gap = { .where = GAP_FANOTIFY,
				 .class = CLASS_FILE_CHANGE,
				 .from_ns = 3,
				 .to_ns = 4,
				 .reason = "x" };
	struct event ev = encode_gap_event(&gap, 5);

	assert_int_equal(feed(b, &stock), 0);
	assert_int_equal(feed(b, &file), 0);
	assert_int_equal(feed(b, &tcp), 0);
	assert_int_equal(encode_event(b->x, &ev, NULL, 5), 0);
	close_batch(b);
	assert_null(event_at(b, 1)->exec->replaced);
	assert_int_equal(event_at(b, 1)->flags, EVENT_EXISTING);
	assert_int_equal(process_at(b, 0)->flags, 0);
	assert_int_equal(event_at(b, 2)->file->has_size_case, EXHIBIT__V1__FILE__HAS_SIZE_SIZE);
	assert_int_equal(event_at(b, 2)->file->has_size_before_case,
			 EXHIBIT__V1__FILE__HAS_SIZE_BEFORE__NOT_SET);
	assert_int_equal(event_at(b, 3)->net->destination_ip.len, 0);
	assert_int_equal(event_at(b, 3)->net->has_source_bytes_case,
			 EXHIBIT__V1__NET__HAS_SOURCE_BYTES__NOT_SET);
	assert_int_equal(event_at(b, 3)->net->has_duration_case,
			 EXHIBIT__V1__NET__HAS_DURATION__NOT_SET);
	assert_int_equal(event_at(b, 4)->process, 0);
	assert_int_equal(event_at(b, 4)->gap->has_count_case, EXHIBIT__V1__GAP__HAS_COUNT__NOT_SET);
	assert_int_equal(event_at(b, 4)->gap->has_cpu_case, EXHIBIT__V1__GAP__HAS_CPU__NOT_SET);
	assert_int_equal(event_at(b, 4)->gap->where, EXHIBIT__V1__GAP_WHERE__GAP_FANOTIFY);
	assert_data(event_at(b, 4)->gap->reason, "x");
	assert_int_equal(b->closed->gaps, 1);
}

static void details_are_complete(void **state)
{
	struct bench *b = *state;
	struct record tcp = record_tcp(REC_TCP_DISCONNECT, REC_ROLE_ACCEPTER),
		      udp = record_udp_flow(REC_ROLE_OPENER);
	struct record exec = record_exec(), end = record_exit();
	const Exhibit__V1__Net *n;

	assert_int_equal(feed(b, &exec), 0);
	assert_int_equal(feed(b, &tcp), 0);
	assert_int_equal(feed(b, &udp), 0);
	assert_int_equal(feed(b, &end), 0);
	close_batch(b);
	n = event_at(b, 2)->net;
	assert_int_equal(n->transport, 6);
	assert_int_equal(n->source_ip.len, 4);
	assert_memory_equal(n->source_ip.data, "\x0a\0\0\x02", 4);
	assert_memory_equal(n->destination_ip.data, "\x0a\0\0\x01", 4);
	assert_int_equal(n->source_port, 443);
	assert_int_equal(n->destination_port, 4000);
	assert_int_equal(n->source_bytes, 9);
	assert_int_equal(n->destination_bytes, 7);
	assert_int_equal(n->duration_ns, 250);
	assert_true(n->inbound);
	assert_int_equal(n->net_ns, 13);
	n = event_at(b, 3)->net;
	assert_int_equal(n->transport, 17);
	assert_int_equal(n->source_ip.len, 16);
	assert_int_equal(n->source_packets, 1);
	assert_int_equal(n->destination_packets, 2);
	assert_int_equal(event_at(b, 4)->exit->signal, 9);
}

static void order(void **state)
{
	struct bench *b = *state;
	struct event ev = { .action = ACTION_TAMPER,
			    .class = CLASS_AGENT,
			    .error = 13,
			    .u.order = { .order_id = { (const uint8_t *)"id", 2 },
					 .reason = { (const uint8_t *)"no", 2 },
					 .actor = { (const uint8_t *)"who", 3 },
					 .certificate_sha256 = { (const uint8_t *)"sum", 3 },
					 .signed_ns = 8,
					 .kind = 7,
					 .state = 5,
					 .bytes = 9 } };

	assert_int_equal(encode_event(b->x, &ev, NULL, 1), 0);
	close_batch(b);
	assert_int_equal(b->n, 1);
	assert_int_equal(event_at(b, 0)->error, 13);
	assert_int_equal(event_at(b, 0)->detail_case, EXHIBIT__V1__EVENT__DETAIL_ORDER);
	assert_data(event_at(b, 0)->order->order_id, "id");
	assert_data(event_at(b, 0)->order->reason, "no");
	assert_int_equal(event_at(b, 0)->order->kind, EXHIBIT__V1__ORDER_KIND__ORDER_DISK);
	assert_int_equal(event_at(b, 0)->order->state, EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED);
	assert_int_equal(event_at(b, 0)->order->bytes, 9);
	assert_data(event_at(b, 0)->order->actor, "who");
	assert_data(event_at(b, 0)->order->certificate_sha256, "sum");
	assert_int_equal(event_at(b, 0)->order->signed_ns, 8);
}

static void agent_and_coverage(void **state)
{
	struct bench *b = *state;
	struct coverage c = { .n = 2 };
	const struct encode_counters counters[] = {
		{ .known = true, .seen = 5, .sent = 4, .lost = 1 }, { 0 }
	};
	const struct encode_agent start = { .action = ACTION_AGENT_START,
					    .version = "1",
					    .kernel = "6.18" };
	const Exhibit__V1__Event *ev;

	c.row[0] = (struct coverage_row){
		.class = CLASS_EXEC, .tier = 1, .hook = "h", .state = COVERAGE_ATTACHED
	};
	c.row[1] = (struct coverage_row){ .class = CLASS_UDP,
					  .hook = "none",
					  .state = COVERAGE_FAILED };
	(void)snprintf(c.row[1].reason, sizeof(c.row[1].reason), "no cgroup");
	assert_int_equal(encode_agent(b->x, &start, 7), 0);
	assert_int_equal(encode_coverage(b->x, &c, counters, 8), 0);
	assert_int_equal(encode_coverage(b->x, &c, NULL, 9), 0);
	close_batch(b);
	ev = event_at(b, 0);
	assert_int_equal(ev->action, EXHIBIT__V1__ACTION__ACTION_AGENT_START);
	assert_int_equal(ev->class_, EXHIBIT__V1__CLASS__CLASS_AGENT);
	assert_data(ev->agent->kernel, "6.18");
	assert_data(ev->agent->reason, "");
	ev = event_at(b, 1);
	assert_int_equal(ev->coverage->n_rows, 2);
	assert_data(ev->coverage->rows[0]->hook, "h");
	assert_int_equal(ev->coverage->rows[0]->counters->lost, 1);
	assert_null(ev->coverage->rows[1]->counters);
	assert_int_equal(ev->coverage->rows[1]->state,
			 EXHIBIT__V1__COVERAGE_STATE__COVERAGE_FAILED);
	assert_data(ev->coverage->rows[1]->reason, "no cgroup");
	assert_null(event_at(b, 2)->coverage->rows[0]->counters);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, full_batch_is_told);
	ADD_TEST(&t, largest_process_fits);
	ADD_TEST(&t, process_is_said_once_before_its_events);
	ADD_TEST(&t, changed_process_is_said_again_but_not_each_time);
	ADD_TEST(&t, exec_is_complete);
	ADD_TEST(&t, what_is_unknown_is_absent);
	ADD_TEST(&t, details_are_complete);
	ADD_TEST(&t, agent_and_coverage);
	ADD_TEST(&t, order);
	for (size_t i = 0; i < t.n; i++) {
		t.test[i].setup_func = setup;
		t.test[i].teardown_func = teardown;
	}
	ADD_ROWS(&t, args, args_rows);
	return tests_run(&t, "encode");
}
