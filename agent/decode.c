/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/decode.h"

#include <errno.h>
#include <string.h>

#include "agent/decode_types.h"
#include "proto/actions.h"

struct row {
	const char *name;
	size_t min; /* bytes of the fixed part */
	const char *(*fn)(const struct rec_header *h, struct reader *r, struct decoded *d);
};

static const struct row rows[REC_TYPES] = {
	[REC_EXEC] = { "exec", sizeof(struct rec_exec), decode_exec },
	[REC_FORK] = { "fork", sizeof(struct rec_fork), decode_fork },
	[REC_EXIT] = { "exit", sizeof(struct rec_exit), decode_exit },
	[REC_FILE_OPEN] = { "file_open", sizeof(struct rec_file_open), decode_file_open },
	[REC_TCP] = { "tcp", sizeof(struct rec_tcp), decode_tcp },
	[REC_UDP_FLOW] = { "udp_flow", sizeof(struct rec_udp_flow), decode_udp_flow },
	[REC_PROCESS] = { "process", sizeof(struct rec_exec), decode_process },
	[REC_SOCKET] = { "socket", sizeof(struct rec_socket), decode_socket },
	[REC_CGROUP] = { "cgroup", sizeof(struct rec_cgroup), decode_cgroup },
};

static const struct {
	uint16_t rec;
	uint32_t event;
} flag_rows[] = {
	{ REC_TRUNCATED, EVENT_TRUNCATED },   { REC_ARGS_UNREAD, EVENT_TRUNCATED },
	{ REC_INCOMPLETE, EVENT_INCOMPLETE }, { REC_CWD_INCOMPLETE, EVENT_INCOMPLETE },
	{ REC_EXISTING, EVENT_EXISTING },
};

static const struct row *row_of(uint16_t type)
{
	return type < REC_TYPES && rows[type].fn ? &rows[type] : NULL;
}

const char *decode_type_name(uint16_t type)
{
	const struct row *row = row_of(type);

	return row ? row->name : "unknown";
}

static uint32_t flags_of(uint16_t rec)
{
	uint32_t flags = 0;

	for (size_t i = 0; i < ARRAY_LEN(flag_rows); i++)
		if (rec & flag_rows[i].rec)
			flags |= flag_rows[i].event;
	return flags;
}

static uint32_t via_of(uint16_t rec)
{
	if (rec & REC_IO_URING)
		return VIA_IO_URING;
	return rec & REC_COMPAT ? VIA_COMPAT : VIA_SYSCALL;
}

/* comm lies in the record, so the name may lead there. */
static struct bytes name_at(const uint8_t *comm)
{
	size_t len = strnlen((const char *)comm, REC_COMM_LEN);

	return (struct bytes){ .at = len ? comm : NULL, .len = len };
}

static void take_actor(struct decoded *d, const struct rec_header *h, const uint8_t *record)
{
	const struct rec_actor *a = &h->actor;

	d->facts = (struct image_facts){
		.key = a->image,
		.parent = a->parent,
		.name = name_at(record + offsetof(struct rec_header, actor.comm)),
		.uid = a->uid,
		.gid = a->gid,
		.mnt_ns = a->mnt_ns,
		.pid_ns = a->pid_ns,
		.net_ns = a->net_ns,
		.user_ns = a->user_ns,
		.flags = d->event.flags,
		.cgroup_id = a->cgroup_id,
		.cgroup_v1_id = a->cgroup_v1_id,
	};
}

static void take_header(struct decoded *d, const struct rec_header *h,
			const struct decode_hooks *hooks)
{
	d->event = (struct event){
		.hook = hooks->of[h->class].hook,
		.tier = hooks->of[h->class].tier,
		.via = via_of(h->flags),
		.flags = flags_of(h->flags),
		.boottime_ns = h->boottime_ns,
		.image = h->actor.image,
		.thread_id = h->actor.tid,
	};
	d->by_owner = h->flags & (REC_OWNER_SOCKET | REC_OWNER_NONE);
	d->rec_class = h->class;
}

static int header_check(const struct rec_header *h, size_t len, const char **ret_why)
{
	const struct row *row;

	if (h->layout != REC_LAYOUT) {
		*ret_why = "a record's layout is another version's";
		return -EPROTONOSUPPORT;
	}
	row = row_of(h->type);
	if (!row) {
		*ret_why = "a record's type is unknown";
		return -EPROTONOSUPPORT;
	}
	if (h->len != len || len < row->min || len > REC_MAX) {
		*ret_why = "a record's length is false";
		return -EBADMSG;
	}
	if (h->class >= REC_CLASSES || (h->ring >= REC_RINGS && h->ring != REC_RING_NONE)) {
		*ret_why = "a record's class or ring is false";
		return -EBADMSG;
	}
	return 0;
}

int decode_record(const struct decode_hooks *hooks, const void *record, size_t len,
		  struct decoded *ret, const char **ret_why)
{
	struct reader r = reader_init(record, len);
	struct rec_header h;
	int code;

	reader_copy(&r, &h, sizeof(h));
	ret->seq = h.seq;
	ret->cpu = h.cpu;
	ret->ring = h.ring;
	if (r.bad) {
		*ret_why = "a record is shorter than its header";
		return -EBADMSG;
	}
	code = header_check(&h, len, ret_why);
	if (code < 0)
		return code;
	ret->socket = 0;
	ret->cgroup.id = 0;
	ret->caller = (struct rec_image){ 0 };
	take_header(ret, &h, hooks);
	take_actor(ret, &h, record);
	*ret_why = rows[h.type].fn(&h, &r, ret);
	if (!*ret_why && !reader_done(&r))
		*ret_why = "a record's lengths contradict each other";
	return *ret_why ? -EBADMSG : 0;
}

void decode_failed(struct decode_failures *f, const char *why, uint64_t now_ns)
{
	if (!f->count++)
		f->from_ns = now_ns;
	f->to_ns = now_ns;
	f->why = why;
}

bool decode_gap(struct decode_failures *f, struct event *ret)
{
	if (!f->count)
		return false;
	*ret = (struct event){
		.action = ACTION_GAP,
		.class = CLASS_AGENT,
		.hook = HOOK_AGENT,
		.boottime_ns = f->to_ns,
		.u.gap = {
			.where = GAP_DECODE,
			.class = CLASS_UNKNOWN,
			.has_count = true,
			.count = f->count,
			.from_ns = f->from_ns,
			.to_ns = f->to_ns,
			.reason = f->why,
		},
	};
	*f = (struct decode_failures){ 0 };
	return true;
}
