/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/fields.h"

#include <arpa/inet.h>
#include <string.h>

#include "proto/actions.h"
#include "proto/base/suggest.h"
#include "proto/fields_internal.h"

/* ---- messages ------------------------------------------------------------------------------------ */

static const void *detail(const Exhibit__V1__Event *e, Exhibit__V1__Event__DetailCase which)
{
	/* One union: every member is a pointer to its message. */
	return e->detail_case == which ? (const void *)e->exec : NULL;
}

static const void *part_of(const struct subject *s, enum part part)
{
	const Exhibit__V1__Event *e = s->event;
	const Exhibit__V1__Exec *exec = detail(e, EXHIBIT__V1__EVENT__DETAIL_EXEC);
	bool image = e->action == (int)ACTION_EXEC || e->action == (int)ACTION_FORK ||
		     e->action == (int)ACTION_PROCESS;

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
	case PART_ORDER:
		return detail(e, EXHIBIT__V1__EVENT__DETAIL_ORDER);
	case PART_ROW:
		return s->row;
	}
	return NULL;
}

/* ---- the table ------------------------------------------------------------------------------------- */

#define AT(Message, member) offsetof(Exhibit__V1__##Message, member)
#define BYTES(name, part, at, groups)                                                              \
	{                                                                                          \
		name, VALUE_TEXT, part, field_get_bytes, at, 0, (groups) | FIELD_VERBATIM          \
	}
#define MADE(name, type, part, get)                                                                \
	{                                                                                          \
		name, type, part, get, 0, 0, 0                                                     \
	}
#define PLAIN(name, type, part, get, at)                                                           \
	{                                                                                          \
		name, type, part, get, at, 0, 0                                                    \
	}
#define ONEOF(name, part, get, Message, member, presence)                                          \
	{                                                                                          \
		name, VALUE_NUMBER, part, get, AT(Message, member), AT(Message, presence), 0       \
	}
#define FLAG(name, flag)                                                                           \
	{                                                                                          \
		name, VALUE_BOOL, PART_EVENT, field_get_flag, flag, 0, 0                           \
	}

/* Names with a common beginning stand together: fields_write_json opens each object once. */
static const struct field fields[] = {
	PLAIN("@timestamp", VALUE_TIME, PART_EVENT, field_get_boottime, AT(Event, boottime_ns)),
	MADE("event.id", VALUE_TEXT, PART_CONTEXT, field_get_event_id),
	PLAIN("event.sequence", VALUE_NUMBER, PART_EVENT, field_get_u64, AT(Event, sequence)),
	MADE("event.kind", VALUE_TEXT, PART_EVENT, field_get_kind),
	MADE("event.category", VALUE_TEXTS, PART_EVENT, field_get_category),
	MADE("event.type", VALUE_TEXTS, PART_EVENT, field_get_type),
	MADE("event.action", VALUE_TEXT, PART_EVENT, field_get_action),
	MADE("event.outcome", VALUE_TEXT, PART_EVENT, field_get_outcome),
	PLAIN("event.ingested", VALUE_TIME, PART_CONTEXT, field_get_time,
	      AT(BatchContext, ingested_ns)),
	ONEOF("event.duration", PART_NET, field_get_u64_oneof, Net, duration_ns, has_duration_case),
	BYTES("host.id", PART_CONTEXT, AT(BatchContext, host_id), 0),
	BYTES("host.name", PART_CONTEXT, AT(BatchContext, host_name), 0),
	PLAIN("host.boot.id", VALUE_TEXT, PART_CONTEXT, field_get_boot, AT(BatchContext, boot_id)),
	BYTES("host.architecture", PART_AGENT, AT(AgentInfo, machine), 0),
	BYTES("host.os.kernel", PART_AGENT, AT(AgentInfo, kernel), 0),
	BYTES("agent.version", PART_AGENT, AT(AgentInfo, version), 0),
	MADE("process.entity_id", VALUE_TEXT, PART_KEY, field_get_entity),
	PLAIN("process.pid", VALUE_NUMBER, PART_KEY, field_get_u32_set, AT(ImageKey, pid)),
	PLAIN("process.thread.id", VALUE_NUMBER, PART_EVENT, field_get_u32_set,
	      AT(Event, thread_id)),
	MADE("process.thread.capabilities.effective", VALUE_TEXTS, PART_IMAGE,
	     field_get_capabilities),
	BYTES("process.name", PART_PROCESS, AT(Process, name), FIELD_ANY_TEXT),
	BYTES("process.executable", PART_PROCESS, AT(Process, executable),
	      FIELD_ANY_PATH | FIELD_ANY_TEXT),
	{ "process.args", VALUE_TEXTS, PART_PROCESS, field_get_args, 0, 0, FIELD_VERBATIM },
	MADE("process.args_count", VALUE_NUMBER, PART_PROCESS, field_get_args_count),
	{ "process.command_line", VALUE_TEXT, PART_PROCESS, field_get_command_line, 0, 0,
	  FIELD_ANY_TEXT },
	BYTES("process.working_directory", PART_PROCESS, AT(Process, working_directory),
	      FIELD_ANY_TEXT),
	PLAIN("process.start", VALUE_TIME, PART_KEY, field_get_boottime, AT(ImageKey, start_ns)),
	PLAIN("process.end", VALUE_TIME, PART_ROW, field_get_time, AT(Row, exited_ns)),
	MADE("process.exit_code", VALUE_NUMBER, PART_EXIT, field_get_exit_code),
	PLAIN("process.user.id", VALUE_TEXT, PART_PROCESS, field_get_id32, AT(Process, uid)),
	BYTES("process.user.name", PART_PROCESS, AT(Process, user_name), FIELD_ANY_TEXT),
	PLAIN("process.group.id", VALUE_TEXT, PART_PROCESS, field_get_id32, AT(Process, gid)),
	MADE("process.parent.entity_id", VALUE_TEXT, PART_PARENT, field_get_entity),
	PLAIN("process.parent.pid", VALUE_NUMBER, PART_PARENT, field_get_u32_set,
	      AT(ImageKey, pid)),
	BYTES("process.parent.name", PART_PROCESS, AT(Process, parent_name), FIELD_ANY_TEXT),
	BYTES("process.parent.executable", PART_PROCESS, AT(Process, parent_executable),
	      FIELD_ANY_TEXT),
	BYTES("container.id", PART_PROCESS, AT(Process, container_id), FIELD_ANY_TEXT),
	BYTES("container.name", PART_PROCESS, AT(Process, container_name), FIELD_ANY_TEXT),
	BYTES("container.image.name", PART_PROCESS, AT(Process, image_name), FIELD_ANY_TEXT),
	BYTES("container.runtime", PART_PROCESS, AT(Process, runtime), 0),
	BYTES("orchestrator.namespace", PART_PROCESS, AT(Process, pod_namespace), FIELD_ANY_TEXT),
	BYTES("orchestrator.resource.name", PART_PROCESS, AT(Process, pod_name), FIELD_ANY_TEXT),
	BYTES("orchestrator.resource.id", PART_PROCESS, AT(Process, pod_uid), FIELD_ANY_TEXT),
	BYTES("service.name", PART_PROCESS, AT(Process, unit), FIELD_ANY_TEXT),
	BYTES("file.path", PART_FILE, AT(File, path), FIELD_ANY_PATH | FIELD_ANY_TEXT),
	PLAIN("file.inode", VALUE_TEXT, PART_FILE, field_get_id64_set, AT(File, inode)),
	PLAIN("file.device", VALUE_TEXT, PART_FILE, field_get_device, AT(File, device)),
	ONEOF("file.size", PART_FILE, field_get_u64_oneof, File, size, has_size_case),
	PLAIN("file.mode", VALUE_TEXT, PART_FILE, field_get_mode, AT(File, mode)),
	PLAIN("file.uid", VALUE_TEXT, PART_FILE, field_get_owner, AT(File, uid)),
	PLAIN("file.gid", VALUE_TEXT, PART_FILE, field_get_owner, AT(File, gid)),
	{ "source.ip", VALUE_IP, PART_NET, field_get_ip, AT(Net, source_ip), 0, FIELD_ANY_IP },
	{ "source.port", VALUE_NUMBER, PART_NET, field_get_u32_set, AT(Net, source_port), 0,
	  FIELD_ANY_PORT },
	ONEOF("source.bytes", PART_NET, field_get_u64_oneof, Net, source_bytes,
	      has_source_bytes_case),
	PLAIN("source.packets", VALUE_NUMBER, PART_NET, field_get_u64_set, AT(Net, source_packets)),
	{ "destination.ip", VALUE_IP, PART_NET, field_get_ip, AT(Net, destination_ip), 0,
	  FIELD_ANY_IP },
	{ "destination.port", VALUE_NUMBER, PART_NET, field_get_u32_set, AT(Net, destination_port),
	  0, FIELD_ANY_PORT },
	ONEOF("destination.bytes", PART_NET, field_get_u64_oneof, Net, destination_bytes,
	      has_destination_bytes_case),
	PLAIN("destination.packets", VALUE_NUMBER, PART_NET, field_get_u64_set,
	      AT(Net, destination_packets)),
	MADE("network.transport", VALUE_TEXT, PART_NET, field_get_transport),
	MADE("network.type", VALUE_TEXT, PART_NET, field_get_network_type),
	MADE("network.direction", VALUE_TEXT, PART_NET, field_get_direction),
	MADE("exhibit.class", VALUE_TEXT, PART_EVENT, field_get_class),
	MADE("exhibit.lane", VALUE_TEXT, PART_CONTEXT, field_get_lane),
	PLAIN("exhibit.conflict", VALUE_BOOL, PART_CONTEXT, field_get_truth,
	      AT(BatchContext, conflict)),
	MADE("exhibit.hook", VALUE_TEXT, PART_EVENT, field_get_hook),
	PLAIN("exhibit.tier", VALUE_NUMBER, PART_EVENT, field_get_u32, AT(Event, tier)),
	MADE("exhibit.via", VALUE_TEXT, PART_EVENT, field_get_via),
	MADE("exhibit.existing", VALUE_BOOL, PART_EVENT, field_get_existing),
	FLAG("exhibit.truncated", EVENT_TRUNCATED),
	FLAG("exhibit.incomplete", EVENT_INCOMPLETE),
	MADE("exhibit.error", VALUE_TEXT, PART_EVENT, field_get_error),
	PLAIN("exhibit.boottime_ns", VALUE_NUMBER, PART_EVENT, field_get_u64,
	      AT(Event, boottime_ns)),
	PLAIN("exhibit.signal", VALUE_NUMBER, PART_EXIT, field_get_u32_set, AT(Exit, signal)),
	FLAG("exhibit.exec_session", EVENT_EXEC_SESSION),
	BYTES("exhibit.session.id", PART_PROCESS, AT(Process, session), 0),
	PLAIN("exhibit.args_bytes", VALUE_NUMBER, PART_IMAGE, field_get_u64_set,
	      AT(Process, args_bytes)),
	PLAIN("exhibit.executable.inode", VALUE_TEXT, PART_IMAGE, field_get_id64_set,
	      AT(Process, inode)),
	PLAIN("exhibit.executable.device", VALUE_TEXT, PART_IMAGE, field_get_device,
	      AT(Process, device)),
	FLAG("exhibit.executable.deleted", EVENT_EXE_DELETED),
	FLAG("exhibit.executable.memfd", EVENT_EXE_MEMFD),
	BYTES("exhibit.exec.filename", PART_EXEC, AT(Exec, filename),
	      FIELD_ANY_PATH | FIELD_ANY_TEXT),
	MADE("exhibit.replaced.entity_id", VALUE_TEXT, PART_REPLACED, field_get_entity),
	PLAIN("exhibit.cgroup.id", VALUE_TEXT, PART_PROCESS, field_get_id64_set,
	      AT(Process, cgroup_id)),
	BYTES("exhibit.cgroup.path", PART_PROCESS, AT(Process, cgroup_path), FIELD_ANY_TEXT),
	PLAIN("exhibit.namespace.mnt", VALUE_TEXT, PART_PROCESS, field_get_id32_set,
	      AT(Process, mnt_ns)),
	PLAIN("exhibit.namespace.pid", VALUE_TEXT, PART_PROCESS, field_get_id32_set,
	      AT(Process, pid_ns)),
	PLAIN("exhibit.namespace.net", VALUE_TEXT, PART_PROCESS, field_get_id32_set,
	      AT(Process, net_ns)),
	PLAIN("exhibit.namespace.user", VALUE_TEXT, PART_PROCESS, field_get_id32_set,
	      AT(Process, user_ns)),
	ONEOF("exhibit.file.size_before", PART_FILE, field_get_u64_oneof, File, size_before,
	      has_size_before_case),
	BYTES("exhibit.file.old_path", PART_FILE, AT(File, old_path),
	      FIELD_ANY_PATH | FIELD_ANY_TEXT),
	PLAIN("exhibit.file.open_flags", VALUE_NUMBER, PART_FILE, field_get_u32_set,
	      AT(File, open_flags)),
	PLAIN("exhibit.file.repeated", VALUE_NUMBER, PART_FILE, field_get_u32_set,
	      AT(File, repeated)),
	PLAIN("exhibit.socket.namespace", VALUE_TEXT, PART_NET, field_get_id32_set,
	      AT(Net, net_ns)),
	MADE("exhibit.gap.where", VALUE_TEXT, PART_GAP, field_get_gap_where),
	MADE("exhibit.gap.class", VALUE_TEXT, PART_GAP, field_get_gap_class),
	ONEOF("exhibit.gap.cpu", PART_GAP, field_get_u32_oneof, Gap, cpu, has_cpu_case),
	ONEOF("exhibit.gap.count", PART_GAP, field_get_u64_oneof, Gap, count, has_count_case),
	PLAIN("exhibit.gap.from", VALUE_TIME, PART_GAP, field_get_boottime, AT(Gap, from_ns)),
	PLAIN("exhibit.gap.to", VALUE_TIME, PART_GAP, field_get_boottime, AT(Gap, to_ns)),
	BYTES("exhibit.gap.reason", PART_GAP, AT(Gap, reason), FIELD_ANY_TEXT),
	MADE("exhibit.coverage", VALUE_TEXTS, PART_COVERAGE, field_get_coverage),
	BYTES("exhibit.agent.reason", PART_AGENT, AT(AgentInfo, reason), FIELD_ANY_TEXT),
	BYTES("exhibit.agent.machine_id", PART_AGENT, AT(AgentInfo, machine_id), 0),
	PLAIN("exhibit.order.id", VALUE_TEXT, PART_ORDER, field_get_hex, AT(OrderInfo, order_id)),
	MADE("exhibit.order.kind", VALUE_TEXT, PART_ORDER, field_get_order_kind),
	MADE("exhibit.order.state", VALUE_TEXT, PART_ORDER, field_get_order_state),
	BYTES("exhibit.order.reason", PART_ORDER, AT(OrderInfo, reason), FIELD_ANY_TEXT),
	BYTES("exhibit.order.requester", PART_ORDER, AT(OrderInfo, requester), FIELD_ANY_TEXT),
	BYTES("exhibit.order.case", PART_ORDER, AT(OrderInfo, case_id), FIELD_ANY_TEXT),
	PLAIN("exhibit.order.sha256", VALUE_TEXT, PART_ORDER, field_get_hex,
	      AT(OrderInfo, order_sha256)),
	BYTES("exhibit.order.actor", PART_ORDER, AT(OrderInfo, actor), FIELD_ANY_TEXT),
	PLAIN("exhibit.order.certificate", VALUE_TEXT, PART_ORDER, field_get_hex,
	      AT(OrderInfo, certificate_sha256)),
	PLAIN("exhibit.order.signed", VALUE_TIME, PART_ORDER, field_get_time,
	      AT(OrderInfo, signed_ns)),
	PLAIN("exhibit.order.exhibit", VALUE_TEXT, PART_ORDER, field_get_hex,
	      AT(OrderInfo, exhibit_id)),
	PLAIN("exhibit.order.bytes", VALUE_NUMBER, PART_ORDER, field_get_u64_set,
	      AT(OrderInfo, bytes)),
	PLAIN("exhibit.order.manifest", VALUE_TEXT, PART_ORDER, field_get_hex,
	      AT(OrderInfo, manifest_sha256)),
	PLAIN("exhibit.tree.depth", VALUE_NUMBER, PART_ROW, field_get_u32, AT(Row, depth)),
	PLAIN("exhibit.tree.ended_unwatched", VALUE_BOOL, PART_ROW, field_get_truth,
	      AT(Row, ended_unwatched)),
	PLAIN("exhibit.tree.focus", VALUE_BOOL, PART_ROW, field_get_truth, AT(Row, focus)),
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
