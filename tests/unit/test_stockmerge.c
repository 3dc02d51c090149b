/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include "agent/stockmerge.h"
#include "proto/actions.h"

struct row {
	const char *name;
	uint32_t met; /* action of the ring's record; 0: none */
	uint64_t met_socket, socket; /* of the record, of the stock */
	bool wanted;
};

static const struct row rows[] = {
	{ "nothing met", 0, 0, 5, true },
	{ "connected meanwhile", ACTION_CONNECT, 5, 5, false },
	{ "accepted meanwhile", ACTION_ACCEPT, 5, 5, false },
	{ "listened meanwhile", ACTION_LISTEN, 5, 5, false },
	{ "another socket", ACTION_CONNECT, 5, 6, true },
	{ "a flow of an old socket", ACTION_UDP_FLOW, 5, 5, true },
	{ "an old socket's end", ACTION_DISCONNECT, 5, 5, true },
	{ "sockets without a cookie", ACTION_CONNECT, 0, 0, true },
};

static void sockets(void **state)
{
	const struct row *row = *state;
	struct decoded met = { .event.action = row->met, .socket = row->met_socket };
	struct decoded stock = { .event.action = ACTION_SOCKET, .socket = row->socket };
	struct stockmerge *s = stockmerge_new();

	assert_non_null(s);
	if (row->met)
		stockmerge_note(s, &met);
	assert_int_equal(stockmerge_wanted(s, NULL, &stock), row->wanted);
	stockmerge_free(s);
}

static void full_is_counted(void **state)
{
	struct decoded d = { .event.action = ACTION_CONNECT };
	struct stockmerge *s = stockmerge_new();

	(void)state;
	assert_non_null(s);
	for (d.socket = 1; d.socket <= STOCKMERGE_SOCKETS_MAX + 3; d.socket++)
		stockmerge_note(s, &d);
	assert_int_equal(stockmerge_unnoted(s), 3);
	d.event.action = ACTION_SOCKET;
	d.socket = STOCKMERGE_SOCKETS_MAX;
	assert_false(stockmerge_wanted(s, NULL, &d));
	stockmerge_free(s);
}

struct process_row {
	const char *name;
	enum process_source source; /* 0: not in the table */
	uint32_t exec_id; /* of what is in the table; the stock has 2 */
	bool wanted;
};

static const struct process_row process_rows[] = {
	{ "unknown", 0, 0, true },
	{ "known from an event only", PROCESS_ACTOR, 2, true },
	{ "known from /proc only", PROCESS_PROCFS, 2, true },
	{ "forked meanwhile", PROCESS_FORK, 2, false },
	{ "said already", PROCESS_STOCK, 2, false },
	{ "executed meanwhile", PROCESS_EXEC, 2, false },
	{ "executed something else later", PROCESS_EXEC, 3, true },
};

static void processes(void **state)
{
	const struct process_row *row = *state;
	const struct process_config c = { .entries_max = 16, .bytes_max = MiB(1) };
	struct process_table *t = process_table_new(&c);
	struct stockmerge *s = stockmerge_new();
	struct image_facts f = { .key = { .pid = 1, .start_ns = 1, .exec_id = row->exec_id } };
	struct decoded d = { .event = { .action = ACTION_PROCESS,
					.image = { .pid = 1, .start_ns = 1, .exec_id = 2 } } };

	assert_true(t && s);
	if (row->source)
		assert_non_null(process_put(t, &f, row->source, 1));
	assert_int_equal(stockmerge_wanted(s, t, &d), row->wanted);
	stockmerge_free(s);
	stockmerge_free(NULL);
	process_table_free(t);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, sockets, rows);
	ADD_TEST(&t, full_is_counted);
	ADD_ROWS(&t, processes, process_rows);
	return tests_run(&t, "stockmerge");
}
