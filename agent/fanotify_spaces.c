/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fanotify_spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define AGAIN_NS (500 * NSEC_PER_MSEC)
#define PIDS 4 /* the first is the one known longest: the init of a container outlives the others */
#define PROBES 8

struct space {
	uint32_t ns; /* 0: free */
	uint32_t pid[PIDS];
	uint32_t next; /* of pid[1..] to be overwritten */
	bool due;
	uint64_t seen_ns, read_ns; /* read_ns 0: never */
};

struct fanotify_spaces {
	const char *proc;
	uint32_t own; /* our own namespace; 0: unknown */
	uint32_t newest; /* index of the one seen last */
	uint32_t turn; /* where the search for the next due one begins */
	size_t n_due;
	struct space space[FANOTIFY_SPACES_MAX];
};

/* Whether the process behind a descriptor of /proc/PID is in that namespace now. */
static bool is_in(int process, uint32_t ns)
{
	struct stat st;

	return fstatat(process, "ns/mnt", &st, 0) == 0 && st.st_ino == ns;
}

static int open_process(const char *proc, const char *name)
{
	char path[64];
	int n = snprintf(path, sizeof(path), "%s/%s", proc, name);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

struct fanotify_spaces *fanotify_spaces_new(const char *proc)
{
	struct fanotify_spaces *s = calloc(1, sizeof(*s));
	struct stat st;

	if (!s)
		return NULL;
	s->proc = proc;
	AUTO(close_fd) int self = open_process(proc, "self");

	if (self >= 0 && fstatat(self, "ns/mnt", &st, 0) == 0)
		s->own = (uint32_t)st.st_ino;
	return s;
}

void fanotify_spaces_free(struct fanotify_spaces *s)
{
	free(s);
}

static uint32_t home_of(uint32_t ns)
{
	return (ns * 2654435761u) % FANOTIFY_SPACES_MAX;
}

/* Its entry; else a free one, else the one of its neighbours that was seen longest ago. */
static struct space *place_of(struct fanotify_spaces *s, uint32_t ns)
{
	struct space *best = NULL;

	for (uint32_t i = 0; i < PROBES; i++) {
		struct space *at = &s->space[(home_of(ns) + i) % FANOTIFY_SPACES_MAX];

		if (at->ns == ns)
			return at;
		if (!best || (best->ns && (!at->ns || at->seen_ns < best->seen_ns)))
			best = at;
	}
	return best;
}

static void forget(struct fanotify_spaces *s, struct space *at)
{
	s->n_due -= at->due;
	*at = (struct space){ 0 };
}

static void note_pid(struct space *at, uint32_t pid)
{
	for (size_t i = 0; i < PIDS; i++)
		if (at->pid[i] == pid)
			return;
	if (!at->pid[0]) {
		at->pid[0] = pid;
		return;
	}
	at->pid[1 + at->next] = pid;
	at->next = (at->next + 1) % (PIDS - 1);
}

void fanotify_spaces_seen(struct fanotify_spaces *s, uint32_t mnt_ns, uint32_t pid, uint64_t now_ns)
{
	struct space *at = &s->space[s->newest];

	if (!mnt_ns || !s->own || mnt_ns == s->own)
		return;
	if (at->ns != mnt_ns) {
		at = place_of(s, mnt_ns);
		s->newest = (uint32_t)(at - s->space);
	}
	if (at->ns != mnt_ns) {
		forget(s, at);
		at->ns = mnt_ns;
	}
	at->seen_ns = now_ns;
	if (pid)
		note_pid(at, pid);
	s->n_due += !at->due;
	at->due = true;
}

uint32_t fanotify_spaces_due(struct fanotify_spaces *s, uint64_t now_ns)
{
	if (!s->n_due)
		return 0;
	for (uint32_t i = 0; i < FANOTIFY_SPACES_MAX; i++) {
		uint32_t index = (s->turn + i) % FANOTIFY_SPACES_MAX;
		struct space *at = &s->space[index];

		if (!at->due || (at->read_ns && now_ns < at->read_ns + AGAIN_NS))
			continue;
		at->due = false;
		at->read_ns = now_ns;
		s->n_due--;
		s->turn = index + 1;
		return at->ns;
	}
	return 0;
}

void fanotify_spaces_all_due(struct fanotify_spaces *s)
{
	for (size_t i = 0; i < FANOTIFY_SPACES_MAX; i++) {
		struct space *at = &s->space[i];

		if (!at->ns || at->due)
			continue;
		at->due = true;
		s->n_due++;
	}
}

int fanotify_spaces_process(struct fanotify_spaces *s, uint32_t mnt_ns)
{
	struct space *at = place_of(s, mnt_ns);

	if (at->ns != mnt_ns)
		return -ESRCH;
	for (size_t i = 0; i < PIDS; i++) {
		char name[16];

		if (!at->pid[i])
			continue;
		(void)snprintf(name, sizeof(name), "%u", at->pid[i]);
		AUTO(close_fd) int fd = open_process(s->proc, name);

		if (fd >= 0 && is_in(fd, mnt_ns)) {
			uint32_t pid = at->pid[i];

			at->pid[i] = 0; /* those before it are gone */
			at->pid[0] = pid;
			return take_fd(&fd);
		}
		at->pid[i] = 0;
	}
	forget(s, at);
	return -ESRCH;
}
