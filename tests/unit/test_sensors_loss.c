/* SPDX-License-Identifier: Apache-2.0 */
/* A flood that overruns a tiny bulk ring: what was produced is received or lost, exactly, and
 * nothing of the critical ring is missing. */
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/loss.h"
#include "proto/actions.h"
#include "tests/unit/rows.h"
#include "tests/unit/sensors.h"

#define FILES 5000
#define EXECS 100
#define PRODUCERS 2

static int flood(void *arg)
{
	const char *dir = arg;
	char path[128];

	for (size_t i = 0; i < FILES; i++) {
		(void)snprintf(path, sizeof(path), "%s/%d-%zu", dir, getpid(), i);
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd < 0 || close(fd) < 0 || unlink(path) < 0)
			return 1;
	}
	return 0;
}

static int exec_true(void *arg)
{
	(void)execl("/bin/true", "true", (const char *)arg, (char *)NULL);
	return 127;
}

static void start_floods(char *dir, pid_t *ret)
{
	for (size_t i = 0; i < PRODUCERS; i++) {
		ret[i] = fork();
		assert_true(ret[i] >= 0);
		if (ret[i] == 0)
			_exit(flood(dir));
	}
}

static void received_and_lost_is_produced(void **state)
{
	(void)state;
	const struct hooks_config config = { .bulk_ring_bytes = 32 * 1024 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	/* Since the start, as the holes: others on this machine may overrun the tiny ring at once. */
	const struct counters before = { 0 };
	struct counters after;
	struct loss_share share[LOSS_SHARES_MAX];
	char dir[] = "/tmp/sensors-loss-XXXXXX", mark[] = "in the flood";
	pid_t producer[PRODUCERS], exec[EXECS];
	uint64_t holes, ring_lost = 0, shares = 0;
	int status;

	assert_non_null(mkdtemp(dir));
	start_floods(dir, producer);
	for (size_t i = 0; i < EXECS; i++)
		exec[i] = sensors_child(exec_true, mark, NULL);
	for (size_t i = 0; i < PRODUCERS; i++) {
		assert_int_equal(waitpid(producer[i], &status, 0), producer[i]);
		assert_int_equal(status, 0);
	}
	for (size_t i = 0; i < EXECS; i++) {
		(void)sensors_wait(s, REC_EXEC, exec[i], 0);
		(void)sensors_wait(s, REC_EXIT, exec[i], 0);
	}
	assert_int_equal(sensors_holes(s, REC_RING_CRITICAL), 0);
	holes = sensors_holes(s, REC_RING_BULK);
	sensors_expect_balance(s);
	assert_int_equal(counters_read(sensors_hooks(s), &after, NULL), 0);
	for (size_t i = 0; i < REC_CLASSES; i++)
		ring_lost += after.class[i].lost_ring;
	assert_true(holes > 1000);
	assert_int_equal(holes, ring_lost);
	assert_int_equal(loss_unexplained(&before, &after, holes), 0);
	assert_int_equal(sensors_received(s, REC_CLASS_FILE_OPEN),
			 after.class[REC_CLASS_FILE_OPEN].sent);
	assert_true(after.class[REC_CLASS_FILE_OPEN].sent +
			    after.class[REC_CLASS_FILE_OPEN].lost_ring +
			    after.class[REC_CLASS_FILE_OPEN].lost_scratch >=
		    (uint64_t)PRODUCERS * FILES);
	for (size_t i = 0, n = loss_shares(&before, &after, share); i < n; i++)
		if (share[i].where == GAP_RING)
			shares += share[i].count;
	assert_int_equal(shares, ring_lost);
	sensors_remove_tree(dir);
}

static void drained_in_time_nothing_is_lost(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	char dir[] = "/tmp/sensors-loss-XXXXXX";
	pid_t producer[PRODUCERS];
	size_t left = PRODUCERS;
	int status;

	assert_non_null(mkdtemp(dir));
	start_floods(dir, producer);
	while (left > 0) {
		(void)sensors_drain(s, REC_RING_BULK);
		while (left > 0 &&
		       waitpid(producer[left - 1], &status, WNOHANG) == producer[left - 1]) {
			assert_int_equal(status, 0);
			left--;
		}
		(void)usleep(1000);
	}
	for (size_t i = 0; i < PRODUCERS; i++)
		assert_int_equal(sensors_count(s, REC_FILE_OPEN, producer[i]), FILES);
	assert_int_equal(sensors_holes(s, REC_RING_BULK), 0);
	sensors_expect_balance(s);
	sensors_remove_tree(dir);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_TEST(&t, received_and_lost_is_produced);
	ADD_TEST(&t, drained_in_time_nothing_is_lost);
	return tests_run(&t, "sensors_loss");
}
