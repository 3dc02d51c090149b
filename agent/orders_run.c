/* SPDX-License-Identifier: Apache-2.0 */
/* One acquisition from its begin to the end of its acquirer. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/acquire/acquire.h"
#include "agent/launch.h"
#include "agent/orders_internal.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define RECEIVE_MAX 256 /* messages of one acquirer, then others have their turn */
#define DRAIN_MAX 1024 /* times RECEIVE_MAX, at its end */
#define PROGRESS_NS (2 * NSEC_PER_SEC) /* to the collector */
/* Of progress that lasts: twice as long each time, so that a day of it is some 150 events. */
#define LASTING_MIN_NS (2 * NSEC_PER_SEC)
#define LASTING_MAX_NS (600 * NSEC_PER_SEC)
#define FINISH_NS (8 * NSEC_PER_SEC) /* acquirers that are told to stop */

/* ---- starting ------------------------------------------------------------------------------------ */

static int send_request(const struct orders *o, const struct run *run, int control, struct error *e)
{
	const Exhibit__V1__OrderLimits *asked = run->order.order->limits;
	const struct orders_policy *p = &o->c.policy;
	struct control_message m = {
		.kind = CONTROL_REQUEST,
		.u.request = { .spool_bytes = o->c.spool_bytes,
			       .freeze_max_ms = o->c.freeze_max_ms },
	};
	size_t len = exhibit__v1__order__get_packed_size(run->order.order);
	AUTO(free_ptr) uint8_t *order = malloc(len);

	if (order == NULL)
		return error_set(e, -ENOMEM, "cannot ask an acquirer: out of memory");
	(void)exhibit__v1__order__pack(run->order.order, order);
	m.u.request.order = (struct control_bytes){ order, len };
	m.u.request.max_bytes =
		orders_policy_least(p->max_bytes, asked == NULL ? 0 : asked->max_bytes);
	m.u.request.max_seconds =
		orders_policy_least(p->max_seconds, asked == NULL ? 0 : asked->max_seconds);
	m.u.request.bytes_per_second = orders_policy_least(
		p->bytes_per_second, asked == NULL ? 0 : asked->bytes_per_second);
	int r = control_send(control, &m);

	return r < 0 ? error_set(e, r, "cannot ask an acquirer: %m") : 0;
}

static int start_process(struct orders *o, struct run *run, struct error *e)
{
	int control[2], payload[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		return error_set(e, -errno, "cannot start an acquirer: %m");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, payload) < 0) {
		int saved = errno;

		(void)close(control[0]);
		(void)close(control[1]);
		return error_set(e, -saved, "cannot start an acquirer: %m");
	}
	if (++o->next_token == 0)
		o->next_token = 1;
	run->token = o->next_token;
	run->control = control[0];
	int r = send_request(o, run, control[0], e);

	if (r == 0 && fcntl(control[0], F_SETFL, O_NONBLOCK) < 0)
		r = error_set(e, -errno, "cannot start an acquirer: %m");
	if (r == 0)
		r = launch_acquire(o->c.control, run->token, (uint32_t)run->kind->kind, control[1],
				   payload[1], e);
	(void)close(control[1]);
	(void)close(payload[1]);
	if (r < 0) {
		run->token = 0;
		(void)close(payload[0]);
		return r;
	}
	run_post_upload(o, run, payload[0]);
	return 0;
}

/* There is an uplink. */
static void start_run(struct orders *o, struct run *run)
{
	struct error e = { 0 };
	int r = 0;

	run->attempts++;
	run->link = o->links;
	run->phase = RUN_ACQUIRING;
	run->bytes = run->expected_bytes = 0;
	run->lasting_ns = clock_monotonic_ns();
	run->lasting_wait_ns = LASTING_MIN_NS;
	r = run_save(o, run, &e);
	if (r == 0)
		r = run_new_manifest(o, run, &e);
	if (r == 0)
		r = start_process(o, run, &e);
	if (r == 0)
		return;
	log_failure(LOG_LEVEL_ERROR, "an order cannot be carried out", &e);
	if (run->manifest != NULL) {
		run_end(o, run, e.text);
		return;
	}
	run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, e.text, EIO);
	run_drop(o, run);
}

void orders_begin(struct orders *o, struct order_checked *order, const uint8_t *data, size_t len)
{
	struct run *run = run_new(o, order, data, len);
	struct error e = { 0 };

	if (run == NULL) {
		(void)error_set(&e, -ENOMEM, "the order cannot be carried out: out of memory");
		orders_refuse(o, order->order, &order->hash, true, &e);
		return;
	}
	run->started = orders_now(o);
	if (getrandom(run->exhibit_id, sizeof(run->exhibit_id), 0) !=
	    (ssize_t)sizeof(run->exhibit_id)) {
		run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, "no random numbers", EIO);
		run_drop(o, run);
		return;
	}
	log_info("an order is carried out", KV_STR("kind", run->kind->name),
		 KV_STR("requester", run->order.requester.name));
	run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_STARTED, NULL, 0);
	start_run(o, run);
}

/* ---- running ------------------------------------------------------------------------------------- */

bool orders_receive(struct orders *o, struct run *run)
{
	struct control_message m;

	for (size_t i = 0; i < RECEIVE_MAX && run->control >= 0; i++) {
		int r = control_receive(run->control, o->buf, &m);

		if (r == 0)
			return false;
		if (r > 0 && m.kind == CONTROL_PROGRESS) {
			run->bytes = m.u.progress.bytes;
			run->expected_bytes = m.u.progress.expected_bytes;
		}
		if (r > 0)
			r = manifest_take(run->manifest, &m, clock_wall_ns());
		if (r == 0)
			continue;
		if (r != -EPIPE) { /* it read hostile bytes, and may have been taken over by them */
			run->broke_rules = true;
			launch_stop(o->c.control, run->token, true);
		}
		close_fd(&run->control);
		run->control = -1;
	}
	return run->control >= 0;
}

/* What ended it was not the source: the collector's or our own end, which another attempt may not meet. */
static bool worth_repeating(const struct run *run, int status)
{
	const char *failure = manifest_failure(run->manifest);
	bool killed = !manifest_ended(run->manifest) && !run->broke_rules && status != -1;

	return run->kind->resumable && run->attempts < ATTEMPTS_MAX &&
	       run->upload_failure[0] == '\0' &&
	       (killed || strcmp(failure, "the uplink is gone") == 0);
}

static const char *why_ended(const struct run *run, int status, char *buf, size_t size)
{
	if (run->broke_rules)
		return "the acquirer broke the rules of what it may say, and was ended";
	if (manifest_ended(run->manifest))
		return NULL;
	if (status == -1)
		return "the acquirer could not be started";
	if (WIFSIGNALED(status))
		(void)snprintf(buf, size, "the acquirer was ended by signal %d", WTERMSIG(status));
	else
		(void)snprintf(buf, size, "the acquirer ended with status %d and without a word",
			       WEXITSTATUS(status));
	return buf;
}

static struct run *run_by_token(const struct orders *o, uint32_t token)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->token == token && token != 0)
			return o->runs[i];
	return NULL;
}

/* Its process has ended. going_on: unless the agent itself ends. */
static void process_ended(struct orders *o, uint32_t token, int status, bool going_on)
{
	struct run *run = run_by_token(o, token);
	char buf[128];

	if (run == NULL)
		return;
	/* All that it said is there; somebody else may hold its end open, and talk on for ever. */
	for (size_t i = 0; i < DRAIN_MAX && run->control >= 0 && orders_receive(o, run); i++)
		continue;
	close_fd(&run->control);
	run->control = -1;
	run->token = 0;
	if (run->upload_failure[0] != '\0') {
		run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, run->upload_failure, EIO);
		run_drop(o, run);
	} else if (!worth_repeating(run, status)) {
		run_end(o, run, why_ended(run, status, buf, sizeof(buf)));
	} else {
		run->phase = RUN_WAITING; /* for the next uplink, or the next start */
		if (going_on && (WIFSIGNALED(status) || run->link != o->links))
			start_run(o,
				  run); /* it was not for want of an uplink, or there is another */
	}
}

void orders_process_ended(struct orders *o, uint32_t token, int status)
{
	process_ended(o, token, status, true);
}

static bool is_lasting(struct run *run, uint64_t now)
{
	if (now - run->lasting_ns < run->lasting_wait_ns)
		return false;
	run->lasting_ns = now;
	run->lasting_wait_ns *= 2;
	if (run->lasting_wait_ns > LASTING_MAX_NS)
		run->lasting_wait_ns = LASTING_MAX_NS;
	return true;
}

void orders_tell_progress(struct orders *o)
{
	uint64_t now = clock_monotonic_ns();

	for (size_t i = 0; i < o->n_runs; i++) {
		struct run *run = o->runs[i];

		if (run->phase != RUN_ACQUIRING || run->bytes == run->told_bytes ||
		    now - run->told_ns < PROGRESS_NS)
			continue;
		run->told_ns = now;
		run->told_bytes = run->bytes;
		orders_say(o, run,
			   &(struct orders_said){ .state = EXHIBIT__V1__ORDER_STATE__ORDER_PROGRESS,
						  .passing = !is_lasting(run, now) });
	}
}

/* ---- a new uplink ---------------------------------------------------------------------------------- */

/* The uplink that ended may have had chunks that never reached the collector: what can be read again is. */
static void go_on(struct orders *o, struct run *run)
{
	if (run->phase == RUN_WAITING) {
		start_run(o, run);
	} else if (run->phase == RUN_UPLOADING && run->kind != NULL && run->kind->resumable &&
		   !run->failed && run->attempts < ATTEMPTS_MAX) {
		free(TAKE(run->packed));
		run->packed_len = 0;
		start_run(o, run);
	} else if (run->phase == RUN_UPLOADING) {
		run_upload_manifest(o, run);
	}
}

void orders_new_link(struct orders *o)
{
	struct run *runs[RUNS_MAX];
	size_t n = o->n_runs;

	o->links++;
	orders_tell_held(o);
	memcpy(runs, o->runs, sizeof(runs)); /* going on may end one */
	for (size_t i = 0; i < n; i++)
		go_on(o, runs[i]);
}

/* ---- the end -------------------------------------------------------------------------------------- */

static bool any_process(const struct orders *o)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->token != 0)
			return true;
	return false;
}

/* Of the launcher, or of an acquirer. */
static void wait_for_word(const struct orders *o, uint64_t until_ns)
{
	struct pollfd fds[1 + RUNS_MAX] = { { .fd = o->c.control, .events = POLLIN } };
	uint64_t now = clock_monotonic_ns();
	nfds_t n = 1;

	for (size_t i = 0; i < o->n_runs; i++)
		fds[n++] = (struct pollfd){ .fd = o->runs[i]->control, .events = POLLIN };
	(void)poll(fds, n, now < until_ns ? (int)((until_ns - now) / NSEC_PER_MSEC) + 1 : 0);
}

/* What can be read again goes on after the next start; the others finish with what they have. */
void orders_finish(struct orders *o)
{
	uint64_t until_ns = clock_monotonic_ns() + FINISH_NS;

	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->token != 0)
			launch_stop(o->c.control, o->runs[i]->token, o->runs[i]->kind->resumable);
	while (any_process(o) && clock_monotonic_ns() < until_ns) {
		struct launch_report report;
		int r;

		wait_for_word(o, until_ns);
		r = launch_receive(o->c.control, &report);
		if (r < 0)
			return;
		if (r > 0 && report.kind == LAUNCH_LINK)
			(void)close(report.fd);
		else if (r > 0)
			process_ended(o, report.token, report.status, false);
		for (size_t i = 0; i < o->n_runs; i++)
			if (o->runs[i]->control >= 0)
				(void)orders_receive(o, o->runs[i]);
	}
}
