/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>

#include "agent/hooks_chain.h"
#include "agent/hooks_check.h"
#include "agent/hooks_log.h"
#include "agent/hooks_objects.h"
#include "proto/actions.h"

#define SLOTS_PER_CPU 3 /* as in bpf/emit.bpf.h */
#define CGROUP_PATH_MAX 4096

/* Made by the first object that loads, reused by all others. */
static const char *const shared_maps[] = {
	"exh_critical", "exh_bulk",   "exh_counters", "exh_seq", "exh_slots",
	"exh_own",      "exh_owners", "exh_flows",    "exh_off", "exh_dedup",
};

struct attached {
	const struct hooks_row *row; /* NULL: the class has none */
	struct bpf_object *object; /* NULL: another class's row loaded the same programs */
	struct bpf_link *link[HOOKS_PROGRAMS_MAX];
	int program_fd[HOOKS_PROGRAMS_MAX]; /* borrowed from object */
};

struct hooks {
	struct hooks_config config;
	struct coverage coverage;
	struct attached attached[REC_CLASSES];
	int map_fd[ARRAY_LEN(shared_maps)];
	int cgroup_fd;
};

static void destroy_object(struct attached *a)
{
	for (size_t i = 0; i < HOOKS_PROGRAMS_MAX; i++) {
		(void)bpf_link__destroy(a->link[i]);
		a->link[i] = NULL;
	}
	bpf_object__close(a->object);
	a->object = NULL;
}

static int shared_index(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(shared_maps); i++)
		if (strcmp(shared_maps[i], name) == 0)
			return (int)i;
	return -1;
}

static uint32_t entries_of(const struct hooks *h, const char *map)
{
	const struct {
		const char *map;
		uint64_t entries;
	} sizes[] = {
		{ "exh_critical", h->config.critical_ring_bytes },
		{ "exh_bulk", h->config.bulk_ring_bytes },
		{ "exh_flows", h->config.flow_entries },
		{ "exh_slots", (uint64_t)libbpf_num_possible_cpus() * SLOTS_PER_CPU },
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		if (strcmp(sizes[i].map, map) == 0)
			return (uint32_t)sizes[i].entries;
	return 0;
}

static int prepare_maps(const struct hooks *h, struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		int i = shared_index(bpf_map__name(map));
		int r = 0;

		if (i >= 0 && h->map_fd[i] >= 0)
			r = bpf_map__reuse_fd(map, h->map_fd[i]);
		else if (entries_of(h, bpf_map__name(map)))
			r = bpf_map__set_max_entries(map, entries_of(h, bpf_map__name(map)));
		if (r < 0)
			return r;
	}
	return 0;
}

static int keep_maps(struct hooks *h, struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		int i = shared_index(bpf_map__name(map));

		if (i < 0 || h->map_fd[i] >= 0)
			continue;
		h->map_fd[i] = fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3);
		if (h->map_fd[i] < 0)
			return -errno;
	}
	return 0;
}

static bool wanted(const struct hooks_config *config, enum hooks_group group)
{
	return !(group == HOOKS_FILES && config->no_files) &&
	       !(group == HOOKS_NETWORK && config->no_network);
}

/* Before anything is attached: sys_exit serves files and accepts, of which one may be unwanted. */
static int set_off(const struct hooks *h)
{
	int fd = hooks_map_fd(h, "exh_off");
	uint32_t zero = 0, off = 0;

	for (uint32_t i = 0; i < REC_CLASSES; i++)
		if (!wanted(&h->config, hooks_class((enum rec_class)i)->group))
			off |= 1U << i;
	return fd < 0 || bpf_map_update_elem(fd, &zero, &off, BPF_ANY) == 0 ? 0 : -errno;
}

static bool wants(const struct hooks_row *row, const char *program)
{
	for (size_t i = 0; i < HOOKS_PROGRAMS_MAX && row->programs[i]; i++)
		if (strcmp(row->programs[i], program) == 0)
			return true;
	return false;
}

static int load(struct hooks *h, const struct hooks_row *row, struct attached *a)
{
	const struct hooks_object *file = hooks_object(row->object);
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = row->object);
	struct bpf_program *program;
	size_t len;

	if (!file)
		return -ENOENT;
	const void *bytes = file->bytes(&len);

	a->object = bpf_object__open_mem(bytes, len, &opts);
	if (!a->object)
		return -errno;
	bpf_object__for_each_program(program, a->object)
	{
		if (!wants(row, bpf_program__name(program)))
			(void)bpf_program__set_autoload(program, false);
	}
	int r = prepare_maps(h, a->object);

	if (r == 0)
		r = bpf_object__load(a->object);
	if (r == 0)
		r = keep_maps(h, a->object);
	return r < 0 ? r : set_off(h);
}

static struct bpf_link *attach_one(const struct hooks *h, struct bpf_program *program)
{
	switch ((int)bpf_program__type(program)) {
	case BPF_PROG_TYPE_CGROUP_SKB:
	case BPF_PROG_TYPE_CGROUP_SOCK:
	case BPF_PROG_TYPE_SOCK_OPS:
		return bpf_program__attach_cgroup(program, h->cgroup_fd);
	}
	return bpf_program__attach(program);
}

static int attach(const struct hooks *h, const struct hooks_row *row, struct attached *a)
{
	for (size_t i = 0; i < HOOKS_PROGRAMS_MAX && row->programs[i]; i++) {
		struct bpf_program *program =
			bpf_object__find_program_by_name(a->object, row->programs[i]);

		if (!program)
			return -ENOENT;
		a->link[i] = attach_one(h, program);
		if (!a->link[i])
			return -errno;
		a->program_fd[i] = bpf_program__fd(program);
	}
	a->row = row;
	return 0;
}

/* One sys_exit program serves two classes: attached once. */
static const struct attached *same_programs(const struct hooks *h, const struct hooks_row *row)
{
	for (size_t i = 0; i < REC_CLASSES; i++) {
		const struct attached *a = &h->attached[i];

		if (a->object && strcmp(a->row->object, row->object) == 0 &&
		    strcmp(a->row->programs[0], row->programs[0]) == 0)
			return a;
	}
	return NULL;
}

static int try_row(struct hooks *h, const struct hooks_row *row)
{
	struct attached a = { 0 };
	int r;

	if (same_programs(h, row)) {
		h->attached[row->class].row = row;
		return 0;
	}
	if (row->cgroup && h->cgroup_fd < 0)
		return -ENOENT;
	hooks_log_clear();
	r = load(h, row, &a);
	if (r == 0)
		r = attach(h, row, &a);
	if (r < 0) {
		destroy_object(&a);
		return r;
	}
	h->attached[row->class] = a;
	return 0;
}

static const char *reason(const struct hooks *h, const struct hooks_row *row)
{
	return row->cgroup && h->cgroup_fd < 0 ? "cgroup v2 is not mounted" : hooks_log_reason();
}

static void try_class(struct hooks *h, enum rec_class class)
{
	const struct hooks_class *c = hooks_class(class);
	const struct hooks_row *row;

	coverage_failed(&h->coverage, c->class, c->what, "no hook is known for it");
	for (size_t i = 0; (row = hooks_chain(class, i)); i++) {
		int r = try_row(h, row);

		if (r == 0) {
			coverage_attached(&h->coverage, c->class, c->what, row->tier, row->hook,
					  row->limit);
			return;
		}
		if (i == 0) /* the best hook's reason says most */
			coverage_failed(&h->coverage, c->class, c->what, "%s: %s (%s)", row->hook,
					strerror(-r), reason(h, row));
	}
}

static int attach_classes(struct hooks *h, struct error *e)
{
	for (size_t i = 0; i < REC_CLASSES; i++) {
		const struct hooks_class *c = hooks_class((enum rec_class)i);

		if (!wanted(&h->config, c->group)) {
			coverage_failed(&h->coverage, c->class, c->what,
					"switched off by configuration");
			continue;
		}
		try_class(h, (enum rec_class)i);
		if (c->essential && !h->attached[i].row) {
			const struct coverage_row *row =
				coverage_row(&h->coverage, c->class, c->what);

			error_set(e, -ENOTSUP, "cannot trace processes: no hook for %s works: %s",
				  c->what, row ? row->reason : "coverage table full");
			error_hint(e, "run with --log.level=debug to hear the kernel's verifier");
			return -ENOTSUP;
		}
	}
	return 0;
}

static bool ring_size_ok(uint64_t bytes)
{
	return bytes >= (uint64_t)getpagesize() && bytes <= GiB(1) && (bytes & (bytes - 1)) == 0;
}

static int set_config(struct hooks *h, const struct hooks_config *config, struct error *e)
{
	h->config = *config;
	if (!h->config.critical_ring_bytes)
		h->config.critical_ring_bytes = HOOKS_CRITICAL_BYTES;
	if (!h->config.bulk_ring_bytes)
		h->config.bulk_ring_bytes = HOOKS_BULK_BYTES;
	if (ring_size_ok(h->config.critical_ring_bytes) && ring_size_ok(h->config.bulk_ring_bytes))
		return 0;
	error_set(e, -EINVAL, "the size of a ring must be a power of two between a page and 1 GiB");
	error_hint(e, "check sense.critical-ring-bytes and sense.bulk-ring-bytes");
	return -EINVAL;
}

static void open_cgroup(struct hooks *h)
{
	char path[CGROUP_PATH_MAX];
	const char *root = h->config.cgroup_root;

	if (!root && hooks_cgroup_root("/proc/self/mounts", path, sizeof(path)) == 0)
		root = path;
	if (root)
		h->cgroup_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int hooks_open(const struct hooks_config *config, struct hooks **ret, struct error *e)
{
	AUTO(hooks_close_ptr) struct hooks *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return error_set(e, -ENOMEM, "cannot load the sensors: %m");
	h->cgroup_fd = -1;
	for (size_t i = 0; i < ARRAY_LEN(shared_maps); i++)
		h->map_fd[i] = -1;
	r = set_config(h, config, e);
	if (r == 0)
		r = hooks_check(config->btf_path, config->kernel_version, e);
	if (r < 0)
		return r;
	hooks_log_capture();
	hooks_lift_memlock();
	open_cgroup(h);
	r = attach_classes(h, e);
	if (r < 0)
		return r;
	*ret = TAKE(h);
	return 0;
}

void hooks_close(struct hooks *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < REC_CLASSES; i++)
		destroy_object(&h->attached[i]);
	for (size_t i = 0; i < ARRAY_LEN(shared_maps); i++)
		close_fd(&h->map_fd[i]);
	close_fd(&h->cgroup_fd);
	free(h);
}

struct coverage *hooks_coverage(struct hooks *h)
{
	return &h->coverage;
}

int hooks_map_fd(const struct hooks *h, const char *name)
{
	int i = shared_index(name);

	return i < 0 ? -1 : h->map_fd[i];
}

int hooks_own(struct hooks *h, uint32_t tgid, bool own, struct error *e)
{
	int fd = hooks_map_fd(h, "exh_own");
	const uint8_t one = 1;
	int r = own ? bpf_map_update_elem(fd, &tgid, &one, BPF_ANY) :
		      bpf_map_delete_elem(fd, &tgid);

	if (r == 0 || (!own && errno == ENOENT))
		return 0;
	r = errno == E2BIG ? -ENOSPC : -errno;
	return error_set(e, r, "cannot name process %u as our own to the sensors: %m", tgid);
}

static uint64_t missed_of(int program_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(program_fd, &info, &len) == 0 ? info.recursion_misses : 0;
}

uint64_t hooks_missed(const struct hooks *h, enum rec_class class)
{
	const struct attached *a = &h->attached[class];
	uint64_t sum = 0;

	for (size_t i = 0; i < HOOKS_PROGRAMS_MAX && a->object && a->link[i]; i++)
		sum += missed_of(a->program_fd[i]);
	return sum;
}

uint32_t hooks_tier(const struct hooks *h, enum rec_class class)
{
	return h->attached[class].row ? h->attached[class].row->tier : 0;
}

uint32_t hooks_kind(const struct hooks *h, enum rec_class class)
{
	return h->attached[class].row ? h->attached[class].row->kind : HOOK_UNKNOWN;
}

int hooks_iterate(const struct hooks *h, enum rec_class class, int *ret_fd, struct error *e)
{
	const struct attached *a = &h->attached[class];

	if (!a->object)
		return error_set(e, -ENOTSUP, "no iterator is attached for %s",
				 hooks_class(class)->what);
	int fd = bpf_iter_create(bpf_link__fd(a->link[0]));

	if (fd < 0)
		return error_set(e, -errno, "cannot start the iterator of %s: %m",
				 hooks_class(class)->what);
	*ret_fd = fd;
	return 0;
}
