/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_live.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "agent/hooks_check.h"
#include "agent/hooks_log.h"
#include "agent/packets_users.h"
#include "packets.skel.h"

/* enum bpf_attach_type of Linux 6.6, which Debian's headers and libbpf 1.1 do not know. */
#define TCX_INGRESS ((enum bpf_attach_type)46)
#define TCX_EGRESS ((enum bpf_attach_type)47)
#define LINKS 2

struct packets_live {
	struct packets_live_config c;
	struct packets_bpf *object;
	struct packets_users_links users;
	struct bpf_link *cgroup_links[LINKS];
	int device_links[LINKS]; /* -1: none */
	struct packets_ring *ring;
	bool limited;
};

/* ---- load ------------------------------------------------------------------------------------------------ */

static void set_target(struct packets_live *l)
{
	const struct packets_target *t = l->c.target;
	struct packets_bpf__rodata *c = l->object->rodata;

	c->want_net_ns = t->net_ns;
	c->only_net_ns = t->only_net_ns;
	c->want_pid = t->pid;
	c->want_start_ns = t->start_ns;
	c->want_start_span_ns = t->start_span_ns;
	c->want_cgroups = t->container.len > 0;
	c->device_net_ns = t->net_ns;
	c->copy_bytes = l->c.copy_bytes != 0 && l->c.copy_bytes < PACKETS_BYTES_MAX ?
				l->c.copy_bytes :
				PACKETS_BYTES_MAX;
}

static void choose_programs(struct packets_live *l)
{
	bool device = l->c.target->ifindex != 0;
	bool keeps_users = l->c.users_fd < 0;
	const struct {
		struct bpf_program *program;
		bool wanted;
	} rows[] = {
		{ l->object->progs.exh_pkt_out, !device },
		{ l->object->progs.exh_pkt_in, !device },
		{ l->object->progs.exh_pkt_device_out, device },
		{ l->object->progs.exh_pkt_device_in, device },
		{ l->object->progs.exh_pkt_create, keeps_users },
		{ l->object->progs.exh_pkt_stock, keeps_users },
		{ l->object->progs.exh_pkt_sent, keeps_users && !l->limited },
		{ l->object->progs.exh_pkt_received, keeps_users && !l->limited },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		(void)bpf_program__set_autoload(rows[i].program, rows[i].wanted);
}

static int try_load(struct packets_live *l)
{
	hooks_log_clear();
	l->object = packets_bpf__open();
	if (l->object == NULL)
		return -errno;
	set_target(l);
	choose_programs(l);
	int r = bpf_map__set_max_entries(l->object->maps.exh_pkt_ring, (uint32_t)l->c.ring_bytes);

	if (r == 0 && l->c.users_fd >= 0)
		r = bpf_map__reuse_fd(l->object->maps.exh_pkt_users, l->c.users_fd);
	return r < 0 ? r : packets_bpf__load(l->object);
}

/* Without the two tracepoints, if they are what this kernel does not have. */
static int load(struct packets_live *l, struct error *e)
{
	int r = try_load(l);

	if (r < 0 && l->c.users_fd < 0) {
		packets_bpf__destroy(l->object);
		l->limited = true;
		r = try_load(l);
	}
	return r == 0 ? 0 :
			error_set(e, r, "cannot load the programs that capture packets: %m (%s)",
				  hooks_log_reason());
}

static int fill_maps(struct packets_live *l, struct error *e)
{
	const uint8_t one = 1;

	for (size_t i = 0; i < l->c.n_skip && i < PACKETS_SKIP_MAX; i++)
		if (bpf_map_update_elem(bpf_map__fd(l->object->maps.exh_pkt_skip), &l->c.skip[i],
					&one, BPF_ANY) < 0)
			return error_set(e, -errno, "cannot leave our own packets out: %m");
	return packets_live_cgroups(l, e);
}

int packets_live_cgroups(struct packets_live *l, struct error *e)
{
	const struct packets_target *t = l->c.target;
	const uint8_t one = 1;

	for (size_t i = 0; i < t->n_cgroups; i++)
		if (bpf_map_update_elem(bpf_map__fd(l->object->maps.exh_pkt_cgroups),
					&t->cgroups[i], &one, BPF_ANY) < 0)
			return error_set(e, -errno, "cannot name the container's cgroups: %m");
	return 0;
}

static int find_users(struct packets_live *l, struct error *e)
{
	const struct packets_users_programs p = {
		.create = l->object->progs.exh_pkt_create,
		.sent = l->limited ? NULL : l->object->progs.exh_pkt_sent,
		.received = l->limited ? NULL : l->object->progs.exh_pkt_received,
		.stock = l->object->progs.exh_pkt_stock,
	};

	return l->c.users_fd >= 0 ? 0 : packets_users_attach(&p, &l->users, e);
}

int packets_live_open(const struct packets_live_config *c, struct packets_live **ret,
		      struct error *e)
{
	struct packets_live *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return error_set(e, -ENOMEM, "cannot capture packets: out of memory");
	l->c = *c;
	l->device_links[0] = l->device_links[1] = -1;
	hooks_log_capture();
	hooks_lift_memlock();
	int r = packets_users_check(e);

	if (r == 0)
		r = load(l, e);
	if (r == 0)
		r = fill_maps(l, e);
	if (r == 0)
		r = find_users(l, e);
	if (r == 0)
		r = packets_ring_open(bpf_map__fd(l->object->maps.exh_pkt_ring), l->c.ring_bytes,
				      &l->ring, e);
	if (r < 0)
		packets_live_close(l);
	else
		*ret = l;
	return r;
}

/* ---- attach -------------------------------------------------------------------------------------------------- */

static int attach_cgroups(struct packets_live *l, struct error *e)
{
	struct bpf_program *const programs[LINKS] = { l->object->progs.exh_pkt_out,
						      l->object->progs.exh_pkt_in };
	AUTO(close_fd) int root = -1;
	int r = packets_users_root(&root, e);

	for (size_t i = 0; r == 0 && i < LINKS; i++) {
		l->cgroup_links[i] = bpf_program__attach_cgroup(programs[i], root);
		if (l->cgroup_links[i] == NULL)
			r = error_set(e, -errno, "cannot capture at the root of the cgroups: %m");
	}
	return r;
}

static int attach_in_namespace(void *ctx)
{
	struct packets_live *l = ctx;
	const struct {
		struct bpf_program *program;
		enum bpf_attach_type where;
	} rows[LINKS] = { { l->object->progs.exh_pkt_device_in, TCX_INGRESS },
			  { l->object->progs.exh_pkt_device_out, TCX_EGRESS } };

	for (size_t i = 0; i < LINKS; i++) {
		l->device_links[i] = bpf_link_create(bpf_program__fd(rows[i].program),
						     (int)l->c.target->ifindex, rows[i].where,
						     NULL);
		if (l->device_links[i] < 0)
			return -errno;
	}
	return 0;
}

static int attach_device(struct packets_live *l, struct error *e)
{
	const struct packets_target *t = l->c.target;
	int r = packets_within(t->net_fd, attach_in_namespace, l);

	if (r == -EINVAL) {
		(void)error_set(e, -ENOTSUP,
				"cannot capture on the device '%s': that takes Linux 6.6",
				t->interface);
		error_hint(e,
			   "leave --interface out: what sockets send and receive is seen without");
		return -ENOTSUP;
	}
	return r == 0 ? 0 : error_set(e, r, "cannot capture on the device '%s': %m", t->interface);
}

int packets_live_start(struct packets_live *l, struct error *e)
{
	return l->c.target->ifindex != 0 ? attach_device(l, e) : attach_cgroups(l, e);
}

void packets_live_stop(struct packets_live *l)
{
	for (size_t i = 0; i < LINKS; i++) {
		(void)bpf_link__destroy(l->cgroup_links[i]);
		l->cgroup_links[i] = NULL;
		close_fd(&l->device_links[i]);
		l->device_links[i] = -1;
	}
}

/* ---- what is known ------------------------------------------------------------------------------------------- */

struct packets_ring *packets_live_ring(struct packets_live *l)
{
	return l->ring;
}

void packets_live_counters(const struct packets_live *l, struct packets_counters *ret)
{
	uint32_t zero = 0;

	*ret = (struct packets_counters){ 0 };
	(void)bpf_map_lookup_elem(bpf_map__fd(l->object->maps.exh_pkt_count), &zero, ret);
}

const char *packets_live_limit(const struct packets_live *l)
{
	return l->limited ?
		       "this kernel does not tell who sends and receives: a socket that was handed on "
		       "is named for its creator" :
		       NULL;
}

void packets_live_close(struct packets_live *l)
{
	if (l == NULL)
		return;
	packets_live_stop(l);
	packets_ring_close(l->ring);
	packets_users_detach(&l->users);
	packets_bpf__destroy(l->object);
	free(l);
}
