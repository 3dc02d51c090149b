/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of a host, network namespace, device, container or process as pcapng, each with whose it is. Live ones come
 * from programs of our own, those from before the order from the agent's flight recorder; where they meet nothing is
 * missing or twice. Where there can be no such programs a packet socket captures, without whose packets are. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "agent/acquire/packets_capture.h"
#include "agent/acquire/packets_fallback.h"
#include "agent/acquire/priority.h"
#include "agent/bootid.h"
#include "agent/cgroups.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"

#define CGROUPS_MAX 4096
#define FILTER_MIN 256 /* bytes that an expression sees though fewer are written */
#define COMMENT_MAX 1024

/* ---- what is asked beside packets --------------------------------------------------------------------- */

static void take_text(char *to, size_t size, struct bytes from)
{
	size_t len = from.len < size - 1 ? from.len : size - 1;

	if (len > 0)
		memcpy(to, from.at, len);
	to[len] = '\0';
}

static void ask_owner(void *ctx, const struct packets_user *u, struct packets_owner *ret)
{
	const struct capture *c = ctx;
	struct cgroup g = { 0 };
	char path[64];

	if (c->cgroups != NULL)
		g = cgroups_find(c->cgroups,
				 &(struct cgroup_ask){ .id = u->cgroup_id,
						       .v1_id = u->cgroup_v1_id,
						       .pid = u->pid },
				 clock_boottime_ns());
	take_text(ret->container, sizeof(ret->container), g.workload.container_id);
	take_text(ret->unit, sizeof(ret->unit), g.workload.unit);
	(void)snprintf(path, sizeof(path), "%s/%u/exe", c->r->proc, u->pid);
	ssize_t n = readlink(path, ret->exe, sizeof(ret->exe) - 1);

	ret->exe[n < 0 ? 0 : n] = '\0';
}

static void ask_device(void *ctx, uint32_t net_ns, uint32_t ifindex, uint32_t pid,
		       char ret[static IF_NAMESIZE])
{
	const struct capture *c = ctx;

	if (c->target.ifindex == ifindex && c->target.net_ns == net_ns)
		memcpy(ret, c->target.interface, IF_NAMESIZE);
	else
		(void)packets_device_name(c->r, net_ns, ifindex, pid, ret);
}

/* A live stream must not feed itself: the launcher, our parent, has the uplink as a child. Parents that are another
 * program are no launchers. */
static void find_skipped(struct capture *c)
{
	char path[128];
	AUTO(free_ptr) uint8_t *text = NULL;
	struct stat ours, parents;
	uint32_t parent = (uint32_t)getppid();
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/%u/exe", c->r->proc, parent);
	if (stat("/proc/self/exe", &ours) < 0 || stat(path, &parents) < 0 ||
	    ours.st_ino != parents.st_ino || ours.st_dev != parents.st_dev)
		return;
	(void)snprintf(path, sizeof(path), "%s/%u/task/%u/children", c->r->proc, parent, parent);
	if (files_read(path, KiB(4), &text, &len, NULL) < 0)
		return;
	for (char *at = (char *)text, *end; c->n_skip < PACKETS_SKIP_MAX; at = end) {
		uint32_t pid = (uint32_t)strtoul(at, &end, 10);

		if (end == at)
			return;
		c->skip[c->n_skip++] = pid;
	}
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static int take_filter(struct capture *c, struct error *e)
{
	const ProtobufCBinaryData *filter = &c->order->filter;

	if (filter->len >= sizeof(c->filter) ||
	    (filter->len > 0 && memchr(filter->data, '\0', filter->len) != NULL))
		return error_set(e, -EINVAL, "the filter is too long, or no text");
	if (filter->len > 0)
		memcpy(c->filter, filter->data, filter->len);
	return 0;
}

static void print_hex(FILE *out, const char *key, const uint8_t *data, size_t len)
{
	(void)fprintf(out, "%s=", key);
	for (size_t i = 0; i < len; i++)
		(void)fprintf(out, "%02x", data[i]);
	(void)fputc(';', out);
}

/* Tokens, as in packets' comments; a case's name is a person's text: its ';' and control bytes are left out. */
static void section_comment(const struct capture *c, const struct packets_clock *now,
			    const char *host, char buf[static COMMENT_MAX])
{
	const Exhibit__V1__Order *order = c->r->order;
	uint8_t boot_id[BOOTID_LEN] = { 0 };
	FILE *out = fmemopen(buf, COMMENT_MAX, "w");

	buf[0] = '\0';
	if (out == NULL)
		return;
	if (bootid_read(boot_id, NULL) < 0)
		memset(boot_id, 0, sizeof(boot_id));
	(void)fputs("case=", out);
	for (size_t i = 0; i < order->case_id.len && i < 256; i++)
		if (order->case_id.data[i] >= ' ' && order->case_id.data[i] < 0x7f &&
		    order->case_id.data[i] != ';')
			(void)fputc(order->case_id.data[i], out);
	(void)fputc(';', out);
	print_hex(out, "order", order->order_id.data, order->order_id.len);
	(void)fprintf(out, "host=%s;", host);
	print_hex(out, "boot_id", boot_id, sizeof(boot_id));
	(void)fprintf(out, "boot_ns=%" PRIu64 ";wall_ns=%" PRId64 ";", now->boot_ns, now->wall_ns);
	if (c->from_recorder)
		(void)fprintf(out, "before=%u;", c->order->before_seconds);
	(void)fclose(out);
	buf[COMMENT_MAX - 1] = '\0';
}

static int open_file(struct capture *c, struct error *e)
{
	struct packets_clock now = packets_clock_now();
	char comment[COMMENT_MAX], os[2 * sizeof(((struct utsname *)NULL)->release)];
	struct utsname kernel = { 0 };

	(void)uname(&kernel);
	(void)snprintf(os, sizeof(os), "%s %s", kernel.sysname, kernel.release);
	section_comment(c, &now, kernel.nodename, comment);
	c->ticked_ns = now.boot_ns;
	c->clock = now;
	return packets_file_open(
		&(struct packets_file_config){ .o = c->o,
					       .link_type = c->from_recorder ? PCAPNG_COOKED :
									       c->target.link_type,
					       .snap = c->order->snap_bytes,
					       .filter = c->filter,
					       .section = { .hardware = kernel.machine,
							    .os = os,
							    .application = "exhibit-agent",
							    .comment = comment },
					       .clock = now,
					       .owner = ask_owner,
					       .device = ask_device,
					       .ctx = c },
		&c->file, e);
}

/* ---- the order ----------------------------------------------------------------------------------------------------- */

static uint32_t copy_bytes(const struct capture *c)
{
	uint32_t snap = c->order->snap_bytes;

	return c->filter[0] != '\0' && snap != 0 && snap < FILTER_MIN ? FILTER_MIN : snap;
}

static int open_live(struct capture *c, struct error *e)
{
	c->copy_bytes = copy_bytes(c);
	return packets_live_open(&(struct packets_live_config){ .target = &c->target,
								.copy_bytes = c->copy_bytes,
								.ring_bytes = PACKETS_RING_BYTES,
								.users_fd = c->past.users_fd,
								.skip = c->skip,
								.n_skip = c->n_skip },
				 &c->live, e);
}

static int start_live(struct capture *c, struct error *e)
{
	if (c->r->packet_socket)
		return error_set(e, -ENOTSUP, "it was asked for");
	int r = open_live(c, e);

	return r == 0 ? packets_live_start(c->live, e) : r;
}

/* A socket has no past: who asks for that is told what the programs lack. */
static int start(struct capture *c, struct error *e)
{
	struct error why = { 0 };
	int r = start_live(c, &why);

	if (r == 0)
		return 0;
	packets_live_close(c->live);
	c->live = NULL;
	c->copy_bytes = copy_bytes(c);
	if (c->order->before_seconds == 0)
		return packets_fallback_start(c, &why, e);
	if (e != NULL)
		*e = why;
	return r;
}

/* What follows the past comes from programs of our own, with the order's own snap length; a device's cannot, as its
 * packets have a link header and the recorder's have none. */
static int open_after_past(struct capture *c, struct error *e)
{
	bool shorter = c->order->snap_bytes == 0 || c->order->snap_bytes > c->past.state.snap;
	struct error why = { 0 };

	if (c->target.ifindex == 0 && open_live(c, &why) < 0)
		return output_warn(
			c->o, false, e,
			"all packets come from the flight recorder, %u bytes of each: %s",
			c->past.state.snap, why.text);
	if (!shorter)
		return 0;
	return output_warn(c->o, false, e,
			   "the flight recorder keeps %u bytes of a packet (recorder.snap)%s",
			   c->past.state.snap,
			   c->live != NULL ? ": those from before the order have no more" : "");
}

static int open_past(struct capture *c, struct error *e)
{
	struct error why = { 0 };

	if (packets_past_open(c->r->proc, &c->past, &why) == 0) {
		c->from_recorder = c->order->before_seconds > 0;
		return 0;
	}
	c->past.users_fd = -1;
	if (c->order->before_seconds == 0)
		return 0;
	return output_warn(c->o, true, e, "nothing from before the order: %s", why.text);
}

static int open_cgroups(struct capture *c, struct error *e)
{
	const struct cgroups_config config = { .root = c->r->cgroup,
					       .proc = c->r->proc,
					       .max = CGROUPS_MAX };
	int r = cgroups_open(&config, &c->cgroups, e);

	return r == -ENOENT ? 0 : r; /* processes are asked for theirs */
}

static int capture(struct capture *c, struct error *e)
{
	int r = take_filter(c, e);

	if (r == 0)
		r = packets_target_open(c->r, &c->target, e);
	if (r == 0)
		r = open_past(c, e);
	if (r == 0)
		r = open_file(c, e);
	if (r < 0)
		return r;
	r = open_cgroups(c, e);
	if (r < 0)
		return r;
	find_skipped(c);
	/* A reader at idle priority loses packets whenever the host has work. */
	priority_normal();
	r = c->from_recorder ? open_after_past(c, e) : start(c, e);
	/* An open descriptor would keep a network namespace that is deleted meanwhile. */
	close_fd(&c->target.net_fd);
	c->target.net_fd = -1;
	if (r == 0)
		r = packets_loop(c, e);
	return r == 0 ? packets_account(c, e) : r;
}

int acquire_packets(const struct acquire_request *r, struct output *o, struct error *e)
{
	struct capture *c = calloc(1, sizeof(*c));
	struct error why = { 0 };

	if (c == NULL)
		return error_set(e, -ENOMEM, "cannot capture packets: out of memory");
	*c = (struct capture){ .r = r, .order = r->order->packets, .o = o };
	c->target.net_fd = c->past.users_fd = -1;
	for (int kind = 0; kind < CGROUP_KINDS; kind++)
		c->target.trees[kind].fd = -1;
	int result = capture(c, &why);

	packets_live_close(c->live);
	packets_socket_close(c->socket);
	packets_wait_free(c->wait);
	packets_seam_free(c->seam);
	packets_file_free(c->file);
	cgroups_close(c->cgroups);
	packets_past_close(&c->past);
	packets_target_close(&c->target);
	free(c);
	if (result < 0 && e != NULL)
		*e = why;
	return result;
}
