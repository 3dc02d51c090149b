/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_past.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "agent/procfs.h"
#include "proto/base/files.h"

#define NAME "exh_recorder"
#define PATH_LEN 512

static uint32_t parent_of(const char *proc, uint32_t pid)
{
	char path[PATH_LEN];
	AUTO(free_ptr) uint8_t *text = NULL;
	struct procfs_stat stat;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%u/stat", proc, pid);
	if (files_read(path, KiB(4), &text, &len, NULL) < 0 ||
	    !procfs_parse_stat((struct bytes){ .at = text, .len = len }, &stat))
		return 0;
	return stat.parent_pid;
}

static bool is_ours(const char *proc, const struct packets_recorder *state)
{
	uint32_t parent = (uint32_t)getppid();
	struct stat st;

	if (stat("/proc/self/ns/pid", &st) < 0 || (uint32_t)st.st_ino != state->pid_ns ||
	    state->agent_pid == 0)
		return false;
	return state->agent_pid == parent || state->agent_pid == parent_of(proc, parent);
}

/* The recorder's map if this is one of ours; -1: not. */
static int try_map(const char *proc, uint32_t id, struct packets_recorder *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info), zero = 0;
	AUTO(close_fd) int fd = bpf_map_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0 || strcmp(info.name, NAME) != 0 ||
	    info.value_size != sizeof(*ret) || bpf_map_lookup_elem(fd, &zero, ret) < 0 ||
	    !is_ours(proc, ret))
		return -1;
	return take_fd(&fd);
}

static int find(const char *proc, struct packets_recorder *ret)
{
	uint32_t id = 0;

	while (bpf_map_get_next_id(id, &id) == 0) {
		int fd = try_map(proc, id, ret);

		if (fd >= 0)
			return fd;
	}
	return -1;
}

static int map_all(struct packets_past *p, int fd, struct error *e)
{
	size_t page = (size_t)getpagesize();
	AUTO(close_fd) int slots = bpf_map_get_fd_by_id(p->state.slots_map);

	p->users_fd = bpf_map_get_fd_by_id(p->state.users_map);
	p->base_bytes = ((size_t)p->state.slots * p->state.slot_bytes + page - 1) / page * page;
	if (slots < 0 || p->users_fd < 0)
		return error_set(e, -errno, "cannot open the flight recorder: %m");
	p->base = mmap(NULL, p->base_bytes, PROT_READ, MAP_SHARED, slots, 0);
	p->head = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	if (p->base == MAP_FAILED || p->head == MAP_FAILED)
		return error_set(e, -errno, "cannot map the flight recorder: %m");
	return recorder_slots_init(&p->state, p->head, p->base, &p->slots, e);
}

int packets_past_open(const char *proc, struct packets_past *ret, struct error *e)
{
	*ret = (struct packets_past){ .users_fd = -1 };
	AUTO(close_fd) int fd = find(proc, &ret->state);

	if (fd < 0)
		return error_set(e, -ENOENT, "this agent has no flight recorder");
	int r = map_all(ret, fd, e);

	if (r < 0)
		packets_past_close(ret);
	return r;
}

void packets_past_close(struct packets_past *p)
{
	if (p->base != NULL && p->base != MAP_FAILED)
		(void)munmap((void *)(uintptr_t)p->base, p->base_bytes);
	if (p->head != NULL && p->head != MAP_FAILED)
		(void)munmap((void *)(uintptr_t)p->head, (size_t)getpagesize());
	close_fd(&p->users_fd);
	*p = (struct packets_past){ .users_fd = -1 };
}
