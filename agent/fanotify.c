/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fanotify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/fanotify.h>

#include "agent/fanotify_events.h"
#include "agent/fanotify_marks.h"
#include "proto/actions.h"

#ifndef FAN_RENAME /* before Linux 5.17's headers */
#define FAN_RENAME 0x10000000
#define FAN_REPORT_TARGET_FID 0x00001000
#endif

#define BUFFER_BYTES KiB(64)
#define REFRESH_NS                                                                                 \
	(50 * NSEC_PER_MSEC) /* at most that often; a host that starts containers mounts a lot */

/* Best first; the first that the kernel accepts. */
static const struct variant {
	unsigned int report;
	uint64_t renames;
	bool after_5_17;
} variants[] = {
	{ FAN_REPORT_DFID_NAME | FAN_REPORT_FID | FAN_REPORT_TARGET_FID, FAN_RENAME, true },
	{ FAN_REPORT_DFID_NAME | FAN_REPORT_FID, FAN_MOVED_FROM | FAN_MOVED_TO, false },
};

struct fanotify {
	int fd;
	bool rename; /* FAN_RENAME */
	struct fanotify_marks *marks;
	struct fanotify_events *events;
	uint64_t empty_ns; /* when the queue was last seen empty */
	uint64_t refreshed_ns;
	bool mounts_changed, coverage_changed;
	_Alignas(8) uint8_t buffer[BUFFER_BYTES];
};

static int init_group(unsigned int report, bool bounded)
{
	static const unsigned int unlimited[] = { FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS,
						  FAN_UNLIMITED_MARKS, 0 };
	int fd = -1;

	for (size_t i = bounded ? 1 : 0; i < ARRAY_LEN(unlimited); i++) {
		fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | report |
					   unlimited[i],
				   O_RDONLY | O_CLOEXEC | O_LARGEFILE);
		if (fd >= 0 || errno != EPERM)
			break;
	}
	return fd;
}

static int open_group(struct fanotify *f, const struct fanotify_config *c, uint64_t *ret_mask,
		      struct error *e)
{
	int r;

	for (size_t i = c->before_5_17 ? 1 : 0; i < ARRAY_LEN(variants); i++) {
		f->fd = init_group(variants[i].report, c->bounded);
		f->rename = variants[i].after_5_17;
		*ret_mask = FAN_CLOSE_WRITE | FAN_DELETE | FAN_ONDIR | variants[i].renames;
		if (f->fd >= 0 || errno != EINVAL)
			break;
	}
	if (f->fd >= 0)
		return 0;
	r = error_set(e, -errno, "cannot watch file systems by fanotify: %m");
	if (r == -EPERM)
		error_hint(e, "it needs CAP_SYS_ADMIN");
	else if (r == -EINVAL || r == -ENOSYS)
		error_hint(e, "it needs Linux 5.9 with CONFIG_FANOTIFY");
	return r;
}

int fanotify_open(const struct fanotify_config *c, uint64_t now_ns, struct fanotify **ret_f,
		  struct error *e)
{
	struct fanotify *f = calloc(1, sizeof(*f));
	uint64_t mask;
	int r;

	if (!f)
		return error_set(e, -ENOMEM, "cannot watch file systems by fanotify: %m");
	r = open_group(f, c, &mask, e);
	if (r == 0)
		r = fanotify_marks_open(f->fd, mask, c->mountinfo, c->only, &f->marks, e);
	if (r == 0)
		r = fanotify_events_new(c, f->marks, &f->events, e);
	if (r < 0) {
		fanotify_close(f);
		return r;
	}
	(void)fanotify_marks_refresh(f->marks);
	f->empty_ns = now_ns;
	f->refreshed_ns = now_ns;
	f->coverage_changed = true;
	*ret_f = f;
	return 0;
}

void fanotify_close(struct fanotify *f)
{
	if (!f)
		return;
	close_fd(&f->fd);
	fanotify_events_free(f->events);
	fanotify_marks_close(f->marks);
	free(f);
}

int fanotify_own_pid(struct fanotify *f, uint32_t pid)
{
	return fanotify_events_own_pid(f->events, pid);
}

void fanotify_seen(struct fanotify *f, uint32_t mnt_ns, uint32_t pid, uint64_t now_ns)
{
	fanotify_marks_seen(f->marks, mnt_ns, pid, now_ns);
}

int fanotify_fd(const struct fanotify *f)
{
	return f->fd;
}

/* What waits: the group's descriptor in bit 0, changed mounts in bit 1; one system call. */
static unsigned int look(const struct fanotify *f)
{
	struct pollfd p[] = {
		{ .fd = f->fd, .events = POLLIN },
		{ .fd = fanotify_marks_fd(f->marks), .events = POLLPRI },
	};

	if (poll(p, ARRAY_LEN(p), 0) <= 0)
		return 0;
	return (p[0].revents ? 1u : 0u) | (p[1].revents & (POLLPRI | POLLERR) ? 2u : 0u);
}

static void refresh(struct fanotify *f, uint64_t now_ns)
{
	if (!f->mounts_changed || now_ns < f->refreshed_ns + REFRESH_NS)
		return;
	f->mounts_changed = false;
	f->refreshed_ns = now_ns;
	if (fanotify_marks_refresh(f->marks))
		f->coverage_changed = true;
}

size_t fanotify_drain(struct fanotify *f, uint64_t now_ns, size_t budget,
		      void (*fn)(void *ctx, struct event *ev), void *ctx)
{
	struct fanotify_round round = {
		.now_ns = now_ns, .since_ns = f->empty_ns, .fn = fn, .ctx = ctx
	};
	unsigned int waiting = look(f);
	size_t taken = 0;

	f->mounts_changed = f->mounts_changed || (waiting & 2);
	refresh(f, now_ns);
	if (fanotify_marks_refresh_elsewhere(f->marks, now_ns))
		f->coverage_changed = true;
	if (!(waiting & 1)) {
		f->empty_ns = now_ns;
		return 0;
	}
	while (taken < budget) {
		ssize_t n = read(f->fd, f->buffer, sizeof(f->buffer));

		if (n <= 0) {
			f->empty_ns = now_ns;
			break;
		}
		taken += fanotify_events_take(f->events, f->buffer, (size_t)n, &round);
	}
	fanotify_events_end_round(f->events, &round);
	return taken;
}

void fanotify_coverage(const struct fanotify *f, struct fanotify_coverage *ret)
{
	fanotify_marks_coverage(f->marks, ret);
	ret->rename = f->rename;
}

bool fanotify_coverage_changed(struct fanotify *f)
{
	bool changed = f->coverage_changed;

	f->coverage_changed = false;
	return changed;
}

void fanotify_stats(const struct fanotify *f, struct fanotify_stats *ret)
{
	fanotify_events_stats(f->events, ret);
}
