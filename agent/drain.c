/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/drain.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "agent/ancestors.h"
#include "agent/counters.h"
#include "agent/flows.h"
#include "agent/lanes.h"
#include "agent/losses.h"
#include "agent/notice.h"
#include "agent/procfs.h"
#include "agent/ring.h"
#include "agent/stockmerge.h"
#include "agent/stocktake.h"
#include "proto/actions.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/version.h"

#define CRITICAL_SLICE 65536
#define BULK_SLICE 4096 /* then the critical ring has its turn again */
#define FANOTIFY_SLICE 512
#define BUSY_NS (5 * NSEC_PER_MSEC) /* between two rounds */
#define QUIET_NS (25 * NSEC_PER_MSEC) /* ... after QUIET_ROUNDS empty ones */
#define QUIET_ROUNDS 20
#define CHECK_EVERY_NS NSEC_PER_SEC
#define COVERAGE_EVERY_NS (60 * NSEC_PER_SEC)
#define BATCH_AGE_NS NSEC_PER_SEC
#define STOP_NS (2 * NSEC_PER_SEC) /* a flood does not hold up a stop for longer */
/* A program may have read its clock and not have sent its record yet when the ring is read empty; it can
 * be held up no longer than this without the kernel reporting a stall. */
#define WATERMARK_MARGIN_NS (2 * NSEC_PER_SEC)
#define PROCESSES_MAX 65536
#define PROCESS_BYTES_MAX MiB(24)
#define CGROUPS_MAX 4096
#define NICE (-20)
#define NOTICES_MAX 1024

struct drain {
	struct drain_config c;
	struct ring *critical, *bulk;
	struct process_table *table;
	struct cgroups *cgroups;
	struct users *users;
	struct procfs *procfs;
	struct enricher enricher;
	struct decode_hooks kinds;
	struct lanes *lanes;
	struct losses *losses;
	struct stocktake *stock; /* NULL: taken */
	struct stockmerge *merge;
	struct ancestors ancestors; /* of what the stock told */
	bool taking_stock; /* the record comes from an iterator */
	bool lost; /* something was, since the last coverage event */
	uint64_t now_ns; /* boottime at the beginning of this round */
	uint64_t drained_ns; /* ... of the newest round that read both rings empty */
	bool drained; /* since the last check */
	uint64_t checked_ns, covered_ns;
	unsigned int quiet_rounds;
	struct queue *notices; /* of orders */
	atomic_bool stop;
	const char *stop_reason;
	pthread_t thread;
};

/* Exhibit's own writing is counted and left out. */
static bool is_own(const struct drain *d, const struct event *ev)
{
	return (ev->class == CLASS_FILE_OPEN || ev->class == CLASS_FILE_CHANGE) &&
	       own_covers(d->c.own, ev->u.file.path);
}

static void say(struct drain *d, const struct event *ev, const struct enriched *who)
{
	if (is_own(d, ev))
		losses_filtered(d->losses, ev->class);
	else
		lanes_event(d->lanes, ev, who, d->now_ns);
}

/* Files change in mount namespaces that fanotify learns of by what happens there. A process that ends,
 * and a socket's owner, lead nowhere. */
static void note_mounts(struct drain *d, const struct decoded *r)
{
	uint32_t pid = r->event.action == ACTION_EXIT ? 0 : r->event.image.pid;

	if (d->c.fanotify != NULL && !r->by_owner)
		fanotify_seen(d->c.fanotify, r->facts.mnt_ns, pid, d->now_ns);
}

static int on_record(void *ctx, const void *record, size_t len)
{
	struct drain *d = ctx;
	struct decoded decoded;
	struct enriched who;
	const char *why;
	int r = decode_record(&d->kinds, record, len, &decoded, &why);

	if (r == 0)
		note_mounts(d, &decoded);
	losses_record(d->losses, &decoded, r == 0 ? decoded.event.boottime_ns : d->now_ns);
	if (r < 0) {
		losses_undecoded(d->losses, why, d->now_ns);
		return 0;
	}
	if (decoded.cgroup.id != 0) {
		cgroups_made(d->cgroups, decoded.cgroup.v1, decoded.cgroup.id, decoded.cgroup.path,
			     d->now_ns);
		return 0;
	}
	if (d->taking_stock && !stockmerge_wanted(d->merge, d->table, &decoded))
		return 0;
	if (d->stock != NULL && !d->taking_stock)
		stockmerge_note(d->merge, &decoded);
	enrich_record(&d->enricher, &decoded, d->now_ns, &who);
	say(d, &decoded.event, &who);
	return 0;
}

/* A process that the stock lists, before anything of the stock is told: whoever was started by it, and is
 * listed before it, is to be told with its name. */
static int learn_listed(void *ctx, const void *record, size_t len)
{
	struct drain *d = ctx;
	struct decoded decoded;
	const char *why;

	if (decode_record(&d->kinds, record, len, &decoded, &why) < 0 || !decoded.event.facts)
		return 0;
	ancestors_note(&d->ancestors, &decoded.event.facts->parent);
	if (stockmerge_wanted(d->merge, d->table, &decoded))
		(void)process_put(d->table, &decoded.facts, PROCESS_PROCFS, d->now_ns);
	return 0;
}

static int strike_listed(void *ctx, const void *record, size_t len)
{
	struct drain *d = ctx;
	struct decoded decoded;
	const char *why;

	if (decode_record(&d->kinds, record, len, &decoded, &why) == 0 && decoded.event.facts)
		ancestors_listed(&d->ancestors, &decoded.event.facts->key);
	return 0;
}

static void on_file_change(void *ctx, struct event *ev)
{
	struct drain *d = ctx;
	struct enriched who = { 0 };

	if (ev->action != ACTION_GAP)
		enrich_event(&d->enricher, ev, d->now_ns, &who);
	say(d, ev, ev->action == ACTION_GAP ? NULL : &who);
}

/* A bulk record names a process that is not known: its exec was sent before it, and waits there. */
static void drain_critical(void *ctx)
{
	struct drain *d = ctx;

	(void)!ring_drain(d->critical, CRITICAL_SLICE);
}

/* The watermark: what happened up to here has been said. */
static uint64_t watermark(const struct drain *d)
{
	return d->drained_ns > WATERMARK_MARGIN_NS ? d->drained_ns - WATERMARK_MARGIN_NS : 0;
}

static void say_coverage(struct drain *d)
{
	struct coverage *c = hooks_coverage(d->c.hooks);
	struct encode_counters counters[COVERAGE_ROWS_MAX];

	containers_coverage(cgroups_containers(d->cgroups), c);
	if (d->c.recorder != NULL)
		recorder_coverage(d->c.recorder, d->now_ns, c);
	losses_counters(d->losses, c, counters);
	lanes_coverage(d->lanes, c, counters, d->now_ns);
	d->covered_ns = d->now_ns;
	d->lost = false;
}

static void cover_fanotify(struct drain *d)
{
	struct fanotify_coverage f;

	if (d->c.fanotify == NULL)
		return;
	fanotify_coverage(d->c.fanotify, &f);
	coverage_attached(hooks_coverage(d->c.hooks), CLASS_FILE_CHANGE, "modify, rename, unlink",
			  0, "fanotify", f.partial ? f.reason : NULL);
}

/* What the iterator left out although it is somebody's parent, as /proc shows it. */
static void say_missing_ancestors(struct drain *d)
{
	struct rec_image key;
	size_t at = 0;

	while (ancestors_missing(&d->ancestors, d->table, &at, &key)) {
		struct image_facts facts;
		struct enriched who = { 0 };

		if (!procfs_facts(d->procfs, &key, &facts))
			continue; /* it ended: its children have another parent by now */
		struct event ev = { .action = ACTION_PROCESS,
				    .class = CLASS_EXEC,
				    .hook = HOOK_PROCFS,
				    .flags = EVENT_EXISTING,
				    .boottime_ns = d->now_ns,
				    .image = key,
				    .facts = &facts };

		(void)process_put(d->table, &facts, PROCESS_STOCK, d->now_ns);
		enrich_event(&d->enricher, &ev, d->now_ns, &who);
		lanes_event(d->lanes, &ev, &who, d->now_ns);
	}
}

static void take_stock(struct drain *d)
{
	static const struct encode_agent whole = { .action = ACTION_AGENT_STOCK,
						   .version = VERSION };
	struct error e = { 0 };

	if (d->stock == NULL || !stocktake_done(d->stock))
		return;
	(void)!stocktake_take(d->stock, learn_listed, d, NULL);
	(void)!stocktake_take(d->stock, strike_listed, d, NULL);
	say_missing_ancestors(d);
	d->taking_stock = true;
	if (stocktake_take(d->stock, on_record, d, &e) == 0) {
		lanes_agent(d->lanes, &whole, d->now_ns);
	} else {
		struct event_gap gap = { .where = GAP_TABLE,
					 .from_ns = d->c.start_ns,
					 .to_ns = d->now_ns,
					 .reason =
						 "not all that existed at start could be listed" };

		log_failure(LOG_LEVEL_WARN, "taking stock ended early", &e);
		lanes_gap(d->lanes, &gap, d->now_ns);
	}
	d->taking_stock = false;
	stocktake_free(d->stock);
	d->stock = NULL;
	stockmerge_free(d->merge);
	d->merge = NULL;
}

static void sweep_flows(struct drain *d, const struct flows_policy *policy)
{
	struct error e = { 0 };
	int n = flows_sweep(d->c.hooks, policy, d->now_ns, on_record, d, &e);

	if (n < 0)
		log_failure(LOG_LEVEL_WARN, "cannot read the kernel's table of UDP flows", &e);
	else
		losses_swept(d->losses, (uint64_t)n);
}

/* Once a second: account, forget, tell how far we are. */
static void check(struct drain *d)
{
	static const struct flows_policy flows = { .idle_ns = FLOWS_IDLE_NS,
						   .active_ns = FLOWS_ACTIVE_NS };

	if (d->now_ns - d->checked_ns < CHECK_EVERY_NS)
		return;
	d->checked_ns = d->now_ns;
	sweep_flows(d, &flows);
	if (losses_check(d->losses, d->drained, d->now_ns))
		d->lost = true;
	d->drained = false;
	process_expire(d->table, d->now_ns);
	users_refresh(d->users, d->now_ns);
	bool changed = d->c.fanotify != NULL && fanotify_coverage_changed(d->c.fanotify);

	if (changed)
		cover_fanotify(d);
	if (changed || d->lost || d->now_ns - d->covered_ns >= COVERAGE_EVERY_NS)
		say_coverage(d);
	lanes_tick(d->lanes, watermark(d), true, d->now_ns);
}

static void take_notices(struct drain *d)
{
	for (struct notice *n; (n = queue_pop(d->notices, 0)) != NULL; notice_free(n))
		lanes_order(d->lanes, &n->order, n->action, n->error, n->boottime_ns);
}

/* One round. Returns whether there is more to do at once. */
static bool round_once(struct drain *d)
{
	d->now_ns = clock_boottime_ns();
	int critical = ring_drain(d->critical, CRITICAL_SLICE);
	int bulk = ring_drain(d->bulk, BULK_SLICE);
	size_t files = d->c.fanotify == NULL ? 0 :
					       fanotify_drain(d->c.fanotify, d->now_ns,
							      FANOTIFY_SLICE, on_file_change, d);
	bool more = critical >= CRITICAL_SLICE || bulk >= BULK_SLICE || files >= FANOTIFY_SLICE;

	if (!more && critical >= 0 && bulk >= 0) {
		d->drained_ns = d->now_ns;
		d->drained = true;
	}
	take_stock(d);
	take_notices(d);
	check(d);
	lanes_tick(d->lanes, watermark(d), false, d->now_ns);
	d->quiet_rounds = critical + bulk > 0 || files > 0 ? 0 : d->quiet_rounds + 1;
	return more;
}

static void finish(struct drain *d)
{
	static const struct flows_policy everything = { 0 };
	struct encode_agent stopping = { .action = ACTION_AGENT_STOP,
					 .version = VERSION,
					 .reason = d->stop_reason };

	uint64_t until_ns = clock_boottime_ns() + STOP_NS;
	bool more = true;

	while (more && clock_boottime_ns() < until_ns)
		more = round_once(d);
	sweep_flows(d, &everything);
	(void)losses_check(d->losses, !more, d->now_ns);
	say_coverage(d);
	lanes_agent(d->lanes, &stopping, clock_boottime_ns());
	lanes_flush(d->lanes, watermark(d));
}

static void begin(struct drain *d)
{
	struct encode_agent starting = { .action = ACTION_AGENT_START,
					 .version = VERSION,
					 .kernel = d->c.kernel,
					 .machine = d->c.machine,
					 .machine_id = d->c.machine_id };

	d->now_ns = clock_boottime_ns();
	lanes_agent(d->lanes, &starting, d->now_ns);
	for (size_t i = 0; i < d->c.n_gaps; i++)
		lanes_gap(d->lanes, &d->c.gaps[i], d->now_ns);
	cover_fanotify(d);
	say_coverage(d);
}

static void *run_drain(void *arg)
{
	struct drain *d = arg;

	/* Linux: of this thread alone. Without the right to, the rings are large enough for ordinary hosts. */
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	begin(d);
	while (!atomic_load(&d->stop)) {
		if (round_once(d))
			continue;
		uint64_t pause_ns = d->quiet_rounds > QUIET_ROUNDS ? QUIET_NS : BUSY_NS;

		(void)nanosleep(&(struct timespec){ .tv_nsec = (long)pause_ns }, NULL);
	}
	finish(d);
	return NULL;
}

static bool read_proc(void *ctx, const struct rec_image *key, struct image_facts *ret)
{
	struct drain *d = ctx;

	return procfs_facts(d->procfs, key, ret);
}

static int open_enricher(struct drain *d, struct error *e)
{
	static const struct process_config processes = { PROCESSES_MAX, PROCESS_BYTES_MAX };
	struct cgroups_config cgroups = { .root = d->c.cgroup_root,
					  .proc = "/proc",
					  .max = CGROUPS_MAX };
	struct container_files *files = NULL;
	struct error why = { 0 };

	d->table = process_table_new(&processes);
	d->users = users_new("/etc/passwd");
	d->procfs = procfs_new("/proc");
	if (d->table == NULL || d->users == NULL || d->procfs == NULL)
		return error_set(e, -ENOMEM, "cannot keep processes: out of memory");
	int r = container_files_new(d->c.runtimes, d->c.host_prefix, &files, e);

	if (r < 0)
		return r;
	cgroups.containers = containers_new(files, CGROUPS_MAX);
	if (cgroups.containers == NULL)
		return error_set(e, -ENOMEM, "cannot keep containers: out of memory");
	r = cgroups_open(&cgroups, &d->cgroups, &why);

	if (r < 0 && d->cgroups == NULL)
		return error_wrap(&why, r, "cannot name workloads");
	if (r < 0)
		log_failure(LOG_LEVEL_WARN,
			    "workloads are named by their cgroup's last component only", &why);
	d->enricher = (struct enricher){ .table = d->table,
					 .cgroups = d->cgroups,
					 .users = d->users,
					 .more = drain_critical,
					 .read_proc = read_proc,
					 .ctx = d };
	return 0;
}

static int open_parts(struct drain *d, struct error *e)
{
	struct hooks *h = d->c.hooks;
	struct lanes_config lanes = { .enricher = &d->enricher,
				      .sealer = d->c.sealer,
				      .n_cpu = counters_cpus(),
				      .max_age_ns = BATCH_AGE_NS };

	for (size_t i = 0; i < REC_CLASSES; i++) {
		d->kinds.of[i].hook = hooks_kind(h, (enum rec_class)i);
		d->kinds.of[i].tier = hooks_tier(h, (enum rec_class)i);
	}
	memcpy(lanes.next_sequence, d->c.next_sequence, sizeof(lanes.next_sequence));
	d->notices = queue_new(NOTICES_MAX);
	int r = d->notices == NULL ? error_set(e, -ENOMEM, "cannot drain: out of memory") :
				     open_enricher(d, e);

	if (r == 0)
		r = lanes_new(&lanes, &d->lanes, e);
	if (r == 0)
		r = losses_new(h, d->lanes, d->c.sealer, d->c.start_ns, &d->losses, e);
	if (r == 0)
		r = ring_open(hooks_map_fd(h, "exh_critical"), on_record, d, &d->critical, e);
	if (r == 0)
		r = ring_open(hooks_map_fd(h, "exh_bulk"), on_record, d, &d->bulk, e);
	if (r == 0 && (d->merge = stockmerge_new()) == NULL)
		r = error_set(e, -ENOMEM, "cannot take stock: out of memory");
	if (r == 0)
		r = stocktake_start(h, &d->stock, e);
	return r;
}

static void close_parts(struct drain *d)
{
	for (struct notice *n; d->notices != NULL && (n = queue_pop(d->notices, 0)) != NULL;)
		notice_free(n);
	queue_free(d->notices);
	stocktake_free(d->stock);
	stockmerge_free(d->merge);
	ring_close(d->critical);
	ring_close(d->bulk);
	losses_free(d->losses);
	lanes_free(d->lanes);
	cgroups_close(d->cgroups);
	users_free(d->users);
	procfs_free(d->procfs);
	process_table_free(d->table);
	free(d);
}

int drain_start(const struct drain_config *c, struct drain **ret_d, struct error *e)
{
	struct drain *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return error_set(e, -ENOMEM, "cannot drain the rings: out of memory");
	d->c = *c;
	int r = open_parts(d, e);

	if (r == 0) {
		r = -pthread_create(&d->thread, NULL, run_drain, d);
		if (r < 0)
			(void)error_set(e, r, "cannot start the drain thread: %m");
	}
	if (r < 0) {
		close_parts(d);
		return r;
	}
	(void)pthread_setname_np(d->thread, "drain");
	*ret_d = d;
	return 0;
}

void drain_stop(struct drain *d, const char *reason)
{
	if (d == NULL)
		return;
	d->stop_reason = reason;
	atomic_store(&d->stop, true);
	(void)pthread_join(d->thread, NULL);
	close_parts(d);
}

bool drain_say_order(struct drain *d, const struct event_order *order, uint32_t action,
		     uint32_t error)
{
	struct notice *n = notice_new(order, action, error, clock_boottime_ns());

	if (n != NULL && queue_try_push(d->notices, n))
		return true;
	notice_free(n);
	return false;
}
