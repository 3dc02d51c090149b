/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sense.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/bootid.h"
#include "agent/drain.h"
#include "agent/introduction.h"
#include "agent/launch.h"
#include "agent/notify.h"
#include "agent/orders.h"
#include "agent/privilege.h"
#include "agent/recorder.h"
#include "agent/sealer.h"
#include "proto/actions.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define RESTART_WAIT_NS (3600 * NSEC_PER_SEC) /* for exhibits, after SIGHUP */
#define MACHINE_ID_FILE "/etc/machine-id"

struct sense {
	const struct agent_config *config;
	int control; /* of the launcher */
	pid_t launcher;
	int signals;
	struct own own;
	struct hooks *hooks;
	struct fanotify *fanotify;
	struct recorder *recorder;
	struct sealer *sealer;
	struct drain *drain;
	struct mailbox mail; /* between sealer and orders */
	struct orders *orders;
	uint64_t restart_at_ns; /* when a new uplink was asked for; 0: none is */
	struct identity id;
	uint8_t boot_id[BATCH_BOOT_LEN];
	char host_name[BATCH_NAME_MAX + 1];
	struct utsname kernel;
	char machine_id[64];
	char damage[112]; /* the reason of a gap: what the journal lost */
};

static int fill_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	return getrandom(buf, len, 0) == (ssize_t)len ? 0 : -EIO;
}

static void take_name(struct batch_name *ret, const char *text)
{
	ret->len = (uint8_t)(strlen(text) < BATCH_NAME_MAX ? strlen(text) : BATCH_NAME_MAX);
	memcpy(ret->b, text, ret->len);
}

/* Who we are: the certificate says it, so that header and certificate cannot disagree. */
static int take_identity(const struct agent_config *c, struct sealer_config *s,
			 struct identity *ret_id, struct error *e)
{
	AUTO(authorities_free_ptr) struct authorities *a = NULL;
	AUTO(free_ptr) uint8_t *pem = NULL;
	struct identity id = { 0 };
	char host[BATCH_NAME_MAX] = "";
	size_t len;
	int r = authorities_load(c->tls_fleet_ca, c->tls_order_ca, &a, e);

	if (r == 0)
		r = files_read(c->tls_cert, AUTHORITIES_FILE_MAX, &pem, &len, e);
	if (r == 0)
		r = identity_from_leaf((const char *)pem, len, a,
				       clock_wall_ns() / (int64_t)NSEC_PER_SEC, &id, e);
	/* An expired certificate still says who we are; the collector refuses it until it is renewed. */
	if (r == -EKEYEXPIRED) {
		log_failure(LOG_LEVEL_ERROR, "the collector will refuse this host", e);
		r = 0;
	}
	if (r == 0 && id.kind != IDENTITY_HOST)
		r = error_set(e, -EINVAL, "tls.cert '%s' is not a host's certificate", c->tls_cert);
	if (r < 0) {
		r = error_wrap(e, r, "cannot tell which host this is");
		if (r == -ENOENT)
			error_hint(e,
				   "'exhibit-collector certs' makes certificates (certs --help), "
				   "'make run' makes all that one machine needs");
		return r;
	}
	(void)gethostname(host, sizeof(host) - 1);
	take_name(&s->tenant, id.tenant);
	take_name(&s->host_id, id.name);
	take_name(&s->host_name, host);
	*ret_id = id;
	return 0;
}

static int open_hooks(struct sense *s, struct error *e)
{
	const struct agent_config *c = s->config;
	const char *missing = privilege_missing();

	if (missing != NULL) {
		error_set(e, -EPERM, "cannot trace this host: capability %s is missing", missing);
		error_hint(e, "run as root, or grant %s", missing);
		return -EPERM;
	}
	return hooks_open(&(struct hooks_config){ .critical_ring_bytes = c->critical_ring_bytes,
						  .bulk_ring_bytes = c->bulk_ring_bytes,
						  .no_files = !c->files,
						  .no_network = !c->network },
			  &s->hooks, e);
}

/* A host without fanotify is covered less, and says so. */
static void open_fanotify(struct sense *s)
{
	/* Bounded: while the agent is stopped the kernel's memory must not fill; an overflow is a gap. */
	struct fanotify_config f = { .mountinfo = "/proc/self/mountinfo",
				     .bounded = true,
				     .own_pids = { (uint32_t)getpid() } };
	struct coverage *coverage = hooks_coverage(s->hooks);
	struct fanotify_coverage covered;
	struct error why = { 0 };

	for (size_t i = 0; i < s->own.n; i++)
		f.own_folders[i] = s->own.folder[i];
	if (!s->config->fanotify) {
		coverage_failed(coverage, CLASS_FILE_CHANGE, "modify, rename, unlink",
				"switched off by sense.fanotify");
	} else if (fanotify_open(&f, clock_boottime_ns(), &s->fanotify, &why) < 0) {
		coverage_failed(coverage, CLASS_FILE_CHANGE, "modify, rename, unlink", "%s",
				why.text);
	} else {
		fanotify_coverage(s->fanotify, &covered);
		coverage_attached(coverage, CLASS_FILE_CHANGE, "modify, rename, unlink", 0,
				  "fanotify", covered.partial ? covered.reason : NULL);
	}
}

/* The same: it says so when it cannot. */
static void open_recorder(struct sense *s)
{
	const struct recorder_config c = { .bytes = s->config->recorder_bytes,
					   .snap = (uint32_t)s->config->recorder_snap };
	struct coverage *coverage = hooks_coverage(s->hooks);
	struct error why = { 0 };

	if (c.bytes == 0)
		coverage_failed(coverage, CLASS_AGENT, RECORDER_WHAT,
				"switched off by recorder.bytes");
	else if (recorder_open(&c, &s->recorder, &why) < 0)
		coverage_failed(coverage, CLASS_AGENT, RECORDER_WHAT, "%s", why.text);
	else
		recorder_coverage(s->recorder, clock_boottime_ns(), coverage);
}

static void add_gap(struct drain_config *d, uint32_t where, uint64_t from_ns, uint64_t to_ns,
		    const char *reason)
{
	if (d->n_gaps < DRAIN_GAPS_MAX)
		d->gaps[d->n_gaps++] = (struct event_gap){
			.where = where, .from_ns = from_ns, .to_ns = to_ns, .reason = reason
		};
}

/* What nobody watched: since the last watermark in this boot, or since the boot. A first start has no
 * before: the host's evidence begins with it. */
static void find_gaps(const struct journal *j, const uint8_t *boot_id, struct drain_config *d)
{
	uint64_t from_ns = UINT64_MAX;

	for (enum batch_lane lane = BATCH_LANE_CRITICAL; lane <= BATCH_LANE_BULK; lane++) {
		struct journal_tail tail;

		journal_tail(j, lane, &tail);
		bool same_boot = tail.has_hash &&
				 memcmp(tail.boot_id, boot_id, BATCH_BOOT_LEN) == 0;

		if (!tail.has_hash)
			continue;
		if (same_boot)
			d->next_sequence[lane] = tail.last_sequence + 1;
		uint64_t since = same_boot ? tail.watermark_ns : 0;

		from_ns = since < from_ns ? since : from_ns;
	}
	if (from_ns != UINT64_MAX)
		add_gap(d, GAP_AGENT_DOWN, from_ns, d->start_ns, "the agent was not running");
}

/* What was sealed and is not there any more. */
static void find_damage(struct sense *s, const struct journal_recovery *found,
			struct drain_config *d)
{
	if (found->torn_bytes > 0)
		log_warn("the journal's torn end was cut off", KV_U64("bytes", found->torn_bytes));
	if (found->damaged_files == 0 && found->lost_frames == 0)
		return;
	log_error("ALARM journal files are damaged and kept aside, or gone",
		  KV_U64("files", found->damaged_files),
		  KV_U64("lost_batches", found->lost_frames));
	(void)snprintf(s->damage, sizeof(s->damage),
		       "sealed batches in the journal were damaged or taken away, %" PRIu64
		       " of them not known to be at the collector",
		       found->lost_frames);
	add_gap(d, GAP_JOURNAL, 0, d->start_ns, s->damage);
}

static int open_journal(struct sense *s, struct journal **ret_j, struct journal_recovery *ret_found,
			struct error *e)
{
	const struct agent_config *c = s->config;
	AUTO(free_ptr) char *dir = NULL;
	struct journal_config j = { .max_bytes = c->journal_max_bytes, .random = fill_random };

	if (strcmp(c->journal_policy, "drop-new") == 0)
		j.policy = JOURNAL_DROP_NEW;
	else if (strcmp(c->journal_policy, "drop-oldest-bulk") == 0)
		j.policy = JOURNAL_DROP_OLDEST_BULK;
	else
		return error_set(e, -EINVAL,
				 "journal.policy '%s' is neither drop-oldest-bulk nor drop-new",
				 c->journal_policy);
	int r = files_mkdirs(c->state_dir, 0700, e);

	if (r < 0)
		return error_wrap(e, r, "cannot keep a journal");
	if (asprintf(&dir, "%s/journal", c->state_dir) < 0)
		return error_set(e, -ENOMEM, "cannot keep a journal: out of memory");
	j.dir = dir;
	return journal_open(&j, ret_j, ret_found, e);
}

static int start_sealer(struct sense *s, struct drain_config *d, struct journal_recovery *found,
			struct error *e)
{
	struct sealer_config c = { .stop_timeout_ms = s->config->stop_timeout_ms };
	int r = take_identity(s->config, &c, &s->id, e);

	if (r == 0)
		r = mailbox_init(&s->mail, e);
	if (r == 0)
		r = bootid_read(c.boot_id, e);
	c.mail = &s->mail;
	memcpy(s->boot_id, c.boot_id, sizeof(s->boot_id));
	memcpy(s->host_name, c.host_name.b, c.host_name.len);
	if (r == 0)
		r = seal_key_load(s->config->seal_key, &c.key, e);
	if (r == 0)
		r = open_journal(s, &c.journal, found, e);
	if (r == 0) {
		find_gaps(c.journal, c.boot_id, d);
		find_damage(s, found, d);
		r = sealer_start(&c, &s->sealer, e);
	}
	if (r < 0) {
		journal_close(c.journal);
		seal_key_free(c.key);
	}
	return r;
}

static void read_machine(struct sense *s)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len;

	if (uname(&s->kernel) < 0)
		memset(&s->kernel, 0, sizeof(s->kernel));
	if (files_read(MACHINE_ID_FILE, sizeof(s->machine_id) - 1, &text, &len, NULL) < 0)
		return; /* some containers have none */
	memcpy(s->machine_id, text, len);
	s->machine_id[strcspn(s->machine_id, "\n")] = '\0';
}

static int open_signals(struct sense *s, struct error *e)
{
	sigset_t mask;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGINT);
	(void)sigaddset(&mask, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL); /* before threads: they inherit it */
	(void)signal(SIGPIPE, SIG_IGN);
	s->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? error_set(e, -errno, "cannot listen for signals: %m") : 0;
}

/* What is missing or does not fit is told once, here, before the uplink or the collector stumbles over it
 * again and again. */
static int check_papers(const struct agent_config *c, struct error *e)
{
	AUTO(free_ptr) uint8_t *record = NULL;
	uint8_t sealing_key[SEAL_PUBLIC_LEN];
	struct sealer_config who = { 0 };
	struct identity id;
	struct seal_key *key = NULL;
	size_t len;
	int r = privilege_check_user(c->uplink_user, e);

	if (r == 0)
		r = take_identity(c, &who, &id, e);
	if (r == 0)
		r = seal_key_load(c->seal_key, &key, e);
	if (r < 0)
		return r;
	seal_key_public(key, sealing_key);
	seal_key_free(key);
	r = files_read(c->host_record, INTRODUCTION_RECORD_MAX, &record, &len, e);
	if (r == 0)
		r = introduction_check(record, len, &who.tenant, &who.host_id, sealing_key, e);
	return r < 0 ? error_wrap(e, r, "cannot introduce this host") : 0;
}

static bool say_order(void *ctx, const struct event_order *order, uint32_t action, uint32_t error)
{
	return drain_say_order(ctx, order, action, error);
}

static void hold_checkpoint(void *ctx, const struct seal_hash *hash)
{
	sealer_checkpoint(ctx, hash);
}

static int start_orders(struct sense *s, struct error *e)
{
	const struct agent_config *c = s->config;
	AUTO(free_ptr) char *dir = NULL;
	struct orders_config o = {
		.domain = s->id.domain,
		.host = { .tenant = s->id.tenant,
			  .host_id = s->id.name,
			  .host_name = s->host_name,
			  .machine_id = s->machine_id,
			  .kernel = s->kernel.release,
			  .machine = s->kernel.machine,
			  .boot_id = s->boot_id },
		.policy = { .max_bytes = c->orders_max_bytes,
			    .max_seconds = c->orders_max_ms / 1000,
			    .bytes_per_second = c->orders_rate,
			    .concurrent = c->orders_concurrent,
			    .per_hour = c->orders_per_hour,
			    .per_hour_caller = c->orders_per_hour_caller },
		.spool_bytes = c->orders_spool,
		.freeze_max_ms = c->orders_freeze_max_ms,
		.clock_skew_ms = c->orders_clock_skew_ms,
		.mail = &s->mail,
		.control = s->control,
		.say = say_order,
		.ctx = s->drain,
		.checkpoint = hold_checkpoint,
		.checkpoint_ctx = s->sealer,
	};

	if (asprintf(&dir, "%s/orders", c->state_dir) < 0)
		return error_set(e, -ENOMEM, "cannot take orders: out of memory");
	o.dir = dir;
	int r = orders_policy_parse(&c->orders_allow, &c->orders_deny, &c->orders_approvals,
				    &o.policy, e);

	if (r == 0)
		r = authorities_load(c->tls_fleet_ca, c->tls_order_ca, &o.authorities, e);
	if (r == 0)
		r = seal_key_load(c->seal_key, &o.key, e);
	if (r < 0) {
		authorities_free(o.authorities);
		return r;
	}
	return orders_start(&o, &s->orders, e);
}

static int open_parts(struct sense *s, char **argv, struct error *e)
{
	struct drain_config d = { .own = &s->own,
				  .runtimes = &s->config->runtimes,
				  .host_prefix = s->config->host_prefix,
				  .cgroup_root = s->config->cgroup_root,
				  .next_sequence = { 1, 1, 1 } };
	struct journal_recovery found = { 0 };
	int r = check_papers(s->config, e);

	if (r == 0)
		r = launch_start(argv, &s->control, &s->launcher, e);
	if (r == 0)
		r = open_signals(s, e);
	if (r == 0)
		r = files_mkdirs(s->config->state_dir, 0700, e);
	if (r == 0)
		r = own_init(&s->own, s->config->state_dir, &s->config->own_dirs, e);
	if (r == 0)
		r = open_hooks(s, e);
	if (r < 0)
		return r;
	d.start_ns = clock_boottime_ns();
	r = hooks_own(s->hooks, (uint32_t)getpid(), true, e);
	if (r < 0)
		return r;
	open_fanotify(s);
	open_recorder(s);
	r = privilege_drop_sense(e);
	if (r == 0)
		r = start_sealer(s, &d, &found, e);
	if (r < 0)
		return r;
	read_machine(s);
	d.hooks = s->hooks;
	d.fanotify = s->fanotify;
	d.recorder = s->recorder;
	d.sealer = s->sealer;
	d.kernel = s->kernel.release;
	d.machine = s->kernel.machine;
	d.machine_id = s->machine_id;
	r = drain_start(&d, &s->drain, e);
	return r < 0 ? r : start_orders(s, e);
}

static void close_parts(struct sense *s)
{
	notify_state("STOPPING=1");
	orders_stop(s->orders);
	drain_stop(s->drain, "told to stop");
	sealer_stop(s->sealer);
	mailbox_release(&s->mail);
	fanotify_close(s->fanotify);
	recorder_close(s->recorder);
	hooks_close(s->hooks);
	own_release(&s->own);
	if (s->control >= 0)
		(void)close(s->control);
	if (s->launcher > 0)
		(void)waitpid(s->launcher, NULL, 0);
	if (s->signals >= 0)
		(void)close(s->signals);
}

/* When SIGHUP asked for it; exhibits that are on their way come first, for a while. */
static void restart_uplink(struct sense *s)
{
	if (s->restart_at_ns == 0 ||
	    (orders_busy(s->orders) && clock_monotonic_ns() - s->restart_at_ns < RESTART_WAIT_NS))
		return;
	s->restart_at_ns = 0;
	log_info("the uplink is started again with the certificate that is on disk now");
	launch_restart(s->control);
}

/* 0: go on. 1: stop. */
static int take_signal(struct sense *s)
{
	struct signalfd_siginfo info;

	if (read(s->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	if (info.ssi_signo != SIGHUP)
		return 1;
	s->restart_at_ns = clock_monotonic_ns();
	if (orders_busy(s->orders))
		log_info("the uplink is started again when no exhibit is on its way any more");
	restart_uplink(s);
	return 0;
}

/* Without the launcher no uplink and no acquirer starts any more, and the rights to become it are given up: all
 * begins anew. */
static int launcher_ended(struct sense *s, struct error *e)
{
	char why[48] = "its cause is not known", now[CLOCK_TEXT_MAX];
	int status = 0;

	/* Its socket is closed before it can be waited for: it is about to be gone. */
	for (int i = 0; s->launcher > 0 && i < 100; i++) {
		pid_t pid = waitpid(s->launcher, &status, WNOHANG);

		if (pid == s->launcher) {
			s->launcher = 0;
			if (WIFSIGNALED(status))
				(void)snprintf(why, sizeof(why), "killed by signal %d",
					       WTERMSIG(status));
			else
				(void)snprintf(why, sizeof(why), "exit status %d",
					       WEXITSTATUS(status));
		}
		if (pid != 0)
			break;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 10 * NSEC_PER_MSEC }, NULL);
	}
	(void)clock_format(clock_wall_ns(), now);
	(void)error_set(
		e, -EPIPE,
		"the launcher of the uplink ended: %s; the agent ends, too, and a gap begins at %s",
		why, now);
	error_hint(
		e,
		"the supervisor (systemd, make run) starts it again: the gap ends then, and is told; "
		"see the lines before for what killed it, or the kernel's log");
	return -EPIPE;
}

static int loop(struct sense *s, struct error *e)
{
	struct pollfd fds[] = { { .fd = s->signals, .events = POLLIN },
				{ .fd = s->control, .events = POLLIN } };

	notify_state("READY=1");
	log_info("tracing this host", KV_STR("kernel", s->kernel.release));
	for (;;) {
		struct launch_report report;
		int r;

		if (poll(fds, ARRAY_LEN(fds), s->restart_at_ns == 0 ? -1 : 500) < 0 &&
		    errno != EINTR)
			return error_set(e, -errno, "cannot wait: %m");
		restart_uplink(s);
		if ((fds[0].revents & POLLIN) != 0 && take_signal(s) != 0)
			return 0;
		while ((r = launch_receive(s->control, &report)) > 0)
			if (report.kind == LAUNCH_LINK)
				sealer_link(s->sealer, report.fd);
			else
				orders_ended(s->orders, report.token, report.status);
		if (r < 0)
			return launcher_ended(s, e);
	}
}

int sense_run(const struct agent_config *config, char **argv, struct error *e)
{
	struct sense s = { .config = config, .control = -1, .signals = -1 };
	int r = open_parts(&s, argv, e);

	if (r == 0)
		r = loop(&s, e);
	close_parts(&s);
	return r;
}

int sense_probe(const struct agent_config *config, struct error *e)
{
	struct sense s = { .config = config, .control = -1, .signals = -1 };
	int r = open_hooks(&s, e);

	if (r == 0) {
		open_fanotify(&s);
		open_recorder(&s);
		coverage_print(hooks_coverage(s.hooks), stdout);
	}
	fanotify_close(s.fanotify);
	recorder_close(s.recorder);
	hooks_close(s.hooks);
	return r;
}
