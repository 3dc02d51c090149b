/* SPDX-License-Identifier: Apache-2.0 */
/* A server whose descriptors are taken by silent connections of another process: below the limit they are
 * cut and it goes on; past the limit core never accepts again, and that must be noticed. */
#include "tests/unit/rows.h"
#include "tests/unit/rpc_raw.h"
#include "tests/unit/rpc_world.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define LIMIT 160
#define WEDGE_S 60

static atomic_uint wedged;

static void on_wedged(const char *why, void *ctx)
{
	(void)ctx;
	(void)why;
	atomic_fetch_add(&wedged, 1);
}

static void configure(struct rpc_server_config *config, struct world *w)
{
	(void)w;
	config->on_wedged = on_wedged;
}

/* A process that, told the port, opens n connections, says nothing on them, and waits to be killed. Made before
 * core is, which does not bear forks. */
struct attacker {
	pid_t pid;
	int port_fd, ready_fd;
};

static void attack(int port_fd, int ready_fd, int n)
{
	struct rlimit enough = { .rlim_cur = 1024, .rlim_max = 1024 };
	struct world w = { 0 };

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setrlimit(RLIMIT_NOFILE, &enough);
	if (read(port_fd, &w.port, sizeof(w.port)) != sizeof(w.port))
		_exit(1);
	for (int i = 0; i < n; i++)
		(void)raw_connect(&w);
	(void)!write(ready_fd, "r", 1);
	for (;;)
		(void)pause();
}

static void prepare(struct attacker *a, int n)
{
	int port[2], ready[2];

	assert_int_equal(pipe(port), 0);
	assert_int_equal(pipe(ready), 0);
	a->pid = fork();
	assert_true(a->pid >= 0);
	if (a->pid == 0)
		attack(port[0], ready[1], n);
	(void)close(port[0]);
	(void)close(ready[1]);
	a->port_fd = port[1];
	a->ready_fd = ready[0];
}

static void begin(struct attacker *a, const struct world *w)
{
	char byte;

	assert_int_equal(write(a->port_fd, &w->port, sizeof(w->port)), sizeof(w->port));
	assert_int_equal(read(a->ready_fd, &byte, 1), 1);
}

static void end(struct attacker *a)
{
	assert_int_equal(kill(a->pid, SIGKILL), 0);
	assert_int_equal(waitpid(a->pid, NULL, 0), a->pid);
	(void)close(a->port_fd);
	(void)close(a->ready_fd);
}

static struct rlimit limit_descriptors(void)
{
	struct rlimit old, tight;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	tight = (struct rlimit){ .rlim_cur = LIMIT, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	return old;
}

static uint64_t wait_cut(struct world *w, uint64_t want)
{
	struct rpc_server_stats stats = { 0 };

	for (int i = 0; i < WEDGE_S * 10 && stats.cut_descriptors < want; i++) {
		(void)usleep(100000);
		rpc_server_stats(w->server, &stats);
	}
	return stats.cut_descriptors;
}

static void echo_works(struct world *w)
{
	struct caller c = { 0 };

	caller_connect(&c, w, "host", "/test.T/Echo");
	caller_send(&c, "x", 1);
	caller_wait_messages(&c, 1);
	caller_release(&c);
}

static void silent_connections_are_cut_in_time(void **state)
{
	struct attacker a;
	struct world w;
	struct rlimit old;
	struct caller live = { 0 };

	(void)state;
	atomic_store(&wedged, 0);
	prepare(&a, LIMIT - 35);
	old = limit_descriptors();
	world_start(&w, configure);
	caller_connect(&live, &w, "host", "/test.T/Echo");
	caller_send(&live, "x", 1);
	caller_wait_messages(&live, 1);
	begin(&a, &w);
	assert_true(wait_cut(&w, (LIMIT - 35) / 2) >= (LIMIT - 35) / 2);
	caller_send(&live, "y", 1);
	caller_wait_messages(&live, 2);
	echo_works(&w);
	assert_int_equal(wedged, 0);
	end(&a);
	caller_release(&live);
	world_stop(&w);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* CVE-2023-4785: the fix is upstream from 1.53.2 on; with such a core nothing is wedged, and that is fine. */
static void port_that_is_dead_is_reported_or_serves(void **state)
{
	struct attacker a;
	struct world w;
	struct rlimit old;

	(void)state;
	atomic_store(&wedged, 0);
	prepare(&a, 2 * LIMIT);
	old = limit_descriptors();
	world_start(&w, configure);
	begin(&a, &w);
	(void)sleep(1);
	end(&a);
	for (int i = 0; i < WEDGE_S * 10 && atomic_load(&wedged) == 0; i++)
		(void)usleep(100000);
	if (atomic_load(&wedged) == 0)
		echo_works(&w);
	else
		assert_int_equal(wedged, 1);
	world_stop(&w);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, silent_connections_are_cut_in_time);
	ADD_TEST(&t, port_that_is_dead_is_reported_or_serves);
	return tests_run(&t, "rpc_governor");
}
