/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "agent/acquire/packets_capture.h"

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

static int note_socket(struct capture *c, struct error *e)
{
	int r = output_note(
		c->o, "packets.not_seen",
		"whose a packet is; what does not pass the devices of this one network namespace",
		e);

	if (r == 0)
		r = output_note_u64(c->o, "packets.net_ns", c->target.net_ns, e);
	if (r == 0 && c->target.container.len > 0)
		r = output_warn(
			c->o, false, e,
			"packets of other containers in its network namespace may be among these");
	return r == 0 && c->filter[0] != '\0' ?
		       output_note(c->o, "packets.filtered_by",
				   c->kernel_filters ? "kernel" : "acquirer", e) :
		       r;
}

static int note_engine(struct capture *c, struct error *e)
{
	const char *own = c->socket != NULL      ? "af_packet" :
			  c->target.ifindex != 0 ? "tcx" :
						   "cgroup_skb";
	const char *engine = !c->from_recorder ? own :
			     c->live != NULL   ? "recorder, cgroup_skb" :
						 "recorder";
	int r = output_note(c->o, "packets.engine", engine, e);

	if (r == 0)
		r = output_note(c->o, "packets.filter", c->filter, e);
	if (r == 0 && c->socket != NULL)
		r = note_socket(c, e);
	else if (r == 0 && (c->from_recorder || c->target.ifindex == 0))
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
	if (r == 0)
		r = output_note_u64(c->o, "recorder.packets", c->recorded, e);
	if (r == 0)
		r = output_note_u64(c->o, "recorder.others", c->others, e);
	if (r == 0 && c->live != NULL)
		r = output_note_u64(c->o, "recorder.until_boot_ns", c->recorder_end_ns, e);
	if (r == 0 && c->live != NULL)
		r = output_note_u64(c->o, "recorder.seen_by_both", c->seen_by_both, e);
	if (r == 0 && c->seam_full)
		r = output_warn(
			c->o, true, e,
			"more packets than can be compared came while the capture began: some may be "
			"twice");
	return r == 0 ? output_note_u64(c->o, "recorder.before_ns", reached, e) : r;
}

static int note_order(struct capture *c, struct error *e)
{
	uint64_t most_ns;
	uint64_t n = c->socket != NULL ?
			     packets_socket_disorder(c->socket, &most_ns) :
			     packets_ring_disorder(packets_live_ring(c->live), &most_ns);
	int r = output_note_u64(c->o, "packets.out_of_order", n, e);

	return r == 0 && n > 0 ? output_note_u64(c->o, "packets.out_of_order_ns", most_ns, e) : r;
}

/* The kernel's counters and what came out of the ring are one account: it must balance. */
static int check_balance(struct capture *c, struct error *e)
{
	struct packets_counters kernel;
	struct packets_counts n;

	if (c->socket != NULL)
		packets_socket_counters(c->socket, &kernel);
	else
		packets_live_counters(c->live, &kernel);
	kernel.seen += c->recorded + c->lapped;
	kernel.lost += c->lapped;
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

int packets_account(struct capture *c, struct error *e)
{
	struct packets_clock now = packets_clock_now();
	const char *why = c->why[0] == '\0' ? NULL : c->why;
	int r = c->live != NULL || c->socket != NULL ? check_balance(c, e) : 0;

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
