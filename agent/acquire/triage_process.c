/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: for each the files of /proc/PID as they are, its open files as a table, its executable's hash, and the
 * executable itself when its file is gone (deleted, or only ever in memory). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "agent/acquire/triage.h"
#include "agent/procfs.h"
#include "proto/base/files.h"

#define EXE_MAX MiB(256) /* hashed */
#define RECOVERED_MAX MiB(64) /* copied, of one */
#define RECOVERED_ALL_MAX MiB(256)
#define SEEN_MAX 4096 /* executables whose hash is known */
#define FDS_MAX 65536 /* of one process */
#define SPACES_MAX 4096

/* As UAC names them: NAME.txt in live_response/process/proc/PID. */
static const char *const files[] = {
	"cmdline", "comm",   "environ",     "status",        "stat",         "maps",
	"cgroup",  "limits", "io",          "loginuid",      "sessionid",    "wchan",
	"syscall", "stack",  "personality", "oom_score_adj", "attr/current", "uid_map",
};

static const char *const spaces[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };

struct seen {
	uint64_t device, inode, size;
	struct timespec modified;
	struct seal_hash hash;
};

struct processes {
	struct triage *t;
	struct triage_lines table; /* processes.jsonl */
	struct seen *seen; /* SEEN_MAX */
	size_t n_seen;
	uint64_t recovered; /* bytes */
	uint64_t mounts[SPACES_MAX]; /* mount namespaces whose mountinfo is in */
	size_t n_mounts;
};

static void entry_name(uint32_t pid, const char *name, const char *end, char buf[static 128])
{
	const char *slash = strrchr(name, '/');

	(void)snprintf(buf, 128, "live_response/process/proc/%u/%s%s", pid,
		       slash != NULL ? slash + 1 : name, end);
}

/* A link's text, any bytes. */
static void put_link(struct json *j, const char *key, int dir, const char *name)
{
	char text[PATH_MAX];
	ssize_t len = readlinkat(dir, name, text, sizeof(text));

	if (len > 0)
		json_bytes(j, key, text, (size_t)len);
}

/* ---- open files --------------------------------------------------------------------------------------- */

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

/* "pos:\t0\nflags:\t02100002\n...": numbers behind names. */
static uint64_t info_number(const uint8_t *text, const char *name, int base)
{
	const char *at = strstr((const char *)text, name);

	return at == NULL ? 0 : strtoull(at + strlen(name), NULL, base);
}

static void put_fd(struct triage_lines *l, int process, int list, const char *number)
{
	AUTO(free_ptr) uint8_t *info = NULL;
	char path[64];
	struct stat st;
	size_t len = 0;

	if (!triage_row(l))
		return;
	json_u64(&l->json, "fd", strtoul(number, NULL, 10));
	put_link(&l->json, "target", list, number);
	(void)snprintf(path, sizeof(path), "fdinfo/%.20s", number);
	if (files_read_at(process, path, KiB(64), &info, &len, NULL) == 0) {
		json_u64(&l->json, "position", info_number(info, "pos:", 10));
		json_u64(&l->json, "flags", info_number(info, "flags:", 8));
	}
	if (fstatat(list, number, &st, 0) == 0) {
		json_u64(&l->json, "device", st.st_dev);
		json_u64(&l->json, "inode", st.st_ino);
		json_u64(&l->json, "mode", st.st_mode);
		json_u64(&l->json, "size", (uint64_t)st.st_size);
		json_bool(&l->json, "deleted", st.st_nlink == 0);
	}
	triage_row_end(l);
}

static int put_fds(struct processes *p, int dir, uint32_t pid, struct error *e)
{
	AUTO(close_fd) int fds = openat(dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO(close_dir) DIR *list = fds >= 0 ? fdopendir(fds) : NULL;
	AUTO(triage_lines_release) struct triage_lines l = { 0 };
	const struct dirent *entry;
	char name[128];

	if (list == NULL)
		return 0;
	(void)take_fd(&fds);
	int r = triage_lines_open(&l, e);

	while (r == 0 && (entry = readdir(list)) != NULL)
		if (entry->d_name[0] == '.')
			continue;
		else if (l.rows < FDS_MAX)
			put_fd(&l, dir, dirfd(list), entry->d_name);
		else
			l.dropped++;
	entry_name(pid, "fd", ".jsonl", name);
	return r == 0 ? triage_put_lines(p->t, &l, name, e) : r;
}

/* ---- the executable ----------------------------------------------------------------------------------- */

static const struct seen *find_seen(struct processes *p, int fd, const struct stat *st)
{
	for (size_t i = 0; i < p->n_seen; i++)
		if (p->seen[i].inode == st->st_ino && p->seen[i].device == st->st_dev &&
		    p->seen[i].size == (uint64_t)st->st_size &&
		    memcmp(&p->seen[i].modified, &st->st_mtim, sizeof(st->st_mtim)) == 0)
			return &p->seen[i];
	struct seen *s = &p->seen[p->n_seen % SEEN_MAX];
	uint64_t bytes = 0;

	if (!triage_hash(p->t, fd, EXE_MAX, &s->hash, &bytes))
		return NULL;
	s->device = st->st_dev;
	s->inode = st->st_ino;
	s->size = (uint64_t)st->st_size;
	s->modified = st->st_mtim;
	p->n_seen += p->n_seen < SEEN_MAX;
	return s;
}

static int recover(struct processes *p, int fd, const struct stat *st, uint32_t pid,
		   struct error *e)
{
	struct triage_file f = { .fd = fd, .st = *st, .path = "recovered_exe" };
	char below[64];

	if ((uint64_t)st->st_size > RECOVERED_MAX ||
	    p->recovered + (uint64_t)st->st_size > RECOVERED_ALL_MAX) {
		triage_tell(p->t, true,
			    "process %u: its executable of %llu bytes is gone and not copied", pid,
			    (unsigned long long)st->st_size);
		return 0;
	}
	p->recovered += (uint64_t)st->st_size;
	(void)snprintf(below, sizeof(below), "live_response/process/proc/%u/", pid);
	/* Whoever unpacks the bundle must not run it by mistake. */
	f.st.st_mode = S_IFREG | 0400;
	return triage_put_file(p->t, below, &f, e);
}

static int put_executable(struct processes *p, int dir, uint32_t pid, struct error *e)
{
	AUTO(close_fd) int fd = openat(dir, "exe", O_RDONLY | O_CLOEXEC | O_NOATIME);
	struct json *j = &p->table.json;
	char hex[2 * SEAL_HASH_LEN + 1];
	struct stat st;

	if (fd < 0 && errno == EPERM) {
		fd = openat(dir, "exe", O_RDONLY | O_CLOEXEC);
		p->t->atime_touched += fd >= 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0; /* of the kernel, or gone */
	json_bool(j, "executable_deleted", st.st_nlink == 0);
	json_u64(j, "executable_device", st.st_dev);
	json_u64(j, "executable_inode", st.st_ino);
	json_u64(j, "executable_bytes", (uint64_t)st.st_size);
	const struct seen *s = find_seen(p, fd, &st);

	for (size_t i = 0; s != NULL && i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", s->hash.b[i]);
	if (s != NULL)
		json_text(j, "executable_sha256", hex);
	else
		triage_tell(p->t, true, "process %u: its executable is not hashed", pid);
	return st.st_nlink == 0 ? recover(p, fd, &st, pid, e) : 0;
}

/* ---- a process ---------------------------------------------------------------------------------------- */

static void put_numbers(struct json *j, int dir)
{
	AUTO(free_ptr) uint8_t *stat = NULL;
	AUTO(free_ptr) uint8_t *status = NULL;
	struct procfs_stat s;
	struct procfs_status u;
	size_t len = 0;

	if (files_read_at(dir, "stat", KiB(16), &stat, &len, NULL) == 0 &&
	    procfs_parse_stat((struct bytes){ .at = stat, .len = len }, &s)) {
		json_u64(j, "parent_pid", s.parent_pid);
		json_u64(j, "start_ticks", s.start_ticks);
		json_bytes(j, "name", s.name.at, s.name.len);
	}
	if (files_read_at(dir, "status", KiB(16), &status, &len, NULL) == 0 &&
	    procfs_parse_status((struct bytes){ .at = status, .len = len }, &u)) {
		json_u64(j, "uid", u.uid);
		json_u64(j, "gid", u.gid);
		json_u64(j, "cap_effective", u.cap_effective);
	}
}

static void put_spaces(struct json *j, int dir)
{
	char path[32];

	json_open(j, "namespaces", 10, '{');
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
		(void)snprintf(path, sizeof(path), "ns/%s", spaces[i]);
		put_link(j, spaces[i], dir, path);
	}
	json_close(j, '}');
}

/* Once for each mount namespace. */
static int put_mounts(struct processes *p, int dir, uint32_t pid, struct error *e)
{
	char name[128];
	struct stat st;

	if (fstatat(dir, "ns/mnt", &st, 0) < 0)
		return 0;
	for (size_t i = 0; i < p->n_mounts; i++)
		if (p->mounts[i] == st.st_ino)
			return 0;
	if (p->n_mounts == SPACES_MAX)
		return 0;
	p->mounts[p->n_mounts++] = st.st_ino;
	entry_name(pid, "mountinfo", ".txt", name);
	return triage_put_proc(p->t, dir, "mountinfo", name, e);
}

static int put_process(struct processes *p, uint32_t pid, struct error *e)
{
	AUTO(close_fd) int dir = triage_pid_dir(p->t, pid);
	struct json *j = &p->table.json;
	char name[128];
	int r = 0;

	if (dir < 0 || !triage_row(&p->table))
		return 0;
	json_u64(j, "pid", pid);
	put_numbers(j, dir);
	put_link(j, "executable", dir, "exe");
	put_link(j, "working_directory", dir, "cwd");
	put_link(j, "root", dir, "root");
	put_spaces(j, dir);
	r = put_executable(p, dir, pid, e);
	triage_row_end(&p->table);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++) {
		entry_name(pid, files[i], ".txt", name);
		r = triage_put_proc(p->t, dir, files[i], name, e);
	}
	if (r == 0)
		r = put_fds(p, dir, pid, e);
	return r == 0 ? put_mounts(p, dir, pid, e) : r;
}

static int put_all(struct processes *p, struct error *e)
{
	AUTO(free_ptr) uint32_t *pids = NULL;
	size_t n = 0, i = 0;
	int r = triage_pids(p->t, &pids, &n, e);

	for (; r == 0 && i < n && !triage_over(p->t); i++)
		r = put_process(p, pids[i], e);
	if (r == 0 && i < n)
		triage_tell(p->t, true, "%zu of %zu processes are left out", n - i, n);
	return r == 0 ? triage_put_lines(p->t, &p->table, "live_response/process/processes.jsonl",
					 e) :
			r;
}

int triage_processes(struct triage *t, struct error *e)
{
	AUTO(free_ptr) struct processes *p = calloc(1, sizeof(*p));
	AUTO(free_ptr) struct seen *seen = calloc(SEEN_MAX, sizeof(*seen));

	if (p == NULL || seen == NULL)
		return error_set(e, -ENOMEM, "cannot list processes: out of memory");
	p->t = t;
	p->seen = seen;
	int r = triage_lines_open(&p->table, e);

	if (r == 0)
		r = put_all(p, e);
	triage_lines_release(&p->table);
	return r;
}
