/* SPDX-License-Identifier: Apache-2.0 */
/* Files opened and connections made and accepted through io_uring, on this kernel. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/rows.h"
#include "tests/unit/sensors.h"
#include "tests/unit/uring.h"

#define SETUP_SINGLE_ISSUER (1U << 12) /* from 6.0 and 6.1: not in every header */
#define SETUP_DEFER_TASKRUN (1U << 13)

/* ---- opens ---- */

static const struct open_row {
	const char *name;
	uint32_t ring; /* IORING_SETUP_* */
	uint8_t opcode, sqe_flags;
	int flags; /* O_* */
	uint32_t slot; /* of the ring's own table, from 1; 0: a descriptor */
	bool exists;
	uint8_t op; /* REC_FILE_*; 0: no record */
} open_rows[] = {
	{ "into the ring's own table", 0, IORING_OP_OPENAT, 0, O_CREAT | O_WRONLY, 1, false, 0 },
	{ "for reading", 0, IORING_OP_OPENAT, 0, O_RDONLY, 0, true, 0 },
	{ "that fails", 0, IORING_OP_OPENAT, 0, O_WRONLY, 0, false, 0 },
	{ "that creates", 0, IORING_OP_OPENAT, 0, O_CREAT | O_WRONLY, 0, false, REC_FILE_CREATE },
	{ "for writing", 0, IORING_OP_OPENAT, 0, O_RDWR, 0, true, REC_FILE_OPEN_WRITE },
	{ "openat2", 0, IORING_OP_OPENAT2, 0, O_CREAT | O_WRONLY, 0, false, REC_FILE_CREATE },
	{ "in a worker thread", 0, IORING_OP_OPENAT, IOSQE_ASYNC, O_CREAT | O_WRONLY, 0, false,
	  REC_FILE_CREATE },
	{ "in a poller thread", IORING_SETUP_SQPOLL, IORING_OP_OPENAT, 0, O_CREAT | O_WRONLY, 0,
	  false, REC_FILE_CREATE },
	{ "put off until somebody waits", SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN,
	  IORING_OP_OPENAT, IOSQE_ASYNC, O_CREAT | O_WRONLY, 0, false, REC_FILE_CREATE },
};

struct opening {
	const struct open_row *row;
	char dir[64], path[96];
};

static int opener(void *arg)
{
	const struct opening *o = arg;
	const struct open_how how = { .flags = (unsigned int)o->row->flags, .mode = 0640 };
	struct io_uring_sqe sqe = { .opcode = o->row->opcode,
				    .flags = o->row->sqe_flags,
				    .fd = AT_FDCWD,
				    .addr = (uintptr_t)o->path,
				    .file_index = o->row->slot };
	struct uring u;
	int none = -1, r = uring_make(&u, o->row->ring);

	if (r)
		return r;
	if (o->row->slot &&
	    syscall(SYS_io_uring_register, u.fd, IORING_REGISTER_FILES, &none, 1) != 0)
		return URING_UNAVAILABLE;
	if (o->row->opcode == IORING_OP_OPENAT2) {
		sqe.len = sizeof(how);
		sqe.off = (uintptr_t)&how;
	} else {
		sqe.len = 0640;
		sqe.open_flags = (uint32_t)o->row->flags;
	}
	r = uring_do(&u, &sqe);
	return r >= 0 || r == -ENOENT ? 0 : 1;
}

static void prepare(struct opening *o, const struct open_row *row)
{
	o->row = row;
	(void)snprintf(o->dir, sizeof(o->dir), "/tmp/sensors-uring-XXXXXX");
	assert_non_null(mkdtemp(o->dir));
	(void)snprintf(o->path, sizeof(o->path), "%s/file", o->dir);
	if (row->exists) {
		int fd = open(o->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

		assert_int_equal(write(fd, "12345", 5), 5);
		(void)close(fd);
	}
}

static void skip_unless_attached(struct sensors *s, enum rec_class class)
{
	/* Kernels before 5.18 do not say which request it was. */
	if (!hooks_tier(sensors_hooks(s), class))
		skip();
}

static void an_open(void **state)
{
	const struct open_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct opening o;
	int status;

	skip_unless_attached(s, REC_CLASS_URING_OPEN);
	prepare(&o, row);
	pid_t pid = sensors_child(opener, &o, &status);

	if (WEXITSTATUS(status) == URING_UNAVAILABLE) {
		sensors_remove_tree(o.dir);
		skip();
	}
	assert_int_equal(status, 0);
	(void)sensors_wait(s, REC_EXIT, pid, 0);
	if (row->op) {
		const struct rec_file_open *rec = sensors_wait(s, REC_FILE_OPEN, pid, 0);

		assert_int_equal(rec->op, row->op);
		assert_int_equal(rec->h.flags, REC_IO_URING);
		assert_int_equal(rec->h.class, REC_CLASS_URING_OPEN);
		assert_int_equal(rec->size, row->exists ? 5 : 0);
		sensors_expect_path(rec, o.path);
	}
	assert_int_equal(sensors_count(s, REC_FILE_OPEN, pid), row->op != 0);
	sensors_expect_balance(s);
	sensors_remove_tree(o.dir);
}

/* ---- connections ---- */

static const struct accept_row {
	const char *name;
	uint32_t ring;
	uint8_t sqe_flags;
	uint16_t ioprio; /* IORING_ACCEPT_* */
	bool before; /* asked for before anybody connects */
	uint32_t slot;
	size_t connections, records;
} accept_rows[] = {
	{ "into the ring's own table", 0, 0, 0, false, 1, 1, 0 },
	{ "of one that waits", 0, 0, 0, false, 0, 1, 1 },
	{ "of one that comes later", 0, 0, 0, true, 0, 1, 1 },
	{ "in a worker thread", 0, IOSQE_ASYNC, 0, true, 0, 1, 1 },
	{ "in a poller thread", IORING_SETUP_SQPOLL, 0, 0, true, 0, 1, 1 },
	{ "of many with one request", 0, 0, IORING_ACCEPT_MULTISHOT, true, 0, 3, 3 },
};

static int connect_to(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0;
}

static int accepter(void *arg)
{
	const struct accept_row *row = arg;
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int none = -1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct uring u;
	int r = uring_make(&u, row->ring);
	struct io_uring_sqe sqe = { .opcode = IORING_OP_ACCEPT,
				    .flags = row->sqe_flags,
				    .ioprio = row->ioprio,
				    .fd = fd,
				    .file_index = row->slot };

	if (r)
		return r;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return 1;
	if (row->slot && syscall(SYS_io_uring_register, u.fd, IORING_REGISTER_FILES, &none, 1) != 0)
		return URING_UNAVAILABLE;
	if (!row->before && connect_to(&a) != 0)
		return 1;
	if (uring_submit(&u, &sqe) != 0)
		return 1;
	for (size_t i = 0; i < row->connections; i++) {
		if (row->before && connect_to(&a) != 0)
			return 1;
		if (uring_result(&u) < 0)
			return row->ioprio ? URING_UNAVAILABLE : 1;
	}
	return 0;
}

static size_t count_accepts(struct sensors *s, pid_t pid)
{
	size_t n = 0;

	for (size_t i = 0; i < sensors_count(s, REC_TCP, pid); i++) {
		const struct rec_tcp *rec = sensors_find(s, REC_TCP, pid, i);

		if (rec->op != REC_TCP_ACCEPT)
			continue;
		assert_int_equal(rec->h.flags, REC_IO_URING);
		assert_int_equal(rec->h.class, REC_CLASS_URING_ACCEPT);
		assert_int_equal(rec->role, REC_ROLE_ACCEPTER);
		assert_int_not_equal(rec->local_port, 0);
		assert_int_not_equal(rec->remote_port, 0);
		n++;
	}
	return n;
}

static void an_accept(void **state)
{
	const struct accept_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	int status;

	skip_unless_attached(s, REC_CLASS_URING_ACCEPT);
	pid_t pid = sensors_child(accepter, (void *)(uintptr_t)row, &status);

	if (WEXITSTATUS(status) == URING_UNAVAILABLE)
		skip();
	assert_int_equal(status, 0);
	(void)sensors_wait(s, REC_EXIT, pid, 0);
	for (size_t tries = 0; count_accepts(s, pid) < row->records && tries < 100; tries++)
		(void)usleep(10000);
	assert_int_equal(count_accepts(s, pid), row->records);
	sensors_expect_balance(s);
}

static int connecter(void *arg)
{
	struct sockaddr_in *to = arg;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct io_uring_sqe sqe = {
		.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uintptr_t)to, .off = sizeof(*to)
	};
	struct uring u;
	int r = uring_make(&u, 0);

	return r ? r : uring_do(&u, &sqe) != 0;
}

static void a_connect(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	AUTO(close_fd) int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int status;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	pid_t pid = sensors_child(connecter, &a, &status);

	if (WEXITSTATUS(status) == URING_UNAVAILABLE)
		skip();
	assert_int_equal(status, 0);
	const struct rec_tcp *rec = sensors_wait(s, REC_TCP, pid, 0);

	assert_int_equal(rec->op, REC_TCP_CONNECT);
	assert_int_equal(rec->h.flags, REC_IO_URING);
	assert_int_equal(rec->remote_port, ntohs(a.sin_port));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, an_open, open_rows);
	ADD_ROWS(&t, an_accept, accept_rows);
	ADD_TEST(&t, a_connect);
	return tests_run(&t, "sensors_uring");
}
