/* SPDX-License-Identifier: Apache-2.0 */
/* From words to an order's bytes: nothing of what was said may be lost on the way. */
#include "collector/cli/grab_order.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <string.h>

#define NOW (1800000000 * (int64_t)NSEC_PER_SEC)
#define WORDS 24
#define ENTITY "4cb3a1f0e5d24f0c9a7b1c2d3e4f5a6b-4711-81240000000-3"

static const struct identity ann = { .domain = "example.org",
				     .tenant = "acme",
				     .kind = IDENTITY_RESPONDER,
				     .name = "ann",
				     .not_after_s = 1800000000 + 8 * 3600 };

static int make(const char *const *words, Exhibit__V1__Order **ret, struct error *e)
{
	struct host_ids hosts = { .n = 1, .id = { (char *)(uintptr_t) "h-1" } };
	static struct args a;
	char *argv[WORDS + 8] = { strdup("grab") };
	int argc = 1, r;
	uint8_t *data = NULL;
	size_t len = 0;

	for (; words[argc - 1]; argc++)
		argv[argc] = strdup(words[argc - 1]);
	r = args_parse(verb_by_name("grab"), argc, argv, NOW, &a, e);
	if (r == 0)
		r = grab_order(&a, &hosts, &ann, NOW, &data, &len, e);
	if (r == 0)
		assert_int_equal(order_parse(data, len, ret, NULL), 0);
	free(data);
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	return r;
}

static bool says(const ProtobufCBinaryData *b, const char *text)
{
	return b->len == strlen(text) && memcmp(b->data, text, b->len) == 0;
}

#define WHY "--case", "C-1", "--reason", "beacon seen"

/* ---- what each word becomes ------------------------------------------------------------------------------ */

static bool is_memory(const Exhibit__V1__Order *o)
{
	return o->memory && !o->process && !o->container_id.len && says(&o->case_id, "C-1") &&
	       says(&o->reason, "beacon seen") && says(&o->hosts[0], "h-1") && o->n_hosts == 1 &&
	       says(&o->tenant, "acme") &&
	       says(&o->requester, "spiffe://example.org/acme/responder/ann") && o->made_ns == NOW;
}
static bool ends_with_the_certificate(const Exhibit__V1__Order *o)
{
	return o->expires_ns == ann.not_after_s * (int64_t)NSEC_PER_SEC;
}
static bool ends_when_asked(const Exhibit__V1__Order *o)
{
	return o->expires_ns == NOW + 90 * 60 * (int64_t)NSEC_PER_SEC;
}
static bool is_limited(const Exhibit__V1__Order *o)
{
	return o->limits->max_bytes == GiB(2) && o->limits->max_seconds == 600 &&
	       o->limits->bytes_per_second == MiB(20);
}
static bool is_pid(const Exhibit__V1__Order *o)
{
	return o->core && o->process->pid == 4711 && o->process->boot_id.len == 0 &&
	       !o->core->no_freeze;
}
static bool is_entity(const Exhibit__V1__Order *o)
{
	return o->process->pid == 4711 && o->process->boot_id.len == 16 &&
	       o->process->boot_id.data[0] == 0x4c && o->process->start_ns == 81240000000 &&
	       o->process->exec_id == 3 && o->core->no_freeze;
}
static bool is_container(const Exhibit__V1__Order *o)
{
	return says(&o->container_id, "3f2a") && !o->process;
}
static bool is_packets(const Exhibit__V1__Order *o)
{
	const Exhibit__V1__PacketsOrder *p = o->packets;

	return says(&p->filter, "port 53") && says(&p->interface, "eth0") && p->seconds == 60 &&
	       p->before_seconds == 120 && p->snap_bytes == 96 && p->net_ns == 4026531840 &&
	       !p->live;
}
static bool ends_after_a_minute(const Exhibit__V1__Order *o)
{
	return o->packets->seconds == 60 && o->packets->before_seconds == 60;
}
static bool ends_with_its_bytes(const Exhibit__V1__Order *o)
{
	return o->packets->seconds == 0 && o->limits->max_bytes == MiB(1);
}
static bool is_packets_live(const Exhibit__V1__Order *o)
{
	return o->packets->live;
}
static bool is_files(const Exhibit__V1__Order *o)
{
	return o->files->n_paths == 2 && says(&o->files->paths[0], "/etc/passwd") &&
	       says(&o->files->paths[1], "/var/log/*.log") && o->files->deleted;
}
static bool is_changes(const Exhibit__V1__Order *o)
{
	return o->changes && says(&o->container_id, "3f2a");
}
static bool is_triage(const Exhibit__V1__Order *o)
{
	return o->triage != NULL;
}
static bool is_disk(const Exhibit__V1__Order *o)
{
	return says(&o->disk->device, "/dev/sdb1");
}
static bool is_arrest_path(const Exhibit__V1__Order *o)
{
	return o->kind == EXHIBIT__V1__ORDER_KIND__ORDER_ARREST &&
	       o->arrest->pattern_case == EXHIBIT__V1__ARREST_ORDER__PATTERN_PATH &&
	       says(&o->arrest->path, "/tmp/miner") && o->arrest->max_stops == 0 &&
	       o->arrest->end == EXHIBIT__V1__ARREST_END__ARREST_CONTINUE;
}
static bool is_arrest_prefix(const Exhibit__V1__Order *o)
{
	return o->arrest->pattern_case == EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX &&
	       says(&o->arrest->prefix, "/tmp/") && o->arrest->max_stops == 3 &&
	       o->arrest->end == EXHIBIT__V1__ARREST_END__ARREST_KILL;
}
static bool is_arrest_file(const Exhibit__V1__Order *o)
{
	return o->arrest->pattern_case == EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE &&
	       o->arrest->file->device == 2049 && o->arrest->file->inode == 77 &&
	       o->arrest->end == EXHIBIT__V1__ARREST_END__ARREST_STAY;
}

static const struct good_row {
	const char *name;
	const char *words[WORDS];
	bool (*is)(const Exhibit__V1__Order *o);
} good_rows[] = {
	{ "memory", { "memory", WHY }, is_memory },
	{ "end, not given", { "memory", WHY }, ends_with_the_certificate },
	{ "end, given", { "memory", "--expires", "90m", WHY }, ends_when_asked },
	{ "limits",
	  { "memory", "--max-bytes", "2GiB", "--max-time", "10m", "--rate", "20MiB", WHY },
	  is_limited },
	{ "core of a pid", { "core", "--process", "4711", WHY }, is_pid },
	{ "core of an entity", { "core", "--process", ENTITY, "--no-freeze", WHY }, is_entity },
	{ "core of a container", { "core", "--container", "3f2a", WHY }, is_container },
	{ "packets",
	  { "packets", "--filter", "port 53", "--interface", "eth0", "--seconds", "1m", "--before",
	    "2m", "--snap", "96", "--net-ns", "4026531840", WHY },
	  is_packets },
	{ "packets without an end", { "packets", "--before", "60s", WHY }, ends_after_a_minute },
	{ "packets up to a size", { "packets", "--max-bytes", "1MiB", WHY }, ends_with_its_bytes },
	{ "packets, watched", { "packets", "--stdout", WHY }, is_packets_live },
	{ "files",
	  { "files", "--path", "/etc/passwd", "--path=/var/log/*.log", "--deleted", WHY },
	  is_files },
	{ "changes", { "changes", "--container", "3f2a", WHY }, is_changes },
	{ "triage", { "triage", WHY }, is_triage },
	{ "disk", { "disk", "--device", "/dev/sdb1", WHY }, is_disk },
	{ "arrest by path", { "core", "--on-exec", "/tmp/miner", WHY }, is_arrest_path },
	{ "arrest by prefix",
	  { "core", "--on-exec", "/tmp/*", "--max-stops", "3", "--then", "kill", WHY },
	  is_arrest_prefix },
	{ "arrest by file",
	  { "core", "--on-exec", "2049:77", "--then", "stay", WHY },
	  is_arrest_file },
};

static void is_understood(void **state)
{
	const struct good_row *row = *state;
	Exhibit__V1__Order *o = NULL, *again = NULL;
	struct error e = { 0 };

	if (make(row->words, &o, &e) < 0)
		fail_msg("%s; %s", e.text, e.hint);
	assert_true(row->is(o));
	/* No two orders have one name. */
	assert_int_equal(make(row->words, &again, NULL), 0);
	assert_memory_not_equal(o->order_id.data, again->order_id.data, ORDER_ID_LEN);
	exhibit__v1__order__free_unpacked(o, NULL);
	exhibit__v1__order__free_unpacked(again, NULL);
}

/* ---- refusals -------------------------------------------------------------------------------------------- */

static const struct bad_row {
	const char *name;
	const char *words[WORDS];
	const char *text;
} bad_rows[] = {
	{ "no kind", { WHY }, "nothing that can be grabbed" },
	{ "unknown kind", { "shell", WHY }, "'shell' is nothing" },
	{ "arrest is no word", { "arrest", WHY }, "'arrest' is nothing" },
	{ "no case", { "memory", "--reason", "x" }, "--case is needed" },
	{ "no reason", { "memory", "--case", "x" }, "--reason is needed" },
	{ "reason of two lines", { "memory", "--case", "x", "--reason", "a\nb" }, "its reason" },
	{ "flag of another kind", { "memory", "--device", "/dev/sda", WHY }, "takes no --device" },
	{ "flag of an arrest",
	  { "core", "--process", "1", "--then", "kill", WHY },
	  "takes no --then" },
	{ "freeze in an arrest",
	  { "core", "--on-exec", "/a", "--no-freeze", WHY },
	  "takes no --no-freeze" },
	{ "unknown end",
	  { "core", "--on-exec", "/a", "--then", "explode", WHY },
	  "continue, stay or kill" },
	{ "arrest of everything", { "core", "--on-exec", "*", WHY }, "what to stop" },
	{ "arrest of /", { "core", "--on-exec", "/*", WHY }, "what to stop" },
	{ "arrest by a name", { "core", "--on-exec", "miner", WHY }, "what to stop" },
	{ "arrest of inode 0", { "core", "--on-exec", "1:0", WHY }, "what to stop" },
	{ "no process", { "core", "--process", "", WHY }, "is no process" },
	{ "pid with a tail", { "core", "--process", "12x", WHY }, "is no process" },
	{ "negative pid", { "core", "--process", "-1", WHY }, "is no process" },
	{ "pid 0", { "core", "--process", "0", WHY }, "is no process" },
	{ "huge pid", { "core", "--process", "99999999999999999999", WHY }, "is no process" },
	{ "core of a host", { "core", WHY }, "whole host" },
	{ "disk without a device", { "disk", WHY }, "takes --device" },
	{ "files without a path", { "files", WHY }, "names no file" },
	{ "two days", { "memory", "--expires", "2d", WHY }, "24 hours" },
	{ "for ever", { "memory", "--expires", "18446744073709551615", WHY }, "24 hours" },
	{ "longer than the certificate",
	  { "memory", "--expires", "9h", WHY },
	  "another 480 minutes" },
	{ "a rate of nothing", { "memory", "--rate", "0", WHY }, "--rate" },
	{ "a size that overflows",
	  { "memory", "--max-bytes", "18446744073709551615KiB", WHY },
	  "--max-bytes" },
	{ "a size in no unit", { "memory", "--max-bytes", "5XB", WHY }, "--max-bytes" },
	{ "a disk to standard output",
	  { "disk", "--device", "/dev/sdb1", "--stdout", WHY },
	  "'exhibit grab disk' takes no --stdout" },
	{ "packets for too long", { "packets", "--seconds", "8d", WHY }, "7 days" },
};

static void is_refused(void **state)
{
	const struct bad_row *row = *state;
	Exhibit__V1__Order *o = NULL;
	struct error e = { 0 };

	assert_true(make(row->words, &o, &e) < 0);
	assert_null(o);
	if (!strstr(e.text, row->text))
		fail_msg("'%s' does not say '%s'", e.text, row->text);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_refused, bad_rows);
	ADD_ROWS(&t, is_understood, good_rows);
	return tests_run(&t, "grab_order");
}
