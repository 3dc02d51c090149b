/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_facts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/acquire/proc_text.h"
#include "proto/base/files.h"

#define TEXT_MAX MiB(8)
#define WORDS_MAX 65536
#define FDINFO_MAX KiB(64)
#define READ_BYTES MiB(1)

/* ---- lines ----------------------------------------------------------------------------------------- */

int core_line_begin(struct core_line *l, struct error *e)
{
	*l = (struct core_line){ 0 };
	l->file = open_memstream(&l->text, &l->len);
	if (l->file == NULL)
		return error_set(e, -ENOMEM, "cannot tell of the process: out of memory");
	l->json = json_init(l->file);
	json_open(&l->json, NULL, 0, '{');
	return 0;
}

int core_line_end(struct core_line *l, struct output *o, uint32_t item, struct error *e)
{
	json_close(&l->json, '}');
	json_line(&l->json);
	int r = fclose(l->file) != 0 ?
			error_set(e, -ENOMEM, "cannot tell of the process: out of memory") :
			output_write(o, item, l->text, l->len, e);

	free(l->text);
	*l = (struct core_line){ 0 };
	return r;
}

/* ---- texts of /proc/PID ---------------------------------------------------------------------------- */

static void put_text(struct json *j, int dir, const char *name, const char *key)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	if (files_read_at(dir, name, TEXT_MAX, &text, &len, NULL) == 0)
		json_bytes(j, key, text, len);
}

/* What is separated by NULs. */
static void put_words(struct json *j, int dir, const char *name, const char *key)
{
	AUTO(free_ptr) struct json_item *words = calloc(WORDS_MAX, sizeof(*words));
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0, n = 0;

	if (words == NULL || files_read_at(dir, name, TEXT_MAX, &text, &len, NULL) < 0)
		return;
	for (size_t at = 0; at < len && n < WORDS_MAX; n++) {
		const uint8_t *end = memchr(text + at, '\0', len - at);
		size_t word = end != NULL ? (size_t)(end - (text + at)) : len - at;

		words[n] = (struct json_item){ .data = text + at, .len = word };
		at += word + 1;
	}
	json_list(j, key, words, n);
}

static void put_link(struct json *j, int dir, const char *name, const char *key)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));

	if (n >= 0)
		json_bytes(j, key, target, (size_t)n);
}

static void put_file(struct json *j, const struct stat *st)
{
	json_u64(j, "device_major", major(st->st_dev));
	json_u64(j, "device_minor", minor(st->st_dev));
	json_u64(j, "inode", st->st_ino);
	json_u64(j, "size", (uint64_t)st->st_size);
	json_u64(j, "mode", st->st_mode);
	json_u64(j, "links", st->st_nlink);
}

static void put_spaces(struct json *j, int dir)
{
	static const char *const names[][2] = {
		{ "ns/mnt", "mnt" }, { "ns/pid", "pid" },   { "ns/net", "net" },
		{ "ns/ipc", "ipc" }, { "ns/user", "user" }, { "ns/cgroup", "cgroup" },
		{ "ns/uts", "uts" }, { "ns/time", "time" },
	};

	json_open(j, "namespaces", strlen("namespaces"), '{');
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		put_link(j, dir, names[i][0], names[i][1]);
	json_close(j, '}');
}

/* ---- one process ----------------------------------------------------------------------------------- */

static int put_process(struct core_facts *f, const struct core_target *t, struct error *e)
{
	static const char *const texts[] = { "status", "stat",     "limits",        "cgroup",
					     "io",     "loginuid", "oom_score_adj", "wchan" };
	struct core_line l;
	struct stat st;
	int r = core_line_begin(&l, e);

	if (r < 0)
		return r;
	json_u64(&l.json, "pid", (uint64_t)t->pid);
	json_u64(&l.json, "parent_pid", (uint64_t)t->id.parent);
	json_u64(&l.json, "start_ticks", t->start_ticks);
	json_bytes(&l.json, "name", t->id.name, strnlen(t->id.name, sizeof(t->id.name)));
	put_link(&l.json, t->dir, "exe", "executable");
	if (t->exe >= 0 && fstat(t->exe, &st) == 0) {
		json_open(&l.json, "executable_file", strlen("executable_file"), '{');
		put_file(&l.json, &st);
		json_close(&l.json, '}');
	}
	put_link(&l.json, t->dir, "cwd", "working_directory");
	put_link(&l.json, t->dir, "root", "root");
	put_words(&l.json, t->dir, "cmdline", "args");
	put_words(&l.json, t->dir, "environ", "environment");
	put_spaces(&l.json, t->dir);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		put_text(&l.json, t->dir, texts[i], texts[i]);
	return core_line_end(&l, f->o, f->processes, e);
}

/* ---- open files ------------------------------------------------------------------------------------ */

static void put_socket(struct core_facts *f, struct json *j, uint64_t inode)
{
	const struct core_socket *s = core_sockets_find(&f->sockets, inode);
	const char *state = s != NULL ? core_socket_state(s) : NULL;

	json_open(j, "socket", strlen("socket"), '{');
	json_u64(j, "inode", inode);
	if (s != NULL) {
		json_text(j, "protocol", s->protocol);
		if (s->local[0] != '\0') {
			json_text(j, "local", s->local);
			json_text(j, "remote", s->remote);
		}
		if (s->path != NULL)
			json_bytes(j, "path", s->path, s->path_len);
		if (state != NULL)
			json_text(j, "state", state);
	}
	json_close(j, '}');
}

/* "socket:[123]"; 0: not one. */
static uint64_t socket_inode(const char *target, size_t len)
{
	static const char head[] = "socket:[";
	struct reader r = reader_init(target, len);
	const uint8_t *begin = reader_bytes(&r, sizeof(head) - 1);
	uint64_t inode = 0;

	if (begin == NULL || memcmp(begin, head, sizeof(head) - 1) != 0)
		return 0;
	inode = proc_number(&r, 10);
	return r.bad ? 0 : inode;
}

static void put_stat(struct json *j, int dir, const char *name)
{
	struct statx st;

	/* No network file system is asked: a dead server would hold us up. */
	if (statx(dir, name, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0)
		return;
	json_u64(j, "device_major", st.stx_dev_major);
	json_u64(j, "device_minor", st.stx_dev_minor);
	json_u64(j, "inode", st.stx_ino);
	json_u64(j, "size", st.stx_size);
	json_u64(j, "mode", st.stx_mode);
	json_bool(j, "deleted", S_ISREG(st.stx_mode) && st.stx_nlink == 0);
}

static int put_open_file(struct core_facts *f, const struct core_target *t, const char *fd,
			 struct error *e)
{
	char name[64], target[PATH_MAX];
	struct core_line l;

	(void)snprintf(name, sizeof(name), "fd/%.20s", fd);
	ssize_t len = readlinkat(t->dir, name, target, sizeof(target));

	if (len < 0)
		return 0;
	int r = core_line_begin(&l, e);

	if (r < 0)
		return r;
	json_u64(&l.json, "pid", (uint64_t)t->pid);
	json_u64(&l.json, "fd", strtoul(fd, NULL, 10));
	json_bytes(&l.json, "target", target, (size_t)len);
	put_stat(&l.json, t->dir, name);
	uint64_t inode = socket_inode(target, (size_t)len);

	if (inode != 0)
		put_socket(f, &l.json, inode);
	(void)snprintf(name, sizeof(name), "fdinfo/%.20s", fd);
	put_text(&l.json, t->dir, name, "fdinfo");
	return core_line_end(&l, f->o, f->files, e);
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

/* Processes of a container mostly share one network namespace. */
static int read_sockets(struct core_facts *f, const struct core_target *t, struct error *e)
{
	struct stat st;

	if (fstatat(t->dir, "ns/net", &st, 0) < 0 || st.st_ino == f->net_ns)
		return 0;
	core_sockets_release(&f->sockets);
	f->net_ns = st.st_ino;
	return core_sockets_read(t->dir, &f->sockets, e);
}

static int put_open_files(struct core_facts *f, const struct core_target *t, struct error *e)
{
	int fd = openat(t->dir, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO(close_dir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = dir == NULL ? 0 : read_sockets(f, t, e);

	while (r == 0 && dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			r = put_open_file(f, t, entry->d_name, e);
	return r;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

int core_facts_begin(struct output *o, const char *gaps_name, struct core_facts *ret,
		     struct error *e)
{
	*ret = (struct core_facts){ .o = o };
	int r = output_begin(o, "processes.jsonl", "jsonl", 0, &ret->processes, e);

	if (r == 0)
		r = output_begin(o, "files.jsonl", "jsonl", 0, &ret->files, e);
	if (r == 0)
		r = output_begin(o, "maps.jsonl", "jsonl", 0, &ret->maps, e);
	return r == 0 ? output_begin(o, gaps_name, "jsonl", 0, &ret->gaps, e) : r;
}

int core_facts_process(struct core_facts *f, const struct core_target *t, struct error *e)
{
	int r = put_process(f, t, e);

	return r == 0 ? put_open_files(f, t, e) : r;
}

int core_facts_maps(struct core_facts *f, const struct core_target *t, struct error *e)
{
	struct core_line l;
	int r = core_line_begin(&l, e);

	if (r < 0)
		return r;
	json_u64(&l.json, "pid", (uint64_t)t->pid);
	json_bytes(&l.json, "maps", t->maps.text, t->maps.text_len);
	return core_line_end(&l, f->o, f->maps, e);
}

static bool exe_known(struct core_facts *f, const struct stat *st, pid_t pid)
{
	for (size_t i = 0; i < f->n_exes; i++)
		if (f->exes[i].inode == st->st_ino && f->exes[i].device == st->st_dev)
			return true;
	if (f->n_exes < CORE_EXES_MAX)
		f->exes[f->n_exes++] =
			(struct core_exe){ .device = st->st_dev, .inode = st->st_ino, .pid = pid };
	return false;
}

static int copy_exe(struct core_facts *f, const struct core_target *t, const struct stat *st,
		    struct error *e)
{
	char name[32];
	AUTO(free_ptr) uint8_t *buf = malloc(READ_BYTES);
	struct error why = { 0 };
	uint32_t item = 0;
	ssize_t n = 1;
	off_t at = 0;

	if (buf == NULL)
		return error_set(e, -ENOMEM, "cannot copy the executable: out of memory");
	(void)snprintf(name, sizeof(name), "exe.%d", (int)t->pid);
	int r = output_begin(f->o, name, "raw", (uint64_t)st->st_size, &item, &why);

	/* Whoever owns a container can give each of its processes an executable of its own: the cores count more. */
	if (r == -EINVAL)
		return output_warn(f->o, true, e, "the executable of process %d is left out: %s",
				   (int)t->pid, why.text);
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	for (; r == 0 && n > 0; at += n) {
		n = pread(t->exe, buf, READ_BYTES, at);
		if (n > 0)
			r = output_write(f->o, item, buf, (size_t)n, e);
	}
	if (r == 0 && n < 0)
		r = output_warn(f->o, true, e, "cannot read the executable of process %d: %s",
				(int)t->pid, strerror(errno));
	int ended = r == 0 || r == -ECANCELED ?
			    output_end(f->o, item, r < 0 ? "stopped before its end" : NULL, NULL,
				       r == 0 ? e : NULL) :
			    0;

	return r < 0 ? r : ended;
}

int core_facts_exe(struct core_facts *f, const struct core_target *t, struct error *e)
{
	struct stat st;

	if (t->exe < 0 || fstat(t->exe, &st) < 0)
		return output_warn(f->o, true, e, "cannot open the executable of process %d",
				   (int)t->pid);
	return exe_known(f, &st, t->pid) ? 0 : copy_exe(f, t, &st, e);
}

int core_facts_end(struct core_facts *f, struct error *e)
{
	uint32_t *items[] = { &f->processes, &f->files, &f->maps, &f->gaps };
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(items); i++) {
		if (*items[i] == 0)
			continue;
		int ended = output_end(f->o, *items[i], NULL, NULL, r == 0 ? e : NULL);

		*items[i] = 0;
		r = r < 0 ? r : ended;
	}
	return r;
}

void core_facts_release(struct core_facts *f)
{
	core_sockets_release(&f->sockets);
}
