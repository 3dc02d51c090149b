/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/grab_order.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "proto/entity.h"

#define LIFE_S (12 * 3600) /* of an order, if nothing else is said */
#define PACKETS_S 60 /* of a capture, if nothing is said that ends it: no order can be taken back */

/* Everything that an order points to while it is packed. */
struct building {
	const struct args *args;
	Exhibit__V1__Order order;
	Exhibit__V1__ProcessTarget process;
	Exhibit__V1__OrderLimits limits;
	Exhibit__V1__MemoryOrder memory;
	Exhibit__V1__CoreOrder core;
	Exhibit__V1__PacketsOrder packets;
	Exhibit__V1__FilesOrder files;
	Exhibit__V1__ChangesOrder changes;
	Exhibit__V1__TriageOrder triage;
	Exhibit__V1__DiskOrder disk;
	Exhibit__V1__ArrestOrder arrest;
	Exhibit__V1__FileId file;
	struct entity entity;
	uint8_t id[ORDER_ID_LEN];
	char requester[IDENTITY_SPIFFE_MAX];
	ProtobufCBinaryData hosts[ARGS_HOSTS_MAX], paths[ARGS_PATHS_MAX];
};

static ProtobufCBinaryData text_of(const char *text)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ text ? strlen(text) : 0, (uint8_t *)(uintptr_t)text };
}

/* ---- each kind's own fields -------------------------------------------------------------------------- */

static int fill_memory(struct building *b, struct error *e)
{
	(void)e;
	exhibit__v1__memory_order__init(&b->memory);
	b->order.memory = &b->memory;
	return 0;
}

static bool parse_file_id(const char *text, Exhibit__V1__FileId *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	ret->device = strtoull(text, &end, 10);
	if (*end != ':' || end[1] < '0' || end[1] > '9')
		return false;
	ret->inode = strtoull(end + 1, &end, 10);
	return *end == '\0' && errno == 0;
}

static int fill_pattern(struct building *b, const char *pattern)
{
	Exhibit__V1__ArrestOrder *x = &b->arrest;
	size_t len = strlen(pattern);

	exhibit__v1__file_id__init(&b->file);
	if (parse_file_id(pattern, &b->file)) {
		x->pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE;
		x->file = &b->file;
	} else if (len > 0 && pattern[len - 1] == '*') {
		x->pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX;
		x->prefix = text_of(pattern);
		x->prefix.len--;
	} else {
		x->pattern_case = EXHIBIT__V1__ARREST_ORDER__PATTERN_PATH;
		x->path = text_of(pattern);
	}
	return 0;
}

static int fill_arrest(struct building *b, struct error *e)
{
	static const char *const ends[] = {
		[EXHIBIT__V1__ARREST_END__ARREST_CONTINUE] = "continue",
		[EXHIBIT__V1__ARREST_END__ARREST_STAY] = "stay",
		[EXHIBIT__V1__ARREST_END__ARREST_KILL] = "kill",
	};
	const struct grab_args *g = &b->args->grab;

	exhibit__v1__arrest_order__init(&b->arrest);
	b->order.arrest = &b->arrest;
	b->arrest.max_stops = (uint32_t)g->max_stops;
	for (size_t i = 0; g->then && i < ARRAY_LEN(ends); i++) {
		if (strcmp(g->then, ends[i]) != 0)
			continue;
		b->arrest.end = (Exhibit__V1__ArrestEnd)i;
		return fill_pattern(b, g->on_exec);
	}
	return g->then ? error_set(e, -EINVAL, "--then takes continue, stay or kill, not '%s'",
				   g->then) :
			 fill_pattern(b, g->on_exec);
}

static int fill_core(struct building *b, struct error *e)
{
	(void)e;
	exhibit__v1__core_order__init(&b->core);
	b->core.no_freeze = b->args->grab.no_freeze;
	b->order.core = &b->core;
	return 0;
}

static int fill_packets(struct building *b, struct error *e)
{
	const struct grab_args *g = &b->args->grab;

	exhibit__v1__packets_order__init(&b->packets);
	b->order.packets = &b->packets;
	if (g->seconds > UINT32_MAX || g->before_seconds > UINT32_MAX)
		return error_set(e, -EINVAL, "--seconds or --before is too long");
	b->packets.filter = text_of(g->filter);
	b->packets.interface = text_of(g->interface);
	b->packets.seconds = (uint32_t)g->seconds;
	if (g->seconds == 0 && g->max_bytes == 0 && g->max_seconds == 0)
		b->packets.seconds = PACKETS_S;
	b->packets.before_seconds = (uint32_t)g->before_seconds;
	b->packets.snap_bytes = (uint32_t)g->snap_bytes;
	b->packets.net_ns = (uint32_t)g->net_ns;
	b->packets.live = g->to_stdout;
	return 0;
}

static int fill_files(struct building *b, struct error *e)
{
	const struct grab_args *g = &b->args->grab;

	(void)e;
	exhibit__v1__files_order__init(&b->files);
	b->order.files = &b->files;
	for (size_t i = 0; i < g->n_paths; i++)
		b->paths[i] = text_of(g->paths[i]);
	b->files.n_paths = g->n_paths;
	b->files.paths = b->paths;
	b->files.deleted = g->deleted;
	return 0;
}

static int fill_changes(struct building *b, struct error *e)
{
	(void)e;
	exhibit__v1__changes_order__init(&b->changes);
	b->order.changes = &b->changes;
	return 0;
}

static int fill_triage(struct building *b, struct error *e)
{
	(void)e;
	exhibit__v1__triage_order__init(&b->triage);
	b->order.triage = &b->triage;
	return 0;
}

static int fill_disk(struct building *b, struct error *e)
{
	if (!b->args->grab.device)
		return error_set(e, -EINVAL, "a disk takes --device, such as /dev/sda1");
	exhibit__v1__disk_order__init(&b->disk);
	b->disk.device = text_of(b->args->grab.device);
	b->order.disk = &b->disk;
	return 0;
}

#define F(word) (1U << GRAB_##word)
#define KIND(word) EXHIBIT__V1__ORDER_KIND__ORDER_##word
#define DETAIL(word) EXHIBIT__V1__ORDER__DETAIL_##word

static const struct kind_row {
	const char *word; /* NULL: 'core --on-exec' */
	Exhibit__V1__OrderKind kind;
	Exhibit__V1__Order__DetailCase detail;
	unsigned int flags; /* that it takes */
	int (*fill)(struct building *b, struct error *e);
} kinds[] = {
	{ "memory", KIND(MEMORY), DETAIL(MEMORY), 0, fill_memory },
	{ "core", KIND(CORE), DETAIL(CORE), F(NO_FREEZE), fill_core },
	{ NULL, KIND(ARREST), DETAIL(ARREST), F(ON_EXEC) | F(MAX_STOPS) | F(THEN), fill_arrest },
	{ "packets", KIND(PACKETS), DETAIL(PACKETS),
	  F(FILTER) | F(INTERFACE) | F(SECONDS) | F(BEFORE) | F(SNAP) | F(NET_NS) | F(STDOUT),
	  fill_packets },
	{ "files", KIND(FILES), DETAIL(FILES), F(PATH) | F(DELETED), fill_files },
	{ "changes", KIND(CHANGES), DETAIL(CHANGES), 0, fill_changes },
	{ "triage", KIND(TRIAGE), DETAIL(TRIAGE), 0, fill_triage },
	{ "disk", KIND(DISK), DETAIL(DISK), F(DEVICE), fill_disk },
};

const char *grab_kinds(void)
{
	return "memory, core, packets, files, changes, triage, disk";
}

static const struct kind_row *find_kind(const struct args *a)
{
	for (size_t i = 0; a->object && i < ARRAY_LEN(kinds); i++)
		if (kinds[i].word && strcmp(kinds[i].word, a->object) == 0)
			/* An arrest is the core of what is not there yet. */
			return kinds[i].kind == KIND(CORE) && a->grab.on_exec ? &kinds[i + 1] :
										&kinds[i];
	return NULL;
}

/* A flag that the kind does not take would be left out of the order without a word. */
static int check_flags(const struct args *a, const struct kind_row *row, struct error *e)
{
	unsigned int strange = a->grab.given & ~row->flags;
	const struct flag *f;

	for (size_t i = 0; (f = flag_at(i)); i++)
		if (f->verbs == VERB_GRAB && f->op && strange & (1U << f->op))
			return error_set(e, -EINVAL, "'exhibit grab %s' takes no --%s", a->object,
					 f->name);
	return 0;
}

/* ---- what all kinds have ------------------------------------------------------------------------------- */

static int fill_process(struct building *b, const char *text, struct error *e)
{
	char *end = NULL;
	unsigned long pid;

	exhibit__v1__process_target__init(&b->process);
	b->order.process = &b->process;
	if (entity_parse(text, strlen(text), &b->entity) == 0) {
		b->process.pid = b->entity.pid;
		b->process.boot_id =
			(ProtobufCBinaryData){ sizeof(b->entity.boot_id), b->entity.boot_id };
		b->process.start_ns = b->entity.start_ns;
		b->process.exec_id = b->entity.exec_id;
		return 0;
	}
	errno = 0;
	pid = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
	if (!end || *end || errno || pid == 0 || pid > UINT32_MAX) {
		(void)error_set(e, -EINVAL, "'%s' is no process", text);
		error_hint(e,
			   "give a pid, or process.entity_id as 'exhibit events --json' shows it");
		return -EINVAL;
	}
	b->process.pid = (uint32_t)pid;
	return 0;
}

static void fill_limits(struct building *b)
{
	const struct grab_args *g = &b->args->grab;

	exhibit__v1__order_limits__init(&b->limits);
	b->limits.max_bytes = g->max_bytes;
	b->limits.max_seconds = g->max_seconds;
	b->limits.bytes_per_second = g->bytes_per_second;
	b->order.limits = &b->limits;
}

/* Hosts refuse what was signed with a certificate that is over: no order is to outlive it. */
static int check_outlives(const struct building *b, int64_t now_ns, int64_t end_ns, struct error *e)
{
	if (b->order.expires_ns <= end_ns ||
	    b->order.expires_ns - now_ns > (int64_t)ORDER_LIFE_MAX_NS)
		return 0;
	(void)error_set(
		e, -EINVAL,
		"the order would outlive the certificate that it is signed with, by which it "
		"counts for another %lld minutes",
		(long long)((end_ns - now_ns) / (60 * (int64_t)NSEC_PER_SEC)));
	error_hint(e, "leave out --expires, or have the certificate issued anew");
	return -EINVAL;
}

static int fill_times(struct building *b, const struct identity *who, int64_t now_ns,
		      struct error *e)
{
	uint64_t life_s = b->args->grab.expires_seconds ? b->args->grab.expires_seconds : LIFE_S;
	int64_t end = who->not_after_s * (int64_t)NSEC_PER_SEC;

	if (life_s > ORDER_LIFE_MAX_NS / NSEC_PER_SEC)
		life_s = ORDER_LIFE_MAX_NS / NSEC_PER_SEC + 1; /* refused by order_parse */
	b->order.made_ns = now_ns;
	b->order.expires_ns = now_ns + (int64_t)(life_s * NSEC_PER_SEC);
	if (b->args->grab.expires_seconds)
		return check_outlives(b, now_ns, end, e);
	if (b->order.expires_ns > end)
		b->order.expires_ns = end;
	return 0;
}

static int fill_common(struct building *b, const struct host_ids *hosts, const struct identity *who,
		       int64_t now_ns, struct error *e)
{
	Exhibit__V1__Order *o = &b->order;
	const struct args *a = b->args;

	if (RAND_bytes(b->id, sizeof(b->id)) != 1)
		return error_set(e, -EIO, "there are no random numbers for the order's id");
	o->version = 1;
	o->order_id = (ProtobufCBinaryData){ sizeof(b->id), b->id };
	o->tenant = text_of(who->tenant);
	o->requester = text_of(identity_spiffe(who, b->requester));
	o->case_id = text_of(a->case_id);
	o->reason = text_of(a->reason);
	o->container_id = text_of(a->grab.container);
	for (size_t i = 0; i < hosts->n; i++)
		b->hosts[i] = text_of(hosts->id[i]);
	o->hosts = b->hosts;
	o->n_hosts = hosts->n;
	fill_limits(b);
	int r = fill_times(b, who, now_ns, e);

	return r == 0 && a->grab.process ? fill_process(b, a->grab.process, e) : r;
}

static int check_needed(const struct args *a, struct error *e)
{
	static const char hint[] =
		"every order says why and for which case, for whoever asks later";

	if (a->case_id && a->reason)
		return 0;
	(void)error_set(e, -EINVAL, "--%s is needed", a->case_id ? "reason" : "case");
	error_hint(e, "%s", hint);
	return -EINVAL;
}

static int build(struct building *b, const struct kind_row *row, const struct host_ids *hosts,
		 const struct identity *who, int64_t now_ns, struct error *e)
{
	int r;

	exhibit__v1__order__init(&b->order);
	b->order.kind = row->kind;
	r = check_flags(b->args, row, e);
	if (r == 0)
		r = check_needed(b->args, e);
	if (r == 0)
		r = fill_common(b, hosts, who, now_ns, e);
	if (r == 0)
		r = row->fill(b, e);
	b->order.detail_case = row->detail;
	return r;
}

int grab_order(const struct args *a, const struct host_ids *hosts, const struct identity *who,
	       int64_t now_ns, uint8_t **ret, size_t *ret_len, struct error *e)
{
	AUTO(free_ptr) struct building *b = calloc(1, sizeof(*b));
	const struct kind_row *row = find_kind(a);
	Exhibit__V1__Order *parsed = NULL;
	AUTO(free_ptr) uint8_t *data = NULL;
	int r;

	if (!b)
		return error_set(e, -ENOMEM, "cannot make an order: %m");
	if (!row) {
		(void)error_set(e, -EINVAL, "'%s' is nothing that can be grabbed",
				a->object ? a->object : "");
		error_hint(e, "there are %s", grab_kinds());
		return -EINVAL;
	}
	b->args = a;
	r = build(b, row, hosts, who, now_ns, e);
	if (r < 0)
		return r;
	*ret_len = exhibit__v1__order__get_packed_size(&b->order);
	data = malloc(*ret_len + 1);
	if (!data)
		return error_set(e, -ENOMEM, "cannot make an order: %m");
	(void)exhibit__v1__order__pack(&b->order, data);
	/* What every host would refuse is refused here, before anybody signs it. */
	r = order_parse(data, *ret_len, &parsed, e);
	if (r < 0)
		return r;
	exhibit__v1__order__free_unpacked(parsed, NULL);
	*ret = TAKE(data);
	return 0;
}
