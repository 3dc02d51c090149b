/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "agent/acquire/proc_text.h"
#include "agent/procfs.h"
#include "proto/base/files.h"

#define STAT_MAX KiB(8)
#define STATUS_MAX KiB(64)
#define SMAPS_MAX MiB(512)
#define BOOT_ID_LEN 16

/* A whole number, which may be below zero, and the blanks after it. */
static int signed_number(struct reader *r)
{
	bool below = r->left > 0 && r->at[0] == '-';

	reader_skip(r, below ? 1 : 0);
	uint64_t v = proc_number(r, 10);

	proc_blanks(r);
	r->bad = r->bad || v > INT32_MAX;
	return below ? -(int)v : (int)v;
}

/* State, parent, group, session are fields 3 to 6 of stat, nice is field 19 (proc(5)). */
static bool parse_stat(struct core_target *t, const uint8_t *text, size_t len)
{
	struct bytes file = { .at = text, .len = len };
	const uint8_t *close = memrchr(text, ')', len), *word;
	struct procfs_stat s;

	if (close == NULL || !procfs_parse_stat(file, &s))
		return false;
	struct reader r = reader_init(close + 1, len - (size_t)(close + 1 - text));

	proc_blanks(&r);
	t->id.state = proc_word(&r, &word) == 1 ? (char)word[0] : '\0';
	t->id.parent = signed_number(&r);
	t->id.group = signed_number(&r);
	t->id.session = signed_number(&r);
	for (int field = 7; field < 19; field++)
		(void)proc_word(&r, &word);
	t->id.nice = signed_number(&r);
	t->start_ticks = s.start_ticks;
	memset(t->id.name, 0, sizeof(t->id.name));
	memcpy(t->id.name, s.name.at,
	       s.name.len < sizeof(t->id.name) ? s.name.len : sizeof(t->id.name));
	return !r.bad && t->id.state != '\0';
}

static int read_stat(struct core_target *t, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	if (files_read_at(t->dir, "stat", STAT_MAX, &text, &len, NULL) < 0)
		return error_set(e, -ESRCH, "process %d has ended", (int)t->pid);
	return parse_stat(t, text, len) ?
		       0 :
		       error_set(e, -EBADMSG, "cannot read the state of process %d", (int)t->pid);
}

static void read_people(struct core_target *t)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	struct procfs_status s;
	size_t len = 0;

	if (files_read_at(t->dir, "status", STATUS_MAX, &text, &len, NULL) < 0 ||
	    !procfs_parse_status((struct bytes){ .at = text, .len = len }, &s))
		return;
	t->id.uid = s.uid;
	t->id.gid = s.gid;
}

/* The first 79 bytes, as the kernel's own core has them: blanks between the arguments. */
static void read_args(struct core_target *t)
{
	AUTO(close_fd) int fd = openat(t->dir, "cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, t->id.args, sizeof(t->id.args) - 1);

	for (ssize_t i = 0; i + 1 < n; i++)
		if (t->id.args[i] == '\0')
			t->id.args[i] = ' ';
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

/* The main thread may end before the others: memory and files are to be seen through these. */
static int open_living(struct core_target *t, struct error *e)
{
	AUTO(close_dir) DIR *tasks = core_threads_list(t->group);
	pid_t tid;

	while (tasks != NULL && (tid = core_threads_next(tasks)) != 0) {
		char name[32];
		AUTO(free_ptr) uint8_t *maps = NULL;
		size_t len = 0;

		(void)snprintf(name, sizeof(name), "task/%d", (int)tid);
		AUTO(close_fd) int fd = openat(t->group, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0 ||
		    files_read_at(fd, "maps", CORE_MAPS_TEXT_MAX, &maps, &len, NULL) < 0 ||
		    len == 0)
			continue;
		(void)close(t->dir);
		t->dir = take_fd(&fd);
		return 0;
	}
	return error_set(e, -EINVAL, "process %d has ended and waits for its parent (zombie)",
			 (int)t->pid);
}

static int open_process(struct core_target *t, struct error *e)
{
	t->pidfd = pidfd_open(t->pid, 0);
	if (t->pidfd < 0)
		return error_set(e, -ESRCH, "process %d has ended", (int)t->pid);
	/* The directory was opened before: still readable, the pid was not given to another one. */
	int r = read_stat(t, e);

	if (r < 0)
		return r;
	return t->id.state == 'Z' || t->id.state == 'X' ? open_living(t, e) : 0;
}

static int open_memory(struct core_target *t, struct error *e)
{
	t->exe = openat(t->dir, "exe", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	t->mem = openat(t->dir, "mem", O_RDONLY | O_CLOEXEC);
	t->pagemap = openat(t->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (t->mem < 0 || t->pagemap < 0)
		return error_set(e, -errno, "cannot open the memory of process %d: %m",
				 (int)t->pid);
	return 0;
}

int core_target_open(const char *proc, pid_t pid, struct core_target *ret, struct error *e)
{
	char path[PATH_MAX];

	*ret = (struct core_target){
		.pid = pid, .group = -1, .dir = -1, .pidfd = -1, .mem = -1, .pagemap = -1, .exe = -1
	};
	(void)snprintf(path, sizeof(path), "%s/%d", proc, (int)pid);
	ret->group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret->dir = ret->group < 0 ? -1 : fcntl(ret->group, F_DUPFD_CLOEXEC, 0);
	int r = ret->dir < 0 ? error_set(e, -ESRCH, "there is no process %d", (int)pid) :
			       open_process(ret, e);

	ret->id.pid = pid;
	if (r == 0)
		r = core_maps_read(ret->dir, &ret->known, e);
	if (r == 0 && ret->known.n == 0)
		r = error_set(e, -EINVAL,
			      "process %d has no memory of its own: it is one of the kernel's",
			      (int)pid);
	if (r == 0)
		r = open_memory(ret, e);
	if (r < 0) {
		core_target_close(ret);
		return r;
	}
	read_people(ret);
	read_args(ret);
	return 0;
}

void core_target_close(struct core_target *t)
{
	close_fd(&t->group);
	close_fd(&t->dir);
	close_fd(&t->pidfd);
	close_fd(&t->mem);
	close_fd(&t->pagemap);
	close_fd(&t->exe);
	t->group = t->dir = t->pidfd = t->mem = t->pagemap = t->exe = -1;
	core_maps_release(&t->known);
	core_maps_release(&t->maps);
	core_threads_release(&t->threads);
	core_index_release(&t->before);
	core_index_release(&t->index);
}

/* The descriptor holds on to the memory that the process had when it was opened: after an exec or the end nothing
 * is to be read there. The auxiliary vector is that of the memory of now. */
static bool memory_lives(const struct core_target *t, const struct core_maps *maps)
{
	uint8_t byte;

	for (size_t i = 0; i < maps->n; i++)
		if (!maps->all[i].device && maps->all[i].read &&
		    memmem(maps->all[i].name, maps->all[i].name_len, "[stack]", 7) != NULL) {
			ssize_t n = pread(t->mem, &byte, 1, (off_t)maps->all[i].end - 1);

			return n != 0;
		}
	return true;
}

int core_target_look(struct core_target *t, struct error *e)
{
	core_maps_release(&t->maps);
	int r = core_maps_read(t->dir, &t->maps, e);

	if (r < 0)
		return r;
	if (t->maps.n == 0)
		return error_set(e, -ESRCH, "process %d ended before it was held", (int)t->pid);
	if (!memory_lives(t, &t->maps))
		return error_set(e, -ESTALE,
				 "process %d started another program before it was held",
				 (int)t->pid);
	core_maps_mark_as(&t->maps, &t->known);
	AUTO(close_fd) int fd = openat(t->dir, "auxv", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, t->auxv, sizeof(t->auxv));

	t->auxv_len = n > 0 ? (size_t)n : 0;
	return 0;
}

int core_target_prepare(struct core_target *t, uint64_t *ret_bytes, struct error *e)
{
	AUTO(free_ptr) uint8_t *smaps = NULL;
	struct core_source s = { .mem = t->mem, .pagemap = t->pagemap, .maps = &t->known };
	size_t len = 0;
	int r = files_read_at(t->dir, "smaps", SMAPS_MAX, &smaps, &len, e);

	if (r < 0)
		return error_wrap(e, r, "cannot tell which memory of process %d is a device's",
				  (int)t->pid);
	core_maps_mark(&t->known, (const char *)smaps, len);
	*ret_bytes = core_copy_measure(&s, &t->index);
	return core_threads_init(&t->threads, t->pid, core_threads_count(t->group), e);
}

static bool same_boot(const char *proc, const ProtobufCBinaryData *wanted)
{
	char path[PATH_MAX], hex[2 * BOOT_ID_LEN + 1];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0, at = 0;

	(void)snprintf(path, sizeof(path), "%s/sys/kernel/random/boot_id", proc);
	if (files_read(path, KiB(4) - 1, &text, &len, NULL) < 0)
		return true;
	for (size_t i = 0; i < BOOT_ID_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", wanted->data[i]);
	for (size_t i = 0; i < len && at < 2 * BOOT_ID_LEN && text[i] != '\n'; i++)
		if (text[i] != '-' && text[i] != (uint8_t)hex[at++])
			return false;
	return at == 2 * BOOT_ID_LEN;
}

int core_target_check(const struct acquire_request *r, const struct core_target *t, struct error *e)
{
	const Exhibit__V1__ProcessTarget *wanted = r->order->process;

	if (wanted == NULL)
		return 0;
	if (wanted->boot_id.len == BOOT_ID_LEN && !same_boot(r->proc, &wanted->boot_id))
		return error_set(e, -ESTALE, "the order means a process of an earlier boot");
	if (wanted->start_ns != 0 && wanted->start_ns / PROCFS_TICK_NS != t->start_ticks)
		return error_set(
			e, -ESTALE,
			"process %d is not the one that the order means: it started at another time",
			(int)t->pid);
	return 0;
}
