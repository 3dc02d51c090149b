/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <errno.h>
#include <string.h>

#include "agent/decode.h"
#include "proto/actions.h"
#include "tests/unit/records.h"

static const struct decode_hooks hooks = {
	.of = { [REC_CLASS_EXEC] = { HOOK_TP_BTF, 1 }, [REC_CLASS_TCP] = { HOOK_RAW_TP, 1 } },
};

static int decode(const void *at, size_t len, struct decoded *ret)
{
	const char *why = NULL;
	/* Exactly as long as said, so that the sanitizers see one byte too far. */
	uint8_t *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, at, len);
	r = decode_record(&hooks, copy, len, ret, &why);
	if (r < 0)
		assert_non_null(why);
	free(copy);
	return r;
}

/* One changed member of a correct record, and what becomes of it. */
struct bad_row {
	const char *name;
	uint16_t type;
	size_t at, size;
	uint64_t value;
	int want;
};
#define MEMBER(s, m) offsetof(struct s, m), sizeof(((struct s *)0)->m)

static const struct bad_row bad_rows[] = {
	{ "layout of tomorrow", REC_EXIT, MEMBER(rec_header, layout), REC_LAYOUT + 1,
	  -EPROTONOSUPPORT },
	{ "type 0", REC_EXIT, MEMBER(rec_header, type), 0, -EPROTONOSUPPORT },
	{ "type past the last", REC_EXIT, MEMBER(rec_header, type), REC_TYPES, -EPROTONOSUPPORT },
	{ "type 65535", REC_EXIT, MEMBER(rec_header, type), 65535, -EPROTONOSUPPORT },
	{ "length too small", REC_EXIT, MEMBER(rec_header, len), sizeof(struct rec_exit) - 1,
	  -EBADMSG },
	{ "length too large", REC_EXIT, MEMBER(rec_header, len), sizeof(struct rec_exit) + 1,
	  -EBADMSG },
	{ "another type's fixed part", REC_EXIT, MEMBER(rec_header, type), REC_TCP, -EBADMSG },
	{ "class past the last", REC_EXIT, MEMBER(rec_header, class), REC_CLASSES, -EBADMSG },
	{ "ring between", REC_EXIT, MEMBER(rec_header, ring), REC_RINGS, -EBADMSG },
	{ "exit code 256", REC_EXIT, MEMBER(rec_exit, exit_code), 256, -EBADMSG },
	{ "exec of nobody", REC_EXEC, MEMBER(rec_header, actor.image.pid), 0, -EBADMSG },
	{ "path longer than the tail", REC_EXEC, MEMBER(rec_exec, path_len), 200, -EBADMSG },
	{ "path longer than allowed", REC_EXEC, MEMBER(rec_exec, path_len), REC_PATH_MAX + 1,
	  -EBADMSG },
	{ "path shorter: bytes left over", REC_EXEC, MEMBER(rec_exec, path_len), 12, -EBADMSG },
	{ "more arguments than true", REC_EXEC, MEMBER(rec_exec, args_bytes), 1, -EBADMSG },
	{ "arguments 4 GiB", REC_EXEC, MEMBER(rec_exec, args_len), UINT32_MAX, -EBADMSG },
	{ "fork of nobody", REC_FORK, MEMBER(rec_header, actor.image.pid), 0, -EBADMSG },
	{ "file operation 0", REC_FILE_OPEN, MEMBER(rec_file_open, op), 0, -EBADMSG },
	{ "file operation 3", REC_FILE_OPEN, MEMBER(rec_file_open, op), 3, -EBADMSG },
	{ "file path cut", REC_FILE_OPEN, MEMBER(rec_file_open, path_len), 7, -EBADMSG },
	{ "tcp operation 0", REC_TCP, MEMBER(rec_tcp, op), 0, -EBADMSG },
	{ "tcp operation 5", REC_TCP, MEMBER(rec_tcp, op), 5, -EBADMSG },
	{ "tcp family 5", REC_TCP, MEMBER(rec_tcp, family), 5, -EBADMSG },
	{ "udp role 3", REC_UDP_FLOW, MEMBER(rec_udp_flow, role), 3, -EBADMSG },
	{ "udp ends before it begins", REC_UDP_FLOW, MEMBER(rec_udp_flow, last_ns), 99, -EBADMSG },
	{ "socket protocol 1", REC_SOCKET, MEMBER(rec_socket, protocol), 1, -EBADMSG },
	{ "unchanged", REC_EXEC, MEMBER(rec_exec, path_len), 13, 0 },
};

static void refuses(void **state)
{
	const struct bad_row *row = *state;
	struct record r = record_of(row->type);
	struct decoded d;

	memcpy(r.at + row->at, &row->value, row->size);
	assert_int_equal(decode(r.at, r.len, &d), row->want);
}

/* Whatever is cut off, nothing is read past the end, and no shorter record passes for a whole one. */
static void every_shorter_record_is_refused(void **state)
{
	(void)state;
	for (uint16_t type = REC_EXEC; type < REC_TYPES; type++) {
		struct record r = record_of(type);
		struct decoded d;

		assert_int_equal(decode(r.at, r.len, &d), 0);
		for (size_t len = 0; len < r.len; len++) {
			uint32_t said = (uint32_t)len;

			assert_true(decode(r.at, len, &d) < 0);
			/* ... nor when its own length agrees. */
			memcpy(r.at + offsetof(struct rec_header, len), &said, sizeof(said));
			assert_true(decode(r.at, len, &d) < 0);
			said = (uint32_t)r.len;
			memcpy(r.at + offsetof(struct rec_header, len), &said, sizeof(said));
		}
	}
}

static void position_is_known_of_refused_records(void **state)
{
	struct record r = record_exit();
	struct decoded d;

	(void)state;
	((struct rec_header *)(void *)r.at)->type = REC_TYPES;
	assert_int_equal(decode(r.at, r.len, &d), -EPROTONOSUPPORT);
	assert_int_equal(d.seq, 7);
	assert_int_equal(d.cpu, 1);
	assert_int_equal(decode(r.at, 100, &d), -EBADMSG);
	assert_int_equal(d.seq, 0);
}

static void failures_become_one_gap(void **state)
{
	struct decode_failures f = { 0 };
	struct event ev;

	(void)state;
	assert_false(decode_gap(&f, &ev));
	decode_failed(&f, "a", 10);
	decode_failed(&f, "b", 30);
	assert_true(decode_gap(&f, &ev));
	assert_int_equal(ev.action, ACTION_GAP);
	assert_int_equal(ev.u.gap.where, GAP_DECODE);
	assert_true(ev.u.gap.has_count);
	assert_int_equal(ev.u.gap.count, 2);
	assert_int_equal(ev.u.gap.from_ns, 10);
	assert_int_equal(ev.u.gap.to_ns, 30);
	assert_string_equal(ev.u.gap.reason, "b");
	assert_false(decode_gap(&f, &ev));
}

#define assert_bytes(b, text)                                                                      \
	do {                                                                                       \
		assert_int_equal((b).len, sizeof(text) - 1);                                       \
		assert_memory_equal((b).at, text, sizeof(text) - 1);                               \
	} while (0)

static void exec_says_everything(void **state)
{
	struct record r = record_exec();
	struct decoded d;
	const char *why;

	(void)state;
	assert_int_equal(decode_record(&hooks, r.at, r.len, &d, &why), 0);
	assert_int_equal(d.event.action, ACTION_EXEC);
	assert_int_equal(d.event.class, CLASS_EXEC);
	assert_int_equal(d.event.hook, HOOK_TP_BTF);
	assert_int_equal(d.event.tier, 1);
	assert_int_equal(d.event.boottime_ns, RECORD_BOOTTIME);
	assert_int_equal(d.event.flags, 0);
	assert_ptr_equal(d.event.facts, &d.facts);
	assert_bytes(d.facts.executable, "/usr/bin/true");
	assert_bytes(d.facts.working_directory, "/root");
	assert_bytes(d.event.u.exec.filename, "true");
	assert_bytes(d.facts.cgroup_name, "ssh.service");
	assert_bytes(d.facts.args, "true\0-v\0x\0");
	assert_bytes(d.facts.name, "true");
	assert_int_equal(d.facts.cap_effective, 0x1ff);
	assert_int_equal(d.facts.device, 0x801);
	assert_int_equal(d.facts.inode, 77);
	assert_int_equal(d.facts.parent.pid, 1);
	assert_int_equal(d.event.u.exec.replaced.exec_id, 1);
	assert_int_equal(d.seq, 7);
}

struct flag_row {
	const char *name;
	uint16_t type, rec, exe;
	uint32_t flags, via;
};

static const struct flag_row flag_rows[] = {
	{ "cut arguments", REC_EXEC, REC_TRUNCATED, 0, EVENT_TRUNCATED, VIA_SYSCALL },
	{ "unread arguments", REC_EXEC, REC_ARGS_UNREAD, 0, EVENT_TRUNCATED, VIA_SYSCALL },
	{ "path without head", REC_EXEC, REC_INCOMPLETE, 0, EVENT_INCOMPLETE, VIA_SYSCALL },
	{ "directory without head", REC_EXEC, REC_CWD_INCOMPLETE, 0, EVENT_INCOMPLETE,
	  VIA_SYSCALL },
	{ "deleted", REC_EXEC, 0, REC_EXE_DELETED, EVENT_EXE_DELETED, VIA_SYSCALL },
	{ "memfd", REC_EXEC, 0, REC_EXE_MEMFD, EVENT_EXE_MEMFD, VIA_SYSCALL },
	{ "32 bit", REC_EXEC, REC_COMPAT, 0, 0, VIA_COMPAT },
	{ "io_uring", REC_FILE_OPEN, REC_IO_URING, 0, 0, VIA_IO_URING },
	{ "existing", REC_PROCESS, REC_EXISTING, 0, EVENT_EXISTING, VIA_SYSCALL },
	{ "existing though not marked", REC_PROCESS, 0, 0, EVENT_EXISTING, VIA_SYSCALL },
};

static void flags(void **state)
{
	const struct flag_row *row = *state;
	struct record r = record_of(row->type);
	struct decoded d;

	((struct rec_header *)(void *)r.at)->flags = row->rec;
	if (row->exe)
		((struct rec_exec *)(void *)r.at)->exe_flags = row->exe;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.flags, row->flags);
	assert_int_equal(d.event.via, row->via);
	assert_int_equal(d.facts.flags & EVENT_EXISTING,
			 row->type == REC_PROCESS ? 0 : d.event.flags & EVENT_EXISTING);
}

static void fork_names_child_and_caller(void **state)
{
	struct record r = record_fork();
	struct decoded d;

	(void)state;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.action, ACTION_FORK);
	assert_int_equal(d.event.image.pid, 101);
	assert_int_equal(d.facts.parent.pid, 100);
	assert_int_equal(d.caller.pid, 100);
	assert_non_null(d.event.facts);
}

static void exit_says_how(void **state)
{
	struct record r = record_exit();
	struct decoded d;

	(void)state;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.action, ACTION_EXIT);
	assert_int_equal(d.event.u.exit.signal, 9);
	assert_null(d.event.facts);
}

static void file_size_before_only_when_known(void **state)
{
	struct record r = record_file_open();
	struct rec_file_open *x = (void *)r.at;
	struct decoded d;

	(void)state;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.action, ACTION_CREATE);
	assert_int_equal(d.event.u.file.repeated, 3);
	assert_int_equal(d.event.u.file.device, 0x801);
	assert_true(d.event.u.file.has_size);
	assert_false(d.event.u.file.has_size_before);
	x->op = REC_FILE_OPEN_WRITE;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.action, ACTION_OPEN_WRITE);
	assert_false(d.event.u.file.has_size_before);
	x->size_before_known = 1;
	x->size = 12;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_true(d.event.u.file.has_size_before);
	assert_int_equal(d.event.u.file.size_before, 12);
}

struct tcp_row {
	const char *name;
	uint8_t op, role;
	uint32_t action;
	uint32_t source_port, destination_port;
	bool inbound, alone;
	uint64_t source_bytes; /* 0: none told */
};

static const struct tcp_row tcp_rows[] = {
	{ "connect", REC_TCP_CONNECT, REC_ROLE_UNKNOWN, ACTION_CONNECT, 4000, 443, false, false,
	  0 },
	{ "accept", REC_TCP_ACCEPT, REC_ROLE_UNKNOWN, ACTION_ACCEPT, 443, 4000, true, false, 0 },
	{ "listen", REC_TCP_LISTEN, REC_ROLE_UNKNOWN, ACTION_LISTEN, 4000, 0, false, true, 0 },
	{ "opener leaves", REC_TCP_DISCONNECT, REC_ROLE_OPENER, ACTION_DISCONNECT, 4000, 443, false,
	  false, 7 },
	{ "accepter leaves", REC_TCP_DISCONNECT, REC_ROLE_ACCEPTER, ACTION_DISCONNECT, 443, 4000,
	  true, false, 9 },
	{ "nobody knows", REC_TCP_DISCONNECT, REC_ROLE_UNKNOWN, ACTION_DISCONNECT, 4000, 443, false,
	  false, 7 },
};

static void tcp(void **state)
{
	const struct tcp_row *row = *state;
	struct record r = record_tcp(row->op, row->role);
	struct decoded d;
	const struct event_net *n = &d.event.u.net;

	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.action, row->action);
	assert_int_equal(d.event.class, CLASS_TCP);
	assert_int_equal(d.event.hook, HOOK_RAW_TP);
	assert_int_equal(n->source_port, row->source_port);
	assert_int_equal(n->source_ip[3], row->source_port == 4000 ? 1 : 2);
	assert_int_equal(n->has_destination, !row->alone);
	if (!row->alone)
		assert_int_equal(n->destination_port, row->destination_port);
	assert_int_equal(n->listening, row->alone);
	assert_int_equal(n->inbound, row->inbound);
	assert_int_equal(n->has_bytes, row->source_bytes != 0);
	if (row->source_bytes) {
		assert_int_equal(n->source_bytes, row->source_bytes);
		assert_int_equal(n->destination_bytes, 16 - row->source_bytes);
		assert_true(n->has_duration);
		assert_int_equal(n->duration_ns, 250);
	} else {
		assert_false(n->has_duration);
	}
	assert_int_equal(n->net_ns, 13);
	assert_int_equal(n->ip_len, 4);
	assert_int_equal(d.socket, 900);
}

static void tcp_duration_unknown_is_absent(void **state)
{
	struct record r = record_tcp(REC_TCP_DISCONNECT, REC_ROLE_OPENER);
	struct rec_tcp *x = (void *)r.at;
	struct decoded d;

	(void)state;
	x->opened_ns = 0;
	x->error = 111;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_false(d.event.u.net.has_duration);
	assert_int_equal(d.event.error, 111);
}

static void udp_flow_turns_with_its_role(void **state)
{
	struct record r = record_udp_flow(REC_ROLE_ACCEPTER);
	struct decoded d;

	(void)state;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.action, ACTION_UDP_FLOW);
	assert_int_equal(d.event.u.net.ip_len, 16);
	assert_int_equal(d.event.u.net.source_port, 53);
	assert_int_equal(d.event.u.net.source_bytes, 9);
	assert_int_equal(d.event.u.net.source_packets, 2);
	assert_int_equal(d.event.u.net.destination_packets, 1);
	assert_int_equal(d.event.u.net.duration_ns, 250);
}

struct socket_row {
	const char *name;
	uint8_t protocol, state;
	uint16_t remote_port;
	bool listening;
	uint32_t class;
};

static const struct socket_row socket_rows[] = {
	{ "tcp listening", 6, 10, 0, true, CLASS_TCP },
	{ "tcp established", 6, 1, 443, false, CLASS_TCP },
	{ "udp for everybody", 17, 7, 0, true, CLASS_UDP },
	{ "udp connected", 17, 1, 53, false, CLASS_UDP },
};

static void existing_socket(void **state)
{
	const struct socket_row *row = *state;
	struct record r = record_socket(row->protocol, row->state);
	struct rec_socket *x = (void *)r.at;
	struct decoded d;

	x->remote_port = row->remote_port;
	x->remote[0] = row->remote_port ? 10 : 0;
	assert_int_equal(decode(r.at, r.len, &d), 0);
	assert_int_equal(d.event.action, ACTION_SOCKET);
	assert_int_equal(d.event.class, row->class);
	assert_int_equal(d.event.flags, EVENT_EXISTING);
	assert_int_equal(d.event.u.net.listening, row->listening);
	assert_int_equal(d.event.u.net.has_destination, !row->listening);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, refuses, bad_rows);
	ADD_TEST(&t, every_shorter_record_is_refused);
	ADD_TEST(&t, position_is_known_of_refused_records);
	ADD_TEST(&t, failures_become_one_gap);
	ADD_TEST(&t, exec_says_everything);
	ADD_ROWS(&t, flags, flag_rows);
	ADD_TEST(&t, fork_names_child_and_caller);
	ADD_TEST(&t, exit_says_how);
	ADD_TEST(&t, file_size_before_only_when_known);
	ADD_ROWS(&t, tcp, tcp_rows);
	ADD_TEST(&t, tcp_duration_unknown_is_absent);
	ADD_TEST(&t, udp_flow_turns_with_its_role);
	ADD_ROWS(&t, existing_socket, socket_rows);
	return tests_run(&t, "decode");
}
