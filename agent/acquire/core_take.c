/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_take.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/procfs.h"
#include "proto/base/files.h"

#define ANCESTORS_MAX 64

int core_take_init(struct core_job *j, const struct acquire_request *r, struct error *e)
{
	char path[64], link[32] = "";

	j->r = r;
	j->targets = calloc(CORE_PROCESSES_MAX, sizeof(*j->targets));
	if (j->targets == NULL)
		return error_set(e, -ENOMEM, "cannot take a core: out of memory");
	/* ptrace takes pids of our own namespace, /proc shows those of its own. */
	(void)snprintf(path, sizeof(path), "%.50s/self", r->proc);
	if (readlink(path, link, sizeof(link) - 1) < 0 || strtol(link, NULL, 10) != (long)getpid())
		return error_set(
			e, -EPERM,
			"%s is of another pid namespace than ours: run the agent with the host's pids",
			r->proc);
	return 0;
}

/* The parent of a process; 0: none, or gone. */
static pid_t parent_of(const char *proc, pid_t pid)
{
	char path[80];
	AUTO(free_ptr) uint8_t *text = NULL;
	struct procfs_stat s;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%.40s/%d/stat", proc, (int)pid);
	if (files_read(path, KiB(8), &text, &len, NULL) < 0 ||
	    !procfs_parse_stat((struct bytes){ .at = text, .len = len }, &s))
		return 0;
	return (pid_t)s.parent_pid;
}

/* We and who started us, but not the first process. */
static bool is_ours(const char *proc, pid_t pid)
{
	pid_t at = getpid();

	for (int i = 0; i < ANCESTORS_MAX && at > 1; i++, at = parent_of(proc, at))
		if (at == pid)
			return true;
	return false;
}

int core_take_open(struct core_job *j, pid_t pid, struct error *e)
{
	if (is_ours(j->r->proc, pid))
		return error_set(e, -EPERM,
				 "process %d is this agent, or started it: it would hold itself",
				 (int)pid);
	if (j->n == CORE_PROCESSES_MAX) {
		j->left_out++;
		return error_set(e, -E2BIG, "more than %d processes", CORE_PROCESSES_MAX);
	}
	int r = core_target_open(j->r->proc, pid, &j->targets[j->n], e);

	if (r == 0)
		j->n++;
	return r;
}

int core_take_known(struct core_job *j, struct core_facts *f, struct error *e)
{
	int r = 0;

	for (size_t i = 0; i < j->n && r == 0; i++)
		r = core_facts_process(f, &j->targets[i], e);
	return r;
}

static const char *held_by(const struct core_job *j)
{
	static const char *const names[] = {
		[FREEZER_V2] = "cgroup v2 freezer and ptrace",
		[FREEZER_V1] = "ptrace and cgroup v1 freezer",
		[FREEZER_NONE] = "ptrace",
	};

	if (j->begun_ns == 0)
		return "nothing";
	return j->freezer != NULL ? names[j->freezer->kind] : "ptrace";
}

static int note_numbers(struct core_job *j, struct output *o, const struct core_written *w,
			struct error *e)
{
	size_t threads = 0;

	for (size_t i = 0; i < j->n; i++)
		threads += j->targets[i].threads.n;
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "core.processes", j->n },
		{ "core.threads", threads },
		{ "core.read_bytes", w->bytes },
		{ "core.read_later_bytes", w->later },
		{ "core.lacking_bytes", w->gaps },
		{ "core.held_boottime_ns", j->held_boottime_ns },
		{ "core.frozen_ns", j->let_go_ns - j->begun_ns },
		{ "core.stop_ns", j->held_ns - j->begun_ns },
		{ "core.copy_ns", j->copied_ns - j->held_ns },
		{ "core.passes", j->passes },
		{ "core.spool_bytes", j->spool.bytes },
		{ "core.shared_bytes", j->spool.shared_bytes },
	};
	int r = output_note(o, "core.held_by", held_by(j), e);

	for (size_t i = 0; i < ARRAY_LEN(numbers) && r == 0; i++)
		r = output_note_u64(o, numbers[i].key, numbers[i].value, e);
	return r;
}

static int tell(struct core_job *j, struct output *o, struct error *e)
{
	int r = 0;

	for (size_t i = 0; i < j->n_tellings && r == 0; i++)
		r = output_warn(o, j->tellings[i].lacking, e, "%s", j->tellings[i].text);
	j->n_tellings = 0;
	if (r == 0 && j->left_out > 0)
		r = output_warn(o, true, e, "%zu processes beyond the first %d were left out",
				j->left_out, CORE_PROCESSES_MAX);
	return r;
}

static int tell_lacking(struct core_job *j, struct output *o, const struct core_written *w,
			struct error *e)
{
	int r = 0;

	if (w->later > 0 && j->begun_ns != 0)
		r = output_warn(
			o, true, e,
			"%llu bytes were read after the target went on, see the table of gaps",
			(unsigned long long)w->later);
	if (r == 0 && w->gaps > 0)
		r = output_warn(o, true, e, "%llu bytes could not be read, see the table of gaps",
				(unsigned long long)w->gaps);
	return r;
}

static int write_one(struct core_job *j, struct core_facts *f, const struct core_target *t,
		     struct core_written *w, struct error *e)
{
	int r = core_facts_maps(f, t, e);

	return r == 0 ? core_write(j->r, f, t, &j->spool, w, e) : r;
}

static int write_all(struct core_job *j, struct core_facts *f, struct core_written *w,
		     struct error *e)
{
	int r = 0;

	for (size_t i = 0; i < j->n && r == 0; i++)
		if (!j->targets[i].changed)
			r = write_one(j, f, &j->targets[i], w, e);
	for (size_t i = 0; i < j->n && r == 0; i++)
		if (j->targets[i].late)
			r = core_facts_process(f, &j->targets[i], e);
	for (size_t i = 0; i < j->n && r == 0; i++)
		r = core_facts_exe(f, &j->targets[i], e);
	return r;
}

int core_take_write(struct core_job *j, struct core_facts *f, struct error *e)
{
	struct core_written w = { 0 };
	int r = tell(j, f->o, e);

	if (r == 0)
		r = write_all(j, f, &w, e);
	if (r == -ECANCELED)
		r = output_warn(f->o, true, NULL, "the order's limit ended it: %s",
				e != NULL ? e->text : "not all was taken");
	if (r == 0)
		r = note_numbers(j, f->o, &w, e);
	return r == 0 ? tell_lacking(j, f->o, &w, e) : r;
}
