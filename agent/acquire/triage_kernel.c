/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of itself and of the machine. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/klog.h>

#include "agent/acquire/triage.h"

#define KLOG_READ_ALL 3
#define KLOG_SIZE 10
#define KLOG_MAX MiB(16)
#define PARAMETERS_MAX 16384
#define PARAMETER_BYTES KiB(16)
#define DEPTH_MAX 8

static const struct {
	bool sys; /* of /sys, else of /proc */
	const char *path, *name; /* live_response/NAME */
} facts[] = {
	{ false, "uptime", "system/uptime.txt" },
	{ false, "loadavg", "system/loadavg.txt" },
	{ false, "stat", "system/stat.txt" },
	{ false, "meminfo", "system/meminfo.txt" },
	{ false, "vmstat", "system/vmstat.txt" },
	{ false, "interrupts", "system/interrupts.txt" },
	{ false, "locks", "system/locks.txt" },
	{ false, "key-users", "system/key-users.txt" },
	{ false, "timer_list", "system/timer_list.txt" },
	{ false, "modules", "system/modules.txt" },
	{ false, "kallsyms", "system/kallsyms.txt" },
	{ false, "version", "system/version.txt" },
	{ false, "cmdline", "system/cmdline.txt" },
	{ false, "devices", "system/devices.txt" },
	{ false, "filesystems", "system/filesystems.txt" },
	{ false, "cgroups", "system/cgroups.txt" },
	{ false, "cpuinfo", "hardware/cpuinfo.txt" },
	{ false, "iomem", "hardware/iomem.txt" },
	{ false, "1/mountinfo", "storage/mountinfo.txt" },
	{ false, "mounts", "storage/mounts.txt" },
	{ false, "swaps", "storage/swaps.txt" },
	{ false, "partitions", "storage/partitions.txt" },
	{ false, "diskstats", "storage/diskstats.txt" },
	{ false, "mdstat", "storage/mdstat.txt" },
	{ false, "sysvipc/shm", "system/sysvipc_shm.txt" },
	{ false, "sysvipc/msg", "system/sysvipc_msg.txt" },
	{ false, "sysvipc/sem", "system/sysvipc_sem.txt" },
	{ true, "kernel/security/lsm", "system/lsm.txt" },
	{ true, "kernel/security/lockdown", "system/lockdown.txt" },
	{ true, "kernel/debug/tracing/kprobe_events", "system/kprobe_events.txt" },
	{ true, "kernel/tracing/uprobe_events", "system/uprobe_events.txt" },
	{ true, "fs/cgroup/cgroup.controllers", "system/cgroup_controllers.txt" },
	{ true, "class/dmi/id/sys_vendor", "hardware/dmi_sys_vendor.txt" },
	{ true, "class/dmi/id/product_name", "hardware/dmi_product_name.txt" },
	{ true, "class/dmi/id/product_uuid", "hardware/dmi_product_uuid.txt" },
	{ true, "class/dmi/id/product_serial", "hardware/dmi_product_serial.txt" },
};

static int put_facts(struct triage *t, struct error *e)
{
	AUTO(close_fd) int proc = open(t->r->proc, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO(close_fd) int sys = open(t->r->sys, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[96];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(facts) && !triage_over(t); i++) {
		(void)snprintf(name, sizeof(name), "live_response/%s", facts[i].name);
		r = triage_put_proc(t, facts[i].sys ? sys : proc, facts[i].path, name, e);
	}
	return r;
}

/* The kernel's log, without taking it away from whoever reads it. */
static int put_log(struct triage *t, struct error *e)
{
	int size = klogctl(KLOG_SIZE, NULL, 0);
	AUTO(free_ptr)
	char *text = size > 0 && (uint64_t)size <= KLOG_MAX ? malloc((size_t)size) : NULL;
	int len = text != NULL ? klogctl(KLOG_READ_ALL, text, size) : -1;

	if (len < 0) {
		triage_tell(t, true, "the kernel's log: %s", strerror(errno));
		return 0;
	}
	return triage_put(t, "live_response/system/dmesg.txt", text, (size_t)len, e);
}

/* ---- parameters --------------------------------------------------------------------------------------- */

struct parameters {
	struct triage *t;
	struct triage_lines lines;
	size_t n, unreadable;
	char path[PATH_MAX]; /* below /proc/sys */
};

static void put_parameter(struct parameters *p, int dir, const char *name)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;
	bool cut = false;

	if (!triage_read(dir, name, PARAMETER_BYTES, &text, &len, &cut)) {
		p->unreadable++; /* many are for writing only */
		return;
	}
	while (len > 0 && text[len - 1] == '\n')
		len--;
	if (!triage_row(&p->lines))
		return;
	json_bytes(&p->lines.json, "name", p->path, strlen(p->path));
	json_bytes(&p->lines.json, "value", text, len);
	triage_row_end(&p->lines);
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

/* fd is taken. */
static void walk(struct parameters *p, int fd, size_t used, unsigned int depth)
{
	AUTO(close_dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	if (dir == NULL && fd >= 0)
		(void)close(fd);
	while (dir != NULL && (entry = readdir(dir)) != NULL && !triage_over(p->t)) {
		size_t len = strlen(entry->d_name);

		if (entry->d_name[0] == '.' || used + len + 2 > sizeof(p->path) ||
		    ++p->n > PARAMETERS_MAX)
			continue;
		memcpy(p->path + used, entry->d_name, len + 1);
		if (entry->d_type != DT_DIR) {
			put_parameter(p, dirfd(dir), entry->d_name);
			continue;
		}
		memcpy(p->path + used + len, "/", 2);
		if (depth < DEPTH_MAX)
			walk(p,
			     openat(dirfd(dir), entry->d_name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
			     used + len + 1, depth + 1);
	}
}

static int put_parameters(struct triage *t, struct error *e)
{
	AUTO(free_ptr) struct parameters *p = calloc(1, sizeof(*p));
	AUTO(close_fd) int proc = open(t->r->proc, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (p == NULL)
		return error_set(e, -ENOMEM, "cannot list parameters: out of memory");
	p->t = t;
	int r = triage_lines_open(&p->lines, e);

	if (r == 0) {
		walk(p, openat(proc, "sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0, 0);
		r = triage_put_lines(t, &p->lines, "live_response/system/sysctl.jsonl", e);
	}
	if (p->n > PARAMETERS_MAX)
		triage_tell(t, true, "more than %d kernel parameters", PARAMETERS_MAX);
	triage_lines_release(&p->lines);
	return r;
}

int triage_kernel(struct triage *t, struct error *e)
{
	int r = put_facts(t, e);

	if (r == 0)
		r = put_log(t, e);
	return r == 0 ? put_parameters(t, e) : r;
}
