/* SPDX-License-Identifier: Apache-2.0 */
/* The store alone: how fast it takes batches, how much it keeps per event, how fast the index answers.
 * bench_store [EVENTS [DIR]]: 500,000 events by default, 5,000,000 with EXHIBIT_FULL=1. The batches are
 * made beforehand in rounds (events as agents send them, sealed, tokens extracted), outside the clock;
 * what is timed is store_put with its fdatasync and the sealing of segments that it causes. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "collector/ledger_feed.h"
#include "collector/store.h"
#include "collector/tokens.h"
#include "proto/base/clock.h"
#include "proto/certs.h"
#include "tests/bench/synthetic.h"

#define HOSTS 200
#define ROUND 128 /* batches made ahead */
#define GROUP 32 /* batches in one put */
#define NEEDLES 25 /* batches that hold what is asked for */
#define ASKS 20
#define START_S 1700000000ull
#define STEP_NS                                                                                    \
	20000000 /* between two events of a host: all hosts together make one every 0.1 ms */

struct made {
	uint8_t *bytes;
	struct arena *arena;
	struct batch_view view;
	uint64_t *tokens;
	size_t n_tokens;
};

struct bench {
	struct seal_key *key;
	struct synthetic *hosts[HOSTS];
	struct store *s;
	uint64_t events, batches, every, tokens;
	struct made made[ROUND];
	struct store_item items[ROUND];
	double put_s, ledger_s; /* every other round's batches have their leaves in the ledger */
	uint64_t rounds, put_events, ledger_events;
	struct ledger *ledger;
	struct ledger_feed *feed;
	bool owing;
};

static void die(const char *what, const struct error *e)
{
	fprintf(stderr, "bench_store: %s: %s\n", what, e->text);
	exit(1);
}

/* Hosts in turn. */
static void make_batch(struct bench *b, size_t at)
{
	struct synthetic *host = b->hosts[b->batches % HOSTS];
	enum synthetic_needle needle = b->batches % b->every ? SYNTHETIC_PLAIN :
							       SYNTHETIC_NEEDLE_BULK;
	struct made *m = &b->made[at];
	const uint8_t *bytes, *raw;
	struct batch_header h;
	struct error e = { 0 };
	size_t len, raw_len;

	if (synthetic_batch(host, needle, &h, &bytes, &len, &e))
		die("cannot make a batch", &e);
	raw = synthetic_raw(host, &raw_len);
	m->bytes = malloc(len);
	m->arena = arena_new(MiB(32), 0);
	if (!m->bytes || !m->arena)
		die("memory", &e);
	memcpy(m->bytes, bytes, len);
	if (batch_parse(m->bytes, len, m->arena, &m->view, &e) ||
	    tokens_extract(&m->view.header, raw, raw_len, m->arena, &m->tokens, &m->n_tokens, &e))
		die("cannot parse", &e);
	b->items[at] = (struct store_item){ .kind = STORE_BATCH,
					    .bytes = m->bytes,
					    .len = len,
					    .view = &m->view,
					    .received_ns = h.sealed_wall_ns,
					    .tokens = m->tokens,
					    .n_tokens = m->n_tokens };
	b->events += h.count;
	b->tokens += m->n_tokens;
	b->batches++;
}

static double seconds(uint64_t since_ns)
{
	return (double)(clock_monotonic_ns() - since_ns) / 1e9;
}

static void owe(void *ctx, enum store_kind kind, const struct batch_name *tenant,
		const uint8_t *body, size_t len)
{
	struct bench *b = ctx;

	if (b->owing)
		ledger_feed_owe(b->feed, kind, tenant, body, len);
}

static void one_round(struct bench *b)
{
	struct error e = { 0 };
	uint64_t start, before = b->events;

	b->owing = b->rounds++ % 2;

	for (size_t i = 0; i < ROUND; i++)
		make_batch(b, i);
	start = clock_monotonic_ns();
	for (size_t i = 0; i < ROUND; i += GROUP)
		if (store_put(b->s, b->items + i, GROUP, &e) ||
		    (b->owing && ledger_feed_pay(b->feed, &e)))
			die("cannot put", &e);
	*(b->owing ? &b->ledger_s : &b->put_s) += seconds(start);
	*(b->owing ? &b->ledger_events : &b->put_events) += b->events - before;
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
	static const char path[] = SYNTHETIC_PATH;
	struct batch_name host = { .len = 19, .b = "host-000017.example" };
	struct in_addr to;
	uint64_t file = token_hash(TOKEN_PATH, path, sizeof(path) - 1);
	uint64_t nothing = token_hash(TOKEN_PATH, "/no/such/file", 13), address;

	(void)inet_pton(AF_INET, SYNTHETIC_ADDRESS, &to);
	address = token_hash(TOKEN_IP, &to, sizeof(to));
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
	       (unsigned long long)b->events, (unsigned long long)b->batches, SYNTHETIC_EVENTS,
	       (double)b->tokens / events, GROUP);
	printf("%-28s %12.0f\n", "events/s into the store", (double)b->put_events / b->put_s);
	printf("%-28s %12.0f\n", "the same with the ledger",
	       (double)b->ledger_events / b->ledger_s);
	printf("%-28s %12.2f\n", "ratio of their times",
	       b->ledger_s / (double)b->ledger_events / (b->put_s / (double)b->put_events));
	printf("%-28s %12.1f\n", "bytes/event in segments", (double)t->segment_bytes / events);
	printf("%-28s %12.1f\n", "bytes/event in indexes", (double)t->index_bytes / events);
	printf("%-28s %12.1f\n", "bytes/event at rest",
	       (double)(t->segment_bytes + t->index_bytes) / events);
	printf("%-28s %12ld\n", "resident memory, MiB (peak)", u.ru_maxrss / 1024);
}

static void make_hosts(struct bench *b)
{
	struct error e = { .text = "out of memory" };

	for (unsigned int i = 0; i < HOSTS; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "host-%06u.example", i);
		b->hosts[i] = synthetic_new(&(struct synthetic_config){
			.tenant = "acme",
			.host_id = name,
			.key = b->key,
			.seed = i + 1,
			.begin_wall_ns = (int64_t)(START_S * NSEC_PER_SEC),
			.step_ns = STEP_NS,
			.shared = i ? b->hosts[0] : NULL,
		});
		if (!b->hosts[i])
			die("cannot make a host", &e);
	}
}

static void prepare(struct bench *b, const char *dir, struct store_config *c)
{
	struct error e = { 0 };
	char key[512], ledger[512];
	uint8_t public[SEAL_PUBLIC_LEN];

	(void)snprintf(key, sizeof(key), "%s.key", dir);
	if (certs_sealing_key(key, public, &e) || seal_key_load(key, &b->key, &e))
		die("cannot make a key", &e);
	make_hosts(b);
	*c = (struct store_config){ .dir = dir,
				    .segment_age_ms = 1,
				    .ledger_key = b->key,
				    .tokenize = tokens_extract,
				    .on_frame = owe,
				    .ctx = b };
	if (store_open(c, &b->s, &e))
		die("cannot open", &e);
	(void)snprintf(ledger, sizeof(ledger), "%s/" LEDGER_FOLDER, dir);
	if (ledger_open(&(struct ledger_config){ .dir = ledger, .key_file = key, .origin = "bench" },
			&b->ledger, &e) ||
	    ledger_feed_open(b->ledger, b->s, ledger, &b->feed, &e))
		die("cannot open the ledger", &e);
	(void)unlink(key);
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
	b->every = want / SYNTHETIC_EVENTS / NEEDLES + 1;
	prepare(b, dir, &c);
	while (b->events < want)
		one_round(b);
	if (store_retain(b->s, (int64_t)((START_S + 1000000000) * NSEC_PER_SEC), &e))
		die("cannot seal", &e);
	store_totals(b->s, &totals);
	print_stored(b, &totals);
	ask_all(b);
	b->owing = false;
	ledger_feed_free(b->feed);
	ledger_close(b->ledger);
	{
		uint64_t start = clock_monotonic_ns();

		store_close(b->s);
		if (store_open(&c, &b->s, &e))
			die("cannot open again", &e);
		printf("\n%-28s %12.1f ms\n", "opened again in", seconds(start) * 1e3);
	}
	store_close(b->s);
	/* The first is the one whose buffers the others use. */
	for (size_t i = HOSTS; i-- > 0;)
		synthetic_free(b->hosts[i]);
	seal_key_free(b->key);
	if (argc <= 2) {
		(void)fflush(stdout);
		(void)execlp("rm", "rm", "-rf", dir, NULL);
	}
	return 0;
}
