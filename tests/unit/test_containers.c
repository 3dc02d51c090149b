/* SPDX-License-Identifier: Apache-2.0 */
/* The table and what it reads: a folder that plays the runtime's. */
#include "tests/unit/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/containers.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PATH "/kubepods/burstable/pod0b5f/" ID
#define TASK "/io.containerd.runtime.v2.task/k8s.io/" ID
#define GOOD                                                                                       \
	"{\"annotations\":{\"io.kubernetes.cri.container-name\":\"main\","                         \
	"\"io.kubernetes.cri.sandbox-name\":\"web-0\"},\"linux\":{\"cgroupsPath\":\"" PATH "\"}}"

struct world {
	char dir[64], task[256], file[300];
	struct containers *c;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct container_files *files = NULL;
	char root[128], command[512];
	struct option_list roots = { .n = 1, .item = { root } };

	if (!w)
		return -1;
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/test_containers.XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	(void)snprintf(root, sizeof(root), "containerd=%s", w->dir);
	(void)snprintf(w->task, sizeof(w->task), "%s" TASK, w->dir);
	(void)snprintf(w->file, sizeof(w->file), "%s/config.json", w->task);
	for (char *at = w->task + strlen(w->dir) + 1; at; at = strchr(at + 1, '/')) {
		(void)snprintf(command, sizeof(command), "%.*s", (int)(at - w->task), w->task);
		(void)mkdir(command, 0700);
	}
	if (mkdir(w->task, 0700) < 0 || container_files_new(&roots, "", &files, NULL) < 0)
		return -1;
	w->c = containers_new(files, 16);
	*state = w;
	return w->c ? 0 : -1;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char path[256];

	containers_free(w->c);
	(void)unlink(w->file);
	(void)rmdir(w->file);
	(void)snprintf(path, sizeof(path), "%s", w->task);
	for (char *at; strlen(path) >= strlen(w->dir) && rmdir(path) == 0;) {
		at = strrchr(path, '/');
		*at = '\0';
	}
	free(w);
	return 0;
}

static void put(const char *path, const char *text, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static struct container *find(struct world *w, const char *path, uint64_t now_ns)
{
	struct bytes b = { .at = (const uint8_t *)path, .len = strlen(path) };
	struct workload parsed = workload_parse(b);

	return containers_find(w->c, b, &parsed, now_ns);
}

static void made(struct world *w, const char *path, uint64_t now_ns)
{
	struct bytes b = { .at = (const uint8_t *)path, .len = strlen(path) };
	struct workload parsed = workload_parse(b);

	containers_made(w->c, b, &parsed, now_ns);
}

static const struct containers_stats *stats(const struct world *w, struct containers_stats *s)
{
	containers_stats(w->c, s);
	return s;
}

static void assert_text(struct bytes b, const char *want)
{
	assert_int_equal(b.len, strlen(want));
	if (b.len)
		assert_memory_equal(b.at, want, b.len);
}

enum kind { LINK, LINK_ABOVE, PIPE, FOLDER, HUGE };

static const struct odd_row {
	const char *name;
	enum kind kind;
	const char *says;
} odd_rows[] = {
	{ "a symbolic link", LINK, "symbolic link" },
	{ "a symbolic link above", LINK_ABOVE, "symbolic link" },
	{ "a pipe", PIPE, "not a plain file" },
	{ "a folder", FOLDER, "not a plain file" },
	{ "100 MB", HUGE, "larger than 4 MiB" },
};

static void make_odd(struct world *w, enum kind kind)
{
	char moved[300];

	switch (kind) {
	case LINK:
		assert_int_equal(symlink("/etc/passwd", w->file), 0);
		break;
	case LINK_ABOVE:
		put(w->file, GOOD, strlen(GOOD));
		(void)snprintf(moved, sizeof(moved), "%s.moved", w->task);
		assert_int_equal(rename(w->task, moved), 0);
		assert_int_equal(symlink(moved, w->task), 0);
		break;
	case PIPE:
		assert_int_equal(mkfifo(w->file, 0600), 0);
		break;
	case FOLDER:
		assert_int_equal(mkdir(w->file, 0700), 0);
		break;
	case HUGE:
		put(w->file, GOOD, strlen(GOOD));
		assert_int_equal(truncate(w->file, 100000000), 0);
		break;
	}
}

static void end_odd(struct world *w, enum kind kind)
{
	char moved[300];

	if (kind != LINK_ABOVE)
		return;
	(void)snprintf(moved, sizeof(moved), "%s.moved", w->task);
	assert_int_equal(unlink(w->task), 0);
	assert_int_equal(rename(moved, w->task), 0);
}

/* Refused once, in a sentence that the coverage repeats; the container keeps the id of its cgroup's name. */
static void odd_file(void **state)
{
	const struct odd_row *row = *state;
	struct coverage coverage = { 0 };
	struct containers_stats s;
	const struct container *k;
	void *own = NULL;
	struct world *w;

	assert_int_equal(setup(&own), 0);
	w = own;
	make_odd(w, row->kind);
	made(w, PATH, 1);
	for (uint64_t at = 2; at < 10; at++) {
		k = find(w, PATH, at);
		assert_int_equal(k->state, CONTAINER_WAITING);
		assert_text(k->id, ID);
		assert_int_equal(k->name.len, 0);
	}
	assert_int_equal(stats(w, &s)->refused, 1);
	assert_int_equal(s.reads, 1);
	containers_coverage(w->c, &coverage);
	assert_int_equal(coverage.row[0].state, COVERAGE_PARTIAL);
	assert_non_null(strstr(coverage.row[0].reason, row->says));
	end_odd(w, row->kind);
	assert_int_equal(teardown(&own), 0);
}

static void one_read_for_a_container(void **state)
{
	struct world *w = *state;
	struct containers_stats s;

	put(w->file, GOOD, strlen(GOOD));
	made(w, PATH, 1);
	for (uint64_t at = 2; at < 100; at++) {
		assert_text(find(w, PATH, at)->name, "main");
		assert_text(find(w, PATH "/below", at)->pod_name, "web-0");
	}
	assert_int_equal(unlink(w->file), 0);
	assert_text(find(w, PATH, 60 * NSEC_PER_SEC)->name, "main");
	assert_int_equal(stats(w, &s)->reads, 1);
	assert_int_equal(s.named, 1);
	assert_int_equal(s.late, 0);
	assert_null(find(w, "/system.slice/ssh.service", 1));
}

/* A half of it, then all: asked for again, not at once, and the change is told. */
static void half_written_is_asked_again(void **state)
{
	struct world *w = *state;
	struct containers_stats s;

	put(w->file, GOOD, strlen(GOOD) / 2);
	made(w, PATH, 1);
	assert_int_equal(find(w, PATH, 2)->state, CONTAINER_WAITING);
	put(w->file, GOOD, strlen(GOOD));
	assert_int_equal(find(w, PATH, 3)->state, CONTAINER_WAITING);
	assert_int_equal(find(w, PATH, 10 * NSEC_PER_MSEC)->state, CONTAINER_NAMED);
	assert_int_equal(stats(w, &s)->reads, 2);
	assert_int_equal(s.late, 1);
	assert_int_equal(s.refused, 0);
}

static void never_whole_is_given_up_and_counted(void **state)
{
	struct world *w = *state;
	struct containers_stats s;

	put(w->file, GOOD, strlen(GOOD) / 2);
	for (uint64_t at = 0; at < 50 * NSEC_PER_SEC; at += NSEC_PER_SEC)
		(void)find(w, PATH, at);
	assert_int_equal(stats(w, &s)->refused, 1);
	assert_true(s.reads <= 8);
	/* What is whole a minute later is taken all the same. */
	put(w->file, GOOD, strlen(GOOD));
	assert_int_equal(find(w, PATH, 200 * NSEC_PER_SEC)->state, CONTAINER_NAMED);
}

static void another_cgroup_is_an_imitation(void **state)
{
	struct world *w = *state;
	struct containers_stats s;

	put(w->file, GOOD, strlen(GOOD));
	assert_int_equal(find(w, "/user.slice/" ID, 1)->state, CONTAINER_IMITATION);
	assert_int_equal(find(w, PATH, 1)->state, CONTAINER_NAMED);
	assert_int_equal(stats(w, &s)->imitations, 1);
}

/* The same path again: another container may bear it. */
static void born_again_is_read_again(void **state)
{
	struct world *w = *state;
	struct container *k;

	put(w->file, GOOD, strlen(GOOD));
	made(w, PATH, 1);
	k = find(w, PATH, 2);
	k->begun = true;
	assert_int_equal(unlink(w->file), 0);
	made(w, PATH, 3);
	assert_int_equal(find(w, PATH, 4)->state, CONTAINER_WAITING);
}

static void nothing_runs_containers_here(void **state)
{
	char root[] = "containerd=/nonexistent";
	struct option_list roots = { .n = 1, .item = { root } };
	struct coverage coverage = { 0 };
	struct container_files *files = NULL;
	struct containers *c;

	(void)state;
	assert_int_equal(container_files_new(&roots, "/host", &files, NULL), 0);
	c = containers_new(files, 16);
	assert_non_null(c);
	containers_coverage(c, &coverage);
	assert_int_equal(coverage.row[0].state, COVERAGE_PARTIAL);
	assert_non_null(strstr(coverage.row[0].reason, "/host/nonexistent"));
	containers_free(c);
}

static const struct root_row {
	const char *name, *text;
} root_rows[] = {
	{ "no runtime", "/run/containerd" },
	{ "no folder", "containerd=" },
	{ "relative", "containerd=run" },
	{ "unknown", "rkt=/run/rkt" },
	{ "empty", "" },
};

static void root(void **state)
{
	const struct root_row *row = *state;
	char text[64];
	struct option_list roots = { .n = 1, .item = { text } };
	struct error e = { 0 };

	(void)snprintf(text, sizeof(text), "%s", row->text);
	assert_int_equal(container_files_check(&roots, &e), -EINVAL);
	assert_non_null(strstr(e.text, "workload.runtimes"));
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, one_read_for_a_container);
	ADD_TEST(&t, half_written_is_asked_again);
	ADD_TEST(&t, never_whole_is_given_up_and_counted);
	ADD_TEST(&t, another_cgroup_is_an_imitation);
	ADD_TEST(&t, born_again_is_read_again);
	for (size_t i = 0; i < t.n; i++) {
		t.test[i].setup_func = setup;
		t.test[i].teardown_func = teardown;
	}
	ADD_ROWS(&t, odd_file, odd_rows);
	ADD_ROWS(&t, root, root_rows);
	ADD_TEST(&t, nothing_runs_containers_here);
	return tests_run(&t, "containers");
}
