/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/recorder.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "agent/hooks_check.h"
#include "agent/hooks_log.h"
#include "agent/packets_users.h"
#include "proto/actions.h"
#include "proto/base/clock.h"
#include "recorder.skel.h"

#define LINKS 2

struct recorder {
	struct recorder_config c;
	struct recorder_bpf *object;
	struct packets_users_links users;
	struct bpf_link *links[LINKS];
	struct packets_recorder state;
	const void *head; /* mapped */
	bool limited; /* without the two tracepoints */
};

static int try_load(struct recorder *r)
{
	hooks_log_clear();
	r->object = recorder_bpf__open();
	if (r->object == NULL)
		return -errno;
	r->object->rodata->slots = r->state.slots;
	r->object->rodata->snap = r->state.snap;
	(void)bpf_program__set_autoload(r->object->progs.exh_pkt_sent, !r->limited);
	(void)bpf_program__set_autoload(r->object->progs.exh_pkt_received, !r->limited);
	int result = bpf_map__set_value_size(r->object->maps.exh_rec_slots, r->state.slot_bytes);

	if (result == 0)
		result = bpf_map__set_max_entries(r->object->maps.exh_rec_slots, r->state.slots);
	return result < 0 ? result : recorder_bpf__load(r->object);
}

static int load(struct recorder *r, struct error *e)
{
	int result = try_load(r);

	if (result < 0) {
		recorder_bpf__destroy(r->object);
		r->limited = true;
		result = try_load(r);
	}
	return result == 0 ? 0 :
			     error_set(e, result, "cannot load the recorder's programs: %m (%s)",
				       hooks_log_reason());
}

static uint32_t map_id(const struct bpf_map *map)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_map__fd(map), &info, &len) == 0 ? info.id : 0;
}

static int map_head(struct recorder *r, struct error *e)
{
	void *head = mmap(NULL, (size_t)getpagesize(), PROT_READ, MAP_SHARED,
			  bpf_map__fd(r->object->maps.exh_recorder), 0);

	if (head == MAP_FAILED)
		return error_set(e, -errno, "cannot map the recorder: %m");
	r->head = head;
	return 0;
}

/* Boottime of the oldest packet; 0: none. The slots are mapped for this look alone: a mapping of them is resident
 * at once and whole, and they are most of what the agent would seem to take. */
static uint64_t oldest(const struct recorder *r)
{
	size_t page = (size_t)getpagesize();
	size_t bytes = ((size_t)r->state.slots * r->state.slot_bytes + page - 1) / page * page;
	void *base = mmap(NULL, bytes, PROT_READ, MAP_SHARED,
			  bpf_map__fd(r->object->maps.exh_rec_slots), 0);
	struct recorder_slots slots;
	uint64_t since_ns = 0;

	if (base == MAP_FAILED)
		return 0;
	if (recorder_slots_init(&r->state, r->head, base, &slots, NULL) == 0)
		since_ns = recorder_slots_since(&slots);
	(void)munmap(base, bytes);
	return since_ns;
}

/* Whoever wants to read it learns from this what it is and whose. */
static int tell_state(struct recorder *r, struct error *e)
{
	uint32_t zero = 0;
	struct stat st;

	if (stat("/proc/self/ns/pid", &st) < 0)
		return error_set(e, -errno, "cannot tell our pid namespace: %m");
	r->state.started_ns = clock_boottime_ns();
	r->state.agent_pid = (uint32_t)getpid();
	r->state.pid_ns = (uint32_t)st.st_ino;
	r->state.slots_map = map_id(r->object->maps.exh_rec_slots);
	r->state.users_map = map_id(r->object->maps.exh_pkt_users);
	if (bpf_map_update_elem(bpf_map__fd(r->object->maps.exh_recorder), &zero, &r->state,
				BPF_ANY) < 0)
		return error_set(e, -errno, "cannot begin the recorder: %m");
	return 0;
}

static int attach(struct recorder *r, struct error *e)
{
	const struct packets_users_programs users = {
		.create = r->object->progs.exh_pkt_create,
		.sent = r->limited ? NULL : r->object->progs.exh_pkt_sent,
		.received = r->limited ? NULL : r->object->progs.exh_pkt_received,
		.stock = r->object->progs.exh_pkt_stock,
	};
	struct bpf_program *const programs[LINKS] = { r->object->progs.exh_rec_out,
						      r->object->progs.exh_rec_in };
	AUTO(close_fd) int root = -1;
	int result = packets_users_attach(&users, &r->users, e);

	if (result == 0)
		result = packets_users_root(&root, e);
	for (size_t i = 0; result == 0 && i < LINKS; i++) {
		r->links[i] = bpf_program__attach_cgroup(programs[i], root);
		if (r->links[i] == NULL)
			result = error_set(e, -errno,
					   "cannot record at the root of the cgroups: %m");
	}
	return result;
}

static int check(const struct recorder_config *c, struct packets_recorder *state, struct error *e)
{
	uint64_t slot_bytes = (sizeof(struct packets_head) + c->snap + 7) / 8 * 8;
	uint64_t slots = c->bytes / slot_bytes;

	if (c->snap == 0 || c->snap > RECORDER_SNAP_MAX || slots < 16 || slots > UINT32_MAX / 2)
		return error_set(e, -EINVAL,
				 "a recorder of %" PRIu64 " bytes cannot hold packets of %u",
				 c->bytes, c->snap);
	state->version = PACKETS_RECORDER_VERSION;
	state->slots = (uint32_t)slots;
	state->slot_bytes = (uint32_t)slot_bytes;
	state->snap = c->snap;
	return 0;
}

int recorder_open(const struct recorder_config *c, struct recorder **ret, struct error *e)
{
	struct recorder *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return error_set(e, -ENOMEM, "cannot record packets: out of memory");
	r->c = *c;
	hooks_log_capture();
	hooks_lift_memlock();
	int result = packets_users_check(e);

	if (result == 0)
		result = check(c, &r->state, e);
	if (result == 0)
		result = load(r, e);
	if (result == 0)
		result = map_head(r, e);
	if (result == 0)
		result = tell_state(r, e);
	if (result == 0)
		result = attach(r, e);
	if (result < 0)
		recorder_close(r);
	else
		*ret = r;
	return result;
}

void recorder_close(struct recorder *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < LINKS; i++)
		(void)bpf_link__destroy(r->links[i]);
	packets_users_detach(&r->users);
	if (r->head != NULL)
		(void)munmap((void *)(uintptr_t)r->head, (size_t)getpagesize());
	recorder_bpf__destroy(r->object);
	free(r);
}

void recorder_coverage(const struct recorder *r, uint64_t now_ns, struct coverage *c)
{
	uint64_t since_ns = oldest(r);
	uint64_t span_ns = since_ns == 0 || since_ns > now_ns ? 0 : now_ns - since_ns;
	struct coverage_row *row = coverage_row(c, CLASS_AGENT, RECORDER_WHAT);

	if (row == NULL)
		return;
	row->tier = 1;
	row->hook = "cgroup_skb";
	row->state = r->limited ? COVERAGE_PARTIAL : COVERAGE_ATTACHED;
	(void)snprintf(row->reason, sizeof(row->reason),
		       "reaches back %" PRIu64 " ms: %u packets of %u bytes at most%s",
		       (uint64_t)(span_ns / NSEC_PER_MSEC), r->state.slots, r->state.snap,
		       r->limited ? "; a socket that was handed on is named for its creator" : "");
}
