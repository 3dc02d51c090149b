/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/sysmacros.h>

#include "agent/decode_types.h"
#include "proto/actions.h"

static uint32_t exe_flags(const struct rec_exec *x)
{
	return (x->exe_flags & REC_EXE_DELETED ? EVENT_EXE_DELETED : 0u) |
	       (x->exe_flags & REC_EXE_MEMFD ? EVENT_EXE_MEMFD : 0u);
}

/* A name of the cgroup's directory: the hierarchy whose name is longer tells more (the other one is
 * the root, or the same). */
static struct bytes cgroup_name(struct bytes v2, struct bytes v1)
{
	return v1.len > v2.len ? v1 : v2;
}

static const char *take_image(struct reader *r, const struct rec_exec *x, struct decoded *d)
{
	struct image_facts *f = &d->facts;
	struct bytes v2, v1, filename;

	if (x->path_len > REC_PATH_MAX || x->cwd_len > REC_PATH_MAX || x->name_len > REC_PATH_MAX ||
	    x->cgroup_len > REC_NAME_MAX || x->cgroup_v1_len > REC_NAME_MAX ||
	    x->args_len > REC_ARGS_MAX)
		return "a text in a record is longer than its maximum";
	if (x->args_len > x->args_bytes)
		return "a record holds more arguments than there are";
	f->executable = decode_tail(r, x->path_len);
	f->working_directory = decode_tail(r, x->cwd_len);
	filename = decode_tail(r, x->name_len);
	v2 = decode_tail(r, x->cgroup_len);
	v1 = decode_tail(r, x->cgroup_v1_len);
	f->args = decode_tail(r, x->args_len);
	f->cgroup_name = cgroup_name(v2, v1);
	f->args_bytes = x->args_bytes;
	f->cap_effective = x->cap_effective;
	f->inode = x->inode;
	f->device = makedev(x->dev_major, x->dev_minor);
	d->event.flags |= exe_flags(x);
	if (x->args_len < x->args_bytes)
		d->event.flags |= EVENT_TRUNCATED;
	f->flags = d->event.flags & ~(uint32_t)EVENT_EXISTING;
	d->event.facts = f;
	d->event.u.exec = (struct event_exec){ .replaced = x->replaced, .filename = filename };
	return f->key.pid ? NULL : "a record tells of a process without a pid";
}

const char *decode_exec(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_exec x;

	DECODE_FIXED(r, h, &x);
	d->event.action = ACTION_EXEC;
	d->event.class = CLASS_EXEC;
	return take_image(r, &x, d);
}

const char *decode_process(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_exec x;

	DECODE_FIXED(r, h, &x);
	d->event.action = ACTION_PROCESS;
	d->event.class = CLASS_EXEC;
	d->event.flags |= EVENT_EXISTING;
	return take_image(r, &x, d);
}

const char *decode_fork(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_fork x;

	DECODE_FIXED(r, h, &x);
	d->event.action = ACTION_FORK;
	d->event.class = CLASS_FORK;
	d->event.facts = &d->facts;
	d->caller = x.caller;
	return d->facts.key.pid ? NULL : "a record tells of a process without a pid";
}

const char *decode_exit(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_exit x;

	DECODE_FIXED(r, h, &x);
	d->event.action = ACTION_EXIT;
	d->event.class = CLASS_EXIT;
	d->event.u.exit = (struct event_exit){ .code = x.exit_code, .signal = x.signal };
	return x.exit_code <= 255 && x.signal <= 127 ? NULL :
						       "a record's exit code or signal is false";
}

const char *decode_cgroup(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_cgroup x;

	DECODE_FIXED(r, h, &x);
	if (x.path_len >= REC_CGROUP_PATH_MAX)
		return "a text in a record is longer than its maximum";
	d->event.class = CLASS_AGENT;
	d->cgroup.id = x.id;
	d->cgroup.v1 = x.hierarchy != 0;
	d->cgroup.path = decode_tail(r, x.path_len);
	return x.id ? NULL : "a record tells of a cgroup without an id";
}
