/* SPDX-License-Identifier: Apache-2.0 */
/* A port of our own that accepts only when the test does. */
#include "proto/rpc_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>

#include "proto/base/clock.h"
#include "tests/unit/rows.h"

struct port {
	int fd;
	uint16_t number;
	struct rpc_probe probe;
};

static void open_port(struct port *p)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(p->fd >= 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(p->fd, 16), 0);
	assert_int_equal(getsockname(p->fd, (struct sockaddr *)&at, &len), 0);
	p->number = ntohs(at.sin_port);
	rpc_probe_init(&p->probe, "127.0.0.1", p->number);
}

static void close_port(struct port *p)
{
	rpc_probe_release(&p->probe);
	(void)close(p->fd);
}

static int visit(const struct port *p)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons(p->number),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void nobody_waits_nobody_is_dialled(void **state)
{
	struct port p;

	(void)state;
	open_port(&p);
	for (uint64_t s = 1; s < 600; s++)
		assert_false(rpc_probe_step(&p.probe, s * NSEC_PER_SEC));
	assert_int_equal(accept(p.fd, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	close_port(&p);
}

/* As core does it after accept failed once: three dials, seconds apart. */
static void port_that_never_accepts_is_found(void **state)
{
	bool dead = false;
	struct port p;

	(void)state;
	open_port(&p);
	int visitor = visit(&p);

	for (uint64_t s = 1; s < 60 && !dead; s++)
		dead = rpc_probe_step(&p.probe, s * NSEC_PER_SEC);
	assert_true(dead);
	(void)close(visitor);
	close_port(&p);
}

/* Also one who hung up meanwhile waits in the queue of a port that never accepts. */
static void who_gave_up_still_counts(void **state)
{
	bool dead = false;
	struct port p;

	(void)state;
	open_port(&p);
	(void)close(visit(&p));
	for (uint64_t s = 1; s < 60 && !dead; s++)
		dead = rpc_probe_step(&p.probe, s * NSEC_PER_SEC);
	assert_true(dead);
	close_port(&p);
}

static void busy_port_is_left_alone_again(void **state)
{
	struct port p;
	int fd, n = 0;

	(void)state;
	open_port(&p);
	int visitor = visit(&p);

	assert_false(rpc_probe_step(&p.probe, NSEC_PER_SEC)); /* dials */
	while ((fd = accept(p.fd, NULL, NULL)) >= 0) {
		(void)close(fd);
		n++;
	}
	assert_int_equal(n, 2);
	for (uint64_t s = 2; s < 600; s++)
		assert_false(rpc_probe_step(&p.probe, s * NSEC_PER_SEC));
	assert_int_equal(accept(p.fd, NULL, NULL), -1);
	(void)close(visitor);
	close_port(&p);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, nobody_waits_nobody_is_dialled);
	ADD_TEST(&t, port_that_never_accepts_is_found);
	ADD_TEST(&t, who_gave_up_still_counts);
	ADD_TEST(&t, busy_port_is_left_alone_again);
	return tests_run(&t, "rpc_probe");
}
