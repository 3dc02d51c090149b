/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "agent/acquire/host_root.h"
#include "agent/procfs.h"
#include "agent/workload.h"
#include "proto/base/files.h"

#define PROC_FILE_MAX KiB(64)

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t parse_pid(const char *name)
{
	char *end = NULL;
	unsigned long pid = strtoul(name, &end, 10);

	return name[0] >= '1' && name[0] <= '9' && *end == '\0' && pid <= INT_MAX ? (uint32_t)pid :
										    0;
}

static void close_folder(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d);
}

int target_all_pids(const struct acquire_request *r, uint32_t **ret, size_t *ret_n, struct error *e)
{
	AUTO(close_folder) DIR *d = opendir(r->proc);
	AUTO(free_ptr) uint32_t *all = calloc(TARGET_PIDS_MAX, sizeof(*all));
	size_t n = 0;

	if (d == NULL)
		return error_set(e, -errno, "cannot list the processes in %s: %m", r->proc);
	if (all == NULL)
		return error_set(e, -ENOMEM, "cannot list the processes: out of memory");
	for (;;) {
		errno = 0;
		const struct dirent *at = readdir(d);

		if (at == NULL && errno != 0)
			return error_set(e, -errno, "cannot list the processes in %s: %m", r->proc);
		if (at == NULL)
			break;
		uint32_t pid = parse_pid(at->d_name);

		if (pid != 0 && n == TARGET_PIDS_MAX)
			return error_set(e, -E2BIG, "more than %d processes", TARGET_PIDS_MAX);
		if (pid != 0)
			all[n++] = pid;
	}
	qsort(all, n, sizeof(*all), compare);
	*ret = TAKE(all);
	*ret_n = n;
	return 0;
}

static int read_proc(const struct acquire_request *r, uint32_t pid, const char *name, uint8_t **ret,
		     size_t *ret_len)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%u/%s", r->proc, pid, name);
	return files_read(path, PROC_FILE_MAX, ret, ret_len, NULL);
}

/* ---- one process ----------------------------------------------------------------------------------- */

static bool same_boot(const struct acquire_request *r, const ProtobufCBinaryData *wanted)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0, n = 0;
	uint8_t id[16] = { 0 };

	(void)snprintf(path, sizeof(path), "%s/sys/kernel/random/boot_id", r->proc);
	if (wanted->len == 0)
		return true;
	if (wanted->len != sizeof(id) || files_read(path, 64, &text, &len, NULL) < 0)
		return false;
	for (size_t i = 0; i < len && n < 32; i++) {
		const char *digits = "0123456789abcdef";
		const char *at = text[i] != '\0' ? strchr(digits, text[i]) : NULL;

		if (at == NULL)
			continue;
		id[n / 2] = (uint8_t)(id[n / 2] << 4 | (at - digits));
		n++;
	}
	return n == 32 && memcmp(id, wanted->data, sizeof(id)) == 0;
}

static int find_process(const struct acquire_request *r, struct target *t, struct error *e)
{
	const Exhibit__V1__ProcessTarget *p = r->order->process;
	AUTO(free_ptr) uint8_t *text = NULL;
	struct procfs_stat stat = { 0 };
	size_t len = 0;

	if (!same_boot(r, &p->boot_id))
		return error_set(e, -ESRCH, "process %u ran in another boot of this host", p->pid);
	if (read_proc(r, p->pid, "stat", &text, &len) < 0 ||
	    !procfs_parse_stat((struct bytes){ text, len }, &stat))
		return error_set(e, -ESRCH, "process %u does not exist", p->pid);
	if (p->start_ns != 0 && p->start_ns / PROCFS_TICK_NS != stat.start_ticks)
		return error_set(e, -ESRCH,
				 "process %u has ended, and another one has its number now",
				 p->pid);
	t->pids = malloc(sizeof(*t->pids));
	if (t->pids == NULL)
		return error_set(e, -ENOMEM, "cannot find the process: out of memory");
	t->pids[0] = p->pid;
	t->n_pids = 1;
	return 0;
}

/* ---- a container ------------------------------------------------------------------------------------ */

static bool in_container(const struct acquire_request *r, uint32_t pid)
{
	const ProtobufCBinaryData *wanted = &r->order->container_id;
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	if (read_proc(r, pid, "cgroup", &text, &len) < 0)
		return false;
	struct bytes id =
		workload_parse(workload_of_proc_cgroup((struct bytes){ text, len })).container_id;

	return id.len == wanted->len && id.len > 0 && memcmp(id.at, wanted->data, id.len) == 0;
}

static int find_container(const struct acquire_request *r, struct target *t, struct error *e)
{
	size_t n = 0, kept = 0;
	int result = target_all_pids(r, &t->pids, &n, e);

	if (result < 0)
		return result;
	for (size_t i = 0; i < n; i++)
		if (in_container(r, t->pids[i]))
			t->pids[kept++] = t->pids[i];
	t->n_pids = kept;
	return kept > 0 ? 0 :
			  error_set(e, -ESRCH, "no process runs in the container %.*s",
				    (int)r->order->container_id.len,
				    (const char *)r->order->container_id.data);
}

/* ---- its root --------------------------------------------------------------------------------------- */

/* A container's first process may be gone by now: the next will do. */
static int open_root(const struct acquire_request *r, struct target *t, struct error *e)
{
	char path[PATH_MAX], root[HOST_ROOT_MAX];

	if (t->whole_host) {
		(void)snprintf(path, sizeof(path), "%s/", host_root(r, root));
		t->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	for (size_t i = 0; t->root < 0 && i < t->n_pids; i++) {
		(void)snprintf(path, sizeof(path), "%s/%u/root/", r->proc, t->pids[i]);
		t->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return t->root >= 0 ? 0 : error_set(e, -errno, "cannot open the root of the target: %m");
}

int target_open(const struct acquire_request *r, struct target *ret, struct error *e)
{
	struct target t = { .root = -1,
			    .whole_host = r->order->process == NULL &&
					  r->order->container_id.len == 0 };
	int result = 0;

	if (r->order->process != NULL)
		result = find_process(r, &t, e);
	else if (!t.whole_host)
		result = find_container(r, &t, e);
	if (result == 0)
		result = open_root(r, &t, e);
	if (result < 0)
		target_release(&t);
	else
		*ret = t;
	return result;
}

void target_release(struct target *t)
{
	close_fd(&t->root);
	free(t->pids);
	*t = (struct target){ .root = -1 };
}

int target_openat(const struct target *t, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned int)(flags | O_NOFOLLOW | O_CLOEXEC),
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	for (int tries = 0; tries < 16; tries++) {
		long fd = syscall(SYS_openat2, t->root, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		/* Something was renamed meanwhile: whether we left the root is not known. */
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}
