/* SPDX-License-Identifier: Apache-2.0 */
/* The store alone: how fast it takes batches, how much it keeps per event, how fast the index answers.
 * bench_store [EVENTS [DIR]]: 500,000 events by default, 5,000,000 with EXHIBIT_FULL=1. The batches are
 * made beforehand in rounds (events as agents send them, sealed, tokens extracted), outside the clock;
 * what is timed is store_put with its fdatasync and the sealing of segments that it causes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "collector/store.h"
#include "collector/tokens.h"
#include "event.pb-c.h"
#include "proto/base/clock.h"
#include "proto/base/writer.h"
#include "proto/certs.h"

#define EVENTS_PER_BATCH 500
#define HOSTS 200
#define ROUND 128 /* batches made ahead */
#define GROUP 32 /* batches in one put */
#define NEEDLES 25 /* batches that hold what is asked for */
#define ASKS 20
#define START_S 1700000000ull

struct made {
	uint8_t *bytes;
	struct arena *arena;
	struct batch_view view;
	uint64_t *tokens;
	size_t n_tokens;
};

struct chain {
	uint64_t number, sequence;
	struct seal_hash previous;
};

struct bench {
	struct seal_key *key;
	struct batch_sealer *sealer;
	struct store *s;
	uint64_t rng, events, batches, every, tokens;
	struct chain chains[HOSTS][2];
	uint8_t *raw;
	struct writer w;
	struct batch_header h;
	uint32_t processes;
	uint64_t clock_ns;
	struct made made[ROUND];
	struct store_item items[ROUND];
	double put_s;
};

static uint64_t next_random(struct bench *b)
{
	uint64_t z = b->rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Few of n are frequent: the product of two uniform numbers. */
static uint32_t skewed(struct bench *b, uint32_t n)
{
	uint64_t x = next_random(b);

	return (uint32_t)((x & 0xffff) * (x >> 16 & 0xffff) * n >> 32);
}

static void die(const char *what, const struct error *e)
{
	fprintf(stderr, "bench_store: %s: %s\n", what, e->text);
	exit(1);
}

static ProtobufCBinaryData text(const char *s)
{
	return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

static void add_entry(struct bench *b, Exhibit__V1__Entry *entry)
{
	uint8_t packed[4096];
	size_t len = exhibit__v1__entry__pack(entry, packed);

	writer_varint(&b->w, len);
	writer_bytes(&b->w, packed, len);
	b->h.entries++;
}

struct names {
	char exe[96], name[16], args[3][96], cwd[64], container[65], cgroup[160];
};

static void make_names(struct bench *b, uint32_t host, struct names *n)
{
	uint32_t exe = skewed(b, 300), container = skewed(b, 20);
	uint64_t r = next_random(b);

	(void)snprintf(n->name, sizeof(n->name), "tool%u", exe);
	(void)snprintf(n->exe, sizeof(n->exe), "/usr/%s/tool%u",
		       exe & 1 ? "bin" : "lib/app/libexec", exe);
	(void)snprintf(n->args[0], sizeof(n->args[0]), "%s", n->name);
	(void)snprintf(n->args[1], sizeof(n->args[1]), "--config=/etc/app/%u.conf", skewed(b, 50));
	(void)snprintf(n->args[2], sizeof(n->args[2]), "/tmp/build-%08x/out.o", (uint32_t)r);
	(void)snprintf(n->cwd, sizeof(n->cwd), "/srv/app/%u", skewed(b, 100));
	(void)snprintf(n->container, sizeof(n->container), "%016llx%016llx%016llx%016llx",
		       (unsigned long long)(host + 1) * 0x9e3779b97f4a7c15ull,
		       (unsigned long long)(container + 1) * 0xbf58476d1ce4e5b9ull,
		       (unsigned long long)(host * 31 + container) * 0x94d049bb133111ebull,
		       (unsigned long long)(container * 7 + host) * 0xff51afd7ed558ccdull);
	(void)snprintf(n->cgroup, sizeof(n->cgroup), "/kubepods.slice/cri-containerd-%s.scope",
		       n->container);
}

static void add_process(struct bench *b, uint32_t host, uint32_t pid)
{
	struct names n;
	Exhibit__V1__ImageKey key = EXHIBIT__V1__IMAGE_KEY__INIT,
			      parent = EXHIBIT__V1__IMAGE_KEY__INIT;
	Exhibit__V1__Process p = EXHIBIT__V1__PROCESS__INIT;
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;
	ProtobufCBinaryData args[3];

	make_names(b, host, &n);
	for (size_t i = 0; i < 3; i++)
		args[i] = text(n.args[i]);
	key.pid = pid;
	key.start_ns = b->clock_ns - next_random(b) % 1000000000;
	key.exec_id = 2;
	parent.pid = 1000 + skewed(b, 200);
	parent.start_ns = 5000000000ull + parent.pid;
	parent.exec_id = 2;
	p.key = &key;
	p.parent = &parent;
	p.name = text(n.name);
	p.executable = text(n.exe);
	p.n_args = 3;
	p.args = args;
	p.args_bytes = 80;
	p.working_directory = text(n.cwd);
	p.uid = p.gid = 1000 + skewed(b, 5);
	p.mnt_ns = 4026531840u + skewed(b, 20);
	p.pid_ns = p.net_ns = p.mnt_ns + 1;
	p.cgroup_id = 4000 + skewed(b, 20);
	p.cgroup_path = text(n.cgroup);
	p.container_id = text(n.container);
	p.inode = 100000 + skewed(b, 300);
	p.device = 2049;
	p.parent_name = text("bash");
	p.parent_executable = text("/usr/bin/bash");
	p.user_name = text("app");
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_PROCESS;
	entry.process = &p;
	add_entry(b, &entry);
	b->processes++;
}

static void add_event(struct bench *b, Exhibit__V1__Event *e)
{
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;

	b->clock_ns += next_random(b) % 200000;
	e->sequence = ++b->h.last_sequence;
	e->boottime_ns = b->clock_ns;
	e->tier = 1;
	e->hook = EXHIBIT__V1__HOOK__HOOK_TP_BTF;
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_EVENT;
	entry.event = e;
	add_entry(b, &entry);
	b->h.count++;
}

static void add_exec_and_exit(struct bench *b, uint32_t host)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Exec exec = EXHIBIT__V1__EXEC__INIT;
	Exhibit__V1__Exit out = EXHIBIT__V1__EXIT__INIT;

	add_process(b, host, 2000 + (uint32_t)(next_random(b) % 60000));
	e.action = EXHIBIT__V1__ACTION__ACTION_EXEC;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_EXEC;
	e.process = b->processes;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_EXEC;
	e.exec = &exec;
	add_event(b, &e);
	e.action = EXHIBIT__V1__ACTION__ACTION_EXIT;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_EXIT;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_EXIT;
	e.exit = &out;
	add_event(b, &e);
}

static void add_connect(struct bench *b, bool needle)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Net net = EXHIBIT__V1__NET__INIT;
	uint32_t to = skewed(b, 5000);
	uint8_t source[4] = { 10, 0, 1, 7 },
		destination[4] = { 10, 9, (uint8_t)(to >> 8), (uint8_t)to };

	if (needle)
		memcpy(destination, "\xcb\x00\x71\x42", 4);
	net.transport = 6;
	net.source_ip = (ProtobufCBinaryData){ 4, source };
	net.source_port = 32768 + (uint32_t)(next_random(b) % 28000);
	net.destination_ip = (ProtobufCBinaryData){ 4, destination };
	net.destination_port = to % 3 ? 443 : 5432;
	net.net_ns = 4026531841u;
	e.action = EXHIBIT__V1__ACTION__ACTION_CONNECT;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_TCP;
	e.process = 1 + skewed(b, b->processes);
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_NET;
	e.net = &net;
	add_event(b, &e);
}

static void add_write(struct bench *b, bool needle)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__File file = EXHIBIT__V1__FILE__INIT;
	char path[96];

	if (needle)
		(void)snprintf(path, sizeof(path), "/etc/cron.d/needle");
	else if (next_random(b) & 1)
		(void)snprintf(path, sizeof(path), "/var/lib/app/tmp/%08x.tmp",
			       (uint32_t)next_random(b));
	else
		(void)snprintf(path, sizeof(path), "/var/log/app/%u.log", skewed(b, 2000));
	file.path = text(path);
	file.inode = next_random(b) % 1000000;
	file.device = 2049;
	file.mode = 0100644;
	file.has_size_case = EXHIBIT__V1__FILE__HAS_SIZE_SIZE;
	file.size = skewed(b, 1000000);
	e.action = EXHIBIT__V1__ACTION__ACTION_MODIFY;
	e.class_ = EXHIBIT__V1__CLASS__CLASS_FILE_CHANGE;
	e.process = 1 + skewed(b, b->processes);
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
	e.file = &file;
	add_event(b, &e);
}

static void make_entries(struct bench *b, uint32_t host, enum batch_lane lane)
{
	bool needle = b->batches % b->every == 0;

	if (lane == BATCH_LANE_CRITICAL) {
		while (b->h.count < EVENTS_PER_BATCH)
			add_exec_and_exit(b, host);
		return;
	}
	for (uint32_t i = 0; i < 40; i++)
		add_process(b, host, 2000 + (uint32_t)(next_random(b) % 60000));
	while (b->h.count < EVENTS_PER_BATCH) {
		add_connect(b, needle && b->h.count == 100);
		add_write(b, needle && b->h.count == 101);
	}
}

static void make_header(struct bench *b, uint32_t host, enum batch_lane lane)
{
	struct chain *c = &b->chains[host][lane - 1];

	b->h = (struct batch_header){ .tenant = { 4, "acme" },
				      .lane = lane,
				      .number = c->number + 1,
				      .first_sequence = c->sequence + 1,
				      .last_sequence = c->sequence,
				      .first_boottime_ns = b->clock_ns,
				      .has_previous = c->number > 0,
				      .previous = c->previous,
				      .synchronised = true };
	b->h.host_id.len = (uint8_t)snprintf((char *)b->h.host_id.b, 32, "host-%06u.example", host);
	b->h.host_name = b->h.host_id;
	memset(b->h.boot_id, (int)(host & 255), sizeof(b->h.boot_id));
	memset(b->h.epoch, (int)(host >> 1 & 255), sizeof(b->h.epoch));
}

/* Critical and bulk as 40 to 60, hosts in turn. */
static void make_batch(struct bench *b, size_t at)
{
	uint32_t host = (uint32_t)(b->batches % HOSTS);
	enum batch_lane lane = b->batches % 5 < 2 && b->batches % b->every ? BATCH_LANE_CRITICAL :
									     BATCH_LANE_BULK;
	struct chain *c = &b->chains[host][lane - 1];
	struct made *m = &b->made[at];
	const uint8_t *bytes, *raw = b->raw;
	struct error e = { 0 };
	struct seal_hash hash;
	size_t len;

	make_header(b, host, lane);
	b->w = writer_init(b->raw, BATCH_RAW_MAX);
	b->processes = 0;
	make_entries(b, host, lane);
	b->h.last_boottime_ns = b->h.sealed_boottime_ns = b->h.watermark_ns = b->clock_ns;
	b->h.sealed_wall_ns = (int64_t)(b->clock_ns + START_S * NSEC_PER_SEC);
	if (b->w.bad || batch_seal(b->sealer, &b->h, raw, b->w.done, &bytes, &len, &hash, &e))
		die("cannot seal", &e);
	m->bytes = malloc(len);
	m->arena = arena_new(MiB(32), 0);
	if (!m->bytes || !m->arena)
		die("memory", &e);
	memcpy(m->bytes, bytes, len);
	if (batch_parse(m->bytes, len, m->arena, &m->view, &e) ||
	    tokens_extract(&m->view.header, raw, b->w.done, m->arena, &m->tokens, &m->n_tokens, &e))
		die("cannot parse", &e);
	b->items[at] = (struct store_item){ .kind = STORE_BATCH,
					    .bytes = m->bytes,
					    .len = len,
					    .view = &m->view,
					    .received_ns = b->h.sealed_wall_ns,
					    .tokens = m->tokens,
					    .n_tokens = m->n_tokens };
	c->number++;
	c->sequence = b->h.last_sequence;
	c->previous = hash;
	b->events += b->h.count;
	b->tokens += m->n_tokens;
	b->batches++;
}

static double seconds(uint64_t since_ns)
{
	return (double)(clock_monotonic_ns() - since_ns) / 1e9;
}

static void one_round(struct bench *b)
{
	struct error e = { 0 };
	uint64_t start;

	for (size_t i = 0; i < ROUND; i++)
		make_batch(b, i);
	start = clock_monotonic_ns();
	for (size_t i = 0; i < ROUND; i += GROUP)
		if (store_put(b->s, b->items + i, GROUP, &e))
			die("cannot put", &e);
	b->put_s += seconds(start);
	for (size_t i = 0; i < ROUND; i++) {
		free(b->made[i].bytes);
		arena_free(b->made[i].arena);
	}
}

/* Find, then also read and open every batch that may hold the answer. */
static void ask(struct bench *b, const char *what, const uint64_t *token,
		const struct batch_name *host)
{
	static const struct batch_name tenant = { 4, "acme" };
	struct store_group group = { token, 1 };
	struct store_question q = { .tenant = &tenant,
				    .since_ns = INT64_MIN,
				    .until_ns = INT64_MAX,
				    .groups = &group,
				    .n_groups = token ? 1 : 0,
				    .hosts = host,
				    .n_hosts = host ? 1 : 0,
				    .max = 10000000 };
	double find = 0, all = 0;
	struct error e = { 0 };
	size_t n = 0;

	for (int i = 0; i < ASKS; i++) {
		struct batch_opener *opener = NULL;
		struct store_ref *refs = NULL;
		uint64_t start = clock_monotonic_ns();

		if (store_find(b->s, &q, &refs, &n, &e) || batch_opener_new(&opener, &e))
			die("cannot find", &e);
		find += seconds(start);
		for (size_t k = 0; k < n && token; k++) {
			struct arena *a = arena_new(MiB(16), 0);
			struct batch_view view;
			const uint8_t *raw;
			uint8_t *bytes = NULL;
			size_t len, raw_len;

			if (!a || store_read(b->s, &refs[k], &bytes, &len, &e) ||
			    batch_parse(bytes, len, a, &view, &e) ||
			    batch_open(opener, &view, NULL, &raw, &raw_len, &e))
				die("cannot read", &e);
			free(bytes);
			arena_free(a);
		}
		all += seconds(start);
		free(refs);
		batch_opener_free(opener);
	}
	printf("%-28s %9zu %12.2f %14.2f\n", what, n, find / ASKS * 1e3, all / ASKS * 1e3);
}

static void ask_all(struct bench *b)
{
	static const char path[] = "/etc/cron.d/needle";
	struct batch_name host = { .len = 19, .b = "host-000017.example" };
	uint64_t address = token_hash(TOKEN_IP, "\xcb\x00\x71\x42", 4);
	uint64_t file = token_hash(TOKEN_PATH, path, sizeof(path) - 1);
	uint64_t nothing = token_hash(TOKEN_PATH, "/no/such/file", 13);

	printf("\n%-28s %9s %12s %14s\n", "question", "batches", "find ms", "and open ms");
	ask(b, "one address", &address, NULL);
	ask(b, "one path", &file, NULL);
	ask(b, "a path that is nowhere", &nothing, NULL);
	host.len = (uint8_t)strlen((const char *)host.b);
	ask(b, "all batches of one host", NULL, &host);
	ask(b, "all batches", NULL, NULL);
}

static void print_stored(const struct bench *b, const struct store_totals *t)
{
	double events = (double)b->events;
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	printf("events %llu, batches %llu of %d, tokens per event %.2f, groups of %d per fdatasync\n",
	       (unsigned long long)b->events, (unsigned long long)b->batches, EVENTS_PER_BATCH,
	       (double)b->tokens / events, GROUP);
	printf("%-28s %12.0f\n", "events/s into the store", events / b->put_s);
	printf("%-28s %12.1f\n", "bytes/event in segments", (double)t->segment_bytes / events);
	printf("%-28s %12.1f\n", "bytes/event in indexes", (double)t->index_bytes / events);
	printf("%-28s %12.1f\n", "bytes/event at rest",
	       (double)(t->segment_bytes + t->index_bytes) / events);
	printf("%-28s %12ld\n", "resident memory, MiB (peak)", u.ru_maxrss / 1024);
}

static void prepare(struct bench *b, const char *dir, struct store_config *c)
{
	struct error e = { 0 };
	char key[512];
	uint8_t public[SEAL_PUBLIC_LEN];

	(void)snprintf(key, sizeof(key), "%s.key", dir);
	if (certs_sealing_key(key, public, &e) || seal_key_load(key, &b->key, &e) ||
	    batch_sealer_new(b->key, &b->sealer, &e))
		die("cannot make a key", &e);
	(void)unlink(key);
	*c = (struct store_config){
		.dir = dir, .segment_age_ms = 1, .ledger_key = b->key, .tokenize = tokens_extract
	};
	if (store_open(c, &b->s, &e))
		die("cannot open", &e);
}

int main(int argc, char **argv)
{
	const char *full = getenv("EXHIBIT_FULL");
	uint64_t want = argc > 1             ? strtoull(argv[1], NULL, 10) :
			full && *full == '1' ? 5000000 :
					       500000;
	struct bench *b = calloc(1, sizeof(*b));
	char dir[256] = "/var/tmp/exhibit-bench-XXXXXX";
	struct store_config c;
	struct store_totals totals;
	struct error e = { 0 };

	if (!b || (argc <= 2 && !mkdtemp(dir)))
		die("cannot begin", &e);
	if (argc > 2)
		(void)snprintf(dir, sizeof(dir), "%s", argv[2]);
	b->raw = malloc(BATCH_RAW_MAX);
	b->rng = 42;
	b->clock_ns = 1000 * NSEC_PER_SEC;
	b->every = want / EVENTS_PER_BATCH / NEEDLES + 1;
	prepare(b, dir, &c);
	while (b->events < want)
		one_round(b);
	if (store_retain(b->s, (int64_t)((START_S + 1000000000) * NSEC_PER_SEC), &e))
		die("cannot seal", &e);
	store_totals(b->s, &totals);
	print_stored(b, &totals);
	ask_all(b);
	{
		uint64_t start = clock_monotonic_ns();

		store_close(b->s);
		if (store_open(&c, &b->s, &e))
			die("cannot open again", &e);
		printf("\n%-28s %12.1f ms\n", "opened again in", seconds(start) * 1e3);
	}
	store_close(b->s);
	batch_sealer_free(b->sealer);
	seal_key_free(b->key);
	if (argc <= 2) {
		(void)fflush(stdout);
		(void)execlp("rm", "rm", "-rf", dir, NULL);
	}
	return 0;
}
