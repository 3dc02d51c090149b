/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The path of a file by walking dentries up to the root of the whole mount tree: what the kernel
 * holds, not what the caller's memory said. bpf_d_path is not allowed in tracing programs, stops at
 * a chroot's root, and is not used. Global functions with a scalar argument, so that the verifier
 * checks one step once (inlined, 64 steps pass its limit of a million instructions); state lies in
 * the slot. */
#ifndef BPF_PATH_BPF_H
#define BPF_PATH_BPF_H

#include "bpf/emit.bpf.h"

#define WALK_STEPS 512

/* Put "/NAME" before what is there. Nonzero: no room. */
static __always_inline int walk_prepend(struct slot *slot, struct dentry *dentry)
{
	struct walk *walk = &slot->walk;
	uint32_t at = walk->at, len;
	void *name = walk->name;
	uint8_t after;

	READ_INTO(&walk->name, dentry, d_name);
	len = *(uint32_t *)(name + bpf_core_field_offset(struct qstr, len));

	if (len > REC_NAME_MAX)
		len = REC_NAME_MAX;
	if (at < len + 1)
		return 1;
	at -= len + 1;
	OPAQUE(at);
	at &= SLOT_PATH_MASK;
	OPAQUE(len);
	len &= 0xff;
	after = slot->path[at + len + 1];
	slot->path[at] = '/';
	if (READ_STRING(&slot->path[at + 1], len + 1,
			*(void **)(name + bpf_core_field_offset(struct qstr, name))) !=
	    (long)len + 1)
		walk->incomplete = 1; /* renamed meanwhile */
	slot->path[at + len + 1] = after;
	walk->at = at;
	return 0;
}

/* One component or one mount upwards; nonzero: finished. */
__noinline int exh_walk_step(uint32_t index)
{
	struct slot *slot = bpf_map_lookup_elem(&exh_slots, &index);
	struct dentry *dentry, *parent;
	struct mount *mount, *above;

	if (!slot)
		return 1;
	dentry = slot->walk.dentry;
	mount = slot->walk.mount;
	if (dentry == slot->walk.root) {
		above = READ(mount, mnt_parent);
		if (above == mount) {
			if (!READ(mount, mnt_ns)) /* unmounted lazily: its place is gone */
				slot->walk.incomplete = 1;
			return 1;
		}
		READ_INTO(&slot->walk.dentry, mount, mnt_mountpoint);
		slot->walk.mount = above;
		READ_INTO(&slot->walk.root, above, mnt.mnt_root);
		return 0;
	}
	parent = READ(dentry, d_parent);
	if (parent == dentry || walk_prepend(slot, dentry)) {
		slot->walk.incomplete = 1;
		return 1;
	}
	slot->walk.dentry = parent;
	return 0;
}

__noinline int exh_walk(uint32_t index)
{
	struct slot *slot;

	for (int i = 0; i < WALK_STEPS; i++)
		if (exh_walk_step(index))
			return 0;
	slot = bpf_map_lookup_elem(&exh_slots, &index);
	if (slot)
		slot->walk.incomplete = 1;
	return 0;
}

/* A root has no component: "/" for a real one; memfds, pipes and the like keep their name there. */
static __always_inline uint32_t root_name(uint8_t *out, struct dentry *dentry)
{
	uint32_t len = READ(dentry, d_name.len);

	if (len > REC_NAME_MAX)
		len = REC_NAME_MAX;
	OPAQUE(len);
	len &= 0xff;
	READ_STRING(out, len + 1, READ(dentry, d_name.name));
	return len;
}

/* Resolve into the record at offset; returns the length, sets *incomplete_ when its head is
 * missing. vfsmount, dentry: of one struct path. */
static __always_inline uint32_t put_path(struct slot *slot, uint32_t index, uint32_t offset,
					 struct vfsmount *vfsmount, struct dentry *dentry,
					 bool *ret_incomplete)
{
	uint32_t at, len;

	if (!dentry || !vfsmount)
		return 0;
	OPAQUE(offset);
	offset &= SLOT_TAIL_MASK;
	slot->walk.dentry = dentry;
	slot->walk.mount = CONTAINER(vfsmount, struct mount, mnt);
	slot->walk.root = READ(vfsmount, mnt_root);
	slot->walk.at = REC_PATH_MAX;
	slot->walk.incomplete = 0;
	exh_walk(index);
	*ret_incomplete = slot->walk.incomplete;
	at = slot->walk.at;
	if (at >= REC_PATH_MAX)
		return root_name(&slot->record[offset], dentry);
	len = REC_PATH_MAX - at;
	OPAQUE(len);
	OPAQUE(at);
	at &= SLOT_PATH_MASK;
	if (len > REC_PATH_MAX)
		return 0;
	READ_BYTES(&slot->record[offset], len, &slot->path[at]);
	return len;
}

#endif
