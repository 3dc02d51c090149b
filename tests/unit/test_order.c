/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of orders: what is refused before anybody looks at a signature. */
#include "tests/unit/orders.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <string.h>

#define KIND(word) EXHIBIT__V1__ORDER_KIND__ORDER_##word
#define A97                                                                                        \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static char long_text[5000];

static void version(struct order_kit *t)
{
	t->o.version = 2;
}
static void tenant(struct order_kit *t)
{
	t->o.tenant = orders_text("../x");
}
static void short_id(struct order_kit *t)
{
	t->o.order_id.len = 15;
}
static void kind_zero(struct order_kit *t)
{
	t->o.kind = KIND(UNKNOWN);
}
static void kind_new(struct order_kit *t)
{
	t->o.kind = (Exhibit__V1__OrderKind)99;
}
static void kind_negative(struct order_kit *t)
{
	t->o.kind = (Exhibit__V1__OrderKind)-1;
}
static void kind_other(struct order_kit *t)
{
	t->o.kind = KIND(MEMORY);
	t->o.process = NULL;
}
static void detail_none(struct order_kit *t)
{
	t->o.detail_case = EXHIBIT__V1__ORDER__DETAIL__NOT_SET;
}
static void no_host(struct order_kit *t)
{
	t->o.n_hosts = 0;
}
static void many_hosts(struct order_kit *t)
{
	static char names[ORDER_HOSTS_MAX + 1][8];

	t->o.n_hosts = ORDER_HOSTS_MAX + 1;
	for (size_t i = 0; i < t->o.n_hosts; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "h%zu", i);
		t->hosts[i] = orders_text(names[i]);
	}
}
static void host_twice(struct order_kit *t)
{
	t->hosts[1] = t->hosts[0];
	t->o.n_hosts = 2;
}
static void host_path(struct order_kit *t)
{
	t->hosts[0] = orders_text("a/b");
}
static void no_case(struct order_kit *t)
{
	t->o.case_id = orders_text("");
}
static void case_path(struct order_kit *t)
{
	t->o.case_id = orders_text("../../etc");
}
static void case_long(struct order_kit *t)
{
	t->o.case_id = orders_text(A97);
}
static void no_reason(struct order_kit *t)
{
	t->o.reason = orders_text("");
}
static void reason_lines(struct order_kit *t)
{
	t->o.reason = orders_text("a\nb");
}
static void reason_escape(struct order_kit *t)
{
	t->o.reason = orders_text("\x1b[2J");
}
static void reason_c1(struct order_kit *t)
{
	t->o.reason = orders_text("\xc2\x9b"
				  "2J");
}
static void reason_bytes(struct order_kit *t)
{
	t->o.reason = orders_text("\xff");
}
static void reason_long(struct order_kit *t)
{
	t->o.reason = (ProtobufCBinaryData){ 1001, (uint8_t *)long_text };
}
static void requester_none(struct order_kit *t)
{
	t->o.requester = orders_text("ann");
}
static void requester_host(struct order_kit *t)
{
	t->o.requester = orders_text("spiffe://example.org/acme/host/ann");
}
static void both_targets(struct order_kit *t)
{
	t->o.container_id = orders_text("abc");
}
static void container_path(struct order_kit *t)
{
	t->o.process = NULL;
	t->o.container_id = orders_text("../abc");
}
static void container_long(struct order_kit *t)
{
	t->o.process = NULL;
	t->o.container_id = (ProtobufCBinaryData){ 129, (uint8_t *)long_text };
}
static void pid_zero(struct order_kit *t)
{
	t->process.pid = 0;
}
static void pid_high(struct order_kit *t)
{
	t->process.pid = 4194305;
}
static void boot_short(struct order_kit *t)
{
	t->process.boot_id = (ProtobufCBinaryData){ 15, (uint8_t *)long_text };
}
static void start_alone(struct order_kit *t)
{
	t->process.start_ns = 1;
}
static void core_of_host(struct order_kit *t)
{
	t->o.process = NULL;
}
static void memory_of_process(struct order_kit *t)
{
	orders_kind(t, KIND(MEMORY));
	t->o.process = &t->process;
}
static void changes_of_host(struct order_kit *t)
{
	orders_kind(t, KIND(CHANGES));
	t->o.container_id.len = 0;
}
static void disk_of_container(struct order_kit *t)
{
	orders_kind(t, KIND(DISK));
	t->o.container_id = orders_text("abc");
}
static void expires_early(struct order_kit *t)
{
	t->o.expires_ns = t->o.made_ns;
}
static void expires_before_start(struct order_kit *t)
{
	t->o.not_before_ns = t->o.expires_ns;
}
static void life_long(struct order_kit *t)
{
	t->o.expires_ns = t->o.made_ns + (int64_t)ORDER_LIFE_MAX_NS + 1;
}
static void made_negative(struct order_kit *t)
{
	t->o.made_ns = -1;
}
static void made_lowest(struct order_kit *t)
{
	t->o.made_ns = INT64_MIN;
	t->o.expires_ns = INT64_MAX;
}
static void start_negative(struct order_kit *t)
{
	t->o.not_before_ns = -1;
}
static void seconds_long(struct order_kit *t)
{
	t->limits.max_seconds = 7 * 86400 + 1;
	t->o.limits = &t->limits;
}
static void no_file(struct order_kit *t)
{
	orders_kind(t, KIND(FILES));
	t->files.n_paths = 0;
}
static void many_files(struct order_kit *t)
{
	orders_kind(t, KIND(FILES));
	t->files.n_paths = 257;
	for (size_t i = 0; i < 257; i++)
		t->paths[i] = orders_text("/a");
}
static void file_at(struct order_kit *t, const char *path)
{
	orders_kind(t, KIND(FILES));
	t->paths[0] = orders_text(path);
}
static void file_relative(struct order_kit *t)
{
	file_at(t, "etc/passwd");
}
static void file_empty(struct order_kit *t)
{
	file_at(t, "");
}
static void file_up(struct order_kit *t)
{
	file_at(t, "/a/../etc");
}
static void file_up_end(struct order_kit *t)
{
	file_at(t, "/a/..");
}
static void file_nul(struct order_kit *t)
{
	file_at(t, "/a");
	t->paths[0] = (ProtobufCBinaryData){ 4, (uint8_t *)(uintptr_t) "/a\0b" };
}
static void file_long(struct order_kit *t)
{
	file_at(t, "/a");
	long_text[0] = '/';
	t->paths[0] = (ProtobufCBinaryData){ 4097, (uint8_t *)long_text };
}
static void packets_filter(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.filter = (ProtobufCBinaryData){ 4097, (uint8_t *)long_text };
}
static void packets_nul(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.filter = (ProtobufCBinaryData){ 3, (uint8_t *)(uintptr_t) "a\0b" };
}
static void packets_snap(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.snap_bytes = 262145;
}
static void packets_seconds(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.seconds = 7 * 86400 + 1;
}
static void packets_before(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.before_seconds = 86401;
}
static void packets_interface(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.interface = orders_text("a/b");
}
static void packets_interface_long(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.interface = orders_text("aaaaaaaaaaaaaaaa");
}
static void disk_elsewhere(struct order_kit *t)
{
	orders_kind(t, KIND(DISK));
	t->disk.device = orders_text("/etc/shadow");
}
static void disk_up(struct order_kit *t)
{
	orders_kind(t, KIND(DISK));
	t->disk.device = orders_text("/dev/../etc/shadow");
}
static void disk_none(struct order_kit *t)
{
	orders_kind(t, KIND(DISK));
	t->disk.device = orders_text("/dev/");
}
static void arrest_nothing(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN__NOT_SET;
}
static void arrest_all(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX;
	t->arrest.prefix = orders_text("/");
}
static void arrest_relative(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.path = orders_text("sh");
}
static void arrest_inode(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE;
	t->arrest.file = &t->file;
}
static void arrest_many(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.max_stops = 65;
}
static void arrest_end(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.end = (Exhibit__V1__ArrestEnd)3;
}

static const struct bad_row {
	const char *name;
	void (*spoil)(struct order_kit *t);
	const char *text;
} bad_rows[] = {
	{ "other version", version, "version 2" },
	{ "tenant is a path", tenant, "tenant" },
	{ "id of 15 bytes", short_id, "16 bytes" },
	{ "no kind", kind_zero, "does not know" },
	{ "kind of a later version", kind_new, "does not know" },
	{ "kind below zero", kind_negative, "does not know" },
	{ "kind and detail differ", kind_other, "do not agree" },
	{ "no detail", detail_none, "do not agree" },
	{ "no host", no_host, "1 to 64 hosts" },
	{ "65 hosts", many_hosts, "1 to 64 hosts" },
	{ "host twice", host_twice, "twice" },
	{ "host is a path", host_path, "host's id" },
	{ "no case", no_case, "its case" },
	{ "case is a path", case_path, "its case" },
	{ "case of 97 bytes", case_long, "its case" },
	{ "no reason", no_reason, "its reason" },
	{ "reason of two lines", reason_lines, "its reason" },
	{ "reason with an escape", reason_escape, "its reason" },
	{ "reason with a C1 control", reason_c1, "its reason" },
	{ "reason is no text", reason_bytes, "its reason" },
	{ "reason of 1001 bytes", reason_long, "its reason" },
	{ "requester without a name", requester_none, "its requester" },
	{ "requester is a host", requester_host, "its requester" },
	{ "container and process", both_targets, "both" },
	{ "container is a path", container_path, "container's id" },
	{ "container of 129 bytes", container_long, "container's id" },
	{ "pid 0", pid_zero, "pid" },
	{ "pid above the kernel's", pid_high, "pid" },
	{ "boot id of 15 bytes", boot_short, "pid" },
	{ "start without boot", start_alone, "pid" },
	{ "core of a host", core_of_host, "'core' cannot be of a whole host" },
	{ "memory of a process", memory_of_process, "'memory' cannot be of one process" },
	{ "changes of a host", changes_of_host, "'changes' cannot be of a whole host" },
	{ "disk of a container", disk_of_container, "'disk' cannot be of a container" },
	{ "ends when made", expires_early, "not in order" },
	{ "ends when it begins", expires_before_start, "not in order" },
	{ "good for too long", life_long, "24 hours" },
	{ "made before 1970", made_negative, "not in order" },
	{ "times that overflow", made_lowest, "not in order" },
	{ "begins before 1970", start_negative, "not in order" },
	{ "runs for too long", seconds_long, "7 days" },
	{ "files: none", no_file, "names no file" },
	{ "files: 257", many_files, "256 paths" },
	{ "files: relative", file_relative, "absolute" },
	{ "files: empty path", file_empty, "absolute" },
	{ "files: ..", file_up, "'..'" },
	{ "files: .. at the end", file_up_end, "'..'" },
	{ "files: NUL", file_nul, "absolute" },
	{ "files: 4097 bytes", file_long, "4096" },
	{ "packets: filter too long", packets_filter, "filter" },
	{ "packets: NUL in the filter", packets_nul, "filter" },
	{ "packets: snap length", packets_snap, "262144" },
	{ "packets: too long", packets_seconds, "7 days" },
	{ "packets: too early", packets_before, "1 day" },
	{ "packets: interface is a path", packets_interface, "interface" },
	{ "packets: interface too long", packets_interface_long, "interface" },
	{ "disk: not below /dev", disk_elsewhere, "/dev" },
	{ "disk: ..", disk_up, "/dev" },
	{ "disk: /dev itself", disk_none, "/dev" },
	{ "arrest: nothing", arrest_nothing, "what to stop" },
	{ "arrest: everything", arrest_all, "what to stop" },
	{ "arrest: a name", arrest_relative, "what to stop" },
	{ "arrest: inode 0", arrest_inode, "what to stop" },
	{ "arrest: 65 stops", arrest_many, "64 stops" },
	{ "arrest: unknown end", arrest_end, "what follows" },
};

static int parse(const struct order_kit *t, struct error *e)
{
	Exhibit__V1__Order *o = NULL;
	size_t len;
	AUTO(free_ptr) uint8_t *data = orders_pack(t, &len);
	int r = order_parse(data, len, &o, e);

	assert_int_equal(r == 0, o != NULL);
	exhibit__v1__order__free_unpacked(o, NULL);
	return r;
}

static void is_refused(void **state)
{
	const struct bad_row *row = *state;
	struct error e = { 0 };
	struct order_kit t;

	memset(long_text, 'a', sizeof(long_text));
	orders_init(&t);
	row->spoil(&t);
	assert_int_equal(parse(&t, &e), -EBADMSG);
	if (strstr(e.text, row->text) == NULL)
		fail_msg("'%s' does not say '%s'", e.text, row->text);
}

/* ---- what is taken ----------------------------------------------------------------------------- */

static void every_kind_is_taken(void **state)
{
	Exhibit__V1__OrderKind kind;
	struct error e = { 0 };
	struct order_kit t;

	(void)state;
	for (int i = 1; i <= KIND(ARREST); i++) {
		orders_init(&t);
		orders_kind(&t, (Exhibit__V1__OrderKind)i);
		if (parse(&t, &e) != 0)
			fail_msg("%s: %s", order_kind_name(t.o.kind), e.text);
		assert_true(order_kind_parse(order_kind_name(t.o.kind), &kind));
		assert_int_equal(kind, i);
	}
	assert_false(order_kind_parse("shell", &kind));
	assert_null(order_kind_name(KIND(UNKNOWN)));
}

static void edges_are_taken(void **state)
{
	static uint8_t boot[16];
	struct order_kit t;

	(void)state;
	orders_init(&t);
	t.process.pid = 4194304;
	t.process.boot_id = (ProtobufCBinaryData){ sizeof(boot), boot };
	t.process.start_ns = 1;
	t.o.expires_ns = t.o.made_ns + (int64_t)ORDER_LIFE_MAX_NS;
	t.o.reason = orders_text("gr\xc3\xbc\xc3\x9f: \xe2\x82\xac");
	assert_int_equal(parse(&t, NULL), 0);
	orders_kind(&t, KIND(FILES));
	t.paths[0] = orders_text("/...");
	t.paths[1] = orders_text("/a..b/*.log");
	t.files.n_paths = 2;
	assert_int_equal(parse(&t, NULL), 0);
	t.files.n_paths = 0;
	t.files.deleted = true;
	assert_int_equal(parse(&t, NULL), 0);
}

/* A field that we do not know may forbid something. */
static void unknown_fields_are_refused(void **state)
{
	static const uint8_t strange[] = { 0xfa, 0x01, 0x01, 'x' }; /* field 31, one byte */
	static const uint8_t nested[] = {
		0xa2, 0x01, 0x04, 0xfa, 0x01, 0x01, 'x'
	}; /* in field 20 */
	struct order_kit t;
	Exhibit__V1__Order *o = NULL;
	uint8_t more[512];
	size_t len;

	(void)state;
	orders_init(&t);
	AUTO(free_ptr) uint8_t *data = orders_pack(&t, &len);

	assert_true(len + sizeof(strange) <= sizeof(more));
	memcpy(more, data, len);
	memcpy(more + len, strange, sizeof(strange));
	assert_int_equal(order_parse(more, len + sizeof(strange), &o, NULL), -EBADMSG);
	orders_kind(&t, KIND(MEMORY));
	AUTO(free_ptr) uint8_t *memory = orders_pack(&t, &len);

	memcpy(more, memory, len);
	memcpy(more + len, nested, sizeof(nested));
	assert_int_equal(order_parse(more, len + sizeof(nested), &o, NULL), -EBADMSG);
	assert_null(o);
}

static void sizes_are_bounded(void **state)
{
	static uint8_t big[ORDER_BYTES_MAX + 1];
	Exhibit__V1__Order *o = NULL;

	(void)state;
	assert_int_equal(order_parse(big, 0, &o, NULL), -EBADMSG);
	assert_int_equal(order_parse(big, sizeof(big), &o, NULL), -EBADMSG);
	assert_int_equal(order_parse("\xff", 1, &o, NULL), -EBADMSG);
}

static void states_have_names(void **state)
{
	(void)state;
	for (int i = 1; i <= EXHIBIT__V1__ORDER_STATE__ORDER_EXPIRED; i++)
		assert_string_not_equal(order_state_name((Exhibit__V1__OrderState)i), "unknown");
	assert_string_equal(order_state_name((Exhibit__V1__OrderState)0), "unknown");
	assert_string_equal(order_state_name((Exhibit__V1__OrderState)-1), "unknown");
	assert_string_equal(order_state_name((Exhibit__V1__OrderState)99), "unknown");
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_refused, bad_rows);
	ADD_TEST(&t, every_kind_is_taken);
	ADD_TEST(&t, edges_are_taken);
	ADD_TEST(&t, unknown_fields_are_refused);
	ADD_TEST(&t, sizes_are_bounded);
	ADD_TEST(&t, states_have_names);
	return tests_run(&t, "order");
}
