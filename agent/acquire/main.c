/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/main.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "agent/acquire/acquire.h"
#include "agent/acquire/confine.h"
#include "agent/acquire/control.h"
#include "agent/acquire/host_root.h"
#include "agent/acquire/own_cgroups.h"
#include "agent/acquire/priority.h"
#include "agent/acquire/stream.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define REQUEST_WAIT_MS 10000

/* A signal has nobody else to tell. */
static volatile sig_atomic_t stop;

struct job {
	uint8_t buf[CONTROL_MESSAGE_MAX];
	struct control_request request; /* borrows from buf */
	Exhibit__V1__Order *order;
	const struct acquire_kind *kind;
	struct own_cgroups own;
};

static void on_stop(int signal_no)
{
	(void)signal_no;
	stop = 1;
}

static void take_signals(void)
{
	struct sigaction stopping = { .sa_handler = on_stop };
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigaction(SIGTERM, &stopping, NULL); /* no SA_RESTART: what waits comes back */
	/* Ctrl-C reaches every process of a terminal: sense decides. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_DFL); /* ignored, it would not tell of stops */
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int take_request(struct job *j, struct error *e)
{
	struct pollfd p = { .fd = CONTROL_FD, .events = POLLIN };
	struct control_message m;

	if (poll(&p, 1, REQUEST_WAIT_MS) <= 0)
		return error_set(e, -ETIMEDOUT, "no request came");
	int r = control_receive(CONTROL_FD, j->buf, &m);

	if (r <= 0 || m.kind != CONTROL_REQUEST)
		return error_set(e, r < 0 ? r : -EBADMSG, "the request is not one");
	j->request = m.u.request;
	r = order_parse(j->request.order.data, j->request.order.len, &j->order, e);
	if (r < 0)
		return r;
	j->kind = acquire_by_kind(j->order->kind);
	if (j->kind == NULL)
		return error_set(e, -EOPNOTSUPP, "this agent cannot do this kind of order");
	return 0;
}

static uint64_t seconds_ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_usec * 1000;
}

/* The number behind a name in /proc/self/io; 0: not there. */
static uint64_t io_number(const char *text, const char *name)
{
	const char *at = text == NULL ? NULL : strstr(text, name);

	return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10);
}

static void take_footprint(struct control_end *end)
{
	AUTO(free_ptr) uint8_t *io = NULL;
	struct rusage used;
	size_t len;

	if (getrusage(RUSAGE_SELF, &used) == 0) {
		end->rss_bytes = (uint64_t)used.ru_maxrss * 1024;
		end->cpu_ns = seconds_ns(used.ru_utime) + seconds_ns(used.ru_stime);
	}
	if (files_read("/proc/self/io", KiB(4), &io, &len, NULL) < 0)
		return;
	end->read_bytes = io_number((const char *)io, "\nread_bytes: ");
	end->written_bytes = io_number((const char *)io, "\nwrite_bytes: ");
}

static int acquire(const struct job *j, struct error *e)
{
	struct acquire_request request = {
		.order = j->order,
		.proc = "/proc",
		.sys = "/sys",
		.cgroup = "/sys/fs/cgroup",
		.own_cgroups = j->own.paths,
		.spool_bytes = j->request.spool_bytes,
		.freeze_max_ms = j->request.freeze_max_ms,
		.max_seconds = j->request.max_seconds,
		.stop = &stop,
	};
	struct output *o = NULL;
	int r = output_stream(&(struct stream_config){ .payload = CONTROL_PAYLOAD_FD,
						       .control = CONTROL_FD,
						       .max_bytes = j->request.max_bytes,
						       .max_seconds = j->request.max_seconds,
						       .bytes_per_second =
							       j->request.bytes_per_second,
						       .stop = &stop },
			      &o, e);

	if (r == 0)
		r = host_root_note(&request, o, e);
	if (r == 0)
		r = j->kind->run(&request, o, e);
	output_free(o);
	return r;
}

static int report_end(int code, const struct error *why)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX] = "";
	struct control_message m = { .kind = CONTROL_END, .u.end = { .code = (uint32_t)-code } };

	if (code < 0)
		(void)error_format(why, sentence, sizeof(sentence));
	m.u.end.sentence = (struct control_bytes){ .data = (const uint8_t *)sentence,
						   .len = strnlen(sentence, CONTROL_TEXT_MAX) };
	take_footprint(&m.u.end);
	return control_send(CONTROL_FD, &m);
}

int acquire_process(struct error *e)
{
	AUTO(free_ptr) struct job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return error_set(e, -ENOMEM, "cannot acquire: out of memory");
	(void)prctl(PR_SET_NAME, "exhibit-acquire");
	take_signals();
	int r = take_request(j, e);

	if (r == 0)
		r = own_cgroups_read("/proc/self/cgroup", &j->own, e);
	if (r == 0) {
		priority_prepare();
		r = confine(j->kind, e);
	}
	if (r == 0) {
		priority_background();
		r = acquire(j, e);
	}
	int said = report_end(r, e);

	own_cgroups_release(&j->own);
	if (j->order != NULL)
		exhibit__v1__order__free_unpacked(j->order, NULL);
	return said < 0 ? r : 0;
}
