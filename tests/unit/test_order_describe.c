/* SPDX-License-Identifier: Apache-2.0 */
/* What an approver sees: nothing that is signed may be left out, nothing may drive the terminal. */
#include "collector/cli/order_describe.h"
#include "tests/unit/orders.h"
#include "tests/unit/rows.h"

#include <stdio.h>
#include <string.h>

#define KIND(word) EXHIBIT__V1__ORDER_KIND__ORDER_##word

static void plain(struct order_kit *t)
{
	(void)t;
}
static void entity(struct order_kit *t)
{
	static uint8_t boot[16] = { 0xab };

	t->process.boot_id = (ProtobufCBinaryData){ sizeof(boot), boot };
	t->process.start_ns = 77;
	t->process.exec_id = 3;
}
static void unfrozen(struct order_kit *t)
{
	t->core.no_freeze = true;
}
static void packets(struct order_kit *t)
{
	orders_kind(t, KIND(PACKETS));
	t->packets.filter = orders_text("port 53");
	t->packets.interface = orders_text("eth7");
	t->packets.seconds = 61;
	t->packets.before_seconds = 62;
	t->packets.snap_bytes = 97;
	t->packets.net_ns = 4026531840;
}
static void files(struct order_kit *t)
{
	orders_kind(t, KIND(FILES));
	t->paths[1] = orders_text("/srv/*");
	t->files.n_paths = 2;
	t->files.deleted = true;
}
static void disk(struct order_kit *t)
{
	orders_kind(t, KIND(DISK));
}
static void arrest(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.end = EXHIBIT__V1__ARREST_END__ARREST_KILL;
	t->arrest.max_stops = 5;
}
static void arrest_prefix(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX;
	t->arrest.prefix = orders_text("/var/tmp/");
	t->arrest.end = EXHIBIT__V1__ARREST_END__ARREST_STAY;
}
static void arrest_file(struct order_kit *t)
{
	orders_kind(t, KIND(ARREST));
	t->arrest.pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE;
	t->file.device = 2049;
	t->file.inode = 4711;
	t->arrest.file = &t->file;
}
static void container(struct order_kit *t)
{
	orders_kind(t, KIND(CHANGES));
}
static void limits(struct order_kit *t)
{
	t->limits.max_bytes = 111;
	t->limits.max_seconds = 222;
	t->limits.bytes_per_second = 333;
	t->o.limits = &t->limits;
	t->o.not_before_ns = t->o.made_ns + 60 * (int64_t)NSEC_PER_SEC;
}
static void hosts(struct order_kit *t)
{
	t->hosts[1] = orders_text("h-2");
	t->o.n_hosts = 2;
}
static void hostile(struct order_kit *t)
{
	orders_kind(t, KIND(FILES));
	t->paths[0] = orders_text("/a\x1b[2J\nkind      memory");
}

static const struct row {
	const char *name;
	void (*change)(struct order_kit *t);
	const char *words[10];
} rows[] = {
	{ "what all have",
	  plain,
	  { "core", "h-1", "process 42", "INC-7", "beacon seen", "/responder/ann", "2027-01-15",
	    "0102030405060708090a0b0c0d0e0f10" } },
	{ "entity", entity, { "ab000000000000000000000000000000-42-77-3" } },
	{ "frozen", plain, { "frozen" } },
	{ "not frozen", unfrozen, { "runs on" } },
	{ "packets",
	  packets,
	  { "port 53", "eth7", "61 s", "62 s", "97 bytes", "4026531840", "the whole host" } },
	{ "files", files, { "/etc/passwd", "/srv/*", "deleted" } },
	{ "disk", disk, { "/dev/sda1" } },
	{ "arrest", arrest, { "/tmp/miner", "5 times", "KILLED" } },
	{ "arrest by prefix",
	  arrest_prefix,
	  { "stop all", "/var/tmp/", "1 times", "STAYS STOPPED" } },
	{ "arrest by file", arrest_file, { "inode 4711 of device 2049", "it goes on" } },
	{ "container", container, { "container 0123456789abcdef" } },
	{ "limits", limits, { "111 bytes", "222 s", "333 bytes a second", "not before" } },
	{ "two hosts", hosts, { "h-1", "h-2" } },
	{ "hostile path", hostile, { "/a" } },
};

static void is_shown(void **state)
{
	const struct row *row = *state;
	struct order_kit t;
	char *text = NULL;
	size_t len = 0, lines = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	orders_init(&t);
	row->change(&t);
	order_describe(out, &t.o);
	assert_int_equal(fclose(out), 0);
	for (size_t i = 0; row->words[i]; i++)
		if (!strstr(text, row->words[i]))
			fail_msg("'%s' does not stand in\n%s", row->words[i], text);
	assert_null(strchr(text, 0x1b));
	/* Two blanks begin each line: none was forged. */
	for (const char *at = text; *at; at = strchr(at, '\n') + 1, lines++)
		assert_memory_equal(at, "  ", 2);
	assert_true(lines >= 8);
	if (row->change == hostile)
		assert_null(strstr(text, "\nkind"));
	free(text);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_shown, rows);
	return tests_run(&t, "order_describe");
}
