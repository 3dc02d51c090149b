/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/actions.h"
#include "proto/fields.h"
#include "proto/json.h"

#define B(text) ((ProtobufCBinaryData){ sizeof(text) - 1, (uint8_t *)(uintptr_t)(text) })

/* One row of each kind, sharing context and process. */
struct world {
	Exhibit__V1__BatchContext context;
	Exhibit__V1__ImageKey key, parent, replaced;
	Exhibit__V1__Process process;
	ProtobufCBinaryData args[2];
	Exhibit__V1__Exec exec;
	Exhibit__V1__Exit exit;
	Exhibit__V1__File file;
	Exhibit__V1__Net net;
	Exhibit__V1__Gap gap;
	Exhibit__V1__OrderInfo order;
	Exhibit__V1__Event event;
	struct arena *arena;
};

static void world_init(struct world *w)
{
	exhibit__v1__batch_context__init(&w->context);
	w->context.tenant = B("t");
	w->context.host_id = B("h1");
	w->context.host_name = B("web-1");
	w->context.boot_id = B("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff");
	w->context.epoch = B("\x01\x02");
	w->context.lane = EXHIBIT__V1__LANE__LANE_CRITICAL;
	w->context.offset_ns = 1000000000;
	w->context.ingested_ns = 5000000000;
	exhibit__v1__image_key__init(&w->key);
	w->key = (Exhibit__V1__ImageKey){ w->key.base, 42, 7, 3 };
	exhibit__v1__image_key__init(&w->parent);
	w->parent = (Exhibit__V1__ImageKey){ w->parent.base, 1, 2, 1 };
	exhibit__v1__process__init(&w->process);
	w->args[0] = B("ls");
	w->args[1] = B("-l\xff");
	w->process.key = &w->key;
	w->process.parent = &w->parent;
	w->process.name = B("ls");
	w->process.executable = B("/bin/ls");
	w->process.args = w->args;
	w->process.n_args = 2;
	w->process.args_bytes = 7;
	w->process.uid = 0;
	w->process.cap_effective = 1u << 0 | 1u << 21;
	w->process.inode = 99;
	w->process.device = 8 << 8 | 1;
	exhibit__v1__exec__init(&w->exec);
	exhibit__v1__order_info__init(&w->order);
	exhibit__v1__exit__init(&w->exit);
	exhibit__v1__file__init(&w->file);
	exhibit__v1__net__init(&w->net);
	exhibit__v1__gap__init(&w->gap);
	exhibit__v1__event__init(&w->event);
	w->event.sequence = 17;
	w->event.boottime_ns = 2000000000;
	w->event.process = 1;
	w->arena = arena_new(MiB(1), MiB(1));
	assert_non_null(w->arena);
}

static void as_exec(struct world *w)
{
	w->event.action = EXHIBIT__V1__ACTION__ACTION_EXEC;
	w->event.class_ = EXHIBIT__V1__CLASS__CLASS_EXEC;
	w->event.detail_case = EXHIBIT__V1__EVENT__DETAIL_EXEC;
	w->event.exec = &w->exec;
}

static void as_container(struct world *w)
{
	as_exec(w);
	w->process.container_id = B("c1");
	w->process.container_name = B("main");
	w->process.image_name = B("exhibit.test/a:1");
	w->process.runtime = B("containerd");
	w->process.pod_name = B("web-0");
	w->process.pod_namespace = B("shop");
	w->process.pod_uid = B("0b5f-1");
	w->process.session = B("3");
	w->event.flags = EVENT_EXEC_SESSION;
}

static void as_existing(struct world *w)
{
	as_exec(w);
	w->event.action = EXHIBIT__V1__ACTION__ACTION_PROCESS;
}

static void as_exit(struct world *w)
{
	w->exit.code = 3;
	w->event.action = EXHIBIT__V1__ACTION__ACTION_EXIT;
	w->event.detail_case = EXHIBIT__V1__EVENT__DETAIL_EXIT;
	w->event.exit = &w->exit;
}

static void as_killed(struct world *w)
{
	as_exit(w);
	w->exit.signal = 9;
}

static void as_modify(struct world *w)
{
	w->file.path = B("/tmp/x");
	w->file.inode = 12;
	w->file.has_size_case = EXHIBIT__V1__FILE__HAS_SIZE_SIZE;
	w->file.size = 0;
	w->file.mode = 0100640;
	w->event.action = EXHIBIT__V1__ACTION__ACTION_MODIFY;
	w->event.detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
	w->event.file = &w->file;
}

static void as_unlink(struct world *w)
{
	as_modify(w);
	w->file.inode = 0;
	w->file.mode = 0;
	w->file.has_size_case = EXHIBIT__V1__FILE__HAS_SIZE__NOT_SET;
	w->event.action = EXHIBIT__V1__ACTION__ACTION_UNLINK;
}

static void as_connect(struct world *w)
{
	w->net.transport = 6;
	w->net.source_ip = B("\x7f\x00\x00\x01");
	w->net.destination_ip = B("\x0a\x00\x00\x02");
	w->net.source_port = 40000;
	w->net.destination_port = 443;
	w->event.action = EXHIBIT__V1__ACTION__ACTION_CONNECT;
	w->event.detail_case = EXHIBIT__V1__EVENT__DETAIL_NET;
	w->event.net = &w->net;
}

static void as_existing_listener(struct world *w)
{
	as_connect(w);
	w->net.listening = true;
	w->event.action = EXHIBIT__V1__ACTION__ACTION_SOCKET;
}

static void as_existing_accepted(struct world *w)
{
	as_connect(w);
	w->net.inbound = true;
	w->event.action = EXHIBIT__V1__ACTION__ACTION_SOCKET;
}

static void as_gap(struct world *w)
{
	w->gap.where = EXHIBIT__V1__GAP_WHERE__GAP_RING;
	w->gap.class_ = EXHIBIT__V1__CLASS__CLASS_EXEC;
	w->gap.from_ns = 1;
	w->event.action = EXHIBIT__V1__ACTION__ACTION_GAP;
	w->event.class_ = EXHIBIT__V1__CLASS__CLASS_AGENT;
	w->event.detail_case = EXHIBIT__V1__EVENT__DETAIL_GAP;
	w->event.gap = &w->gap;
}

static void as_order(struct world *w)
{
	w->order.order_id = B("\x01\xff");
	w->order.kind = EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY;
	w->order.state = EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED;
	w->order.reason = B("no");
	w->event.action = EXHIBIT__V1__ACTION__ACTION_ORDER;
	w->event.class_ = EXHIBIT__V1__CLASS__CLASS_AGENT;
	w->event.error = 13;
	w->event.detail_case = EXHIBIT__V1__EVENT__DETAIL_ORDER;
	w->event.order = &w->order;
}

static void as_order_made(struct world *w)
{
	as_order(w);
	w->order.actor = B("ann");
	w->order.certificate_sha256 = B("\x02");
	w->order.signed_ns = 1000000000;
}

static void as_tamper(struct world *w)
{
	as_order(w);
	w->event.action = EXHIBIT__V1__ACTION__ACTION_TAMPER;
}

static void as_conflict(struct world *w)
{
	as_exec(w);
	w->context.conflict = true;
}

static void as_unknown(struct world *w)
{
	w->event.action = (Exhibit__V1__Action)9999;
	w->event.class_ = (Exhibit__V1__Class)99;
}

static const struct row {
	const char *name;
	void (*fill)(struct world *w);
	bool nobody;
	const char *want; /* must stand in the JSON */
	const char *never; /* must not */
} rows[] = {
	{ "unknown action is shown", as_unknown, .want = "\"action\":\"unknown\"" },
	{ "another batch under the same number", as_conflict,
	  .want = "\"lane\":\"critical\",\"conflict\":true" },
	{ "the one batch under its number", as_exec, .want = "\"lane\":\"critical\",",
	  .never = "conflict" },
	{ "no process", as_gap, .nobody = true,
	  .want = "\"gap\":{\"where\":\"ring\",\"class\":\"exec\",", .never = "\"process\"" },
	{ "unknown count is absent", as_gap, .want = "\"from\":\"1970-01-01T00:00:01.000000001Z\"",
	  .never = "\"count\"" },
	{ "gap has no outcome", as_gap, .want = "\"kind\":\"pipeline_error\"", .never = "outcome" },
	{ "an order", as_order, .nobody = true,
	  .want = "\"order\":{\"id\":\"01ff\",\"kind\":\"memory\",\"state\":\"refused\","
		  "\"reason\":\"no\"}" },
	{ "who signed an order", as_order_made,
	  .want = "\"actor\":\"ann\",\"certificate\":\"02\","
		  "\"signed\":\"1970-01-01T00:00:01.000000000Z\"" },
	{ "a refused order failed", as_order, .want = "\"outcome\":\"failure\"" },
	{ "tampering is an alert", as_tamper, .want = "\"kind\":\"alert\"" },
	{ "time", as_exec, .want = "{\"@timestamp\":\"1970-01-01T00:00:03.000000000Z\"" },
	{ "event id", as_exec,
	  .want = "\"id\":\"h1/00112233445566778899aabbccddeeff/0102/critical/17\"" },
	{ "boot id as a UUID", as_exec,
	  .want = "\"host\":{\"id\":\"h1\",\"name\":\"web-1\",\"boot\":{\"id\":\"00112233-4455-6677-8899-aabbccddeeff\"}}" },
	{ "entity id", as_exec,
	  .want = "\"process\":{\"entity_id\":\"00112233445566778899aabbccddeeff-42-7-3\",\"pid\":42" },
	{ "parent", as_exec,
	  .want = "\"parent\":{\"entity_id\":\"00112233445566778899aabbccddeeff-1-2-1\",\"pid\":1}" },
	{ "args with base64", as_exec,
	  .want = "\"args\":[\"ls\",\"-l\xef\xbf\xbd\"],\"args_base64\":[null,\"LWz/\"],\"args_count\":2," },
	{ "command line", as_exec,
	  .want = "\"command_line\":\"ls -l\xef\xbf\xbd\",\"command_line_base64\":\"bHMgLWz/\"" },
	{ "uid 0 is text", as_exec, .want = "\"user\":{\"id\":\"0\"}" },
	{ "capabilities", as_exec,
	  .want = "\"capabilities\":{\"effective\":[\"CAP_CHOWN\",\"CAP_SYS_ADMIN\"]}" },
	{ "executable's inode", as_exec,
	  .want = "\"executable\":{\"inode\":\"99\",\"device\":\"8:1\"}" },
	{ "container", as_container,
	  .want = "\"container\":{\"id\":\"c1\",\"name\":\"main\",\"image\":{\"name\":\"exhibit.test/a:1\"},"
		  "\"runtime\":\"containerd\"}" },
	{ "pod", as_container,
	  .want = "\"orchestrator\":{\"namespace\":\"shop\",\"resource\":{\"name\":\"web-0\","
		  "\"id\":\"0b5f-1\"}}" },
	{ "exec session", as_container, .want = "\"exec_session\":true" },
	{ "no exec session", as_exec, .want = "\"exec\"", .never = "exec_session" },
	{ "login session", as_container, .want = "\"session\":{\"id\":\"3\"}" },
	{ "not for other events", as_exit, .never = "capabilities", .want = "\"exit_code\":3" },
	{ "killed has no code", as_killed, .want = "\"signal\":9", .never = "exit_code" },
	{ "existing process is an exec", as_existing, .want = "\"action\":\"exec\"" },
	{ "existing is said", as_existing, .want = "\"existing\":true" },
	{ "an exec is not existing", as_exec, .want = "\"kind\":\"event\"", .never = "existing" },
	{ "size 0 is known", as_modify, .want = "\"size\":0,\"mode\":\"0640\"",
	  .never = "size_before" },
	{ "owner root is known", as_modify,
	  .want = "\"mode\":\"0640\",\"uid\":\"0\",\"gid\":\"0\"" },
	{ "owner of what is gone is absent", as_unlink, .want = "\"file\":{\"path\":\"/tmp/x\"}" },
	{ "a connect that began has no outcome yet", as_connect,
	  .want = "\"outcome\":\"unknown\"" },
	{ "an existing connection succeeded", as_existing_accepted,
	  .want = "\"outcome\":\"success\"" },
	{ "connection", as_connect,
	  .want = "\"source\":{\"ip\":\"127.0.0.1\",\"port\":40000},\"destination\":{\"ip\":\"10.0.0.2\",\"port\":443},\"network\":{\"transport\":\"tcp\",\"type\":\"ipv4\",\"direction\":\"egress\"}",
	  .never = "bytes" },
	{ "existing listener", as_existing_listener, .want = "\"action\":\"listen\"",
	  .never = "direction" },
	{ "existing accepted", as_existing_accepted, .want = "\"action\":\"accept\"" },
};

static void run_row(void **state)
{
	const struct row *row = *state;
	struct world w = { 0 };
	struct subject s;
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);
	struct json j = json_init(f);

	world_init(&w);
	row->fill(&w);
	s = (struct subject){ &w.context, &w.event, row->nobody ? NULL : &w.process, w.arena,
			      .failed = false };
	fields_write_json(&j, &s);
	assert_int_equal(fclose(f), 0);
	assert_false(s.failed || j.bad);
	if (!strstr(out, row->want) || (row->never && strstr(out, row->never)))
		fail_msg("%s: %s", row->name, out);
	free(out);
	arena_free(w.arena);
}

/* Each object is opened once: names that share a beginning stand together. */
static void names_are_grouped_and_unique(void **state)
{
	const struct field *f, *g;

	(void)state;
	for (size_t i = 0; (f = field_at(i)); i++) {
		const char *name = field_name(f);

		assert_ptr_equal(field_by_name(name, strlen(name)), f);
		for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
			size_t prefix = (size_t)(dot - name) + 1;
			bool left = false;

			for (size_t k = i + 1; (g = field_at(k)); k++) {
				bool same = strncmp(field_name(g), name, prefix) == 0;

				if (left && same)
					fail_msg("%s stands apart from %s", field_name(g), name);
				left |= !same;
				/* A value and an object cannot share a name. */
				assert_false(strlen(field_name(g)) == prefix - 1 &&
					     strncmp(field_name(g), name, prefix - 1) == 0);
			}
		}
	}
}

static void a_full_arena_is_told(void **state)
{
	struct world w = { 0 };
	struct arena *tiny = arena_new(16, 0);
	struct subject s;
	struct value v;

	(void)state;
	world_init(&w);
	as_exec(&w);
	s = (struct subject){ &w.context, &w.event, &w.process, tiny, .failed = false };
	assert_false(field_get(field_by_name("process.entity_id", 17), &s, &v));
	assert_true(s.failed);
	arena_free(tiny);
	arena_free(w.arena);
}

static void nearest_name(void **state)
{
	(void)state;
	assert_string_equal(field_nearest("proces.pid", 10), "process.pid");
	assert_string_equal(field_nearest("file.paht", 9), "file.path");
	assert_null(field_nearest("zzzzzzzzzzzz", 12));
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 3];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, run_row, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] = (struct CMUnitTest)cmocka_unit_test(names_are_grouped_and_unique);
	tests[ARRAY_LEN(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(a_full_arena_is_told);
	tests[ARRAY_LEN(rows) + 2] = (struct CMUnitTest)cmocka_unit_test(nearest_name);
	return cmocka_run_group_tests_name("fields", tests, NULL, NULL);
}
