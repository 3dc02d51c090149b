/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/container_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/base/files.h"

#define SPACES_MAX 32 /* of containerd's namespaces looked into */
#define TASKS "io.containerd.runtime.v2.task"
#define STORED "overlay-containers"

struct root {
	const struct runtime *runtime;
	char *dir;
};

struct container_files {
	size_t n;
	struct root root[CONTAINER_ROOTS_MAX];
};

/* One container that is asked for. */
struct asked {
	const struct container_files *files;
	struct bytes space, id, path;
	struct container_said said;
};

struct runtime {
	const char *name; /* in the configuration */
	int (*read)(struct asked *a, const char *dir, struct error *e);
};

static int read_containerd(struct asked *a, const char *dir, struct error *e);
static int read_storage(struct asked *a, const char *dir, struct error *e);
static int read_docker(struct asked *a, const char *dir, struct error *e);

static const struct runtime runtimes[] = {
	{ "containerd", read_containerd },
	{ "crio", read_storage },
	{ "podman", read_storage },
	{ "docker", read_docker },
};

/* docker's are after containerd's, whose files say of docker's containers which cgroup is theirs. */
static const char *const ordinary[] = {
	"containerd=/run/containerd",
	"containerd=/run/k3s/containerd",
	"containerd=/run/k0s/containerd",
	"containerd=/var/snap/microk8s/common/run/containerd",
	"containerd=/run/docker/containerd/daemon",
	"crio=/run/containers/storage",
	"crio=/var/lib/containers/storage",
	"docker=/var/lib/docker",
};

/* ---- one file ------------------------------------------------------------------------------------------ */

/* Below dir; neither a link nor another mount may lead out of it, and a pipe or a device must not hold us up. */
static int open_below(int dir, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
			   RESOLVE_NO_XDEV,
	};
	long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int check_file(int fd, const char *dir, const char *path, struct error *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot look at '%s/%s': %m", dir, path);
	if (!S_ISREG(st.st_mode))
		return error_set(e, -EINVAL, "not a plain file, so not read: '%s/%s'", dir, path);
	if ((uint64_t)st.st_size > CONTAINER_FILE_MAX)
		return error_set(e, -EFBIG,
				 "larger than %zu MiB (%lld bytes), so not read: '%s/%s'",
				 (size_t)(CONTAINER_FILE_MAX >> 20), (long long)st.st_size, dir,
				 path);
	return 0;
}

/* -ENOENT: there is none, without a sentence. */
static int read_below(const char *dir, const char *path, uint8_t **ret_data, size_t *ret_len,
		      struct error *e)
{
	AUTO(close_fd) int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO(close_fd) int fd = root < 0 ? -errno : open_below(root, path, O_RDONLY);
	char name[PATH_MAX];
	int r;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ENOENT;
	if (fd == -ELOOP || fd == -EXDEV)
		return error_set(
			e, -ELOOP,
			"a symbolic link or another mount stands there, so not read: '%s/%s'", dir,
			path);
	if (fd < 0)
		return error_set(e, fd, "cannot open '%s/%s': %s", dir, path, strerror(-fd));
	r = check_file(fd, dir, path, e);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "%s/%s", dir, path);
	return files_read_fd(fd, name, CONTAINER_FILE_MAX, ret_data, ret_len, e);
}

typedef int (*said_fn)(const uint8_t *json, size_t len, struct container_said *said,
		       struct error *e);

static int say_file(const char *dir, const char *path, said_fn fn, struct container_said *said,
		    struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	struct error why = { 0 };
	size_t len;
	int r = read_below(dir, path, &data, &len, e);

	if (r < 0)
		return r;
	r = fn(data, len, said, &why);
	return r < 0 ? error_set(e, r, "cannot understand '%s/%s': %s", dir, path, why.text) : 0;
}

static bool is_component(struct bytes b)
{
	return b.len && b.len <= NAME_MAX && b.at[0] != '.' && !memchr(b.at, '/', b.len) &&
	       !memchr(b.at, '\0', b.len);
}

static int elsewhere(const struct asked *a, const char *dir, struct error *e)
{
	return error_set(e, -EXDEV,
			 "the cgroup '%.*s' bears the name of a container of '%s', which says that "
			 "its own is '%s'",
			 (int)a->path.len, (const char *)a->path.at, dir, a->said.cgroups_path);
}

/* ---- the runtimes -------------------------------------------------------------------------------------- */

/* Names that the bundle does not say stand in docker's own file. */
static void add_docker(struct asked *a)
{
	char path[NAME_MAX + 64];

	(void)snprintf(path, sizeof(path), "containers/%.*s/config.v2.json", (int)a->id.len,
		       (const char *)a->id.at);
	a->said.runtime = "docker";
	for (size_t i = 0; i < a->files->n; i++) {
		const struct root *r = &a->files->root[i];

		if (r->runtime->read == read_docker &&
		    say_file(r->dir, path, container_said_docker, &a->said, NULL) == 0)
			return;
	}
}

static bool is(struct bytes b, const char *text)
{
	return b.len == strlen(text) && memcmp(b.at, text, b.len) == 0;
}

static int read_task(struct asked *a, const char *dir, struct bytes space, struct error *e)
{
	char path[2 * NAME_MAX + 64];
	int r;

	(void)snprintf(path, sizeof(path), TASKS "/%.*s/%.*s/config.json", (int)space.len,
		       (const char *)space.at, (int)a->id.len, (const char *)a->id.at);
	r = say_file(dir, path, container_said_config, &a->said, e);
	if (r < 0)
		return r;
	if (!container_said_is_at(a->said.cgroups_path, a->path))
		return elsewhere(a, dir, e);
	if (!is(space, "k8s.io"))
		container_said_no_pod(&a->said);
	if (is(space, "moby"))
		add_docker(a);
	if (!a->said.runtime)
		a->said.runtime = "containerd";
	return 0;
}

static void close_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

static struct bytes text_bytes(const char *text)
{
	return (struct bytes){ .at = (const uint8_t *)text, .len = strlen(text) };
}

/* The kubelet's namespace first, then the others as they come. */
static int read_containerd(struct asked *a, const char *dir, struct error *e)
{
	char tasks[PATH_MAX];
	AUTO(close_dir) DIR *spaces = NULL;
	struct dirent *entry;
	int r = read_task(a, dir, a->space.len ? a->space : text_bytes("k8s.io"), e);

	if (r != -ENOENT || a->space.len)
		return r;
	(void)snprintf(tasks, sizeof(tasks), "%s/" TASKS, dir);
	spaces = opendir(tasks);
	for (size_t n = 0; r == -ENOENT && spaces && n < SPACES_MAX; n++) {
		entry = readdir(spaces);
		if (!entry)
			break;
		if (entry->d_name[0] != '.')
			r = read_task(a, dir, text_bytes(entry->d_name), e);
	}
	return r;
}

static int list_fn(struct asked *a, const char *dir, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	struct error why = { 0 };
	size_t len;
	int r = read_below(dir, STORED "/containers.json", &data, &len, e);

	if (r < 0)
		return r;
	r = container_said_list(data, len, a->id, &a->said, &why);
	return r < 0 ? error_set(e, r, "cannot understand '%s/" STORED "/containers.json': %s", dir,
				 why.text) :
		       0;
}

/* podman keeps names in the list of the storage, which may lie in another root than the bundle. */
static void add_list(struct asked *a)
{
	for (size_t i = 0; i < a->files->n && !a->said.name[0]; i++)
		if (a->files->root[i].runtime->read == read_storage)
			(void)!list_fn(a, a->files->root[i].dir, NULL);
}

static int read_storage(struct asked *a, const char *dir, struct error *e)
{
	char path[NAME_MAX + 64];
	int r;

	if (a->space.len)
		return -ENOENT;
	(void)snprintf(path, sizeof(path), STORED "/%.*s/userdata/config.json", (int)a->id.len,
		       (const char *)a->id.at);
	r = say_file(dir, path, container_said_config, &a->said, e);
	if (r < 0)
		return r;
	if (!container_said_is_at(a->said.cgroups_path, a->path))
		return elsewhere(a, dir, e);
	if (!a->said.name[0])
		add_list(a);
	if (!a->said.runtime)
		a->said.runtime = "podman";
	return 0;
}

/* Only where no containerd of docker's tells its bundle: its own file names no cgroup, so it must be one of the
 * two that docker uses when it is not told otherwise. */
static int read_docker(struct asked *a, const char *dir, struct error *e)
{
	char path[NAME_MAX + 64];
	int r;

	if (a->space.len)
		return -ENOENT;
	(void)snprintf(path, sizeof(path), "containers/%.*s/config.v2.json", (int)a->id.len,
		       (const char *)a->id.at);
	r = say_file(dir, path, container_said_docker, &a->said, e);
	if (r < 0)
		return r;
	(void)snprintf(a->said.cgroups_path, sizeof(a->said.cgroups_path), "/docker/%.*s",
		       (int)a->id.len, (const char *)a->id.at);
	if (container_said_is_at(a->said.cgroups_path, a->path))
		return 0;
	(void)snprintf(a->said.cgroups_path, sizeof(a->said.cgroups_path),
		       "system.slice:docker:%.*s", (int)a->id.len, (const char *)a->id.at);
	return container_said_is_at(a->said.cgroups_path, a->path) ? 0 : elsewhere(a, dir, e);
}

/* ---- all of them --------------------------------------------------------------------------------------- */

/* The best that a root says: success, else another sentence than "there is none". */
static int ask_all(struct asked *a, struct container_said *ret, struct error *e)
{
	int worst = -ENOENT;

	if (!is_component(a->id) || (a->space.len && !is_component(a->space)))
		return -ENOENT;
	for (size_t i = 0; i < a->files->n; i++) {
		const struct root *root = &a->files->root[i];
		struct error why = { 0 };
		int r;

		memset(&a->said, 0, sizeof(a->said));
		r = root->runtime->read(a, root->dir, &why);
		if (r == 0) {
			*ret = a->said;
			return 0;
		}
		if (r != -ENOENT && worst == -ENOENT) {
			worst = r;
			if (e)
				*e = why;
		}
	}
	return worst == -ENOENT ? error_set(e, -ENOENT, "no container runtime knows it") : worst;
}

int container_files_read(const struct container_files *f, struct bytes id, struct bytes path,
			 struct container_said *ret, struct error *e)
{
	struct asked a = { .files = f, .id = id, .path = path };

	return ask_all(&a, ret, e);
}

int container_files_read_in(const struct container_files *f, struct bytes space, struct bytes id,
			    struct bytes path, struct container_said *ret, struct error *e)
{
	struct asked a = { .files = f, .space = space, .id = id, .path = path };

	return space.len ? ask_all(&a, ret, e) : -ENOENT;
}

/* ---- the list ------------------------------------------------------------------------------------------ */

static int parse_root(const char *text, const struct runtime **ret_runtime, const char **ret_dir,
		      struct error *e)
{
	const char *equal = strchr(text, '=');
	size_t len = equal ? (size_t)(equal - text) : 0;

	if (!equal || equal[1] != '/') {
		error_set(e, -EINVAL, "workload.runtimes '%s' is not RUNTIME=DIR with DIR from /",
			  text);
		error_hint(e, "write containerd=/run/containerd, say");
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_LEN(runtimes); i++) {
		if (strlen(runtimes[i].name) != len || memcmp(runtimes[i].name, text, len) != 0)
			continue;
		*ret_runtime = &runtimes[i];
		*ret_dir = equal + 1;
		return 0;
	}
	return error_set(
		e, -EINVAL,
		"workload.runtimes '%s' names no runtime: containerd, crio, podman or docker",
		text);
}

int container_files_check(const struct option_list *roots, struct error *e)
{
	const struct runtime *runtime;
	const char *dir;
	int r = 0;

	if (roots->n > CONTAINER_ROOTS_MAX)
		return error_set(e, -EINVAL, "workload.runtimes names %zu folders, %d at most",
				 roots->n, CONTAINER_ROOTS_MAX);
	for (size_t i = 0; r == 0 && i < roots->n; i++)
		r = parse_root(roots->item[i], &runtime, &dir, e);
	return r;
}

static int add_root(struct container_files *f, const char *text, const char *prefix,
		    struct error *e)
{
	struct root *root = &f->root[f->n];
	const char *dir;
	int r = parse_root(text, &root->runtime, &dir, e);

	if (r < 0)
		return r;
	if (asprintf(&root->dir, "%s%s", prefix, dir) < 0) {
		root->dir = NULL;
		return error_set(e, -ENOMEM, "cannot keep the folders of runtimes: %m");
	}
	f->n++;
	return 0;
}

static void free_files(struct container_files **f)
{
	container_files_free(*f);
}

int container_files_new(const struct option_list *roots, const char *prefix,
			struct container_files **ret_f, struct error *e)
{
	AUTO(free_files) struct container_files *f = calloc(1, sizeof(*f));
	int r = container_files_check(roots, e);

	if (!f)
		return error_set(e, -ENOMEM, "cannot keep the folders of runtimes: %m");
	for (size_t i = 0; r == 0 && i < roots->n; i++)
		r = add_root(f, roots->item[i], prefix, e);
	for (size_t i = 0; r == 0 && !roots->n && i < ARRAY_LEN(ordinary); i++)
		r = add_root(f, ordinary[i], prefix, e);
	if (r < 0)
		return r;
	*ret_f = TAKE(f);
	return 0;
}

void container_files_free(struct container_files *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->n; i++)
		free(f->root[i].dir);
	free(f);
}

size_t container_files_present(const struct container_files *f, char *all, size_t size)
{
	size_t present = 0, len = 0;

	if (all && size)
		all[0] = '\0';
	for (size_t i = 0; i < f->n; i++) {
		struct stat st;
		int n;

		if (stat(f->root[i].dir, &st) == 0 && S_ISDIR(st.st_mode))
			present++;
		if (!all || len >= size)
			continue;
		n = snprintf(all + len, size - len, "%s%s", len ? ", " : "", f->root[i].dir);
		len += n > 0 ? (size_t)n : 0;
	}
	return present;
}
