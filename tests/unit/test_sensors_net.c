/* SPDX-License-Identifier: Apache-2.0 */
/* TCP and UDP over loopback, on this kernel. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/flows.h"
#include "agent/stock.h"
#include "proto/base/clock.h"
#include "tests/unit/rows.h"
#include "tests/unit/sensors.h"

#define OUT 1000 /* bytes from client to server, and back */
#define BACK 77

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union address address(int family, const char *text, uint16_t port)
{
	union address a = { 0 };

	a.any.sa_family = (sa_family_t)family;
	if (family == AF_INET) {
		a.v4.sin_port = htons(port);
		(void)inet_pton(AF_INET, text, &a.v4.sin_addr);
	} else {
		a.v6.sin6_port = htons(port);
		(void)inet_pton(AF_INET6, text, &a.v6.sin6_addr);
	}
	return a;
}

static socklen_t size_of(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

/* Bound to text and a free port, which *ret_port is set to. */
static int bound(int family, int type, const char *text, uint16_t *ret_port)
{
	union address a = address(family, text, 0);
	socklen_t len = sizeof(a);
	int fd = socket(family, type | SOCK_CLOEXEC, 0), zero = 0;

	if (family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (fd < 0 || bind(fd, &a.any, size_of(&a)) < 0 || getsockname(fd, &a.any, &len) < 0)
		return -1;
	*ret_port = ntohs(family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
	return fd;
}

struct exchange {
	int family;
	const char *to;
	uint16_t port;
	int listener; /* inherited */
};

static int transfer(int fd, size_t send_bytes, size_t want_bytes)
{
	char bytes[OUT] = { 0 };

	for (size_t got = 0; got < want_bytes;) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n <= 0)
			return 1;
		got += (size_t)n;
	}
	return send(fd, bytes, send_bytes, 0) == (ssize_t)send_bytes ? 0 : 1;
}

static int client(void *arg)
{
	const struct exchange *x = arg;
	union address a = address(x->family, x->to, x->port);
	int fd = socket(x->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	if (connect(fd, &a.any, size_of(&a)) < 0)
		return errno;
	if (transfer(fd, OUT, 0) || recv(fd, &byte, 1, MSG_PEEK) != 1)
		return 200;
	while (recv(fd, &byte, 1, 0) == 1)
		;
	return close(fd); /* after the server's FIN */
}

static int server(void *arg)
{
	const struct exchange *x = arg;
	int fd;

	if (listen(x->listener, 5) < 0)
		return 201;
	pid_t pid = fork();

	if (pid == 0)
		_exit(client(arg));
	fd = accept(x->listener, NULL, NULL);
	if (fd < 0 || transfer(fd, BACK, OUT) || close(fd) < 0 || waitpid(pid, NULL, 0) != pid)
		return 202;
	return close(x->listener);
}

static const struct tcp_row {
	const char *name;
	int listen_family;
	const char *listen_on;
	int family;
	const char *to;
	uint8_t want_family;
} tcp_rows[] = {
	{ "IPv4", AF_INET, "127.0.0.1", AF_INET, "127.0.0.1", 4 },
	{ "IPv6", AF_INET6, "::1", AF_INET6, "::1", 6 },
	{ "IPv4 to a listener of both", AF_INET6, "::", AF_INET, "127.0.0.1", 4 },
	{ "IPv4-mapped", AF_INET, "127.0.0.1", AF_INET6, "::ffff:127.0.0.1", 4 },
};

static const struct rec_tcp *op(struct sensors *s, pid_t pid, uint8_t want, size_t n)
{
	for (size_t i = 0;; i++) {
		const struct rec_tcp *rec = sensors_wait(s, REC_TCP, pid, i);

		if (rec->op == want && n-- == 0)
			return rec;
	}
}

static pid_t child_of(struct sensors *s, pid_t parent)
{
	for (pid_t pid = parent + 1; pid < parent + 2000; pid++) {
		const struct rec_fork *fork = sensors_find(s, REC_FORK, pid, 0);

		if (fork && fork->caller.pid == (uint32_t)parent)
			return pid;
	}
	fail_msg("no child of %d was seen", parent);
	return 0;
}

static void expect_address(const struct rec_tcp *rec, const uint8_t *got, int family,
			   const char *want)
{
	uint8_t bytes[16] = { 0 };

	if (strncmp(want, "::ffff:", 7) == 0)
		assert_int_equal(inet_pton(AF_INET, want + 7, bytes), 1);
	else
		assert_int_equal(inet_pton(family, want, bytes), 1);
	assert_memory_equal(got, bytes, sizeof(bytes));
	assert_int_equal(rec->h.flags & REC_OWNER_NONE, 0);
}

static void a_connection(void **state)
{
	const struct tcp_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct exchange x = { .family = row->family, .to = row->to };
	int status;

	x.listener = bound(row->listen_family, SOCK_STREAM, row->listen_on, &x.port);
	assert_true(x.listener >= 0);
	pid_t server_pid = sensors_child(server, &x, &status);

	assert_int_equal(status, 0);
	(void)close(x.listener);
	pid_t client_pid = child_of(s, server_pid);
	const struct rec_tcp *listened = op(s, server_pid, REC_TCP_LISTEN, 0);
	const struct rec_tcp *accepted = op(s, server_pid, REC_TCP_ACCEPT, 0);
	const struct rec_tcp *connected = op(s, client_pid, REC_TCP_CONNECT, 0);
	const struct rec_tcp *gone = op(s, client_pid, REC_TCP_DISCONNECT, 0);
	const struct rec_tcp *ended = op(s, server_pid, REC_TCP_DISCONNECT, 0);

	assert_int_equal(listened->local_port, x.port);
	assert_int_equal(listened->remote_port, 0);
	expect_address(listened, listened->local, row->listen_family, row->listen_on);

	assert_int_equal(connected->h.flags, 0);
	assert_int_equal(connected->family, row->want_family);
	assert_int_equal(connected->remote_port, x.port);
	assert_int_not_equal(connected->local_port, 0);
	expect_address(connected, connected->remote, row->family, row->to);

	assert_int_equal(accepted->family, row->want_family);
	assert_int_equal(accepted->local_port, x.port);
	assert_int_equal(accepted->remote_port, connected->local_port);
	expect_address(accepted, accepted->local, row->family, row->to);

	assert_int_equal(gone->local_port, connected->local_port);
	assert_int_equal(gone->remote_port, x.port);
	assert_int_equal(gone->bytes_out, OUT);
	assert_int_equal(gone->bytes_in, BACK);
	assert_int_equal(gone->role, REC_ROLE_OPENER);
	assert_int_equal(gone->error, 0);
	assert_int_equal(gone->h.flags, REC_OWNER_SOCKET);
	assert_memory_equal(&gone->h.actor.image, &connected->h.actor.image,
			    sizeof(struct rec_image));
	assert_true(gone->opened_ns > 0 && gone->opened_ns <= connected->h.boottime_ns);

	assert_int_equal(ended->local_port, x.port);
	assert_int_equal(ended->remote_port, connected->local_port);
	assert_int_equal(ended->bytes_out, BACK);
	assert_int_equal(ended->bytes_in, OUT);
	assert_int_equal(ended->role, REC_ROLE_ACCEPTER);
	assert_int_equal(ended->established, 1);
	sensors_expect_balance(s);
	assert_int_equal(sensors_holes(s, REC_RING_BULK), 0);
}

static void a_refused_connect(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct exchange x = { .family = AF_INET, .to = "127.0.0.1" };
	AUTO(close_fd) int fd = bound(AF_INET, SOCK_STREAM, "127.0.0.1", &x.port);
	int status;
	pid_t pid = sensors_child(client, &x, &status);

	assert_true(fd >= 0); /* bound, and not listening */
	assert_int_equal(WEXITSTATUS(status), ECONNREFUSED);
	const struct rec_tcp *tried = op(s, pid, REC_TCP_CONNECT, 0);
	const struct rec_tcp *refused = op(s, pid, REC_TCP_DISCONNECT, 0);

	assert_int_equal(tried->remote_port, x.port);
	assert_int_equal(refused->error, ECONNREFUSED);
	assert_int_equal(refused->established, 0);
	assert_int_equal(refused->bytes_out, 0);
	assert_int_equal(sensors_count(s, REC_TCP, pid), 2);
}

static void without_cgroup_v2(void **state)
{
	(void)state;
	const struct hooks_config config = { .cgroup_root = "/nonexistent" };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	const struct coverage *c = hooks_coverage(sensors_hooks(s));
	struct exchange x = { .family = AF_INET, .to = "127.0.0.1" };
	AUTO(close_fd) int fd = bound(AF_INET, SOCK_STREAM, "127.0.0.1", &x.port);
	pid_t pid = sensors_child(client, &x, NULL);
	const struct rec_tcp *tried = op(s, pid, REC_TCP_CONNECT, 0);
	size_t partial = 0, failed = 0;

	assert_true(fd >= 0);
	assert_int_equal(tried->remote_port, x.port);
	assert_int_equal(tried->local_port, 0);
	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->row[i].what, "connect, listen, disconnect") == 0)
			partial += c->row[i].state == COVERAGE_PARTIAL;
		if (strcmp(c->row[i].what, "udp_flow") == 0) {
			failed += c->row[i].state == COVERAGE_FAILED;
			assert_non_null(strstr(c->row[i].reason, "cgroup v2 is not mounted"));
		}
	}
	assert_int_equal(partial, 1);
	assert_int_equal(failed, 1);
}

static void sockets_that_exist(void **state)
{
	(void)state;
	struct exchange x = { .family = AF_INET6, .to = "::1" };
	uint16_t udp_port;
	union address a;
	const struct hooks_config config = { 0 };
	int listener = bound(AF_INET6, SOCK_STREAM, "::1", &x.port);
	AUTO(close_fd) int udp = bound(AF_INET, SOCK_DGRAM, "127.0.0.1", &udp_port);
	AUTO(close_fd) int unbound = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(listener >= 0 && udp >= 0 && unbound >= 0 && fd >= 0);
	assert_int_equal(listen(listener, 5), 0);
	a = address(AF_INET6, "::1", x.port);
	assert_int_equal(connect(fd, &a.any, size_of(&a)), 0);
	assert_int_equal(send(fd, "12345", 5, 0), 5);

	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	size_t established = 0, listening = 0, udps = 0;

	assert_true(stock_sockets(sensors_hooks(s), sensors_take, s, NULL) >= 3);
	assert_int_equal(stock_sockets(sensors_hooks(s), sensors_take, s, NULL), 0); /* once each */
	for (size_t i = 0; i < sensors_count(s, REC_SOCKET, getpid()); i++) {
		const struct rec_socket *rec = sensors_find(s, REC_SOCKET, getpid(), i);

		assert_int_equal(rec->h.flags, REC_EXISTING);
		if (rec->protocol == IPPROTO_UDP && rec->fd == (uint32_t)udp && ++udps)
			assert_int_equal(rec->local_port, udp_port);
		if (rec->fd == (uint32_t)listener && ++listening)
			assert_int_equal(rec->local_port, x.port);
		if (rec->fd == (uint32_t)fd && ++established) {
			assert_int_equal(rec->state, TCP_ESTABLISHED);
			assert_int_equal(rec->remote_port, x.port);
			assert_int_equal(rec->bytes_out, 5);
		}
		assert_int_not_equal(rec->fd, unbound);
	}
	assert_int_equal(established, 1);
	assert_int_equal(listening, 1);
	assert_int_equal(udps, 1);
	/* From now on their records know the owner. */
	assert_int_equal(close(fd), 0);
	assert_int_equal(close(listener), 0);
	const struct rec_tcp *gone = op(s, getpid(), REC_TCP_DISCONNECT, 0);

	assert_int_equal(gone->h.flags, REC_OWNER_SOCKET);
	assert_int_equal(gone->opened_ns, 0);
	sensors_expect_balance(s);
}

struct datagrams {
	int family;
	const char *to;
	uint16_t port;
	size_t n, bytes;
	bool linger; /* leave the socket open until killed */
};

static int send_datagrams(void *arg)
{
	const struct datagrams *d = arg;
	union address a = address(d->family, d->to, d->port);
	int fd = socket(d->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char bytes[2000] = { 0 };

	for (size_t i = 0; i < d->n; i++)
		if (sendto(fd, bytes, d->bytes, 0, &a.any, size_of(&a)) != (ssize_t)d->bytes)
			return 1;
	return close(fd);
}

static const struct udp_row {
	const char *name;
	int family;
	const char *to;
	size_t n, bytes;
	uint8_t want_family;
} udp_rows[] = {
	{ "one empty", AF_INET, "127.0.0.1", 1, 0, 4 },
	{ "IPv4", AF_INET, "127.0.0.1", 10, 50, 4 },
	{ "IPv6", AF_INET6, "::1", 20, 1400, 6 },
	{ "IPv4-mapped", AF_INET6, "::ffff:127.0.0.1", 5, 100, 4 },
};

static void a_flow(void **state)
{
	const struct udp_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct datagrams d = {
		.family = row->family, .to = row->to, .n = row->n, .bytes = row->bytes
	};
	AUTO(close_fd)
	int fd = bound(row->want_family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM,
		       row->want_family == 4 ? "127.0.0.1" : "::1", &d.port);
	int status;

	assert_true(fd >= 0);
	pid_t pid = sensors_child(send_datagrams, &d, &status);

	assert_int_equal(status, 0);
	const struct rec_udp_flow *out = sensors_wait(s, REC_UDP_FLOW, pid, 0);

	assert_int_equal(out->family, row->want_family);
	assert_int_equal(out->remote_port, d.port);
	assert_int_equal(out->packets_out, row->n);
	assert_int_equal(out->bytes_out, row->n * row->bytes);
	assert_int_equal(out->packets_in, 0);
	assert_int_equal(out->role, REC_ROLE_OPENER);
	assert_int_equal(out->closed, 1);
	assert_true(out->first_ns <= out->last_ns && out->last_ns <= out->h.boottime_ns);
	assert_int_equal(sensors_count(s, REC_UDP_FLOW, pid), 1);

	/* The other end's flow waits for the sweep. */
	const struct flows_policy idle = { NSEC_PER_SEC * 3600, NSEC_PER_SEC * 3600 },
				  all = { 0, 0 };
	struct error e = { 0 };
	const struct rec_udp_flow *in;

	assert_int_equal(
		flows_sweep(sensors_hooks(s), &idle, clock_boottime_ns(), sensors_take, s, &e), 0);
	assert_true(flows_sweep(sensors_hooks(s), &all, clock_boottime_ns(), sensors_take, s, &e) >=
		    1);
	in = sensors_wait(s, REC_UDP_FLOW, getpid(), 0);
	assert_int_equal(in->local_port, d.port);
	assert_int_equal(in->remote_port, out->local_port);
	assert_int_equal(in->packets_in, row->n);
	assert_int_equal(in->bytes_in, row->n * row->bytes);
	assert_int_equal(in->role, REC_ROLE_ACCEPTER);
	assert_int_equal(in->closed, 0);
	sensors_expect_balance(s);
}

static int many_flows(void *arg)
{
	struct datagrams d = *(struct datagrams *)arg;
	int r = 0;

	for (size_t i = 0; i < 100 && r == 0; i++) {
		d.port = (uint16_t)(20000 + i);
		union address a = address(AF_INET, "127.0.0.1", d.port);

		r = sendto(*(int *)d.to, "x", 1, 0, &a.any, size_of(&a)) == 1 ||
				    errno == ECONNREFUSED ?
			    0 :
			    1;
	}
	return r;
}

static void a_full_table_counts(void **state)
{
	(void)state;
	const struct hooks_config config = { .flow_entries = 8 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), status;
	struct datagrams d = { .to = (const char *)&fd };
	struct counters c;

	(void)sensors_child(many_flows, &d, &status);
	assert_int_equal(status, 0);
	assert_int_equal(counters_read(sensors_hooks(s), &c, NULL), 0);
	assert_true(c.class[REC_CLASS_UDP].lost_scratch >= 92);
	assert_true(c.class[REC_CLASS_UDP].aggregated >= 1);
	(void)close(fd);
	sensors_expect_balance(s);
}

int main(void)
{
	struct tests t = { 0 };

	(void)signal(SIGPIPE, SIG_IGN);
	ADD_ROWS(&t, a_connection, tcp_rows);
	ADD_TEST(&t, a_refused_connect);
	ADD_TEST(&t, without_cgroup_v2);
	ADD_TEST(&t, sockets_that_exist);
	ADD_ROWS(&t, a_flow, udp_rows);
	ADD_TEST(&t, a_full_table_counts);
	return tests_run(&t, "sensors_net");
}
