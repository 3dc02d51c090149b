/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of a host, network namespace, device, container or process as pcapng, each with whose it is. Live ones come
 * from programs of our own; with a past, both the past and what follows come from the agent's flight recorder, which
 * numbers them: nothing is missing or twice where they meet. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

#include "agent/acquire/packets_file.h"
#include "agent/acquire/packets_live.h"
#include "agent/acquire/packets_past.h"
#include "agent/acquire/packets_target.h"
#include "agent/acquire/priority.h"
#include "agent/bootid.h"
#include "agent/cgroups.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"

#define DRAIN_NS (20 * NSEC_PER_MSEC)
#define BUSY_NS (2 * NSEC_PER_MSEC) /* when a drain found an eighth of the ring full */
#define REFRESH_NS (2 * NSEC_PER_SEC)
#define LIVE_NS (NSEC_PER_SEC / 2) /* between what is sent to whoever watches */
#define SETTLE_NS (20 * NSEC_PER_MSEC) /* programs that still run when they are detached */
#define HOLD_NS (20 * NSEC_PER_MSEC) /* a packet may come so long after one that is later */
#define CGROUPS_MAX 4096
#define FILTER_MIN 256 /* bytes that an expression sees though fewer are written */
#define FILTER_MAX 4096
#define COMMENT_MAX 1024

struct capture {
	const struct acquire_request *r;
	const Exhibit__V1__PacketsOrder *order;
	struct output *o;
	struct packets_target target;
	struct packets_past past;
	struct packets_live *live;
	struct packets_file *file;
	struct cgroups *cgroups;
	uint32_t skip[PACKETS_SKIP_MAX];
	size_t n_skip;
	uint64_t start_ns, until_ns; /* boottime */
	uint64_t ticked_ns, refreshed_ns, flushed_ns;
	bool from_recorder, cancelled;
	uint64_t skipped;
	char filter[FILTER_MAX];
	char why[ERROR_TEXT_MAX]; /* what ended it too early, or "" */
};

/* ---- what is asked beside packets --------------------------------------------------------------------- */

static struct packets_clock read_clock(void)
{
	uint64_t before = clock_boottime_ns();
	int64_t wall = clock_wall_ns();
	uint64_t after = clock_boottime_ns();

	return (struct packets_clock){ .boot_ns = before + (after - before) / 2, .wall_ns = wall };
}

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

static bool is_skipped(const struct capture *c, uint32_t pid)
{
	for (size_t i = 0; i < c->n_skip; i++)
		if (c->skip[i] == pid)
			return true;
	return false;
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
	struct packets_clock now = read_clock();
	char comment[COMMENT_MAX], os[2 * sizeof(((struct utsname *)NULL)->release)];
	struct utsname kernel = { 0 };

	(void)uname(&kernel);
	(void)snprintf(os, sizeof(os), "%s %s", kernel.sysname, kernel.release);
	section_comment(c, &now, kernel.nodename, comment);
	c->ticked_ns = now.boot_ns;
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

/* Counting goes on when the limit is used up. */
static int take_packet(void *ctx, const struct packets_head *h, const uint8_t *data,
		       struct error *e)
{
	struct capture *c = ctx;
	int r = packets_file_packet(c->file, h, data, e);

	if (r != -ECANCELED)
		return r;
	if (!c->cancelled)
		(void)snprintf(c->why, sizeof(c->why), "%s", e->text);
	c->cancelled = true;
	return 0;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static uint64_t seconds_of(const struct capture *c)
{
	const Exhibit__V1__OrderLimits *limits = c->r->order->limits;
	uint64_t asked = c->order->seconds, most = limits == NULL ? 0 : limits->max_seconds;

	return asked == 0 || (most != 0 && most < asked) ? most : asked;
}

static bool is_over(const struct capture *c, uint64_t now_ns)
{
	return c->cancelled || *c->r->stop || (c->until_ns != 0 && now_ns >= c->until_ns);
}

static void pause_for(uint64_t ns)
{
	struct timespec t = { .tv_nsec = (long)ns };

	(void)nanosleep(&t, NULL);
}

/* What is due beside packets. */
static int look_after(struct capture *c, uint64_t now_ns, struct error *e)
{
	int r = 0;

	if (now_ns - c->refreshed_ns >= REFRESH_NS) {
		c->refreshed_ns = now_ns;
		if (packets_target_refresh(&c->target) && c->live != NULL)
			r = packets_live_cgroups(c->live, e);
	}
	if (r == 0 && now_ns - c->ticked_ns >= PACKETS_TICK_NS) {
		struct packets_clock now = read_clock();

		c->ticked_ns = now_ns;
		r = packets_file_tick(c->file, &now, e);
	}
	if (r == 0 && c->order->live && now_ns - c->flushed_ns >= LIVE_NS) {
		c->flushed_ns = now_ns;
		r = packets_file_flush(c->file, e);
	}
	if (r != -ECANCELED)
		return r;
	(void)snprintf(c->why, sizeof(c->why), "%s", e == NULL ? "" : e->text);
	c->cancelled = true;
	return 0;
}

/* What came, in the order of time; the newest wait for what may still be older, unless room gets scarce. */
static int drain_live(struct capture *c, uint64_t now_ns, uint64_t *ret_bytes, struct error *e)
{
	struct packets_ring *ring = packets_live_ring(c->live);
	int r = packets_ring_look(ring, ret_bytes, e);
	bool scarce = r == 0 && *ret_bytes > PACKETS_RING_BYTES / 4;

	return r == 0 ? packets_ring_drain(ring, scarce ? UINT64_MAX : now_ns - HOLD_NS,
					   take_packet, c, e) :
			r;
}

static int drain_rest(struct capture *c, struct error *e)
{
	struct packets_ring *ring = packets_live_ring(c->live);
	uint64_t bytes;
	int r = packets_ring_look(ring, &bytes, e);

	return r == 0 ? packets_ring_drain(ring, UINT64_MAX, take_packet, c, e) : r;
}

static int loop_live(struct capture *c, struct error *e)
{
	uint64_t bytes = 0;
	int r = 0;

	for (uint64_t now = clock_boottime_ns(); r == 0 && !is_over(c, now);
	     now = clock_boottime_ns()) {
		r = drain_live(c, now, &bytes, e);
		if (r == 0)
			r = look_after(c, now, e);
		if (r == 0)
			pause_for(bytes > PACKETS_RING_BYTES / 8 ? BUSY_NS : DRAIN_NS);
	}
	packets_live_stop(c->live);
	pause_for(SETTLE_NS);
	return r < 0 ? r : drain_rest(c, e);
}

/* What came since the last round, up to a time. */
static int read_past(struct capture *c, uint64_t from_ns, uint64_t until_ns, struct error *e)
{
	struct recorder_packet p;
	int r = 0;

	while (r == 0) {
		uint64_t lapped = c->past.slots.lapped;
		int got = recorder_slots_next(&c->past.slots, clock_boottime_ns(), &p);

		packets_file_lost(c->file, c->past.slots.lapped - lapped);
		if (got == 0 || p.head.boottime_ns >= until_ns)
			return 0;
		if (p.head.boottime_ns < from_ns || !packets_target_wants(&c->target, &p.head))
			continue;
		if (is_skipped(c, p.head.users.creator.pid)) {
			c->skipped++;
			continue;
		}
		r = take_packet(c, &p.head, p.data, e);
	}
	return r;
}

static int loop_past(struct capture *c, struct error *e)
{
	uint64_t before = c->order->before_seconds * NSEC_PER_SEC;
	uint64_t from_ns = c->start_ns > before ? c->start_ns - before : 0;
	uint64_t until_ns = c->until_ns == 0 ? UINT64_MAX : c->until_ns;
	int r = 0;

	recorder_slots_oldest(&c->past.slots);
	for (uint64_t now = clock_boottime_ns(); r == 0; now = clock_boottime_ns()) {
		bool over = is_over(c, now);

		/* Once more after the end: what was recorded until then. */
		r = read_past(c, from_ns, over && now < until_ns ? now : until_ns, e);
		if (over)
			return r;
		if (r == 0)
			r = look_after(c, now, e);
		if (r == 0)
			pause_for(DRAIN_NS);
	}
	return r;
}

/* ---- what is said of it --------------------------------------------------------------------------------------- */

static int note_numbers(struct capture *c, struct error *e)
{
	struct packets_counts n;

	packets_file_counts(c->file, &n);
	const struct {
		const char *key;
		uint64_t value;
	} rows[] = {
		{ "packets.received", n.received },
		{ "packets.written", n.written },
		{ "packets.filtered", n.filtered },
		{ "packets.lost", n.lost },
		{ "packets.after_limit", n.late },
		{ "packets.interfaces", n.interfaces },
		{ "packets.owners", n.owners },
		{ "packets.snap", c->order->snap_bytes },
		{ "packets.first_boot_ns", n.first_ns },
		{ "packets.last_boot_ns", n.last_ns },
		{ "packets.left_out_processes", c->n_skip },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(rows); i++)
		r = output_note_u64(c->o, rows[i].key, rows[i].value, e);
	if (r == 0 && n.lost > 0)
		r = output_warn(c->o, true, e,
				"%" PRIu64 " packets were lost before they were written", n.lost);
	return r;
}

static int note_engine(struct capture *c, struct error *e)
{
	const char *engine = c->from_recorder       ? "recorder" :
			     c->target.ifindex != 0 ? "tcx" :
						      "cgroup_skb";
	int r = output_note(c->o, "packets.engine", engine, e);

	if (r == 0)
		r = output_note(c->o, "packets.filter", c->filter, e);
	if (r == 0 && (c->from_recorder || c->target.ifindex == 0))
		r = output_note(
			c->o, "packets.not_seen",
			"what no socket sent or received: forwarded packets, ARP, packets to closed ports; "
			"what packet sockets (AF_PACKET) sent",
			e);
	if (r == 0 && c->live != NULL && packets_live_limit(c->live) != NULL)
		r = output_note(c->o, "packets.limit", packets_live_limit(c->live), e);
	return r;
}

static int note_past(struct capture *c, struct error *e)
{
	struct packets_counts n;

	packets_file_counts(c->file, &n);
	uint64_t reached = n.first_ns != 0 && n.first_ns < c->start_ns ? c->start_ns - n.first_ns :
									 0;
	int r = output_note_u64(c->o, "recorder.slots", c->past.state.slots, e);

	if (r == 0)
		r = output_note_u64(c->o, "recorder.snap", c->past.state.snap, e);
	if (r == 0)
		r = output_note_u64(c->o, "recorder.lapped", c->past.slots.lapped, e);
	return r == 0 ? output_note_u64(c->o, "recorder.before_ns", reached, e) : r;
}

static int note_order(struct capture *c, struct error *e)
{
	uint64_t most_ns;
	uint64_t n = packets_ring_disorder(packets_live_ring(c->live), &most_ns);
	int r = output_note_u64(c->o, "packets.out_of_order", n, e);

	return r == 0 && n > 0 ? output_note_u64(c->o, "packets.out_of_order_ns", most_ns, e) : r;
}

/* The kernel's counters and what came out of the ring are one account: it must balance. */
static int check_balance(struct capture *c, struct error *e)
{
	struct packets_counters kernel;
	struct packets_counts n;

	packets_live_counters(c->live, &kernel);
	packets_file_counts(c->file, &n);
	packets_file_lost(c->file, kernel.lost - n.lost); /* after the last that got through */
	packets_file_counts(c->file, &n);
	int r = output_note_u64(c->o, "packets.seen", kernel.seen, e);

	if (r == 0)
		r = note_order(c, e);
	if (r == 0 && kernel.unread > 0)
		r = output_warn(c->o, true, e, "%" PRIu64 " packets came without their bytes",
				kernel.unread);
	if (r == 0 && n.received != kernel.seen)
		r = output_warn(c->o, true, e,
				"the kernel saw %" PRIu64 " packets, %" PRIu64 " are accounted for",
				kernel.seen, n.received);
	return r;
}

static int finish(struct capture *c, struct error *e)
{
	struct packets_clock now = read_clock();
	const char *why = c->why[0] == '\0' ? NULL : c->why;
	int r = c->live != NULL ? check_balance(c, e) : 0;

	if (r == 0)
		r = packets_file_end(c->file, &now, why, e);
	if (r == 0 && why != NULL)
		r = output_warn(c->o, true, e, "the capture ended early: %s", why);
	if (r == 0)
		r = note_engine(c, e);
	if (r == 0 && c->from_recorder)
		r = note_past(c, e);
	return r == 0 ? note_numbers(c, e) : r;
}

/* ---- the order ----------------------------------------------------------------------------------------------------- */

static uint32_t copy_bytes(const struct capture *c)
{
	uint32_t snap = c->order->snap_bytes;

	return c->filter[0] != '\0' && snap != 0 && snap < FILTER_MIN ? FILTER_MIN : snap;
}

static int start_live(struct capture *c, struct error *e)
{
	int r = packets_live_open(&(struct packets_live_config){ .target = &c->target,
								 .copy_bytes = copy_bytes(c),
								 .ring_bytes = PACKETS_RING_BYTES,
								 .users_fd = c->past.users_fd,
								 .skip = c->skip,
								 .n_skip = c->n_skip },
				  &c->live, e);

	if (r == 0)
		r = packets_live_start(c->live, e);
	/* An open descriptor would keep a network namespace that is deleted meanwhile. */
	close_fd(&c->target.net_fd);
	c->target.net_fd = -1;
	return r;
}

static int open_past(struct capture *c, struct error *e)
{
	struct error why = { 0 };

	if (packets_past_open(c->r->proc, &c->past, &why) == 0) {
		c->from_recorder = c->order->before_seconds > 0;
		if (c->from_recorder &&
		    (c->order->snap_bytes == 0 || c->order->snap_bytes > c->past.state.snap))
			return output_warn(
				c->o, false, e,
				"the flight recorder keeps %u bytes of a packet (recorder.snap)",
				c->past.state.snap);
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
	if (!c->from_recorder)
		r = start_live(c, e);
	c->start_ns = clock_boottime_ns();
	c->until_ns = seconds_of(c) == 0 ? 0 : c->start_ns + seconds_of(c) * NSEC_PER_SEC;
	if (r == 0)
		r = c->from_recorder ? loop_past(c, e) : loop_live(c, e);
	return r == 0 ? finish(c, e) : r;
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
	packets_file_free(c->file);
	cgroups_close(c->cgroups);
	packets_past_close(&c->past);
	packets_target_close(&c->target);
	free(c);
	if (result < 0 && e != NULL)
		*e = why;
	return result;
}
