/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/records.h"

#include <string.h>

static struct rec_header header(uint16_t type, uint8_t ring, uint8_t class, size_t len)
{
	return (struct rec_header){
		.len = (uint32_t)len,
		.type = type,
		.seq = 7,
		.boottime_ns = RECORD_BOOTTIME,
		.cpu = 1,
		.layout = REC_LAYOUT,
		.ring = ring,
		.class = class,
		.actor = {
			.image = { .pid = 100, .exec_id = 2, .start_ns = 1000 },
			.parent = { .pid = 1, .exec_id = 1, .start_ns = 10 },
			.cgroup_id = 33,
			.tid = 100,
			.uid = 1000,
			.gid = 1000,
			.mnt_ns = 11,
			.pid_ns = 12,
			.net_ns = 13,
			.user_ns = 14,
			.comm = "true",
		},
	};
}

static struct record fixed(const void *at, size_t len)
{
	struct record r = { .len = len };

	memcpy(r.at, at, len);
	return r;
}

uint16_t record_tail(struct record *r, const char *text)
{
	uint16_t len = (uint16_t)strlen(text);
	uint32_t total = (uint32_t)(r->len + len);

	memcpy(r->at + r->len, text, len);
	r->len = total;
	memcpy(r->at + offsetof(struct rec_header, len), &total, sizeof(total));
	return len;
}

struct record record_exec(void)
{
	static const char args[] = "true\0-v\0x";
	struct rec_exec x = {
		.h = header(REC_EXEC, REC_RING_CRITICAL, REC_CLASS_EXEC, sizeof(x)),
		.replaced = { .pid = 100, .exec_id = 1, .start_ns = 1000 },
		.inode = 77,
		.size = 4096,
		.dev_major = 8,
		.dev_minor = 1,
		.cap_effective = 0x1ff,
		.args_bytes = sizeof(args),
		.args_len = sizeof(args),
		.path_len = 13,
		.cwd_len = 5,
		.name_len = 4,
		.cgroup_len = 11,
	};
	struct record r = fixed(&x, sizeof(x));
	uint32_t total;

	record_tail(&r, "/usr/bin/true");
	record_tail(&r, "/root");
	record_tail(&r, "true");
	record_tail(&r, "ssh.service");
	memcpy(r.at + r.len, args, sizeof(args));
	r.len += sizeof(args);
	total = (uint32_t)r.len;
	memcpy(r.at + offsetof(struct rec_header, len), &total, sizeof(total));
	return r;
}

struct record record_process(void)
{
	struct record r = record_exec();
	struct rec_header *h = (void *)r.at;
	struct rec_exec *x = (void *)r.at;

	h->type = REC_PROCESS;
	h->flags = REC_EXISTING;
	h->ring = REC_RING_NONE;
	h->class = REC_CLASS_STOCK_PROCESS;
	h->seq = 0;
	x->replaced = (struct rec_image){ 0 };
	return r;
}

struct record record_fork(void)
{
	struct rec_fork x = {
		.h = header(REC_FORK, REC_RING_CRITICAL, REC_CLASS_FORK, sizeof(x)),
	};

	x.caller = x.h.actor.image;
	x.h.actor.parent = x.caller;
	x.h.actor.image = (struct rec_image){ .pid = 101, .exec_id = 2, .start_ns = 2000 };
	return fixed(&x, sizeof(x));
}

struct record record_exit(void)
{
	struct rec_exit x = {
		.h = header(REC_EXIT, REC_RING_CRITICAL, REC_CLASS_EXIT, sizeof(x)),
		.signal = 9,
	};

	return fixed(&x, sizeof(x));
}

struct record record_file_open(void)
{
	struct rec_file_open x = {
		.h = header(REC_FILE_OPEN, REC_RING_BULK, REC_CLASS_FILE_OPEN, sizeof(x)),
		.inode = 5,
		.dev_major = 8,
		.dev_minor = 1,
		.mode = 0100644,
		.uid = 1000,
		.gid = 1000,
		.open_flags = 1,
		.nlink = 1,
		.repeated = 3,
		.path_len = 6,
		.op = REC_FILE_CREATE,
	};
	struct record r = fixed(&x, sizeof(x));

	record_tail(&r, "/tmp/a");
	return r;
}

struct record record_tcp(uint8_t op, uint8_t role)
{
	struct rec_tcp x = {
		.h = header(REC_TCP, REC_RING_BULK, REC_CLASS_TCP, sizeof(x)),
		.socket = 900,
		.bytes_out = 7,
		.bytes_in = 9,
		.opened_ns = RECORD_BOOTTIME - 250,
		.local = { 10, 0, 0, 1 },
		.remote = { 10, 0, 0, 2 },
		.local_port = 4000,
		.remote_port = 443,
		.family = 4,
		.op = op,
		.role = role,
		.established = 1,
	};

	return fixed(&x, sizeof(x));
}

struct record record_udp_flow(uint8_t role)
{
	struct rec_udp_flow x = {
		.h = header(REC_UDP_FLOW, REC_RING_BULK, REC_CLASS_UDP, sizeof(x)),
		.socket = 901,
		.bytes_out = 7,
		.bytes_in = 9,
		.packets_out = 1,
		.packets_in = 2,
		.first_ns = 100,
		.last_ns = 350,
		.local = { [15] = 1 },
		.remote = { [15] = 1 },
		.local_port = 4000,
		.remote_port = 53,
		.family = 6,
		.role = role,
	};

	return fixed(&x, sizeof(x));
}

struct record record_socket(uint8_t protocol, uint8_t state)
{
	struct rec_socket x = {
		.h = header(REC_SOCKET, REC_RING_NONE, REC_CLASS_STOCK_SOCKET, sizeof(x)),
		.socket = 902,
		.local = { 10, 0, 0, 1 },
		.local_port = 22,
		.family = 4,
		.protocol = protocol,
		.state = state,
	};

	x.h.flags = REC_EXISTING;
	x.h.seq = 0;
	return fixed(&x, sizeof(x));
}

struct record record_cgroup(void)
{
	struct rec_cgroup x = {
		.h = header(REC_CGROUP, REC_RING_CRITICAL, REC_CLASS_CGROUP, sizeof(x)),
		.id = 44,
	};
	struct record r;

	x.h.actor = (struct rec_actor){ 0 };
	x.h.flags = REC_OWNER_NONE;
	x.path_len = (uint16_t)strlen("/kubepods/pod1");
	r = fixed(&x, sizeof(x));
	(void)record_tail(&r, "/kubepods/pod1");
	return r;
}

struct record record_of(uint16_t type)
{
	switch ((enum rec_type)type) {
	case REC_EXEC:
		return record_exec();
	case REC_FORK:
		return record_fork();
	case REC_EXIT:
		return record_exit();
	case REC_FILE_OPEN:
		return record_file_open();
	case REC_TCP:
		return record_tcp(REC_TCP_CONNECT, REC_ROLE_OPENER);
	case REC_UDP_FLOW:
		return record_udp_flow(REC_ROLE_OPENER);
	case REC_PROCESS:
		return record_process();
	case REC_SOCKET:
		return record_socket(6, 10);
	case REC_CGROUP:
		return record_cgroup();
	case REC_TYPES:
		break;
	}
	return (struct record){ .len = 0 };
}
