/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "agent/encode_message.h"
#include "proto/base/reader.h"

static bool fill_key(const struct rec_image *from, Exhibit__V1__ImageKey *to)
{
	if (!from->pid)
		return false;
	exhibit__v1__image_key__init(to);
	to->pid = from->pid;
	to->start_ns = from->start_ns;
	to->exec_id = from->exec_id;
	return true;
}

static size_t count_args(struct bytes args)
{
	size_t n = 0;

	for (size_t i = 0; i < args.len; i++)
		n += args.at[i] == 0;
	return args.len && args.at[args.len - 1] != 0 ? n + 1 : n;
}

/* Each argument ends with a NUL; the last one may have been cut before it. */
static int split_args(struct bytes args, Exhibit__V1__Process *m, struct arena *a)
{
	size_t n = count_args(args);
	struct reader r = reader_init(args.at, args.len);

	if (!n)
		return 0;
	m->args = arena_alloc(a, n * sizeof(*m->args));
	if (!m->args)
		return -ENOMEM;
	for (m->n_args = 0; m->n_args < n; m->n_args++) {
		const uint8_t *end = memchr(r.at, 0, r.left);
		size_t len = end ? (size_t)(end - r.at) : r.left;
		struct bytes arg = { .at = reader_bytes(&r, len), .len = len };

		m->args[m->n_args] = encode_bytes(arg, REC_ARGS_MAX);
		reader_skip(&r, end ? 1 : 0);
	}
	return 0;
}

static void fill_texts(const struct description *about, Exhibit__V1__Process *m)
{
	m->name = encode_bytes(about->facts->name, REC_COMM_LEN);
	m->executable = encode_bytes(about->facts->executable, ENCODE_PATH_MAX);
	m->working_directory = encode_bytes(about->facts->working_directory, ENCODE_PATH_MAX);
	m->parent_name = encode_bytes(about->parent_name, REC_COMM_LEN);
	m->parent_executable = encode_bytes(about->parent_executable, ENCODE_PATH_MAX);
	m->cgroup_path = encode_bytes(about->cgroup_path, ENCODE_PATH_MAX);
	m->container_id = encode_bytes(about->container_id, REC_NAME_MAX);
	m->unit = encode_bytes(about->unit, REC_NAME_MAX);
	m->session = encode_bytes(about->session, REC_NAME_MAX);
	m->container_name = encode_bytes(about->container_name, ENCODE_WORKLOAD_MAX);
	m->image_name = encode_bytes(about->image_name, ENCODE_WORKLOAD_MAX);
	m->pod_name = encode_bytes(about->pod_name, ENCODE_WORKLOAD_MAX);
	m->pod_namespace = encode_bytes(about->pod_namespace, ENCODE_WORKLOAD_MAX);
	m->pod_uid = encode_bytes(about->pod_uid, ENCODE_WORKLOAD_MAX);
	m->runtime = encode_bytes(about->runtime, ENCODE_WORKLOAD_MAX);
	m->user_name = encode_bytes(about->user_name, USERS_NAME_MAX);
}

int encode_fill_process(const struct description *about, Exhibit__V1__Process *m,
			struct encode_process_parts *parts, struct arena *a)
{
	const struct image_facts *f = about->facts;

	exhibit__v1__process__init(m);
	m->key = fill_key(&f->key, &parts->key) ? &parts->key : NULL;
	m->parent = fill_key(&f->parent, &parts->parent) ? &parts->parent : NULL;
	fill_texts(about, m);
	m->args_bytes = f->args_bytes;
	m->uid = f->uid;
	m->gid = f->gid;
	m->cap_effective = f->cap_effective;
	m->mnt_ns = f->mnt_ns;
	m->pid_ns = f->pid_ns;
	m->net_ns = f->net_ns;
	m->user_ns = f->user_ns;
	m->cgroup_id = about->cgroup_id;
	m->inode = f->inode;
	m->device = f->device;
	m->flags = f->flags;
	return split_args((struct bytes){ .at = f->args.at,
					  .len = f->args.len < REC_ARGS_MAX ? f->args.len :
									      REC_ARGS_MAX },
			  m, a);
}
