/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "proto/base/files.h"
#include "tests/unit/rows.h"

static char folder[] = "/tmp/test_files.XXXXXX";

static const char *in_folder(const char *name, char buf[static 256])
{
	(void)snprintf(buf, 256, "%s/%s", folder, name);
	return buf;
}

static size_t entries(void)
{
	DIR *d = opendir(folder);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

static const struct read_row {
	const char *name;
	const char *path;
	size_t max;
	int want;
	const char *text;
} read_fail_rows[] = {
	{ "no such file", "/nonexistent/x", 10, -ENOENT,
	  "cannot open '/nonexistent/x': No such file or directory" },
	{ "a folder", "/", 10, -EISDIR, "cannot read '/': Is a directory" },
	{ "too long", "/proc/self/stat", 10, -EFBIG,
	  "cannot read '/proc/self/stat': it is longer than 10 bytes" },
	{ "endless", "/dev/zero", 100000, -EFBIG,
	  "cannot read '/dev/zero': it is longer than 100000 bytes" },
};

static void read_fails(void **state)
{
	const struct read_row *row = *state;
	uint8_t *data = NULL;
	size_t len = 42;
	struct error e;

	assert_int_equal(files_read(row->path, row->max, &data, &len, &e), row->want);
	assert_string_equal(e.text, row->text);
	assert_null(data);
	assert_int_equal(len, 42);
}

static void replaced_file_reads_back(void **state)
{
	char path[256], text[10000];
	AUTO(free_ptr) uint8_t *data = NULL;
	struct stat st;
	struct error e;
	size_t len;

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(files_replace(in_folder("f", path), "old", 3, 0644, &e), 0);
	assert_int_equal(files_replace(path, text, sizeof(text), 0600, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(files_read(path, sizeof(text), &data, &len, &e), 0);
	assert_int_equal(len, sizeof(text));
	assert_memory_equal(data, text, sizeof(text));
	assert_int_equal(data[len], 0);
	assert_int_equal(unlink(path), 0);
}

static void empty_file_is_text(void **state)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 42;

	(void)state;
	assert_int_equal(files_read("/dev/null", 0, &data, &len, NULL), 0);
	assert_int_equal(len, 0);
	assert_string_equal(data, "");
}

static void proc_has_no_size(void **state)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	AUTO(close_fd) int fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t len;

	(void)state;
	assert_int_equal(files_read_at(fd, "status", 100000, &data, &len, NULL), 0);
	assert_int_equal(strlen((char *)data), len);
	assert_non_null(strstr((char *)data, "CapEff:"));
}

static void failed_replace_leaves_the_old_file(void **state)
{
	const struct rlimit small = { .rlim_cur = 1000, .rlim_max = RLIM_INFINITY };
	const struct rlimit none = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	AUTO(free_ptr) uint8_t *data = NULL;
	char path[256], text[5000] = "";
	size_t before, len;
	struct error e;

	(void)state;
	assert_int_equal(files_replace(in_folder("g", path), "old", 3, 0600, &e), 0);
	before = entries();
	/* The disk is "full" after 1000 bytes. */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(files_replace(path, text, sizeof(text), 0600, &e), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_non_null(strstr(e.text, "cannot replace '"));
	assert_int_equal(entries(), before);
	assert_int_equal(files_read(path, 10, &data, &len, &e), 0);
	assert_string_equal(data, "old");
	assert_int_equal(unlink(path), 0);
}

static void replace_without_folder_fails(void **state)
{
	struct error e;

	(void)state;
	assert_int_equal(files_replace("/nonexistent/x", "", 0, 0600, &e), -ENOENT);
	assert_string_equal(
		e.text, "cannot create a file beside '/nonexistent/x': No such file or directory");
}

static void replace_over_a_folder_leaves_nothing(void **state)
{
	char path[256];
	size_t before;
	struct error e;

	(void)state;
	assert_int_equal(files_mkdirs(in_folder("d", path), 0700, &e), 0);
	before = entries();
	assert_int_equal(files_replace(path, "x", 1, 0600, &e), -EISDIR);
	assert_int_equal(entries(), before);
	assert_int_equal(rmdir(path), 0);
}

static void mkdirs_makes_all(void **state)
{
	char path[256];
	struct stat st;
	struct error e;

	(void)state;
	assert_int_equal(files_mkdirs(in_folder("a/b//c/", path), 0700, &e), 0);
	assert_int_equal(files_mkdirs(path, 0700, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(files_sync_dir(path, &e), 0);
	assert_int_equal(rmdir(in_folder("a/b/c", path)) | rmdir(in_folder("a/b", path)) |
				 rmdir(in_folder("a", path)),
			 0);
}

static void mkdirs_over_a_file_fails(void **state)
{
	struct error e;

	(void)state;
	assert_int_equal(files_mkdirs("/dev/null/x", 0700, &e), -ENOTDIR);
	assert_string_equal(e.text, "cannot create folder '/dev/null': a file has that name");
	assert_int_equal(files_mkdirs("/proc/x", 0700, &e), -ENOENT);
	assert_int_equal(files_sync_dir("/nonexistent", &e), -ENOENT);
}

static void write_to_a_full_device_fails(void **state)
{
	AUTO(close_fd) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct error e;

	(void)state;
	assert_int_equal(files_write_all(fd, "abc", 3, &e), -ENOSPC);
	assert_string_equal(e.text, "cannot write 3 bytes: No space left on device");
	assert_int_equal(files_write_all(fd, "", 0, &e), 0);
	assert_int_equal(files_write_all(-1, "a", 1, &e), -EBADF);
}

int main(void)
{
	struct tests t = { 0 };
	int failed;

	if (!mkdtemp(folder))
		return 1;
	/* RLIMIT_FSIZE would end the process. */
	(void)signal(SIGXFSZ, SIG_IGN);
	ADD_ROWS(&t, read_fails, read_fail_rows);
	ADD_TEST(&t, replaced_file_reads_back);
	ADD_TEST(&t, empty_file_is_text);
	ADD_TEST(&t, proc_has_no_size);
	ADD_TEST(&t, failed_replace_leaves_the_old_file);
	ADD_TEST(&t, replace_without_folder_fails);
	ADD_TEST(&t, replace_over_a_folder_leaves_nothing);
	ADD_TEST(&t, mkdirs_makes_all);
	ADD_TEST(&t, mkdirs_over_a_file_fails);
	ADD_TEST(&t, write_to_a_full_device_fails);
	failed = tests_run(&t, "files");
	return rmdir(folder) < 0 ? 1 : failed;
}
