/* SPDX-License-Identifier: Apache-2.0 */
/* What the loader says when it cannot, and that it leaves nothing behind. */
#include "agent/hooks.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/wait.h>

#include "agent/hooks_chain.h"
#include "agent/hooks_check.h"
#include "agent/hooks_objects.h"
#include "proto/base/files.h"
#include "tests/unit/rows.h"

#define PROGRAMS_MAX 256
#define DESCRIPTORS_MAX 1024

static const struct refused_row {
	const char *name;
	struct hooks_config config;
	int want;
	const char *want_text;
} refused_rows[] = {
	{ "kernel too old",
	  { .kernel_version = KERNEL_NUMBER(4, 19, 0) },
	  -ENOTSUP,
	  "kernel 4.19 is too old" },
	{ "no BTF",
	  { .btf_path = "/nonexistent/vmlinux" },
	  -ENOTSUP,
	  "cannot read the kernel's type information '/nonexistent/vmlinux': No such file" },
	{ "a ring that is no power of two",
	  { .bulk_ring_bytes = 12 * 1024 },
	  -EINVAL,
	  "the size of a ring must be a power of two" },
	{ "a ring below a page", { .critical_ring_bytes = 1024 }, -EINVAL, "the size of a ring" },
};

static void skip_unless_loadable(void)
{
	if (hooks_check(NULL, 0, NULL) < 0)
		skip();
}

static void refused(void **state)
{
	const struct refused_row *row = *state;
	struct hooks *h = NULL;
	struct error e = { 0 };

	skip_unless_loadable();
	assert_int_equal(hooks_open(&row->config, &h, &e), row->want);
	assert_null(h);
	if (!strstr(e.text, row->want_text))
		fail_msg("'%s' does not say '%s'", e.text, row->want_text);
	assert_true(strlen(e.hint) > 0);
}

/* In a child, since what is dropped does not come back. */
static void without_capabilities(void **state)
{
	(void)state;
	int status;

	skip_unless_loadable();
	pid_t pid = fork();

	if (pid == 0) {
		const struct hooks_config config = { 0 };
		struct hooks *h = NULL;
		struct error e = { 0 };
		cap_t none = cap_init();

		if (!none || cap_set_proc(none) < 0)
			_exit(100);
		if (hooks_open(&config, &h, &e) != -EPERM || h)
			_exit(101);
		_exit(strstr(e.text, "this process lacks CAP_BPF") ? 0 : 102);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void switched_off(void **state)
{
	(void)state;
	const struct hooks_config config = { .no_files = true, .no_network = true };
	AUTO(hooks_close_ptr) struct hooks *h = NULL;
	struct error e = { 0 };

	skip_unless_loadable();
	assert_int_equal(hooks_open(&config, &h, &e), 0);
	assert_int_equal(hooks_tier(h, REC_CLASS_EXEC), 1);
	assert_int_equal(hooks_tier(h, REC_CLASS_FILE_OPEN), 0);
	assert_int_equal(hooks_map_fd(h, "exh_flows"), -1);
	assert_int_equal(hooks_map_fd(h, "no such map"), -1);
	for (size_t i = 0; i < hooks_coverage(h)->n; i++) {
		const struct coverage_row *row = &hooks_coverage(h)->row[i];

		if (row->state == COVERAGE_FAILED)
			assert_string_equal(row->reason, "switched off by configuration");
	}
}

/* The programs that a process holds, from its descriptors: others may run agents here meanwhile. */
static size_t programs_of(pid_t pid, uint32_t *ret)
{
	size_t n = 0;

	for (int fd = 0; fd < DESCRIPTORS_MAX && n < PROGRAMS_MAX; fd++) {
		AUTO(free_ptr) uint8_t *text = NULL;
		char path[64];
		size_t len;

		(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
		if (files_read(path, 4096, &text, &len, NULL) < 0)
			continue;
		const char *type = strstr((const char *)text, "prog_type:");
		const char *id = strstr((const char *)text, "prog_id:");

		if (type && id)
			ret[n++] = (uint32_t)strtoul(id + strlen("prog_id:"), NULL, 10);
	}
	return n;
}

static bool is_loaded(uint32_t id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

static void hold(int ready)
{
	const struct hooks_config config = { 0 };
	struct hooks *h = NULL;

	if (hooks_open(&config, &h, NULL) < 0 || write(ready, "x", 1) != 1)
		_exit(1);
	while (pause() < 0)
		;
}

/* However the agent ends, the kernel drops its programs. */
static void nothing_stays_after_sigkill(void **state)
{
	(void)state;
	uint32_t id[PROGRAMS_MAX];
	size_t n, left = 1;
	int ready[2];
	char byte;

	skip_unless_loadable();
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t pid = fork();

	if (pid == 0)
		hold(ready[1]);
	(void)close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	n = programs_of(pid, id);
	assert_true(n >= REC_CLASSES);
	for (size_t i = 0; i < n; i++)
		assert_true(is_loaded(id[i]));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)close(ready[0]);
	/* Freed after a grace period. */
	for (size_t tries = 0; left > 0 && tries < 500; tries++) {
		left = 0;
		for (size_t i = 0; i < n; i++)
			left += is_loaded(id[i]);
		(void)usleep(10000);
	}
	assert_int_equal(left, 0);
}

static struct bpf_object *open_object(const char *name)
{
	const struct hooks_object *object = hooks_object(name);
	size_t len;

	assert_non_null(object);
	const void *bytes = object->bytes(&len);

	return bpf_object__open_mem(bytes, len, NULL);
}

static void close_object(struct bpf_object **object)
{
	bpf_object__close(*object);
}

/* Every row names what exists: an object, its programs, and a class that has its words. */
static void chains_are_whole(void **state)
{
	(void)state;
	for (uint32_t class = 0; class < REC_CLASSES; class ++) {
		assert_non_null(hooks_class((enum rec_class) class)->what);
		assert_non_null(hooks_chain((enum rec_class) class, 0));
		for (size_t i = 0; hooks_chain((enum rec_class) class, i); i++) {
			const struct hooks_row *row = hooks_chain((enum rec_class) class, i);

			AUTO(close_object) struct bpf_object *object = open_object(row->object);

			assert_non_null(object);
			for (size_t p = 0; p < HOOKS_PROGRAMS_MAX && row->programs[p]; p++)
				assert_non_null(
					bpf_object__find_program_by_name(object, row->programs[p]));
		}
	}
	assert_null(hooks_object("no such object"));
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, refused, refused_rows);
	ADD_TEST(&t, without_capabilities);
	ADD_TEST(&t, switched_off);
	ADD_TEST(&t, nothing_stays_after_sigkill);
	ADD_TEST(&t, chains_are_whole);
	return tests_run(&t, "hooks");
}
