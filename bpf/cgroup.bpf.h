/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A cgroup is made: by then a container's runtime has written down what it is of, and nothing runs in it. */
#ifndef BPF_CGROUP_BPF_H
#define BPF_CGROUP_BPF_H

#include "bpf/actor.bpf.h"
#include "bpf/emit.bpf.h"

/* One container makes a cgroup in each hierarchy, ten or more on hybrid hosts. */
static __always_inline bool is_told(struct cgroup_root *root, uint32_t hierarchy)
{
	struct cgroup *v1;

	if (!hierarchy)
		return true;
	v1 = cgroup_v1_of(CURRENT_TASK());
	return v1 && LOAD(v1, root) == root;
}

/* path: the kernel's copy, from the hierarchy's root. */
static __always_inline void cgroup_body(struct cgroup *cgroup, const char *path)
{
	struct cgroup_root *root = LOAD(cgroup, root);
	uint32_t hierarchy = LOAD(root, hierarchy_id), index = 0, len;
	struct rec_cgroup *made;
	struct slot *slot;
	long n;

	COUNT(REC_CLASS_CGROUP, seen);
	if (!is_told(root, hierarchy)) {
		COUNT(REC_CLASS_CGROUP, filtered);
		return;
	}
	slot = slot_take(&index);
	if (!slot) {
		COUNT(REC_CLASS_CGROUP, lost_scratch);
		return;
	}
	made = (void *)slot->record;
	__builtin_memset(made, 0, sizeof(*made));
	begin(&made->h, REC_CGROUP, REC_CLASS_CGROUP, REC_RING_CRITICAL);
	made->h.flags = REC_OWNER_NONE;
	made->id = LOAD(cgroup, kn, id);
	made->hierarchy = hierarchy;
	n = READ_STRING(&slot->record[sizeof(*made)], REC_CGROUP_PATH_MAX, path);
	made->path_len = n > 0 ? (uint32_t)n - 1 : 0;
	len = sizeof(*made) + made->path_len;
	OPAQUE(len);
	if (len > REC_MAX)
		len = REC_MAX;
	emit(&made->h, len, REC_CLASS_CGROUP, REC_RING_CRITICAL);
	slot_give(slot);
}

#endif
