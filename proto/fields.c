/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/fields.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/sysmacros.h>

#include "proto/actions.h"
#include "proto/entity.h"
#include "proto/base/suggest.h"

typedef Exhibit__V1__BatchContext context_t;
typedef Exhibit__V1__Event event_t;
typedef Exhibit__V1__Process process_t;

/* Which message of the row a field stands in. */
enum part {
	PART_CONTEXT,
	PART_EVENT,
	PART_PROCESS,
	PART_IMAGE, /* the process, where the event is about it: exec, fork, stock-taking */
	PART_KEY,
	PART_PARENT,
	PART_EXEC,
	PART_REPLACED,
	PART_EXIT,
	PART_FILE,
	PART_NET,
	PART_GAP,
	PART_COVERAGE,
	PART_AGENT,
	PART_ROW,
};

struct field {
	const char *name;
	enum value_type type;
	enum part part;
	bool (*get)(const struct field *f, const void *message, struct subject *s, struct value *ret);
	size_t offset; /* of the member, or a number that get understands */
	size_t presence; /* offset of a oneof's case */
	unsigned int groups;
};

/* ---- messages ------------------------------------------------------------------------------------ */

static const void *detail(const event_t *e, Exhibit__V1__Event__DetailCase which)
{
	/* One union: every member is a pointer to its message. */
	return e->detail_case == which ? (const void *)e->exec : NULL;
}

static const void *part_of(const struct subject *s, enum part part)
{
	const event_t *e = s->event;
	const Exhibit__V1__Exec *exec = detail(e, EXHIBIT__V1__EVENT__DETAIL_EXEC);
	bool image = e->action == (int)ACTION_EXEC || e->action == (int)ACTION_FORK || e->action == (int)ACTION_PROCESS;

	switch (part) {
	case PART_CONTEXT:
		return s->context;
	case PART_EVENT:
		return e;
	case PART_PROCESS:
		return s->process;
	case PART_IMAGE:
		return image ? s->process : NULL;
	case PART_KEY:
		return s->process ? s->process->key : NULL;
	case PART_PARENT:
		return s->process ? s->process->parent : NULL;
	case PART_EXEC:
		return exec;
	case PART_REPLACED:
		return exec ? exec->replaced : NULL;
	case PART_EXIT:
		return detail(e, EXHIBIT__V1__EVENT__DETAIL_EXIT);
	case PART_FILE:
		return detail(e, EXHIBIT__V1__EVENT__DETAIL_FILE);
	case PART_NET:
		return detail(e, EXHIBIT__V1__EVENT__DETAIL_NET);
	case PART_GAP:
		return detail(e, EXHIBIT__V1__EVENT__DETAIL_GAP);
	case PART_COVERAGE:
		return detail(e, EXHIBIT__V1__EVENT__DETAIL_COVERAGE);
	case PART_AGENT:
		return detail(e, EXHIBIT__V1__EVENT__DETAIL_AGENT);
	case PART_ROW:
		return s->row;
	}
	return NULL;
}

/* ---- values that are made ------------------------------------------------------------------------ */

static void *take(struct subject *s, size_t len)
{
	void *p = arena_alloc(s->arena, len ? len : 1);

	if (!p)
		s->failed = true;
	return p;
}

static bool text_copy(struct subject *s, const char *text, struct value *ret)
{
	size_t len = strlen(text);
	uint8_t *p = take(s, len);

	if (!p)
		return false;
	memcpy(p, text, len);
	ret->u.text = (ProtobufCBinaryData){ .len = len, .data = p };
	return true;
}

/* A constant: nothing writes through the pointer. */
static bool text_constant(const char *text, struct value *ret)
{
	union {
		const char *in;
		uint8_t *out;
	} cast = { .in = text };

	ret->u.text = (ProtobufCBinaryData){ .len = strlen(text), .data = cast.out };
	return true;
}

static bool text_hex(struct subject *s, const ProtobufCBinaryData *bytes, bool uuid, struct value *ret)
{
	char text[2 * 64 + 5];
	size_t at = 0;

	if (bytes->len == 0 || bytes->len > 64)
		return false;
	for (size_t i = 0; i < bytes->len; i++) {
		if (uuid && (i == 4 || i == 6 || i == 8 || i == 10))
			text[at++] = '-';
		(void)snprintf(text + at, 3, "%02x", bytes->data[i]);
		at += 2;
	}
	return text_copy(s, text, ret);
}

/* ---- getters --------------------------------------------------------------------------------------- */

#define MEMBER(type) (*(const type *)((const char *)message + f->offset))
#define GETTER(name)                                                                               \
	static bool name(const struct field *f, const void *message, struct subject *s, struct value *ret)
#define UNUSED_HERE (void)f, (void)message, (void)s, (void)ret

GETTER(get_bytes)
{
	UNUSED_HERE;
	ret->u.text = MEMBER(ProtobufCBinaryData);
	return ret->u.text.len > 0;
}

GETTER(get_u32)
{
	UNUSED_HERE;
	ret->u.number = MEMBER(uint32_t);
	return true;
}

GETTER(get_u32_set)
{
	return get_u32(f, message, s, ret) && ret->u.number;
}

GETTER(get_u64)
{
	UNUSED_HERE;
	ret->u.number = MEMBER(uint64_t);
	return true;
}

GETTER(get_u64_set)
{
	return get_u64(f, message, s, ret) && ret->u.number;
}

static bool oneof_set(const struct field *f, const void *message)
{
	return *(const int *)((const char *)message + f->presence) != 0;
}

GETTER(get_u64_oneof)
{
	return oneof_set(f, message) && get_u64(f, message, s, ret);
}

GETTER(get_u32_oneof)
{
	return oneof_set(f, message) && get_u32(f, message, s, ret);
}

static bool text_number(struct subject *s, uint64_t number, struct value *ret)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, number);
	return text_copy(s, text, ret);
}

GETTER(get_id32)
{
	return text_number(s, MEMBER(uint32_t), ret);
}

GETTER(get_id32_set)
{
	return MEMBER(uint32_t) && get_id32(f, message, s, ret);
}

GETTER(get_id64_set)
{
	return MEMBER(uint64_t) && text_number(s, MEMBER(uint64_t), ret);
}

GETTER(get_device)
{
	char text[24];
	uint64_t device = MEMBER(uint64_t);

	if (!device)
		return false;
	(void)snprintf(text, sizeof(text), "%u:%u", gnu_dev_major(device), gnu_dev_minor(device));
	return text_copy(s, text, ret);
}

GETTER(get_mode)
{
	char text[16];

	if (!MEMBER(uint32_t))
		return false;
	(void)snprintf(text, sizeof(text), "%04o", MEMBER(uint32_t) & 07777u);
	return text_copy(s, text, ret);
}

GETTER(get_ip)
{
	UNUSED_HERE;
	ret->u.ip = MEMBER(ProtobufCBinaryData);
	return ret->u.ip.len == 4 || ret->u.ip.len == 16;
}

GETTER(get_time)
{
	UNUSED_HERE;
	ret->u.time_ns = MEMBER(int64_t);
	return ret->u.time_ns != 0;
}

GETTER(get_truth)
{
	UNUSED_HERE;
	ret->u.truth = MEMBER(protobuf_c_boolean) != 0;
	return ret->u.truth;
}

/* A boottime shown as wall time. */
GETTER(get_boottime)
{
	uint64_t boottime = MEMBER(uint64_t);

	ret->u.time_ns = (int64_t)((uint64_t)s->context->offset_ns + boottime);
	return boottime != 0;
}

/* offset is the flag of Event.flags; the event's own and its process's count. */
GETTER(get_flag)
{
	UNUSED_HERE;
	ret->u.truth = ((s->event->flags | (s->process ? s->process->flags : 0)) & f->offset) != 0;
	return ret->u.truth;
}

GETTER(get_existing)
{
	UNUSED_HERE;
	ret->u.truth = (s->event->flags & EVENT_EXISTING) || s->event->action == (int)ACTION_PROCESS ||
		       s->event->action == (int)ACTION_SOCKET;
	return ret->u.truth;
}

GETTER(get_event_id)
{
	const context_t *c = message;
	char text[512];
	size_t at = 0;

	UNUSED_HERE;
	if (c->host_id.len > 255 || c->boot_id.len > 32 || c->epoch.len > 32)
		return false;
	memcpy(text, c->host_id.data ? (const void *)c->host_id.data : "", c->host_id.len);
	at = c->host_id.len;
	text[at++] = '/';
	for (size_t i = 0; i < c->boot_id.len; i++, at += 2)
		(void)snprintf(text + at, 3, "%02x", c->boot_id.data[i]);
	text[at++] = '/';
	for (size_t i = 0; i < c->epoch.len; i++, at += 2)
		(void)snprintf(text + at, 3, "%02x", c->epoch.data[i]);
	at += (size_t)snprintf(text + at, sizeof(text) - at, "/%s/%" PRIu64, lane_name(c->lane), s->event->sequence);
	ret->u.text.data = take(s, at);
	ret->u.text.len = at;
	if (ret->u.text.data)
		memcpy(ret->u.text.data, text, at);
	return ret->u.text.data != NULL;
}

GETTER(get_boot)
{
	return text_hex(s, &MEMBER(ProtobufCBinaryData), true, ret);
}

GETTER(get_action)
{
	UNUSED_HERE;
	return text_constant(field_action(s->event), ret);
}

static const struct action *action_of(const struct subject *s)
{
	return action_by_number((uint32_t)s->event->action);
}

GETTER(get_kind)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	return text_constant(a ? a->kind : "event", ret);
}

static bool one_text(struct subject *s, const char *text, struct value *ret)
{
	ProtobufCBinaryData *item = take(s, sizeof(*item));
	struct value v;

	if (!item || !text)
		return false;
	(void)text_constant(text, &v);
	*item = v.u.text;
	ret->u.texts.n = 1;
	ret->u.texts.items = item;
	return true;
}

GETTER(get_category)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	return one_text(s, a ? a->category : NULL, ret);
}

GETTER(get_type)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	return one_text(s, a ? a->type : NULL, ret);
}

GETTER(get_outcome)
{
	const struct action *a = action_of(s);

	UNUSED_HERE;
	if (!a || a->class == CLASS_AGENT)
		return false;
	return text_constant(s->event->error ? "failure" : "success", ret);
}

/* offset is not used by the name getters below: each knows its number. */
GETTER(get_class)
{
	UNUSED_HERE;
	return text_constant(class_name((uint32_t)s->event->class_), ret);
}

GETTER(get_lane)
{
	UNUSED_HERE;
	return text_constant(lane_name((uint32_t)s->context->lane), ret);
}

GETTER(get_hook)
{
	UNUSED_HERE;
	return text_constant(hook_name((uint32_t)s->event->hook), ret);
}

GETTER(get_via)
{
	UNUSED_HERE;
	return text_constant(via_name((uint32_t)s->event->via), ret);
}

GETTER(get_error)
{
	UNUSED_HERE;
	if (!s->event->error)
		return false;
	return text_copy(s, strerrorname_np((int)s->event->error) ?: "unknown", ret);
}

GETTER(get_gap_where)
{
	const Exhibit__V1__Gap *gap = message;

	UNUSED_HERE;
	return text_constant(gap_where_name((uint32_t)gap->where), ret);
}

GETTER(get_gap_class)
{
	const Exhibit__V1__Gap *gap = message;

	UNUSED_HERE;
	return text_constant(class_name((uint32_t)gap->class_), ret);
}

GETTER(get_entity)
{
	const Exhibit__V1__ImageKey *key = message;
	struct entity id = { .pid = key->pid, .start_ns = key->start_ns, .exec_id = key->exec_id };
	char text[ENTITY_TEXT_MAX];

	UNUSED_HERE;
	if (s->context->boot_id.len != ENTITY_BOOT_LEN || !key->pid)
		return false;
	memcpy(id.boot_id, s->context->boot_id.data, ENTITY_BOOT_LEN);
	return text_copy(s, entity_format(&id, text), ret);
}

GETTER(get_args)
{
	const process_t *p = message;

	UNUSED_HERE;
	ret->u.texts.n = p->n_args;
	ret->u.texts.items = p->args;
	return p->n_args > 0;
}

GETTER(get_args_count)
{
	const process_t *p = message;

	UNUSED_HERE;
	ret->u.number = p->n_args;
	return p->n_args > 0;
}

GETTER(get_command_line)
{
	const process_t *p = message;
	size_t len = 0;
	uint8_t *at;

	UNUSED_HERE;
	for (size_t i = 0; i < p->n_args; i++)
		len += p->args[i].len + 1;
	if (!len)
		return false;
	at = take(s, len);
	if (!at)
		return false;
	ret->u.text = (ProtobufCBinaryData){ .len = len - 1, .data = at };
	for (size_t i = 0; i < p->n_args; i++) {
		if (p->args[i].len)
			memcpy(at, p->args[i].data, p->args[i].len);
		at += p->args[i].len;
		*at++ = ' ';
	}
	return true;
}

GETTER(get_capabilities)
{
	const process_t *p = message;
	ProtobufCBinaryData *items = take(s, 64 * sizeof(*items));
	size_t n = 0;

	UNUSED_HERE;
	if (!items)
		return false;
	for (unsigned int bit = 0; bit < 64; bit++) {
		struct value v;
		char *name;

		if (!(p->cap_effective >> bit & 1))
			continue;
		name = cap_to_name((cap_value_t)bit);
		if (!name || !text_copy(s, name, &v)) {
			(void)cap_free(name);
			s->failed = true;
			return false;
		}
		(void)cap_free(name);
		for (size_t i = 0; i < v.u.text.len; i++)
			if (v.u.text.data[i] >= 'a' && v.u.text.data[i] <= 'z')
				v.u.text.data[i] = (uint8_t)(v.u.text.data[i] - 'a' + 'A');
		items[n++] = v.u.text;
	}
	ret->u.texts.n = n;
	ret->u.texts.items = items;
	return n > 0;
}

GETTER(get_exit_code)
{
	const Exhibit__V1__Exit *x = message;

	UNUSED_HERE;
	ret->u.number = x->code;
	return x->signal == 0;
}

GETTER(get_transport)
{
	const Exhibit__V1__Net *net = message;

	UNUSED_HERE;
	if (net->transport == IPPROTO_TCP)
		return text_constant("tcp", ret);
	if (net->transport == IPPROTO_UDP)
		return text_constant("udp", ret);
	return net->transport && text_number(s, net->transport, ret);
}

GETTER(get_network_type)
{
	const Exhibit__V1__Net *net = message;
	size_t len = net->source_ip.len ? net->source_ip.len : net->destination_ip.len;

	UNUSED_HERE;
	if (len != 4 && len != 16)
		return false;
	return text_constant(len == 4 ? "ipv4" : "ipv6", ret);
}

GETTER(get_direction)
{
	const Exhibit__V1__Net *net = message;

	UNUSED_HERE;
	if (net->listening || s->event->action == (int)ACTION_LISTEN)
		return false;
	return text_constant(net->inbound ? "ingress" : "egress", ret);
}

GETTER(get_coverage)
{
	static const char *const states[] = { "unknown", "attached", "failed", "partial" };
	const Exhibit__V1__Coverage *c = message;
	ProtobufCBinaryData *items = take(s, c->n_rows * sizeof(*items));

	UNUSED_HERE;
	if (!items)
		return false;
	for (size_t i = 0; i < c->n_rows; i++) {
		const Exhibit__V1__CoverageRow *row = c->rows[i];
		unsigned int state = (unsigned int)row->state;
		char text[256];
		struct value v;

		(void)snprintf(text, sizeof(text), "%s %s T%u %.*s", class_name((uint32_t)row->class_),
			       states[state < ARRAY_LEN(states) ? state : 0], row->tier,
			       (int)(row->hook.len < 128 ? row->hook.len : 128),
			       row->hook.data ? (const char *)row->hook.data : "");
		if (!text_copy(s, text, &v))
			return false;
		items[i] = v.u.text;
	}
	ret->u.texts.n = c->n_rows;
	ret->u.texts.items = items;
	return c->n_rows > 0;
}

/* ---- the table ------------------------------------------------------------------------------------- */

#define AT(Message, member) offsetof(Exhibit__V1__##Message, member)
#define BYTES(name, part, at, groups) { name, VALUE_TEXT, part, get_bytes, at, 0, (groups) | FIELD_VERBATIM }
#define MADE(name, type, part, get) { name, type, part, get, 0, 0, 0 }
#define PLAIN(name, type, part, get, at) { name, type, part, get, at, 0, 0 }
#define ONEOF(name, part, get, Message, member, presence)                                          \
	{ name, VALUE_NUMBER, part, get, AT(Message, member), AT(Message, presence), 0 }
#define FLAG(name, flag) { name, VALUE_BOOL, PART_EVENT, get_flag, flag, 0, 0 }

/* Names with a common beginning stand together: fields_write_json opens each object once. */
static const struct field fields[] = {
	PLAIN("@timestamp", VALUE_TIME, PART_EVENT, get_boottime, AT(Event, boottime_ns)),
	MADE("event.id", VALUE_TEXT, PART_CONTEXT, get_event_id),
	PLAIN("event.sequence", VALUE_NUMBER, PART_EVENT, get_u64, AT(Event, sequence)),
	MADE("event.kind", VALUE_TEXT, PART_EVENT, get_kind),
	MADE("event.category", VALUE_TEXTS, PART_EVENT, get_category),
	MADE("event.type", VALUE_TEXTS, PART_EVENT, get_type),
	MADE("event.action", VALUE_TEXT, PART_EVENT, get_action),
	MADE("event.outcome", VALUE_TEXT, PART_EVENT, get_outcome),
	PLAIN("event.ingested", VALUE_TIME, PART_CONTEXT, get_time, AT(BatchContext, ingested_ns)),
	ONEOF("event.duration", PART_NET, get_u64_oneof, Net, duration_ns, has_duration_case),
	BYTES("host.id", PART_CONTEXT, AT(BatchContext, host_id), 0),
	BYTES("host.name", PART_CONTEXT, AT(BatchContext, host_name), 0),
	PLAIN("host.boot.id", VALUE_TEXT, PART_CONTEXT, get_boot, AT(BatchContext, boot_id)),
	BYTES("host.architecture", PART_AGENT, AT(AgentInfo, machine), 0),
	BYTES("host.os.kernel", PART_AGENT, AT(AgentInfo, kernel), 0),
	BYTES("agent.version", PART_AGENT, AT(AgentInfo, version), 0),
	MADE("process.entity_id", VALUE_TEXT, PART_KEY, get_entity),
	PLAIN("process.pid", VALUE_NUMBER, PART_KEY, get_u32_set, AT(ImageKey, pid)),
	PLAIN("process.thread.id", VALUE_NUMBER, PART_EVENT, get_u32_set, AT(Event, thread_id)),
	MADE("process.thread.capabilities.effective", VALUE_TEXTS, PART_IMAGE, get_capabilities),
	BYTES("process.name", PART_PROCESS, AT(Process, name), FIELD_ANY_TEXT),
	BYTES("process.executable", PART_PROCESS, AT(Process, executable), FIELD_ANY_PATH | FIELD_ANY_TEXT),
	{ "process.args", VALUE_TEXTS, PART_PROCESS, get_args, 0, 0, FIELD_VERBATIM },
	MADE("process.args_count", VALUE_NUMBER, PART_PROCESS, get_args_count),
	{ "process.command_line", VALUE_TEXT, PART_PROCESS, get_command_line, 0, 0, FIELD_ANY_TEXT },
	BYTES("process.working_directory", PART_PROCESS, AT(Process, working_directory), FIELD_ANY_TEXT),
	PLAIN("process.start", VALUE_TIME, PART_KEY, get_boottime, AT(ImageKey, start_ns)),
	PLAIN("process.end", VALUE_TIME, PART_ROW, get_time, AT(Row, exited_ns)),
	MADE("process.exit_code", VALUE_NUMBER, PART_EXIT, get_exit_code),
	PLAIN("process.user.id", VALUE_TEXT, PART_PROCESS, get_id32, AT(Process, uid)),
	BYTES("process.user.name", PART_PROCESS, AT(Process, user_name), FIELD_ANY_TEXT),
	PLAIN("process.group.id", VALUE_TEXT, PART_PROCESS, get_id32, AT(Process, gid)),
	MADE("process.parent.entity_id", VALUE_TEXT, PART_PARENT, get_entity),
	PLAIN("process.parent.pid", VALUE_NUMBER, PART_PARENT, get_u32_set, AT(ImageKey, pid)),
	BYTES("process.parent.name", PART_PROCESS, AT(Process, parent_name), FIELD_ANY_TEXT),
	BYTES("process.parent.executable", PART_PROCESS, AT(Process, parent_executable), FIELD_ANY_TEXT),
	BYTES("container.id", PART_PROCESS, AT(Process, container_id), FIELD_ANY_TEXT),
	BYTES("service.name", PART_PROCESS, AT(Process, unit), FIELD_ANY_TEXT),
	BYTES("file.path", PART_FILE, AT(File, path), FIELD_ANY_PATH | FIELD_ANY_TEXT),
	PLAIN("file.inode", VALUE_TEXT, PART_FILE, get_id64_set, AT(File, inode)),
	PLAIN("file.device", VALUE_TEXT, PART_FILE, get_device, AT(File, device)),
	ONEOF("file.size", PART_FILE, get_u64_oneof, File, size, has_size_case),
	PLAIN("file.mode", VALUE_TEXT, PART_FILE, get_mode, AT(File, mode)),
	PLAIN("file.uid", VALUE_TEXT, PART_FILE, get_id32, AT(File, uid)),
	PLAIN("file.gid", VALUE_TEXT, PART_FILE, get_id32, AT(File, gid)),
	{ "source.ip", VALUE_IP, PART_NET, get_ip, AT(Net, source_ip), 0, FIELD_ANY_IP },
	{ "source.port", VALUE_NUMBER, PART_NET, get_u32_set, AT(Net, source_port), 0, FIELD_ANY_PORT },
	ONEOF("source.bytes", PART_NET, get_u64_oneof, Net, source_bytes, has_source_bytes_case),
	PLAIN("source.packets", VALUE_NUMBER, PART_NET, get_u64_set, AT(Net, source_packets)),
	{ "destination.ip", VALUE_IP, PART_NET, get_ip, AT(Net, destination_ip), 0, FIELD_ANY_IP },
	{ "destination.port", VALUE_NUMBER, PART_NET, get_u32_set, AT(Net, destination_port), 0, FIELD_ANY_PORT },
	ONEOF("destination.bytes", PART_NET, get_u64_oneof, Net, destination_bytes, has_destination_bytes_case),
	PLAIN("destination.packets", VALUE_NUMBER, PART_NET, get_u64_set, AT(Net, destination_packets)),
	MADE("network.transport", VALUE_TEXT, PART_NET, get_transport),
	MADE("network.type", VALUE_TEXT, PART_NET, get_network_type),
	MADE("network.direction", VALUE_TEXT, PART_NET, get_direction),
	MADE("exhibit.class", VALUE_TEXT, PART_EVENT, get_class),
	MADE("exhibit.lane", VALUE_TEXT, PART_CONTEXT, get_lane),
	MADE("exhibit.hook", VALUE_TEXT, PART_EVENT, get_hook),
	PLAIN("exhibit.tier", VALUE_NUMBER, PART_EVENT, get_u32, AT(Event, tier)),
	MADE("exhibit.via", VALUE_TEXT, PART_EVENT, get_via),
	MADE("exhibit.existing", VALUE_BOOL, PART_EVENT, get_existing),
	FLAG("exhibit.truncated", EVENT_TRUNCATED),
	FLAG("exhibit.incomplete", EVENT_INCOMPLETE),
	MADE("exhibit.error", VALUE_TEXT, PART_EVENT, get_error),
	PLAIN("exhibit.boottime_ns", VALUE_NUMBER, PART_EVENT, get_u64, AT(Event, boottime_ns)),
	PLAIN("exhibit.signal", VALUE_NUMBER, PART_EXIT, get_u32_set, AT(Exit, signal)),
	PLAIN("exhibit.args_bytes", VALUE_NUMBER, PART_IMAGE, get_u64_set, AT(Process, args_bytes)),
	PLAIN("exhibit.executable.inode", VALUE_TEXT, PART_IMAGE, get_id64_set, AT(Process, inode)),
	PLAIN("exhibit.executable.device", VALUE_TEXT, PART_IMAGE, get_device, AT(Process, device)),
	FLAG("exhibit.executable.deleted", EVENT_EXE_DELETED),
	FLAG("exhibit.executable.memfd", EVENT_EXE_MEMFD),
	BYTES("exhibit.exec.filename", PART_EXEC, AT(Exec, filename), FIELD_ANY_PATH | FIELD_ANY_TEXT),
	MADE("exhibit.replaced.entity_id", VALUE_TEXT, PART_REPLACED, get_entity),
	PLAIN("exhibit.cgroup.id", VALUE_TEXT, PART_PROCESS, get_id64_set, AT(Process, cgroup_id)),
	BYTES("exhibit.cgroup.path", PART_PROCESS, AT(Process, cgroup_path), FIELD_ANY_TEXT),
	PLAIN("exhibit.namespace.mnt", VALUE_TEXT, PART_PROCESS, get_id32_set, AT(Process, mnt_ns)),
	PLAIN("exhibit.namespace.pid", VALUE_TEXT, PART_PROCESS, get_id32_set, AT(Process, pid_ns)),
	PLAIN("exhibit.namespace.net", VALUE_TEXT, PART_PROCESS, get_id32_set, AT(Process, net_ns)),
	PLAIN("exhibit.namespace.user", VALUE_TEXT, PART_PROCESS, get_id32_set, AT(Process, user_ns)),
	ONEOF("exhibit.file.size_before", PART_FILE, get_u64_oneof, File, size_before, has_size_before_case),
	BYTES("exhibit.file.old_path", PART_FILE, AT(File, old_path), FIELD_ANY_PATH | FIELD_ANY_TEXT),
	PLAIN("exhibit.file.open_flags", VALUE_NUMBER, PART_FILE, get_u32_set, AT(File, open_flags)),
	PLAIN("exhibit.file.repeated", VALUE_NUMBER, PART_FILE, get_u32_set, AT(File, repeated)),
	PLAIN("exhibit.socket.namespace", VALUE_TEXT, PART_NET, get_id32_set, AT(Net, net_ns)),
	MADE("exhibit.gap.where", VALUE_TEXT, PART_GAP, get_gap_where),
	MADE("exhibit.gap.class", VALUE_TEXT, PART_GAP, get_gap_class),
	ONEOF("exhibit.gap.cpu", PART_GAP, get_u32_oneof, Gap, cpu, has_cpu_case),
	ONEOF("exhibit.gap.count", PART_GAP, get_u64_oneof, Gap, count, has_count_case),
	PLAIN("exhibit.gap.from", VALUE_TIME, PART_GAP, get_boottime, AT(Gap, from_ns)),
	PLAIN("exhibit.gap.to", VALUE_TIME, PART_GAP, get_boottime, AT(Gap, to_ns)),
	BYTES("exhibit.gap.reason", PART_GAP, AT(Gap, reason), FIELD_ANY_TEXT),
	MADE("exhibit.coverage", VALUE_TEXTS, PART_COVERAGE, get_coverage),
	BYTES("exhibit.agent.reason", PART_AGENT, AT(AgentInfo, reason), FIELD_ANY_TEXT),
	BYTES("exhibit.agent.machine_id", PART_AGENT, AT(AgentInfo, machine_id), 0),
	PLAIN("exhibit.tree.depth", VALUE_NUMBER, PART_ROW, get_u32, AT(Row, depth)),
	PLAIN("exhibit.tree.focus", VALUE_BOOL, PART_ROW, get_truth, AT(Row, focus)),
};

/* ---- the interface --------------------------------------------------------------------------------- */

const struct field *field_at(size_t i)
{
	return i < ARRAY_LEN(fields) ? &fields[i] : NULL;
}

const struct field *field_by_name(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (strlen(fields[i].name) == len && memcmp(fields[i].name, name, len) == 0)
			return &fields[i];
	return NULL;
}

const char *field_name(const struct field *f)
{
	return f->name;
}

enum value_type field_type(const struct field *f)
{
	return f->type;
}

unsigned int field_groups(const struct field *f)
{
	return f->groups;
}

bool field_get(const struct field *f, struct subject *s, struct value *ret_value)
{
	const void *message = part_of(s, f->part);

	return message && f->get(f, message, s, ret_value);
}

const char *field_nearest(const char *name, size_t len)
{
	struct suggestion s = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		suggest(&s, name, len, fields[i].name);
	return s.word;
}

const char *field_action(const Exhibit__V1__Event *e)
{
	const struct action *a = action_by_number((uint32_t)e->action);

	if (e->action == (int)ACTION_SOCKET && e->detail_case == EXHIBIT__V1__EVENT__DETAIL_NET)
		return e->net->listening ? "listen" : e->net->inbound ? "accept" : "connect";
	return a ? a->name : "unknown";
}

const char *fields_ip_text(ProtobufCBinaryData ip, char buf[static FIELDS_IP_TEXT_MAX])
{
	buf[0] = '\0';
	if (ip.len == 4 || ip.len == 16)
		(void)inet_ntop(ip.len == 4 ? AF_INET : AF_INET6, ip.data, buf, FIELDS_IP_TEXT_MAX);
	return buf;
}
