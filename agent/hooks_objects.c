/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks_objects.h"

#include "bpf/arrest.h"
/* its types come from there */
#include "arrest.skel.h"
#include "iter_file.skel.h"
#include "iter_file_plain.skel.h"
#include "iter_task.skel.h"
#include "iter_task_plain.skel.h"
#include "memory.skel.h"
#include "packets.skel.h"
#include "recorder.skel.h"
#include "t1_net.skel.h"
#include "t1_net_plain.skel.h"
#include "t1_proc.skel.h"
#include "t1_proc_plain.skel.h"
#include "t1_sys.skel.h"
#include "t1_sys_plain.skel.h"
#include "t1_udp.skel.h"
#include "t1_udp_plain.skel.h"
#include "t1_uring.skel.h"

/* clang-format off */
static const struct hooks_object objects[] = {
	{ "t1_proc", t1_proc_bpf__elf_bytes },
	{ "t1_proc_plain", t1_proc_plain_bpf__elf_bytes },
	{ "t1_sys", t1_sys_bpf__elf_bytes },
	{ "t1_sys_plain", t1_sys_plain_bpf__elf_bytes },
	{ "t1_net", t1_net_bpf__elf_bytes },
	{ "t1_net_plain", t1_net_plain_bpf__elf_bytes },
	{ "t1_udp", t1_udp_bpf__elf_bytes },
	{ "t1_udp_plain", t1_udp_plain_bpf__elf_bytes },
	{ "t1_uring", t1_uring_bpf__elf_bytes },
	{ "iter_task", iter_task_bpf__elf_bytes },
	{ "iter_task_plain", iter_task_plain_bpf__elf_bytes },
	{ "iter_file", iter_file_bpf__elf_bytes },
	{ "iter_file_plain", iter_file_plain_bpf__elf_bytes },
	{ "arrest", arrest_bpf__elf_bytes },
	{ "memory", memory_bpf__elf_bytes },
	{ "packets", packets_bpf__elf_bytes },
	{ "recorder", recorder_bpf__elf_bytes },
};
/* clang-format on */

const struct hooks_object *hooks_object(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		if (strcmp(objects[i].name, name) == 0)
			return &objects[i];
	return NULL;
}

const struct hooks_object *hooks_object_at(size_t i)
{
	return i < ARRAY_LEN(objects) ? &objects[i] : NULL;
}
