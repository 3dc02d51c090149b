/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sensors.h"

#include <string.h>
#include <sys/wait.h>

#include "agent/hooks_check.h"
#include "agent/loss.h"
#include "agent/ring.h"
#include "proto/base/clock.h"
#include "tests/unit/rows.h"

#define SLICE 1000
#define PAUSE_US 2000

struct sensors {
	struct hooks *hooks;
	struct ring *ring[REC_RINGS];
	struct loss *loss[REC_RINGS];
	uint64_t holes[REC_RINGS];
	size_t received[REC_RINGS];
	size_t n;
	struct rec_header *record[SENSORS_RECORDS_MAX];
};

struct hooks *sensors_hooks(struct sensors *s)
{
	return s->hooks;
}

int sensors_take(void *ctx, const void *record, size_t len)
{
	struct sensors *s = ctx;
	const struct rec_header *h = record;

	assert_true(len >= sizeof(*h));
	assert_true(s->n < SENSORS_RECORDS_MAX);
	assert_int_equal(h->len, len);
	assert_int_equal(h->layout, REC_LAYOUT);
	s->record[s->n] = malloc(len);
	assert_non_null(s->record[s->n]);
	memcpy(s->record[s->n++], record, len);
	return 0;
}

static int from_ring(void *ctx, const void *record, size_t len)
{
	struct sensors *s = ctx;
	const struct rec_header *h = record;
	struct loss_hole hole;

	assert_true(h->ring < REC_RINGS);
	s->received[h->ring]++;
	if (loss_feed(s->loss[h->ring], h->cpu, h->seq, h->boottime_ns, &hole))
		s->holes[h->ring] += hole.count;
	return sensors_take(ctx, record, len);
}

struct sensors *sensors_open(const struct hooks_config *config)
{
	static const char *const maps[REC_RINGS] = { "exh_critical", "exh_bulk" };
	struct sensors *s = calloc(1, sizeof(*s));
	struct error e = { 0 };

	assert_non_null(s);
	if (hooks_check(NULL, 0, &e) < 0) {
		print_message("skipped: %s\n", e.text);
		free(s);
		skip();
	}
	if (hooks_open(config, &s->hooks, &e) < 0)
		fail_msg("%s", e.text);
	for (size_t i = 0; i < REC_RINGS; i++) {
		int r = ring_open(hooks_map_fd(s->hooks, maps[i]), from_ring, s, &s->ring[i], &e);

		if (r < 0)
			fail_msg("%s", e.text);
		s->loss[i] = loss_new(counters_cpus(), clock_boottime_ns());
		assert_non_null(s->loss[i]);
	}
	return s;
}

void sensors_close(struct sensors *s)
{
	for (size_t i = 0; i < REC_RINGS; i++) {
		ring_close(s->ring[i]);
		loss_free(s->loss[i]);
	}
	hooks_close(s->hooks);
	for (size_t i = 0; i < s->n; i++)
		free(s->record[i]);
	free(s);
}

size_t sensors_drain(struct sensors *s, uint32_t ring)
{
	for (size_t i = 0; i < REC_RINGS; i++) {
		int r = SLICE;

		while (r >= SLICE)
			r = ring_drain(s->ring[i], SLICE);
		assert_true(r >= 0);
	}
	return s->received[ring];
}

uint64_t sensors_holes(struct sensors *s, uint32_t ring)
{
	size_t n = counters_cpus();
	AUTO(free_ptr) uint64_t *numbers = calloc(n, sizeof(*numbers));
	struct loss_hole hole;

	assert_non_null(numbers);
	assert_int_equal(counters_numbers(s->hooks, ring, numbers, n, NULL), 0);
	(void)usleep(PAUSE_US); /* what was numbered has been sent by then */
	(void)sensors_drain(s, ring);
	for (uint32_t cpu = 0; cpu < n; cpu++)
		if (loss_settle(s->loss[ring], cpu, numbers[cpu], clock_boottime_ns(), &hole))
			s->holes[ring] += hole.count;
	assert_int_equal(loss_late(s->loss[ring]), 0);
	return s->holes[ring];
}

static const struct rec_header *nth(const struct sensors *s, uint16_t type, pid_t pid, size_t i)
{
	for (size_t at = 0; at < s->n; at++) {
		const struct rec_header *h = s->record[at];

		if (h->type == type && h->actor.image.pid == (uint32_t)pid && i-- == 0)
			return h;
	}
	return NULL;
}

const void *sensors_find(struct sensors *s, uint16_t type, pid_t pid, size_t i)
{
	(void)sensors_drain(s, REC_RING_BULK);
	return nth(s, type, pid, i);
}

const void *sensors_wait(struct sensors *s, uint16_t type, pid_t pid, size_t i)
{
	uint64_t deadline = clock_monotonic_ns() + SENSORS_WAIT_MS * NSEC_PER_MSEC;
	const void *found = sensors_find(s, type, pid, i);

	while (!found && clock_monotonic_ns() < deadline) {
		(void)usleep(PAUSE_US);
		found = sensors_find(s, type, pid, i);
	}
	if (!found)
		fail_msg("record %zu of type %u of process %d did not come", i, type, pid);
	return found;
}

size_t sensors_count(struct sensors *s, uint16_t type, pid_t pid)
{
	size_t n = 0;

	(void)sensors_drain(s, REC_RING_BULK);
	while (nth(s, type, pid, n))
		n++;
	return n;
}

uint64_t sensors_received(const struct sensors *s, enum rec_class class)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->record[i]->class == class;
	return n;
}

pid_t sensors_child(int (*fn)(void *arg), void *arg, int *ret_status)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (ret_status)
		*ret_status = status;
	return pid;
}

const char *sensors_part(const struct rec_exec *exec, enum sensors_part part, size_t *ret_len)
{
	const size_t lens[] = {
		[SENSORS_PATH] = exec->path_len,           [SENSORS_CWD] = exec->cwd_len,
		[SENSORS_NAME] = exec->name_len,           [SENSORS_CGROUP] = exec->cgroup_len,
		[SENSORS_CGROUP_V1] = exec->cgroup_v1_len, [SENSORS_ARGS] = exec->args_len,
	};
	size_t at = sizeof(*exec);

	for (size_t i = 0; i < (size_t)part; i++)
		at += lens[i];
	assert_true(at + lens[part] <= exec->h.len);
	*ret_len = lens[part];
	return (const char *)exec + at;
}

void sensors_expect_part(const struct rec_exec *exec, enum sensors_part part, const char *want,
			 size_t len)
{
	size_t got_len;
	const char *got = sensors_part(exec, part, &got_len);

	if (got_len != len || memcmp(got, want, len) != 0)
		fail_msg("part %d is '%.*s', not '%.*s'", (int)part, (int)got_len, got, (int)len,
			 want);
}

void sensors_expect_path(const struct rec_file_open *file, const char *want)
{
	const char *got = (const char *)file + sizeof(*file);

	assert_int_equal(file->h.len, sizeof(*file) + file->path_len);
	if (file->path_len != strlen(want) || memcmp(got, want, file->path_len) != 0)
		fail_msg("path is '%.*s', not '%s'", (int)file->path_len, got, want);
}

static int exec_rm(void *dir)
{
	(void)execl("/bin/rm", "rm", "-rf", "--", (const char *)dir, (char *)NULL);
	return 127;
}

void sensors_remove_tree(const char *dir)
{
	char copy[256];
	int status;

	(void)snprintf(copy, sizeof(copy), "%s", dir);
	(void)sensors_child(exec_rm, copy, &status);
	assert_int_equal(status, 0);
}

void sensors_expect_balance(struct sensors *s)
{
	uint64_t deadline = clock_monotonic_ns() + SENSORS_WAIT_MS * NSEC_PER_MSEC;
	struct counters c;
	size_t balanced = 0;

	/* A record under way on another CPU makes it untrue for an instant. */
	while (balanced < REC_CLASSES && clock_monotonic_ns() < deadline) {
		assert_int_equal(counters_read(s->hooks, &c, NULL), 0);
		for (balanced = 0; balanced < REC_CLASSES; balanced++)
			if (!counters_balanced(&c.class[balanced]))
				break;
	}
	if (balanced < REC_CLASSES)
		fail_msg("class %zu: seen is not filtered + aggregated + sent + lost", balanced);
	assert_int_equal(c.missed[REC_CLASS_EXEC], 0);
}
