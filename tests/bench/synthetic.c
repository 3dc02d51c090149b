/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/synthetic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "event.pb-c.h"
#include "proto/base/clock.h"
#include "proto/base/writer.h"
#include "proto/entity.h"

#define BULK_PROCESSES 40 /* that a bulk batch's events are of */
#define NEEDLE_PID 4242
#define NEEDLE_START_NS 7000000000ull
#define BOOT_NS (1000 * NSEC_PER_SEC) /* the host has been up so long */
#define PACKED_MAX 4096

struct chain {
	uint64_t number, sequence;
	bool has_previous;
	struct seal_hash previous;
};

struct synthetic {
	struct synthetic_config c;
	struct seal_key *key;
	struct batch_sealer *sealer;
	struct batch_name tenant, host;
	uint8_t boot_id[BATCH_BOOT_LEN], epoch[BATCH_EPOCH_LEN];
	uint64_t rng, now_ns, batches;
	struct chain chains[BATCH_LANES + 1];
	char entity[ENTITY_TEXT_MAX];
	/* Of the batch being made. */
	struct writer w;
	struct batch_header h;
	uint32_t processes;
	uint8_t *raw; /* BATCH_RAW_MAX */
};

static uint64_t next_random(struct synthetic *s)
{
	uint64_t z = s->rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Few of n are frequent: the product of two uniform numbers. */
static uint32_t skewed(struct synthetic *s, uint32_t n)
{
	uint64_t x = next_random(s);

	return (uint32_t)((x & 0xffff) * (x >> 16 & 0xffff) * n >> 32);
}

static ProtobufCBinaryData text(const char *t)
{
	return (ProtobufCBinaryData){ strlen(t), (uint8_t *)(uintptr_t)t };
}

static void add_entry(struct synthetic *s, const Exhibit__V1__Entry *entry)
{
	uint8_t packed[PACKED_MAX];
	size_t len = exhibit__v1__entry__pack(entry, packed);

	writer_varint(&s->w, len);
	writer_bytes(&s->w, packed, len);
	s->h.entries++;
}

/* Texts of a process; each bounded, together far below PACKED_MAX. */
struct texts {
	char exe[96], name[16], args[3][96], cwd[64], container[65], cgroup[160];
};

static void make_texts(struct synthetic *s, struct texts *t)
{
	uint32_t exe = skewed(s, 300), container = skewed(s, 20);
	uint64_t id = (s->c.seed << 8) + container + 1;

	(void)snprintf(t->name, sizeof(t->name), "tool%u", exe);
	(void)snprintf(t->exe, sizeof(t->exe), "/usr/%s/tool%u",
		       exe & 1 ? "bin" : "lib/app/libexec", exe);
	(void)snprintf(t->args[0], sizeof(t->args[0]), "%s", t->name);
	(void)snprintf(t->args[1], sizeof(t->args[1]), "--config=/etc/app/%u.conf", skewed(s, 50));
	(void)snprintf(t->args[2], sizeof(t->args[2]), "/tmp/build-%08x/out.o",
		       (uint32_t)next_random(s));
	(void)snprintf(t->cwd, sizeof(t->cwd), "/srv/app/%u", skewed(s, 100));
	(void)snprintf(t->container, sizeof(t->container), "%016llx%016llx%016llx%016llx",
		       (unsigned long long)(id * 0x9e3779b97f4a7c15ull),
		       (unsigned long long)(id * 0xbf58476d1ce4e5b9ull),
		       (unsigned long long)(id * 0x94d049bb133111ebull),
		       (unsigned long long)(id * 0xff51afd7ed558ccdull));
	(void)snprintf(t->cgroup, sizeof(t->cgroup), "/kubepods.slice/cri-containerd-%s.scope",
		       t->container);
}

/* Say a process: the needle, a child of it, or any. */
static void add_process(struct synthetic *s, uint32_t pid, bool needle, bool of_needle)
{
	Exhibit__V1__ImageKey key = EXHIBIT__V1__IMAGE_KEY__INIT;
	Exhibit__V1__ImageKey parent = EXHIBIT__V1__IMAGE_KEY__INIT;
	Exhibit__V1__Process p = EXHIBIT__V1__PROCESS__INIT;
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;
	ProtobufCBinaryData args[3];
	struct texts t;

	make_texts(s, &t);
	if (of_needle)
		(void)snprintf(t.args[1], sizeof(t.args[1]), "--run=" SYNTHETIC_TEXT);
	for (size_t i = 0; i < ARRAY_LEN(args); i++)
		args[i] = text(t.args[i]);
	key.pid = pid;
	key.start_ns = needle ? NEEDLE_START_NS : s->now_ns - next_random(s) % NSEC_PER_SEC;
	key.exec_id = 2;
	parent.pid = of_needle ? NEEDLE_PID : 1000 + skewed(s, 200);
	parent.start_ns = of_needle ? NEEDLE_START_NS : 5 * NSEC_PER_SEC + parent.pid;
	parent.exec_id = 2;
	p.key = &key;
	p.parent = &parent;
	p.name = text(t.name);
	p.executable = text(t.exe);
	p.n_args = ARRAY_LEN(args);
	p.args = args;
	p.args_bytes = t.args[0][0] == 0 ?
			       0 :
			       strlen(t.args[0]) + strlen(t.args[1]) + strlen(t.args[2]) + 3;
	p.working_directory = text(t.cwd);
	p.uid = p.gid = 1000 + skewed(s, 5);
	p.mnt_ns = 4026531840u + skewed(s, 20);
	p.pid_ns = p.net_ns = p.mnt_ns + 1;
	p.cgroup_id = 4000 + skewed(s, 20);
	p.cgroup_path = text(t.cgroup);
	p.container_id = text(t.container);
	p.inode = 100000 + skewed(s, 300);
	p.device = 2049;
	p.parent_name = text("bash");
	p.parent_executable = text("/usr/bin/bash");
	p.user_name = text("app");
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_PROCESS;
	entry.process = &p;
	add_entry(s, &entry);
	s->processes++;
}

static void add_event(struct synthetic *s, Exhibit__V1__Event *e)
{
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;

	s->now_ns += 1 + next_random(s) % (2 * s->c.step_ns);
	e->sequence = ++s->h.last_sequence;
	e->boottime_ns = s->now_ns;
	e->tier = 1;
	e->hook = EXHIBIT__V1__HOOK__HOOK_TP_BTF;
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_EVENT;
	entry.event = e;
	add_entry(s, &entry);
	s->h.count++;
}

static uint32_t any_pid(struct synthetic *s)
{
	return 5000 + (uint32_t)(next_random(s) % 60000);
}

static void add_exec_and_exit(struct synthetic *s, bool needle, bool of_needle)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Exec exec = EXHIBIT__V1__EXEC__INIT;
	Exhibit__V1__Exit out = EXHIBIT__V1__EXIT__INIT;

	add_process(s, needle ? NEEDLE_PID : any_pid(s), needle, of_needle);
	e.action = EXHIBIT__V1__ACTION__ACTION_EXEC;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_EXEC;
	e.process = s->processes;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_EXEC;
	e.exec = &exec;
	add_event(s, &e);
	e.action = EXHIBIT__V1__ACTION__ACTION_EXIT;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_EXIT;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_EXIT;
	e.exit = &out;
	add_event(s, &e);
}

static void add_connect(struct synthetic *s, bool needle)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Net net = EXHIBIT__V1__NET__INIT;
	uint32_t to = skewed(s, 5000);
	uint8_t source[4] = { 10, 0, 1, 7 };
	uint8_t destination[4] = { 10, 9, (uint8_t)(to >> 8), (uint8_t)to };

	if (needle)
		memcpy(destination, "\xcb\x00\x71\x42", sizeof(destination));
	net.transport = 6;
	net.source_ip = (ProtobufCBinaryData){ sizeof(source), source };
	net.source_port = 32768 + (uint32_t)(next_random(s) % 28000);
	net.destination_ip = (ProtobufCBinaryData){ sizeof(destination), destination };
	net.destination_port = to % 3 ? 443 : 5432;
	net.net_ns = 4026531841u;
	e.action = EXHIBIT__V1__ACTION__ACTION_CONNECT;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_TCP;
	e.process = 1 + skewed(s, s->processes);
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_NET;
	e.net = &net;
	add_event(s, &e);
}

static void add_modify(struct synthetic *s, bool needle)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__File file = EXHIBIT__V1__FILE__INIT;
	char path[96];

	if (needle)
		(void)snprintf(path, sizeof(path), SYNTHETIC_PATH);
	else if (next_random(s) & 1)
		(void)snprintf(path, sizeof(path), "/var/lib/app/tmp/%08x.tmp",
			       (uint32_t)next_random(s));
	else
		(void)snprintf(path, sizeof(path), "/var/log/app/%u.log", skewed(s, 2000));
	file.path = text(path);
	file.inode = next_random(s) % 1000000;
	file.device = 2049;
	file.mode = 0100644;
	file.has_size_case = EXHIBIT__V1__FILE__HAS_SIZE_SIZE;
	file.size = skewed(s, 1000000);
	e.action = EXHIBIT__V1__ACTION__ACTION_MODIFY;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_FILE_CHANGE;
	e.process = 1 + skewed(s, s->processes);
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
	e.file = &file;
	add_event(s, &e);
}

static void add_critical(struct synthetic *s, bool needle)
{
	/* The needle process itself begins with its first child. */
	if (needle && s->chains[BATCH_LANE_CRITICAL].number == 0)
		add_exec_and_exit(s, true, false);
	if (needle)
		add_exec_and_exit(s, false, true);
	while (s->h.count < SYNTHETIC_EVENTS)
		add_exec_and_exit(s, false, false);
}

static void add_bulk(struct synthetic *s, bool needle)
{
	for (uint32_t i = 0; i < BULK_PROCESSES; i++)
		add_process(s, any_pid(s), false, false);
	if (needle) {
		add_connect(s, true);
		add_modify(s, true);
	}
	while (s->h.count < SYNTHETIC_EVENTS) {
		add_connect(s, false);
		add_modify(s, false);
	}
}

static void begin(struct synthetic *s, enum batch_lane lane)
{
	const struct chain *c = &s->chains[lane];

	s->h = (struct batch_header){
		.tenant = s->tenant,
		.host_id = s->host,
		.host_name = s->host,
		.lane = lane,
		.number = c->number + 1,
		.first_sequence = c->sequence + 1,
		.last_sequence = c->sequence,
		.first_boottime_ns = s->now_ns,
		.has_previous = c->has_previous,
		.previous = c->previous,
		.synchronised = true,
	};
	memcpy(s->h.boot_id, s->boot_id, sizeof(s->h.boot_id));
	memcpy(s->h.epoch, s->epoch, sizeof(s->h.epoch));
	s->w = writer_init(s->raw, BATCH_RAW_MAX);
	s->processes = 0;
}

int synthetic_batch(struct synthetic *s, enum synthetic_needle needle, struct batch_header *ret_h,
		    const uint8_t **ret_bytes, size_t *ret_len, struct error *e)
{
	bool critical = needle == SYNTHETIC_PLAIN ? s->batches % 5 < 2 :
						    needle == SYNTHETIC_NEEDLE_CRITICAL;
	enum batch_lane lane = critical ? BATCH_LANE_CRITICAL : BATCH_LANE_BULK;
	struct chain *c = &s->chains[lane];
	struct seal_hash hash;

	begin(s, lane);
	if (critical)
		add_critical(s, needle != SYNTHETIC_PLAIN);
	else
		add_bulk(s, needle != SYNTHETIC_PLAIN);
	if (s->w.bad)
		return error_set(e, -EMSGSIZE, "a synthetic batch is too long");
	s->h.last_boottime_ns = s->h.sealed_boottime_ns = s->h.watermark_ns = s->now_ns;
	s->h.sealed_wall_ns = s->c.begin_wall_ns + (int64_t)(s->now_ns - BOOT_NS);
	int r = batch_seal(s->sealer, &s->h, s->raw, s->w.done, ret_bytes, ret_len, &hash, e);

	if (r < 0)
		return r;
	*c = (struct chain){ s->h.number, s->h.last_sequence, true, hash };
	s->batches++;
	*ret_h = s->h;
	return 0;
}

const uint8_t *synthetic_raw(const struct synthetic *s, size_t *ret_len)
{
	*ret_len = s->w.done;
	return s->raw;
}

int synthetic_idle(struct synthetic *s, enum batch_lane lane, struct arena *a,
		   const uint8_t **ret_bytes, size_t *ret_len, struct error *e)
{
	const struct chain *c = &s->chains[lane];
	struct batch_idle idle = {
		.tenant = s->tenant,
		.host_id = s->host,
		.lane = lane,
		.number = c->number,
		.watermark_ns = s->now_ns,
		.boottime_ns = s->now_ns,
		.wall_ns = s->c.begin_wall_ns + (int64_t)(s->now_ns - BOOT_NS),
		.synchronised = true,
		.has_hash = c->has_previous,
		.header_hash = c->previous,
	};

	memcpy(idle.boot_id, s->boot_id, sizeof(idle.boot_id));
	memcpy(idle.epoch, s->epoch, sizeof(idle.epoch));
	return batch_seal_idle(s->key, &idle, a, ret_bytes, ret_len, e);
}

const char *synthetic_entity(const struct synthetic *s)
{
	return s->entity;
}

static void take_name(struct batch_name *ret, const char *name)
{
	ret->len = (uint8_t)strnlen(name, BATCH_NAME_MAX);
	memcpy(ret->b, name, ret->len);
}

struct synthetic *synthetic_new(const struct synthetic_config *c)
{
	struct synthetic *s = calloc(1, sizeof(*s));
	struct entity id = { .pid = NEEDLE_PID, .start_ns = NEEDLE_START_NS, .exec_id = 2 };

	if (s == NULL)
		return NULL;
	s->c = *c;
	s->key = c->key;
	s->rng = c->seed * 1000003;
	s->now_ns = BOOT_NS;
	take_name(&s->tenant, c->tenant);
	take_name(&s->host, c->host_id);
	for (size_t i = 0; i < sizeof(s->boot_id); i++) {
		s->boot_id[i] = (uint8_t)next_random(s);
		s->epoch[i] = (uint8_t)next_random(s);
	}
	memcpy(id.boot_id, s->boot_id, sizeof(id.boot_id));
	(void)entity_format(&id, s->entity);
	s->raw = c->shared ? c->shared->raw : malloc(BATCH_RAW_MAX);
	s->sealer = c->shared ? c->shared->sealer : NULL;
	if (s->raw == NULL ||
	    (s->sealer == NULL && batch_sealer_new(s->key, &s->sealer, NULL) < 0)) {
		synthetic_free(s);
		return NULL;
	}
	return s;
}

void synthetic_free(struct synthetic *s)
{
	if (s == NULL)
		return;
	if (s->c.shared == NULL) {
		batch_sealer_free(s->sealer);
		free(s->raw);
	}
	free(s);
}
