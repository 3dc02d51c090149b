/* SPDX-License-Identifier: Apache-2.0 */
/* One process, or all of a container or pod at one instant: an ELF core of each, what was not read and why, who
 * they were, their open files, their executables. Memory first, since it changes first; what is known of a
 * process without its memory is read before it is held. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/acquire/core_take.h"

static int open_one(struct core_job *j, struct error *e)
{
	const Exhibit__V1__ProcessTarget *wanted = j->r->order->process;

	if (wanted == NULL || wanted->pid == 0 || wanted->pid > INT32_MAX)
		return error_set(e, -EINVAL, "the order names no process");
	int r = core_take_open(j, (pid_t)wanted->pid, e);

	return r == 0 ? core_target_check(j->r, &j->targets[0], e) : r;
}

/* Of what was listed, some may have ended, and some are the kernel's own or zombies. */
static int open_listed(struct core_job *j, const pid_t *pids, size_t n, struct error *e)
{
	for (size_t i = 0; i < n; i++) {
		int r = core_take_open(j, pids[i], e);

		if (r < 0 && r != -ESRCH && r != -EINVAL && r != -E2BIG)
			return r;
	}
	return j->n > 0 ? 0 : error_set(e, -ESRCH, "the container's processes have ended");
}

static int open_container(struct core_job *j, struct error *e)
{
	const ProtobufCBinaryData *id = &j->r->order->container_id;
	AUTO(free_ptr) pid_t *pids = calloc(FREEZER_PROCESSES_MAX, sizeof(*pids));
	AUTO(free_ptr) char *text = strndup((const char *)id->data, id->len);

	j->freezer = calloc(1, sizeof(*j->freezer));
	if (pids == NULL || text == NULL || j->freezer == NULL)
		return error_set(e, -ENOMEM, "cannot look for the container: out of memory");
	int r = freezer_find(j->r, text, j->freezer, e);

	if (r < 0)
		return r;
	size_t n = freezer_processes(j->freezer, pids, FREEZER_PROCESSES_MAX);

	return open_listed(j, pids, n < FREEZER_PROCESSES_MAX ? n : FREEZER_PROCESSES_MAX, e);
}

static int open_targets(struct core_job *j, bool hold, struct error *e)
{
	if (j->r->order->container_id.len == 0)
		return open_one(j, e);
	int r = open_container(j, e);

	return r == 0 && hold ? watchdog_start(j->r->freeze_max_ms, &j->watchdog, e) : r;
}

/* Which of its images a process runs, /proc does not tell. */
static int tell_image(struct core_job *j, struct output *o, struct error *e)
{
	const Exhibit__V1__ProcessTarget *wanted = j->r->order->process;

	if (j->freezer != NULL || wanted == NULL || wanted->exec_id == 0)
		return 0;
	return output_warn(
		o, false, e,
		"boot and start time are those that the order names; whether process %d has started another program since is not checked",
		(int)j->targets[0].pid);
}

static int take(struct core_job *j, struct core_facts *f, bool hold, struct error *e)
{
	int r = tell_image(j, f->o, e);

	if (r == 0)
		r = core_take_known(j, f, e);
	if (r == 0)
		r = hold ? core_hold_prepare(j, e) : 0;
	if (r == 0)
		r = hold ? core_hold(j, e) : core_hold_nothing(j, e);
	return r == 0 ? core_take_write(j, f, e) : r;
}

int acquire_core(const struct acquire_request *r, struct output *o, struct error *e)
{
	bool hold = r->order->core == NULL || !r->order->core->no_freeze;
	AUTO(free_ptr) struct core_job *j = calloc(1, sizeof(*j));
	struct core_facts f = { 0 };
	char gaps[32] = "core.gaps.jsonl";

	if (j == NULL)
		return error_set(e, -ENOMEM, "cannot take a core: out of memory");
	int result = core_take_init(j, r, e);

	if (result == 0)
		result = open_targets(j, hold, e);
	if (result == 0 && j->freezer == NULL)
		(void)snprintf(gaps, sizeof(gaps), "core.%d.gaps.jsonl", (int)j->targets[0].pid);
	if (result == 0)
		result = core_facts_begin(o, gaps, &f, e);
	if (result == 0)
		result = take(j, &f, hold, e);
	if (result == -ETIMEDOUT) {
		(void)TAKE(j); /* a thread that hangs goes on using it */
		return result;
	}
	int ended = core_facts_end(&f, result == 0 ? e : NULL);

	core_facts_release(&f);
	core_job_release(j);
	return result < 0 ? result : ended;
}
