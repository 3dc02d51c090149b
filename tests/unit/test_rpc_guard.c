/* SPDX-License-Identifier: Apache-2.0 */
/* The guards one by one: environment, log lines, call rate, deny list, own sockets, own port. */
#include "tests/unit/rows.h"

#include "proto/base/files.h"
#include "proto/rpc_deny.h"
#include "proto/rpc_gate.h"
#include "proto/rpc_guard.h"
#include "proto/rpc_limit.h"
#include "proto/rpc_probe.h"
#include "proto/rpc_sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* ---- environment ------------------------------------------------------------------------------- */

static const struct env_row {
	const char *name;
	const char *variable;
	bool stays;
} env_rows[] = {
	{ "trace", "GRPC_TRACE", false },
	{ "trace in lower case", "grpc_trace", false },
	{ "proxy", "https_proxy", false },
	{ "proxy in capitals", "HTTPS_PROXY", false },
	{ "exception from the proxy", "no_proxy", false },
	{ "OpenSSL's configuration", "OPENSSL_CONF", false },
	{ "roots", "SSL_CERT_FILE", false },
	{ "key log", "SSLKEYLOGFILE", false },
	{ "harmless", "EXHIBIT_CONFIG", true },
	{ "contains only", "MY_GRPC_TRACE", true },
	{ "proxy in front", "proxy_x", true },
};

static void variable_goes_or_stays(void **state)
{
	const struct env_row *row = *state;

	assert_int_equal(setenv(row->variable, "x", 1), 0);
	assert_int_equal(rpc_guard_scrub_environment(NULL), 0);
	assert_int_equal(getenv(row->variable) != NULL, row->stays);
	assert_string_equal(getenv("GRPC_SSL_CIPHER_SUITES"), "ECDHE-RSA-AES256-GCM-SHA384");
	(void)unsetenv(row->variable);
}

static void hostile_cipher_list_is_replaced(void **state)
{
	(void)state;
	assert_int_equal(setenv("GRPC_SSL_CIPHER_SUITES", "ALL", 1), 0);
	assert_int_equal(rpc_guard_scrub_environment(NULL), 0);
	assert_string_equal(getenv("GRPC_SSL_CIPHER_SUITES"), "ECDHE-RSA-AES256-GCM-SHA384");
}

/* ---- rates ------------------------------------------------------------------------------------- */

static void gate_counts_what_it_holds(void **state)
{
	struct rpc_gate g = { 0 };
	uint64_t held = 99;

	(void)state;
	assert_true(rpc_gate_pass(&g, 2, 5 * NSEC_PER_SEC, &held));
	assert_true(rpc_gate_pass(&g, 2, 5 * NSEC_PER_SEC + 1, &held));
	for (int i = 0; i < 7; i++)
		assert_false(rpc_gate_pass(&g, 2, 6 * NSEC_PER_SEC - 1, &held));
	assert_int_equal(held, 0);
	assert_true(rpc_gate_pass(&g, 2, 6 * NSEC_PER_SEC, &held));
	assert_int_equal(held, 7);
}

static void limit_is_per_name_and_second(void **state)
{
	struct rpc_limit *l = rpc_limit_new(3);

	(void)state;
	assert_non_null(l);
	for (int i = 0; i < 3; i++)
		assert_true(rpc_limit_allow(l, "a", 1, NSEC_PER_SEC));
	assert_false(rpc_limit_allow(l, "a", 1, 2 * NSEC_PER_SEC - 1));
	assert_true(rpc_limit_allow(l, "b", 1, 2 * NSEC_PER_SEC - 1));
	assert_true(rpc_limit_allow(l, "a", 1, 2 * NSEC_PER_SEC));
	rpc_limit_free(l);
}

static void limit_holds_among_many_names(void **state)
{
	struct rpc_limit *l = rpc_limit_new(2);
	char name[16];

	(void)state;
	assert_non_null(l);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5000; i++) {
			int n = snprintf(name, sizeof(name), "n%d", i);

			assert_true(rpc_limit_allow(l, name, (size_t)n, NSEC_PER_SEC));
		}
	}
	assert_false(rpc_limit_allow(l, "n1", 2, NSEC_PER_SEC));
	assert_false(rpc_limit_allow(l, "n4999", 5, NSEC_PER_SEC));
	rpc_limit_free(l);
}

/* ---- deny list --------------------------------------------------------------------------------- */

static const struct deny_row {
	const char *name;
	const char *text;
	int want; /* of loading */
	bool denied; /* serial 1f, host h */
} deny_rows[] = {
	{ "unknown word", "serail 1f\n", -EINVAL, false },
	{ "word alone", "serial\n", -EINVAL, false },
	{ "not hex", "serial 1g\n", -EINVAL, false },
	{ "too long", "serial 11111111112222222222333333333344444444445\n", -EINVAL, false },
	{ "name that is none", "host ../h\n", -EINVAL, false },
	{ "bad after good", "host h\nhost\n", -EINVAL, false },
	{ "empty", "", 0, false },
	{ "comments", "# serial 1f\n\n   # host h\n", 0, false },
	{ "others", "serial 1f0\nserial 1\nhost hh\nhost H\n", 0, false },
	{ "serial", "serial 1f", 0, true },
	{ "serial in capitals", "serial 1F\n", 0, true },
	{ "serial with zeros", "serial 001f\n", 0, true },
	{ "host", "host a\nhost h\nhost z\n", 0, true },
	{ "host with blanks and CRLF", "\t host \t h \t# lost\r\n", 0, true },
};

static void deny_list(void **state)
{
	const struct deny_row *row = *state;
	const struct identity id = { .kind = IDENTITY_HOST, .name = "h", .serial = "1f" };
	const struct identity person = { .kind = IDENTITY_RESPONDER, .name = "h", .serial = "2" };
	char path[] = "/tmp/exhibit-deny-XXXXXX";
	AUTO(close_fd) int fd = mkstemp(path);
	struct rpc_deny *d = NULL;

	assert_true(fd >= 0);
	assert_int_equal(files_write_all(fd, row->text, strlen(row->text), NULL), 0);
	assert_int_equal(rpc_deny_load(path, &d, NULL), row->want);
	if (row->want == 0) {
		assert_int_equal(rpc_deny_matches(d, &id), row->denied);
		assert_false(rpc_deny_matches(d, &person));
	}
	rpc_deny_free(d);
	(void)unlink(path);
}

static void missing_deny_list_is_an_error(void **state)
{
	struct rpc_deny *d = NULL;

	(void)state;
	assert_int_equal(rpc_deny_load("/nonexistent/deny", &d, NULL), -ENOENT);
	assert_int_equal(rpc_deny_load(NULL, &d, NULL), 0);
	rpc_deny_free(d);
}

/* ---- endpoints --------------------------------------------------------------------------------- */

static const struct endpoint_row {
	const char *name;
	const char *remote;
	const char *address; /* NULL: refused */
	uint16_t port;
} endpoint_rows[] = {
	{ "empty", "", NULL, 0 },
	{ "no scheme", "127.0.0.1:1", NULL, 0 },
	{ "unix socket", "unix:/x", NULL, 0 },
	{ "no port", "ipv4:127.0.0.1", NULL, 0 },
	{ "port empty", "ipv4:127.0.0.1:", NULL, 0 },
	{ "port too large", "ipv4:127.0.0.1:65536", NULL, 0 },
	{ "port signed", "ipv4:127.0.0.1:-1", NULL, 0 },
	{ "port with a tail", "ipv4:127.0.0.1:1x", NULL, 0 },
	{ "no brackets", "ipv6:::1:1", NULL, 0 },
	{ "brackets empty", "ipv6:[]:1", NULL, 0 },
	{ "scheme alone", "ipv4:", NULL, 0 },
	{ "name", "ipv4:localhost:1", NULL, 0 },
	{ "IPv4", "ipv4:192.0.2.7:4711", "::ffff:192.0.2.7", 4711 },
	{ "IPv6", "ipv6:[2001:db8::1]:65535", "2001:db8::1", 65535 },
	{ "IPv6, encoded", "ipv6:%5B2001:db8::1%5D:1", "2001:db8::1", 1 },
	{ "IPv6 with scope", "ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::1", 1 },
	{ "mapped", "ipv6:[::ffff:192.0.2.7]:4711", "::ffff:192.0.2.7", 4711 },
};

static void endpoint(void **state)
{
	const struct endpoint_row *row = *state;
	struct rpc_endpoint got, want = { .port = row->port };

	assert_int_equal(rpc_endpoint_parse(row->remote, &got), row->address != NULL);
	if (row->address == NULL)
		return;
	assert_int_equal(inet_pton(AF_INET6, row->address, &want.address), 1);
	assert_true(rpc_endpoint_equal(&got, &want));
}

/* ---- own sockets ------------------------------------------------------------------------------- */

static int listener(uint16_t *ret_port)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6 };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	at.sin6_addr.s6_addr[10] = at.sin6_addr.s6_addr[11] = 0xff;
	at.sin6_addr.s6_addr[12] = 127;
	at.sin6_addr.s6_addr[15] = 1;
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*ret_port = ntohs(at.sin6_port);
	return fd;
}

static int dial(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void remote_of(int fd, char *buf, size_t size)
{
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&from, &len), 0);
	(void)snprintf(buf, size, "ipv4:127.0.0.1:%u", ntohs(from.sin_port));
}

static void only_the_named_connection_is_cut(void **state)
{
	uint16_t port;
	AUTO(close_fd) int listening = listener(&port);
	AUTO(close_fd) int a = dial(port);
	AUTO(close_fd) int b = dial(port);
	AUTO(close_fd) int a_served = -1;
	AUTO(close_fd) int b_served = -1;
	struct rpc_endpoint peer;
	char remote[64], byte;

	(void)state;
	remote_of(a, remote, sizeof(remote));
	assert_true(rpc_endpoint_parse(remote, &peer));
	assert_false(rpc_sockets_accepted(port, a));
	assert_false(rpc_sockets_cut(port, &peer));
	a_served = accept(listening, NULL, NULL);
	b_served = accept(listening, NULL, NULL);
	assert_true(a_served >= 0 && b_served >= 0);
	assert_true(rpc_sockets_accepted(port, a));
	assert_true(rpc_sockets_cut(port, &peer));
	assert_int_equal(recv(a, &byte, 1, 0), 0);
	assert_int_equal(recv(b, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void sockets_are_found_when_no_descriptor_is_left(void **state)
{
	uint16_t port;
	AUTO(close_fd) int listening = listener(&port);
	AUTO(close_fd) int a = dial(port);
	AUTO(close_fd) int served = accept(listening, NULL, NULL);
	struct rlimit old, tight;
	int fds, r;
	bool found;

	(void)state;
	fds = rpc_sockets_count_fds();
	assert_true(fds > 3);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = old;
	/* The next number that open would give: served was the highest. */
	tight.rlim_cur = (rlim_t)served + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	found = rpc_sockets_accepted(port, a);
	r = rpc_sockets_count_fds();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(found);
	assert_in_range(r, 4, fds); /* what the test was started with may lie above the limit */
}

/* ---- own port ---------------------------------------------------------------------------------- */

static void port_that_never_accepts_is_found_dead(void **state)
{
	uint16_t port;
	AUTO(close_fd) int listening = listener(&port);
	AUTO(close_fd) int waits = dial(port);
	struct rpc_probe p;
	uint64_t now = 1;
	int steps = 0;

	(void)state;
	assert_true(listening >= 0 && waits >= 0);
	rpc_probe_init(&p, "127.0.0.1", port);
	for (; !rpc_probe_step(&p, now) && steps < 100; steps++)
		now += NSEC_PER_SEC;
	assert_in_range(steps, RPC_PROBE_FAILURES * RPC_PROBE_TIMEOUT_NS / NSEC_PER_SEC, 40);
	rpc_probe_release(&p);
}

static void closed_port_is_found_dead(void **state)
{
	uint16_t port;
	int listening = listener(&port);
	struct rpc_probe p;
	bool dead = false;

	(void)state;
	(void)close(listening);
	rpc_probe_init(&p, "[::]", port);
	for (uint64_t i = 0; i < 20 && !dead; i++) {
		dead = rpc_probe_step(&p, i * NSEC_PER_SEC);
		(void)usleep(1000);
	}
	assert_true(dead);
	rpc_probe_release(&p);
}

static void slow_server_that_accepts_is_alive(void **state)
{
	uint16_t port;
	AUTO(close_fd) int listening = listener(&port);
	struct rpc_probe p;
	int accepted[32];
	size_t n = 0;

	(void)state;
	assert_int_equal(fcntl(listening, F_SETFL, O_NONBLOCK), 0);
	rpc_probe_init(&p, "0.0.0.0", port);
	for (uint64_t i = 0; i < 60; i++) {
		AUTO(close_fd) int visitor = i % 10 == 0 ? dial(port) : -1;

		(void)visitor; /* open until the round ends: clang does not take that for a use */
		assert_false(rpc_probe_step(&p, i * NSEC_PER_SEC));
		if (n < ARRAY_LEN(accepted) && (accepted[n] = accept(listening, NULL, NULL)) >= 0)
			n++;
	}
	assert_true(n > 6); /* not the visitors alone */
	while (n > 0)
		(void)close(accepted[--n]);
	rpc_probe_release(&p);
}

static void answering_server_is_alive_and_asked_seldom(void **state)
{
	uint16_t port;
	AUTO(close_fd) int listening = listener(&port);
	struct rpc_probe p;
	unsigned int dialled = 0;
	const unsigned int visitors = 60;

	(void)state;
	assert_int_equal(fcntl(listening, F_SETFL, O_NONBLOCK), 0);
	rpc_probe_init(&p, "localhost", port);
	for (uint64_t i = 0; i < visitors; i++) {
		AUTO(close_fd) int visitor = dial(port);
		int fd;

		(void)visitor;
		assert_false(rpc_probe_step(&p, i * NSEC_PER_SEC));
		for (; (fd = accept(listening, NULL, NULL)) >= 0; close_fd(&fd))
			dialled++;
	}
	assert_in_range(dialled - visitors, 5, 6);
	rpc_probe_release(&p);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, variable_goes_or_stays, env_rows);
	ADD_TEST(&t, hostile_cipher_list_is_replaced);
	ADD_TEST(&t, gate_counts_what_it_holds);
	ADD_TEST(&t, limit_is_per_name_and_second);
	ADD_TEST(&t, limit_holds_among_many_names);
	ADD_ROWS(&t, deny_list, deny_rows);
	ADD_TEST(&t, missing_deny_list_is_an_error);
	ADD_ROWS(&t, endpoint, endpoint_rows);
	ADD_TEST(&t, only_the_named_connection_is_cut);
	ADD_TEST(&t, sockets_are_found_when_no_descriptor_is_left);
	ADD_TEST(&t, port_that_never_accepts_is_found_dead);
	ADD_TEST(&t, closed_port_is_found_dead);
	ADD_TEST(&t, slow_server_that_accepts_is_alive);
	ADD_TEST(&t, answering_server_is_alive_and_asked_seldom);
	return tests_run(&t, "rpc_guard");
}
