/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agent/encode_message.h"
#include "proto/actions.h"

ProtobufCBinaryData encode_bytes(struct bytes b, size_t max)
{
	return (ProtobufCBinaryData){ .len = b.len < max ? b.len : max,
				      .data = (uint8_t *)(uintptr_t)b.at };
}

ProtobufCBinaryData encode_text(const char *text)
{
	struct bytes b = { .at = (const uint8_t *)text, .len = text ? strlen(text) : 0 };

	return encode_bytes(b, ENCODE_REASON_MAX);
}

static void fill_exec(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts)
{
	const struct rec_image *replaced = &ev->u.exec.replaced;

	exhibit__v1__exec__init(&parts->exec);
	if (replaced->pid) {
		exhibit__v1__image_key__init(&parts->replaced);
		parts->replaced.pid = replaced->pid;
		parts->replaced.start_ns = replaced->start_ns;
		parts->replaced.exec_id = replaced->exec_id;
		parts->exec.replaced = &parts->replaced;
	}
	parts->exec.filename = encode_bytes(ev->u.exec.filename, ENCODE_PATH_MAX);
	m->detail_case = EXHIBIT__V1__EVENT__DETAIL_EXEC;
	m->exec = &parts->exec;
}

static void fill_exit(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts)
{
	exhibit__v1__exit__init(&parts->exit);
	parts->exit.code = ev->u.exit.code;
	parts->exit.signal = ev->u.exit.signal;
	m->detail_case = EXHIBIT__V1__EVENT__DETAIL_EXIT;
	m->exit = &parts->exit;
}

static void fill_file(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts)
{
	const struct event_file *f = &ev->u.file;
	Exhibit__V1__File *to = &parts->file;

	exhibit__v1__file__init(to);
	to->path = encode_bytes(f->path, ENCODE_PATH_MAX);
	to->old_path = encode_bytes(f->old_path, ENCODE_PATH_MAX);
	to->inode = f->inode;
	to->device = f->device;
	to->mode = f->mode;
	to->uid = f->uid;
	to->gid = f->gid;
	to->open_flags = f->open_flags;
	to->repeated = f->repeated;
	if (f->has_size) {
		to->has_size_case = EXHIBIT__V1__FILE__HAS_SIZE_SIZE;
		to->size = f->size;
	}
	if (f->has_size_before) {
		to->has_size_before_case = EXHIBIT__V1__FILE__HAS_SIZE_BEFORE_SIZE_BEFORE;
		to->size_before = f->size_before;
	}
	m->detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
	m->file = to;
}

static void fill_net_counts(const struct event_net *n, Exhibit__V1__Net *to)
{
	if (n->has_bytes) {
		to->has_source_bytes_case = EXHIBIT__V1__NET__HAS_SOURCE_BYTES_SOURCE_BYTES;
		to->source_bytes = n->source_bytes;
		to->has_destination_bytes_case =
			EXHIBIT__V1__NET__HAS_DESTINATION_BYTES_DESTINATION_BYTES;
		to->destination_bytes = n->destination_bytes;
		to->source_packets = n->source_packets;
		to->destination_packets = n->destination_packets;
	}
	if (n->has_duration) {
		to->has_duration_case = EXHIBIT__V1__NET__HAS_DURATION_DURATION_NS;
		to->duration_ns = n->duration_ns;
	}
}

static void fill_net(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts)
{
	const struct event_net *n = &ev->u.net;
	Exhibit__V1__Net *to = &parts->net;

	exhibit__v1__net__init(to);
	to->transport = n->transport;
	to->source_ip = encode_bytes((struct bytes){ .at = n->source_ip, .len = n->ip_len },
				     sizeof(n->source_ip));
	to->source_port = n->source_port;
	if (n->has_destination) {
		to->destination_ip =
			encode_bytes((struct bytes){ .at = n->destination_ip, .len = n->ip_len },
				     sizeof(n->destination_ip));
		to->destination_port = n->destination_port;
	}
	to->inbound = n->inbound;
	to->listening = n->listening;
	to->net_ns = n->net_ns;
	fill_net_counts(n, to);
	m->detail_case = EXHIBIT__V1__EVENT__DETAIL_NET;
	m->net = to;
}

static void fill_gap(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts)
{
	const struct event_gap *g = &ev->u.gap;
	Exhibit__V1__Gap *to = &parts->gap;

	exhibit__v1__gap__init(to);
	to->where = (Exhibit__V1__GapWhere)g->where;
	to->class_ = (Exhibit__V1__Class)g->class;
	to->from_ns = g->from_ns;
	to->to_ns = g->to_ns;
	to->reason = encode_text(g->reason);
	if (g->has_cpu) {
		to->has_cpu_case = EXHIBIT__V1__GAP__HAS_CPU_CPU;
		to->cpu = g->cpu;
	}
	if (g->has_count) {
		to->has_count_case = EXHIBIT__V1__GAP__HAS_COUNT_COUNT;
		to->count = g->count;
	}
	m->detail_case = EXHIBIT__V1__EVENT__DETAIL_GAP;
	m->gap = to;
}

static void fill_order(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts)
{
	const struct event_order *o = &ev->u.order;
	Exhibit__V1__OrderInfo *to = &parts->order;

	exhibit__v1__order_info__init(to);
	to->order_id = encode_bytes(o->order_id, ENCODE_REASON_MAX);
	to->kind = (Exhibit__V1__OrderKind)o->kind;
	to->state = (Exhibit__V1__OrderState)o->state;
	to->reason = encode_bytes(o->reason, ENCODE_REASON_MAX);
	to->requester = encode_bytes(o->requester, ENCODE_REASON_MAX);
	to->case_id = encode_bytes(o->case_id, ENCODE_REASON_MAX);
	to->exhibit_id = encode_bytes(o->exhibit_id, ENCODE_REASON_MAX);
	to->bytes = o->bytes;
	to->manifest_sha256 = encode_bytes(o->manifest_sha256, ENCODE_REASON_MAX);
	to->order_sha256 = encode_bytes(o->order_sha256, ENCODE_REASON_MAX);
	to->actor = encode_bytes(o->actor, ENCODE_REASON_MAX);
	to->certificate_sha256 = encode_bytes(o->certificate_sha256, ENCODE_REASON_MAX);
	to->signed_ns = o->signed_ns;
	m->detail_case = EXHIBIT__V1__EVENT__DETAIL_ORDER;
	m->order = to;
}

/* Which member of struct event's union an action uses; no row: none (fork). */
static void (*const fill[])(const struct event *ev, Exhibit__V1__Event *m,
			    struct encode_parts *parts) = {
	[ACTION_EXEC] = fill_exec,      [ACTION_EXIT] = fill_exit,
	[ACTION_CREATE] = fill_file,    [ACTION_OPEN_WRITE] = fill_file,
	[ACTION_MODIFY] = fill_file,    [ACTION_RENAME] = fill_file,
	[ACTION_UNLINK] = fill_file,    [ACTION_CONNECT] = fill_net,
	[ACTION_ACCEPT] = fill_net,     [ACTION_LISTEN] = fill_net,
	[ACTION_DISCONNECT] = fill_net, [ACTION_UDP_FLOW] = fill_net,
	[ACTION_PROCESS] = fill_exec,   [ACTION_SOCKET] = fill_net,
	[ACTION_GAP] = fill_gap,        [ACTION_ORDER] = fill_order,
	[ACTION_TAMPER] = fill_order,
};

void encode_fill_event(const struct event *ev, Exhibit__V1__Event *m, struct encode_parts *parts)
{
	exhibit__v1__event__init(m);
	m->boottime_ns = ev->boottime_ns;
	m->action = (Exhibit__V1__Action)ev->action;
	m->thread_id = ev->thread_id;
	m->hook = (Exhibit__V1__Hook)ev->hook;
	m->tier = ev->tier;
	m->flags = ev->flags;
	m->via = (Exhibit__V1__Via)ev->via;
	m->error = ev->error;
	m->class_ = (Exhibit__V1__Class)ev->class;
	if (ev->action < ARRAY_LEN(fill) && fill[ev->action])
		fill[ev->action](ev, m, parts);
}
