/* SPDX-License-Identifier: Apache-2.0 */
/* The real programs in this machine's kernel, and what they said: for tests that do something and
 * look for its records. Skips the test where nothing can be loaded (not root, no BTF). Other
 * processes' records arrive too, so tests look for their own pids. */
#ifndef TESTS_UNIT_SENSORS_H
#define TESTS_UNIT_SENSORS_H

#include <sys/types.h>

#include "agent/counters.h"
#include "agent/hooks.h"
#include "bpf/record.h"
#include "proto/base/base.h"

#define SENSORS_RECORDS_MAX 400000
#define SENSORS_WAIT_MS 5000

struct sensors;

/* Skips the running test, or fails it. */
struct sensors *sensors_open(const struct hooks_config *config);
void sensors_close(struct sensors *s);
static inline void sensors_close_ptr(struct sensors **l)
{
	if (*l)
		sensors_close(*l);
}
struct hooks *sensors_hooks(struct sensors *s);
/* Take what the rings hold; returns how many records of ring (REC_RING_*) came so far. */
size_t sensors_drain(struct sensors *s, uint32_t ring);
/* Put a record that does not come from a ring among the others (a ring_fn). */
int sensors_take(void *s, const void *record, size_t len);
/* Records that the numbers say are missing in a ring, so far; settles everything. */
uint64_t sensors_holes(struct sensors *s, uint32_t ring);

/* The i-th record of type whose image has that pid, after draining; NULL: there is none. */
const void *sensors_find(struct sensors *s, uint16_t type, pid_t pid, size_t i);
/* The same, waiting up to SENSORS_WAIT_MS for it; fails the test when it does not come. */
const void *sensors_wait(struct sensors *s, uint16_t type, pid_t pid, size_t i);
size_t sensors_count(struct sensors *s, uint16_t type, pid_t pid);

/* How many records of a class were taken so far. */
uint64_t sensors_received(const struct sensors *s, enum rec_class class);

/* Run in a child; its exit code is what fn returns. Returns the child's pid, once it has been
 * waited for; *ret_status as wait(2). */
pid_t sensors_child(int (*fn)(void *arg), void *arg, int *ret_status);
/* The parts of an exec record's tail, in order. */
enum sensors_part {
	SENSORS_PATH,
	SENSORS_CWD,
	SENSORS_NAME,
	SENSORS_CGROUP,
	SENSORS_CGROUP_V1,
	SENSORS_ARGS
};
const char *sensors_part(const struct rec_exec *exec, enum sensors_part part, size_t *ret_len);
void sensors_expect_part(const struct rec_exec *exec, enum sensors_part part, const char *want,
			 size_t len);
void sensors_expect_path(const struct rec_file_open *file, const char *want);
/* Whatever depth and length its paths have. */
void sensors_remove_tree(const char *dir);
/* seen = filtered + aggregated + sent + lost for each class, once nothing moves. */
void sensors_expect_balance(struct sensors *s);

#endif
