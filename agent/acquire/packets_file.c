/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_file.h"

#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <string.h>

#include "agent/acquire/packets_comment.h"
#include "agent/acquire/packets_sink.h"
#include "proto/json.h"

#define OWNER_SLOTS (2 * PACKETS_OWNERS_MAX) /* powers of two */
#define INTERFACE_SLOTS (2 * PACKETS_INTERFACES_MAX)
#define NO_CONTAINER 0
#define OWNERLESS "owner=unknown;"
#define COOKED_LEN 16
#define COOKED_HOST 0
#define COOKED_OUTGOING 4
#define ADDRESSES 12 /* of an Ethernet header, before the tag */

struct owner {
	uint64_t start_ns;
	uint32_t pid, exec_id; /* pid 0: free */
	uint32_t container; /* index of containers */
};

struct interface {
	uint64_t received, accepted, written, lost;
	int64_t first_ns;
	uint32_t net_ns, ifindex, container;
	bool used;
};

/* The last comment of such users: most packets are of few sockets. */
#define COMMENTS 1024

struct comment {
	struct packets_users users;
	uint32_t container;
	char text[PACKETS_COMMENT_MAX]; /* "": free */
};

struct packets_file {
	struct packets_file_config c;
	struct packets_clock clock;
	uint32_t owners_item, clock_item;
	struct bpf_program filter;
	bool has_filter, ownerless, cooked;
	const char *place; /* that interfaces of no container are of */
	struct packets_counts counts;
	uint64_t lost; /* not yet told */
	uint64_t numbers; /* before the first */
	struct owner owners[OWNER_SLOTS];
	struct interface interfaces[PACKETS_INTERFACES_MAX + 1]; /* the last: other */
	uint32_t by_key[INTERFACE_SLOTS]; /* index + 1; 0: free */
	uint32_t n_interfaces, last_interface;
	char (*containers)[PACKETS_CONTAINER_MAX];
	uint32_t n_containers;
	struct comment comments[COMMENTS];
	uint8_t frame[PACKETS_BYTES_MAX + PACKETS_MORE_MAX];
	struct packets_sink sink;
};

/* ---- writing ------------------------------------------------------------------------------------------- */

static int put_line(struct packets_file *f, uint32_t item, FILE *line, char **text, size_t *len,
		    struct error *e)
{
	if (fclose(line) != 0)
		return error_set(e, -ENOMEM, "cannot write a line: out of memory");
	int r = output_write(f->c.o, item, *text, *len, e);

	f->sink.full |= r == -ECANCELED;
	return r == -ECANCELED ? 0 : r;
}

/* ---- whose ----------------------------------------------------------------------------------------------- */

static int tell_owner(struct packets_file *f, const struct packets_user *u,
		      const struct packets_owner *known, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *line = open_memstream(&text, &len);

	if (line == NULL)
		return error_set(e, -ENOMEM, "cannot name a process: out of memory");
	struct json j = json_init(line);

	json_open(&j, NULL, 0, '{');
	json_u64(&j, "pid", u->pid);
	json_u64(&j, "start_ns", u->start_ns);
	json_u64(&j, "exec_id", u->exec_id);
	json_bytes(&j, "name", u->comm, strnlen(u->comm, sizeof(u->comm)));
	json_bytes(&j, "executable", known->exe, strlen(known->exe));
	json_bytes(&j, "container", known->container, strlen(known->container));
	json_bytes(&j, "unit", known->unit, strlen(known->unit));
	json_u64(&j, "cgroup_id", u->cgroup_id);
	json_u64(&j, "cgroup_v1_id", u->cgroup_v1_id);
	json_close(&j, '}');
	json_line(&j);
	return put_line(f, f->owners_item, line, &text, &len, e);
}

static uint32_t find_container(struct packets_file *f, const char *container)
{
	for (uint32_t i = 0; i < f->n_containers; i++)
		if (strcmp(f->containers[i], container) == 0)
			return i;
	if (f->n_containers == PACKETS_INTERFACES_MAX)
		return NO_CONTAINER;
	memcpy(f->containers[f->n_containers], container, strlen(container) + 1);
	return f->n_containers++;
}

static uint32_t owner_slot(const struct packets_user *u)
{
	uint64_t mixed = (u->start_ns ^ (uint64_t)u->pid << 40 ^ (uint64_t)u->exec_id << 20) *
			 0x9e3779b97f4a7c15ULL;

	return (uint32_t)(mixed >> 32) % OWNER_SLOTS;
}

static int learn_owner(struct packets_file *f, const struct packets_user *u, struct owner *at,
		       struct error *e)
{
	struct packets_owner known = { 0 };

	f->c.owner(f->c.ctx, u, &known);
	f->counts.owners++;
	*at = (struct owner){ .start_ns = u->start_ns,
			      .pid = u->pid,
			      .exec_id = u->exec_id,
			      .container = find_container(f, known.container) };
	return tell_owner(f, u, &known, e);
}

/* ret: index of containers. */
static int container_of(struct packets_file *f, const struct packets_user *u, uint32_t *ret,
			struct error *e)
{
	uint32_t at = owner_slot(u);

	*ret = NO_CONTAINER;
	if (u->how == PACKETS_UNKNOWN)
		return 0;
	while (f->owners[at].pid != 0) {
		const struct owner *o = &f->owners[at];

		if (o->pid == u->pid && o->start_ns == u->start_ns && o->exec_id == u->exec_id) {
			*ret = o->container;
			return 0;
		}
		at = (at + 1) % OWNER_SLOTS;
	}
	if (f->counts.owners == PACKETS_OWNERS_MAX)
		return 0;
	int r = learn_owner(f, u, &f->owners[at], e);

	*ret = f->owners[at].container;
	return r;
}

/* ---- interfaces -------------------------------------------------------------------------------------------- */

static int put_interface(struct packets_file *f, const char *name, const char *description,
			 struct error *e)
{
	struct writer w = packets_sink_room(&f->sink);

	pcapng_interface(&w, &(struct pcapng_interface){ .link_type = (uint16_t)f->c.link_type,
							 .name = name,
							 .description = description,
							 .filter = f->c.filter });
	return packets_sink_close(&f->sink, &w, e);
}

static int begin_interface(struct packets_file *f, const struct packets_head *h, uint32_t container,
			   struct error *e)
{
	const char *id = f->containers[container];
	char name[IF_NAMESIZE + 16], description[PACKETS_CONTAINER_MAX + 96], device[IF_NAMESIZE];
	struct interface *i = &f->interfaces[f->n_interfaces];

	f->c.device(f->c.ctx, h->net_ns, h->ifindex, h->users.last.pid, device);
	(void)snprintf(name, sizeof(name), "%.12s@%s", *id == '\0' ? f->place : id, device);
	(void)snprintf(description, sizeof(description),
		       "container=%s;netns=%" PRIu32 ";ifindex=%" PRIu32 ";csum=partial;", id,
		       h->net_ns, h->ifindex);
	*i = (struct interface){
		.used = true, .net_ns = h->net_ns, .ifindex = h->ifindex, .container = container
	};
	f->n_interfaces++;
	return put_interface(f, name, description, e);
}

static int other_interface(struct packets_file *f, uint32_t *ret, struct error *e)
{
	*ret = PACKETS_INTERFACES_MAX;
	if (f->interfaces[PACKETS_INTERFACES_MAX].used)
		return 0;
	f->interfaces[PACKETS_INTERFACES_MAX].used = true;
	f->n_interfaces++;
	return put_interface(f, "other", "", e);
}

static int find_interface(struct packets_file *f, const struct packets_head *h, uint32_t container,
			  uint32_t *ret, struct error *e)
{
	uint64_t mixed = ((uint64_t)h->net_ns << 32 ^ (uint64_t)h->ifindex << 16 ^ container) *
			 0x9e3779b97f4a7c15ULL;
	uint32_t at = (uint32_t)(mixed >> 32) % INTERFACE_SLOTS;

	for (; f->by_key[at] != 0; at = (at + 1) % INTERFACE_SLOTS) {
		const struct interface *i = &f->interfaces[f->by_key[at] - 1];

		*ret = f->by_key[at] - 1;
		if (i->net_ns == h->net_ns && i->ifindex == h->ifindex && i->container == container)
			return 0;
	}
	if (f->n_interfaces >= PACKETS_INTERFACES_MAX)
		return other_interface(f, ret, e);
	*ret = f->n_interfaces;
	f->by_key[at] = f->n_interfaces + 1;
	return begin_interface(f, h, container, e);
}

/* ---- packets ------------------------------------------------------------------------------------------------- */

static int64_t wall_of(const struct packets_file *f, uint64_t boot_ns)
{
	return f->clock.wall_ns + (int64_t)(boot_ns - f->clock.boot_ns);
}

/* The kernel takes the outer VLAN tag out of the bytes: back in with it, or the capture lies. */
static void put_tag(struct writer *w, const struct packets_head *h, const uint8_t *data)
{
	writer_bytes(w, data, ADDRESSES);
	writer_u16(w, h->vlan_protocol);
	writer_u8(w, (uint8_t)(h->vlan_tci >> 8));
	writer_u8(w, (uint8_t)h->vlan_tci);
	writer_bytes(w, data + ADDRESSES, h->caplen - ADDRESSES);
}

/* https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html, big-endian: to us or from us, no device type, no address,
 * the protocol by the version in the IP header. */
static void put_cooked(struct writer *w, const struct packets_head *h, const uint8_t *data)
{
	bool v6 = h->caplen > 0 && data[0] >> 4 == 6;

	writer_u8(w, 0);
	writer_u8(w, h->direction == PACKETS_OUT ? COOKED_OUTGOING : COOKED_HOST);
	writer_u16(w, 0xfeff); /* ARPHRD_NONE */
	writer_zero(w, 2 + 8);
	writer_u8(w, v6 ? 0x86 : 0x08);
	writer_u8(w, v6 ? 0xdd : 0x00);
	writer_bytes(w, data, h->caplen);
}

/* The packet with what belongs before its bytes; more: how much that is. */
static const uint8_t *frame_of(struct packets_file *f, const struct packets_head *h,
			       const uint8_t *data, uint32_t *ret_more)
{
	struct writer w = writer_init(f->frame, sizeof(f->frame));

	*ret_more = f->cooked ? COOKED_LEN : 0;
	if (f->cooked)
		return data;
	if (f->c.link_type == PCAPNG_COOKED)
		put_cooked(&w, h, data);
	else if ((h->flags & PACKETS_VLAN) && h->caplen >= ADDRESSES)
		put_tag(&w, h, data);
	else
		return data;
	*ret_more = (uint32_t)(w.done - h->caplen);
	return f->frame;
}

/* A packet as it is written: with what belongs before its bytes. */
struct frame {
	const uint8_t *data;
	uint32_t caplen, len, snap; /* snap 0: all of it */
};

static const char *comment_of(struct packets_file *f, const struct packets_users *users,
			      uint32_t container)
{
	struct comment *c = &f->comments[owner_slot(&users->last) % COMMENTS];

	if (f->ownerless)
		return OWNERLESS;
	if (c->text[0] != '\0' && c->container == container &&
	    memcmp(&c->users, users, sizeof(*users)) == 0)
		return c->text;
	c->users = *users;
	c->container = container;
	return packets_comment(users, f->containers[container], c->text);
}

static int write_packet(struct packets_file *f, const struct packets_head *h, uint32_t number,
			uint32_t container, const struct frame *frame, struct error *e)
{
	struct interface *i = &f->interfaces[number];
	struct writer w = packets_sink_room(&f->sink);
	uint8_t custom[PACKETS_CUSTOM_LEN];
	bool cut = frame->snap != 0 && frame->snap < frame->caplen;

	packets_custom(h, custom);
	pcapng_packet(&w, &(struct pcapng_packet){ .interface = number,
						   .wall_ns = wall_of(f, h->boottime_ns),
						   .data = frame->data,
						   .caplen = cut ? frame->snap : frame->caplen,
						   .len = frame->len,
						   .direction = h->direction,
						   .dropped = f->lost,
						   .number = f->numbers + h->number,
						   .queue = h->cpu,
						   .comment = comment_of(f, &h->users, container),
						   .custom = custom,
						   .custom_len = sizeof(custom) });
	int r = packets_sink_put(&f->sink, &w, e);

	f->counts.late += r == -ECANCELED;
	if (r < 0)
		return r;
	i->lost += f->lost;
	f->lost = 0;
	i->written++;
	if (i->first_ns == 0)
		i->first_ns = wall_of(f, h->boottime_ns);
	f->last_interface = number;
	f->counts.written++;
	f->counts.last_ns = h->boottime_ns;
	if (f->counts.first_ns == 0)
		f->counts.first_ns = h->boottime_ns;
	return f->sink.full ? -ECANCELED : 0; /* e says which limit */
}

static bool passes(const struct packets_file *f, const struct frame *frame)
{
	return !f->has_filter ||
	       bpf_filter(f->filter.bf_insns, frame->data, frame->len, frame->caplen) != 0;
}

int packets_file_packet(struct packets_file *f, const struct packets_head *h, const uint8_t *data,
			struct error *e)
{
	uint32_t interface = 0, container = 0, more;

	f->counts.received++;
	packets_file_lost(f, h->lost_before);
	if (h->caplen > PACKETS_BYTES_MAX)
		return error_set(e, -EMSGSIZE, "a packet of %" PRIu32 " bytes", h->caplen);
	if (f->sink.full) {
		f->counts.late++;
		return error_set(e, -ECANCELED, "the limit is used up");
	}
	const struct frame frame = { .data = frame_of(f, h, data, &more),
				     .caplen = h->caplen + more,
				     .len = h->len + more,
				     .snap = f->c.snap == 0 ? 0 : f->c.snap + more };

	if (!passes(f, &frame)) {
		f->counts.filtered++;
		return 0;
	}
	int r = container_of(f, &h->users.last, &container, e);

	if (r == 0)
		r = find_interface(f, h, container, &interface, e);
	if (r < 0)
		return r;
	f->interfaces[interface].received++;
	f->interfaces[interface].accepted++;
	return write_packet(f, h, interface, container, &frame, e);
}

void packets_file_numbers(struct packets_file *f, uint64_t base)
{
	f->numbers = base;
}

void packets_file_lost(struct packets_file *f, uint64_t n)
{
	f->lost += n;
	f->counts.lost += n;
	f->counts.received += n;
}

/* ---- statistics ------------------------------------------------------------------------------------------------ */

/* Losses have no interface of their own: they stand with the packet that came after them, those at the end with the
 * last packet's, so that the sum over the interfaces is what was lost. */
static int put_statistics(struct packets_file *f, uint32_t number, const struct packets_clock *now,
			  struct error *e)
{
	const struct interface *i = &f->interfaces[number];
	struct writer w = packets_sink_room(&f->sink);

	pcapng_statistics(&w, &(struct pcapng_statistics){ .interface = number,
							   .wall_ns = now->wall_ns,
							   .start_ns = i->first_ns,
							   .end_ns = now->wall_ns,
							   .received = i->received + i->lost,
							   .accepted = i->accepted,
							   .dropped = i->lost,
							   .delivered = i->written });
	return packets_sink_close(&f->sink, &w, e);
}

static int put_all_statistics(struct packets_file *f, const struct packets_clock *now,
			      struct error *e)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < f->n_interfaces; i++)
		r = put_statistics(f, i, now, e);
	return r;
}

static int tell_clock(struct packets_file *f, const struct packets_clock *now, struct error *e)
{
	char line[96];
	int n = snprintf(line, sizeof(line), "{\"boot_ns\":%" PRIu64 ",\"wall_ns\":%" PRId64 "}\n",
			 now->boot_ns, now->wall_ns);
	int r = output_write(f->c.o, f->clock_item, line, (size_t)n, e);

	f->sink.full |= r == -ECANCELED;
	return r == -ECANCELED ? 0 : r;
}

int packets_file_tick(struct packets_file *f, const struct packets_clock *now, struct error *e)
{
	int r = put_all_statistics(f, now, e);

	f->clock = *now;
	if (r == 0)
		r = tell_clock(f, now, e);
	return r == 0 && f->sink.full ? -ECANCELED : r;
}

int packets_file_flush(struct packets_file *f, struct error *e)
{
	int r = packets_sink_flush(&f->sink, e);

	return r == 0 ? output_flush(f->c.o, f->sink.item, e) : r;
}

/* A file without an interface is refused by some readers, and statistics need one. */
static int need_interface(struct packets_file *f, struct error *e)
{
	if (f->n_interfaces > 0)
		return 0;
	f->interfaces[0].used = true;
	f->n_interfaces = 1;
	return put_interface(f, "none", "nothing was captured;", e);
}

int packets_file_end(struct packets_file *f, const struct packets_clock *now, const char *why,
		     struct error *e)
{
	int r = need_interface(f, e);

	f->interfaces[f->last_interface].lost += f->lost;
	f->lost = 0;
	if (r == 0)
		r = put_all_statistics(f, now, e);
	if (r == 0)
		r = tell_clock(f, now, e);
	if (r == 0)
		r = packets_sink_flush(&f->sink, e);
	if (r == 0)
		r = output_end(f->c.o, f->sink.item, why, NULL, e);
	if (r == 0)
		r = output_end(f->c.o, f->owners_item, NULL, NULL, e);
	return r == 0 ? output_end(f->c.o, f->clock_item, NULL, NULL, e) : r;
}

void packets_file_counts(const struct packets_file *f, struct packets_counts *ret)
{
	*ret = f->counts;
	ret->interfaces = f->n_interfaces;
}

/* ---- begin -------------------------------------------------------------------------------------------------------- */

static int compile(struct packets_file *f, const char *text, struct error *e)
{
	int link_type = f->c.link_type == PCAPNG_ETHERNET ? DLT_EN10MB : DLT_LINUX_SLL;
	int r = 0;

	if (*text == '\0')
		return 0;
	pcap_t *p = pcap_open_dead(link_type, PCAPNG_SNAP);

	if (p == NULL)
		return error_set(e, -ENOMEM, "cannot compile the filter: out of memory");
	if (pcap_compile(p, &f->filter, text, 1, PCAP_NETMASK_UNKNOWN) < 0)
		r = error_set(e, -EINVAL, "the filter '%s' is no libpcap expression here: %s", text,
			      pcap_geterr(p));
	else
		f->has_filter = true;
	pcap_close(p);
	return r;
}

static int begin(struct packets_file *f, struct error *e)
{
	struct writer w = packets_sink_room(&f->sink);
	int r = compile(f, f->c.filter, e);

	if (r == 0)
		r = output_begin(f->c.o, "capture.pcapng", "pcapng", 0, &f->sink.item, e);
	if (r == 0)
		r = output_begin(f->c.o, "capture.owners.jsonl", "jsonl", 0, &f->owners_item, e);
	if (r == 0)
		r = output_begin(f->c.o, "capture.clock.jsonl", "jsonl", 0, &f->clock_item, e);
	if (r < 0)
		return r;
	pcapng_section(&w, &f->c.section);
	r = packets_sink_close(&f->sink, &w, e);
	return r < 0 ? r : tell_clock(f, &f->clock, e);
}

int packets_file_ownerless(struct packets_file *f, const char *place, bool cooked,
			   const char *left_out, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	const char *filter = *f->c.filter == '\0' ? "" : " and (";

	f->ownerless = true;
	f->cooked = cooked;
	f->place = place;
	if (*left_out == '\0')
		return 0;
	if (asprintf(&text, "not (%s)%s%s%s", left_out, filter, f->c.filter,
		     *filter == '\0' ? "" : ")") < 0)
		return error_set(e, -ENOMEM, "cannot compile the filter: out of memory");
	if (f->has_filter)
		pcap_freecode(&f->filter);
	f->has_filter = false;
	return compile(f, text, e);
}

size_t packets_file_filter(const struct packets_file *f, const struct bpf_insn **ret)
{
	*ret = f->filter.bf_insns;
	return f->has_filter ? f->filter.bf_len : 0;
}

int packets_file_open(const struct packets_file_config *c, struct packets_file **ret,
		      struct error *e)
{
	struct packets_file *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return error_set(e, -ENOMEM, "cannot write a capture: out of memory");
	f->c = *c;
	f->sink.o = c->o;
	f->clock = c->clock;
	f->containers = calloc(PACKETS_INTERFACES_MAX, sizeof(*f->containers));
	int r = f->containers == NULL ?
			error_set(e, -ENOMEM, "cannot write a capture: out of memory") :
			0;

	f->place = "host";
	f->n_containers = 1; /* NO_CONTAINER */
	if (r == 0)
		r = begin(f, e);
	if (r < 0)
		packets_file_free(f);
	else
		*ret = f;
	return r;
}

void packets_file_free(struct packets_file *f)
{
	if (f == NULL)
		return;
	if (f->has_filter)
		pcap_freecode(&f->filter);
	free(f->containers);
	free(f);
}
