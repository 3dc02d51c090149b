/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/arrest_watch.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "agent/acquire/host_root.h"
#include "agent/acquire/priority.h"
#include "arrest.skel.h"

#define GUARD_ROUNDS 10 /* after we ended, until no program of ours stops anything any more */
#define GUARD_ROUND_MS 50

struct arrest_watch {
	struct arrest_bpf *object;
	uint32_t at; /* of stopped[], the one that arrest_watch_next told of */
	pid_t guard;
	int guard_fd; /* its other end is the guard's: closed when we end */
};

/* ---- what is never stopped ------------------------------------------------------------------------- */

static const char *const protected_names[] = {
	"systemd",
	"init",
	"runc",
	"crun",
	"youki",
	"kata-runtime",
	"runsc",
	"containerd",
	"containerd-shim",
	"containerd-shim-runc-v2",
	"dockerd",
	"docker-init",
	"docker-proxy",
	"podman",
	"conmon",
	"crio",
	"kubelet",
	"k3s",
	"exhibit-agent",
	"exhibit-collector",
};

/* Only a place of the system's own makes the name count: a file in /tmp may be called runc. */
static const char *const protected_places[] = {
	"/usr/bin/",
	"/usr/sbin/",
	"/usr/local/bin/",
	"/usr/local/sbin/",
	"/bin/",
	"/sbin/",
	"/usr/lib/systemd/",
	"/lib/systemd/",
	"/usr/libexec/",
	"/usr/lib/podman/",
	"/usr/libexec/podman/",
	"/opt/bin/",
	"/opt/cni/bin/",
	"/var/lib/rancher/k3s/data/current/bin/",
};

static bool is_place(const char *path, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(protected_places); i++)
		if (strlen(protected_places[i]) == len &&
		    memcmp(path, protected_places[i], len) == 0)
			return true;
	return false;
}

bool arrest_protects(const char *path, size_t len)
{
	const char *slash = memrchr(path, '/', len);
	size_t place = slash != NULL ? (size_t)(slash - path) + 1 : 0;

	if (!is_place(path, place))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(protected_names); i++)
		if (strlen(protected_names[i]) == len - place &&
		    memcmp(path + place, protected_names[i], len - place) == 0)
			return true;
	return false;
}

/* As the kernel numbers devices. */
static struct arrest_file file_of(const struct stat *st)
{
	return (struct arrest_file){ .inode = st->st_ino,
				     .device = major(st->st_dev) << 20 | minor(st->st_dev) };
}

static void protect(int map, const char *path)
{
	static const uint32_t yes = 1;
	struct stat st;

	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	struct arrest_file it = file_of(&st);

	(void)bpf_map_update_elem(map, &it, &yes, BPF_ANY);
}

/* By place; and this very agent and the first process, wherever they lie. */
static void protect_all(const struct acquire_request *r, int map)
{
	char path[PATH_MAX], root[HOST_ROOT_MAX];

	(void)host_root(r, root);
	for (size_t i = 0; i < ARRAY_LEN(protected_places); i++) {
		for (size_t k = 0; k < ARRAY_LEN(protected_names); k++) {
			(void)snprintf(path, sizeof(path), "%s%s%s", root, protected_places[i],
				       protected_names[k]);
			protect(map, path);
		}
	}
	protect(map, "/proc/self/exe");
	(void)snprintf(path, sizeof(path), "%s/1/exe", r->proc);
	protect(map, path);
}

/* ---- the guard ------------------------------------------------------------------------------------- */

static void let_go(const volatile struct arrest_stop *stop)
{
	uint32_t pid = stop->pid;
	int fd = pid != 0 ? pidfd_open((pid_t)pid, 0) : -1;

	if (fd < 0)
		return;
	(void)pidfd_send_signal(fd, SIGCONT, NULL, 0);
	(void)close(fd);
}

/* Waits until nobody holds the other end. The kernel's program may still run for a moment. */
static void guard(const struct arrest_bpf *object, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (poll(&p, 1, -1) < 0 || !(p.revents & (POLLHUP | POLLERR | POLLNVAL)))
		continue;
	for (int round = 0; round < GUARD_ROUNDS; round++) {
		for (size_t i = 0; i < ARREST_STOPS_MAX; i++)
			let_go(&object->bss->stopped[i]);
		(void)poll(NULL, 0, GUARD_ROUND_MS);
	}
}

static void become_guard(const struct arrest_bpf *object, int fd)
{
	(void)setsid();
	(void)prctl(PR_SET_NAME, "exhibit-guard");
	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_IGN);
	priority_normal(); /* what is stopped waits for it */
	if (dup2(fd, 0) < 0)
		_exit(1);
	(void)close_range(1, UINT_MAX, 0);
	guard(object, 0);
	_exit(0);
}

static int start_guard(struct arrest_watch *w, struct error *e)
{
	int pair[2];

	if (pipe2(pair, O_CLOEXEC) < 0)
		return error_set(e, -errno, "cannot start the guard: %m");
	w->guard = fork();
	int saved = errno;

	if (w->guard == 0)
		become_guard(w->object, pair[0]);
	(void)close(pair[0]);
	if (w->guard < 0) {
		(void)close(pair[1]);
		return error_set(e, -saved, "cannot start the guard: %m");
	}
	w->guard_fd = pair[1];
	return 0;
}

/* ---- the program ----------------------------------------------------------------------------------- */

static int set_pattern(struct arrest_bpf *object, const ProtobufCBinaryData *text, uint32_t match,
		       struct error *e)
{
	if (text->len == 0 || text->len >= ARREST_PATH_MAX || text->data[0] != '/')
		return error_set(e, -EINVAL, "the pattern is no absolute path");
	/* Whoever signed it: every path begins so. */
	if (match == ARREST_MATCH_PREFIX && text->len == 1)
		return error_set(e, -EPERM,
				 "a prefix of every path would stop whatever the host starts next");
	if (match == ARREST_MATCH_PATH && arrest_protects((const char *)text->data, text->len))
		return error_set(e, -EPERM, "%.*s is never stopped: the host would stand still",
				 (int)text->len, (const char *)text->data);
	object->rodata->match = match;
	object->rodata->pattern_len = (uint32_t)text->len;
	memcpy((void *)(uintptr_t)object->rodata->pattern, text->data, text->len);
	return 0;
}

static int set_match(struct arrest_bpf *object, const Exhibit__V1__ArrestOrder *order,
		     struct error *e)
{
	switch (order->pattern_case) {
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_PATH:
		return set_pattern(object, &order->path, ARREST_MATCH_PATH, e);
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX:
		return set_pattern(object, &order->prefix, ARREST_MATCH_PREFIX, e);
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE:
		object->rodata->match = ARREST_MATCH_FILE;
		object->rodata->wanted.inode = order->file->inode;
		object->rodata->wanted.device = major(order->file->device) << 20 |
						minor(order->file->device);
		return 0;
	default:
		return error_set(e, -EINVAL, "the order says no pattern");
	}
}

static int allow(struct arrest_watch *w, uint32_t stops, struct error *e)
{
	for (uint32_t i = 0; i < stops && i < ARREST_STOPS_MAX; i++)
		if (bpf_map_update_elem(bpf_map__fd(w->object->maps.tokens), NULL, &i, BPF_ANY) < 0)
			return error_set(e, -errno, "cannot say how many may be stopped: %m");
	return 0;
}

static int load(const struct acquire_request *r, struct arrest_watch *w, struct error *e)
{
	(void)libbpf_set_print(NULL);
	w->object = arrest_bpf__open();
	if (w->object == NULL)
		return error_set(e, -ENOMEM, "cannot open the BPF program that stops processes");
	int result = set_match(w->object, r->order->arrest, e);

	if (result < 0)
		return result;
	result = arrest_bpf__load(w->object);
	if (result < 0)
		return error_set(e, result, "cannot load the BPF program that stops processes: %m");
	protect_all(r, bpf_map__fd(w->object->maps.protected));
	result = allow(w, r->order->arrest->max_stops == 0 ? 1 : r->order->arrest->max_stops, e);
	if (result == 0)
		result = start_guard(w, e);
	if (result < 0)
		return result;
	result = arrest_bpf__attach(w->object);
	return result == 0 ? 0 : error_set(e, result, "cannot attach to the start of programs: %m");
}

int arrest_watch_open(const struct acquire_request *r, struct arrest_watch **ret, struct error *e)
{
	struct arrest_watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return error_set(e, -ENOMEM, "cannot watch for processes: out of memory");
	w->guard_fd = -1;
	int result = load(r, w, e);

	if (result < 0)
		arrest_watch_close(w);
	else
		*ret = w;
	return result;
}

void arrest_watch_close(struct arrest_watch *w)
{
	if (w == NULL)
		return;
	if (w->object != NULL)
		arrest_bpf__detach(w->object);
	close_fd(&w->guard_fd);
	while (w->guard > 0 && waitpid(w->guard, NULL, 0) < 0 && errno == EINTR)
		continue;
	arrest_bpf__destroy(w->object);
	free(w);
}

pid_t arrest_watch_next(struct arrest_watch *w, uint64_t *ret_boottime_ns)
{
	pid_t found = 0;

	for (uint32_t i = 0; i < ARREST_STOPS_MAX; i++) {
		const volatile struct arrest_stop *stop = &w->object->bss->stopped[i];

		if (stop->pid == 0 || (found != 0 && stop->boottime_ns >= *ret_boottime_ns))
			continue;
		found = (pid_t)stop->pid;
		*ret_boottime_ns = stop->boottime_ns;
		w->at = i;
	}
	return found;
}

void arrest_watch_seen(struct arrest_watch *w)
{
	*(volatile uint32_t *)&w->object->bss->stopped[w->at].pid = 0;
}

void arrest_watch_give_back(struct arrest_watch *w)
{
	arrest_watch_seen(w);
	(void)bpf_map_update_elem(bpf_map__fd(w->object->maps.tokens), NULL, &w->at, BPF_ANY);
}
