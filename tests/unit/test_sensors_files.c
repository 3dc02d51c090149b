/* SPDX-License-Identifier: Apache-2.0 */
/* Files created and opened for writing, on this kernel. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/base/files.h"
#include "tests/unit/rows.h"
#include "tests/unit/sensors.h"

#define FLIPS 2000

struct place {
	char dir[64];
	char path[128]; /* of the file */
};

static void place_make(struct place *p)
{
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/sensors-files-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/file\n\xff", p->dir);
}

static void place_remove(struct place *p)
{
	sensors_remove_tree(p->dir);
}

static int open_close(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0640);

	return fd < 0 ? errno : close(fd);
}

static int use_openat2(const char *path, int flags)
{
	const struct open_how how = { .flags = (unsigned int)flags,
				      .mode = flags & O_CREAT ? 0640 : 0 };
	long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 ? errno : close((int)fd);
}

static int use_creat(const char *path, int flags)
{
	long fd = syscall(SYS_creat, path, 0640);

	(void)flags;
	return fd < 0 ? errno : close((int)fd);
}

static int use_open(const char *path, int flags)
{
	long fd = syscall(SYS_open, path, flags, 0640);

	return fd < 0 ? errno : close((int)fd);
}

/* int 0x80: numbers and pointers of a 32-bit program. */
static int use_compat(const char *path, int flags)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long fd;

	if (low == MAP_FAILED)
		return errno;
	(void)snprintf(low, 4096, "%s", path);
	__asm__ volatile("int $0x80"
			 : "=a"(fd)
			 : "a"(5L), "b"(low), "c"((long)flags), "d"(0640L)
			 : "memory", "r8", "r9", "r10", "r11");
	return fd < 0 ? (int)-fd : close((int)fd);
}

static const struct open_row {
	const char *name;
	int (*call)(const char *path, int flags);
	int flags;
	bool exists; /* with 5 bytes in it */
	uint8_t want_op; /* 0: no record */
	uint64_t want_size;
	uint8_t want_known;
	uint16_t want_flags;
} open_rows[] = {
	{ "reading is none", open_close, O_RDONLY, true, 0, 0, 0, 0 },
	{ "failing is none", open_close, O_WRONLY, false, 0, 0, 0, 0 },
	{ "O_CREAT of what exists is no creation", open_close, O_WRONLY | O_CREAT, true,
	  REC_FILE_OPEN_WRITE, 5, 1, 0 },
	{ "openat creates", open_close, O_WRONLY | O_CREAT, false, REC_FILE_CREATE, 0, 1, 0 },
	{ "created for reading", open_close, O_RDONLY | O_CREAT, false, REC_FILE_CREATE, 0, 1, 0 },
	{ "openat writes", open_close, O_RDWR, true, REC_FILE_OPEN_WRITE, 5, 1, 0 },
	{ "openat truncates", open_close, O_WRONLY | O_TRUNC, true, REC_FILE_OPEN_WRITE, 0, 0, 0 },
	{ "open writes", use_open, O_WRONLY | O_APPEND, true, REC_FILE_OPEN_WRITE, 5, 1, 0 },
	{ "open truncates", use_open, O_WRONLY | O_TRUNC, true, REC_FILE_OPEN_WRITE, 0, 0, 0 },
	{ "openat2 writes", use_openat2, O_WRONLY, true, REC_FILE_OPEN_WRITE, 5, 1, 0 },
	{ "openat2 truncates", use_openat2, O_WRONLY | O_TRUNC, true, REC_FILE_OPEN_WRITE, 0, 0,
	  0 },
	{ "creat truncates", use_creat, 0, true, REC_FILE_OPEN_WRITE, 0, 0, 0 },
	{ "creat creates", use_creat, 0, false, REC_FILE_CREATE, 0, 1, 0 },
	{ "int 0x80 writes", use_compat, O_WRONLY, true, REC_FILE_OPEN_WRITE, 5, 1, REC_COMPAT },
	{ "int 0x80 truncates", use_compat, O_WRONLY | O_TRUNC, true, REC_FILE_OPEN_WRITE, 0, 0,
	  REC_COMPAT },
};

struct opening {
	const struct open_row *row;
	const char *path;
};

static int do_open(void *arg)
{
	const struct opening *o = arg;

	return o->row->call(o->path, o->row->flags);
}

static void what_was_opened(void **state)
{
	const struct open_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct opening o = { row, NULL };
	struct place place;
	struct stat st;
	int status;

	place_make(&place);
	o.path = place.path;
	if (row->exists)
		assert_int_equal(files_replace(o.path, "12345", 5, 0640, NULL), 0);
	pid_t pid = sensors_child(do_open, &o, &status);

	(void)sensors_wait(s, REC_EXIT, pid, 0);
	if (row->want_op) {
		const struct rec_file_open *rec = sensors_wait(s, REC_FILE_OPEN, pid, 0);

		assert_int_equal(status, 0);
		assert_int_equal(stat(o.path, &st), 0);
		assert_int_equal(rec->op, row->want_op);
		sensors_expect_path(rec, o.path);
		assert_int_equal(rec->inode, st.st_ino);
		assert_int_equal(rec->mode, st.st_mode);
		assert_int_equal(rec->uid, st.st_uid);
		assert_int_equal(rec->nlink, 1);
		assert_int_equal(rec->size, row->want_size);
		assert_int_equal(rec->size_before_known, row->want_known);
		assert_int_equal(rec->h.flags, row->want_flags);
		assert_int_equal(rec->h.actor.parent.pid, getpid());
	}
	assert_int_equal(sensors_count(s, REC_FILE_OPEN, pid), row->want_op ? 1 : 0);
	sensors_expect_balance(s);
	place_remove(&place);
}

static int open_five_times_then_later(void *path)
{
	for (size_t i = 0; i < 5; i++)
		if (open_close(path, O_WRONLY))
			return 1;
	(void)usleep(1100000);
	return open_close(path, O_WRONLY);
}

static void repeated_opens_are_folded(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct place place;
	int status;

	place_make(&place);
	assert_int_equal(files_replace(place.path, "x", 1, 0600, NULL), 0);
	pid_t pid = sensors_child(open_five_times_then_later, place.path, &status);

	assert_int_equal(status, 0);
	assert_int_equal(
		((const struct rec_file_open *)sensors_wait(s, REC_FILE_OPEN, pid, 0))->repeated,
		0);
	assert_int_equal(
		((const struct rec_file_open *)sensors_wait(s, REC_FILE_OPEN, pid, 1))->repeated,
		4);
	assert_int_equal(sensors_count(s, REC_FILE_OPEN, pid), 2);
	sensors_expect_balance(s);
	place_remove(&place);
}

static void our_own_are_filtered(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct counters before, after;
	struct place place;

	place_make(&place);
	assert_int_equal(hooks_own(sensors_hooks(s), (uint32_t)getpid(), true, NULL), 0);
	assert_int_equal(counters_read(sensors_hooks(s), &before, NULL), 0);
	assert_int_equal(open_close(place.path, O_WRONLY | O_CREAT), 0);
	assert_int_equal(counters_read(sensors_hooks(s), &after, NULL), 0);
	assert_int_equal(sensors_count(s, REC_FILE_OPEN, getpid()), 0);
	assert_true(after.class[REC_CLASS_FILE_OPEN].filtered >
		    before.class[REC_CLASS_FILE_OPEN].filtered);
	assert_int_equal(hooks_own(sensors_hooks(s), (uint32_t)getpid(), false, NULL), 0);
	assert_int_equal(hooks_own(sensors_hooks(s), (uint32_t)getpid(), false, NULL), 0);
	assert_int_equal(open_close(place.path, O_WRONLY), 0);
	(void)sensors_wait(s, REC_FILE_OPEN, getpid(), 0);
	place_remove(&place);
}

/* The program still runs, for accepts. */
static void switched_off_is_silent(void **state)
{
	(void)state;
	const struct hooks_config config = { .no_files = true };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct counters c;
	struct place place;

	place_make(&place);
	assert_int_equal(open_close(place.path, O_WRONLY | O_CREAT), 0);
	assert_int_equal(counters_read(sensors_hooks(s), &c, NULL), 0);
	assert_int_equal(c.class[REC_CLASS_FILE_OPEN].seen, 0);
	assert_int_equal(hooks_tier(sensors_hooks(s), REC_CLASS_TCP_ACCEPT), 1);
	place_remove(&place);
}

static void no_room_for_more_of_our_own(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct error e = { 0 };

	for (uint32_t i = 0; i < REC_OWN_MAX; i++)
		assert_int_equal(hooks_own(sensors_hooks(s), 0x40000000 + i, true, &e), 0);
	assert_int_equal(hooks_own(sensors_hooks(s), 0x50000000, true, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "cannot name process 1342177280 as our own"));
}

/* One buffer, two names, flipped by another thread while the first creates files: each record must name
 * what was created, whatever the buffer says by then. */
struct flip {
	char buffer[128]; /* the name, of which the last letter flips */
	size_t letter;
	bool stop;
	char truth[FLIPS]; /* the letter of each file, as /proc says */
};

static void *flip(void *arg)
{
	struct flip *f = arg;

	for (size_t i = 0; !__atomic_load_n(&f->stop, __ATOMIC_RELAXED); i++)
		__atomic_store_n(&f->buffer[f->letter], i & 1 ? 'a' : 'b', __ATOMIC_RELAXED);
	return NULL;
}

static int create_one(const struct flip *f, char *ret_letter)
{
	int fd = open(f->buffer, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char link[64], path[128];

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);

	if (fd < 0 || n <= 0)
		return 1;
	path[n] = '\0';
	*ret_letter = path[n - 1];
	return unlink(path) < 0 || close(fd) < 0;
}

static int create_while_flipped(void *arg)
{
	struct flip *f = arg;
	pthread_t thread;
	int r = 0;

	if (pthread_create(&thread, NULL, flip, f))
		return 1;
	for (size_t i = 0; i < FLIPS && r == 0; i++)
		r = create_one(f, &f->truth[i]);
	__atomic_store_n(&f->stop, true, __ATOMIC_RELAXED);
	(void)pthread_join(thread, NULL);
	return r;
}

static void flipping_the_name_changes_nothing(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct flip *f =
		mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t seen[2] = { 0 };
	struct place place;
	char want[128];
	int status;

	assert_true(f != MAP_FAILED);
	place_make(&place);
	f->letter = (size_t)snprintf(f->buffer, sizeof(f->buffer), "%s/a", place.dir) - 1;
	pid_t pid = sensors_child(create_while_flipped, f, &status);

	assert_int_equal(status, 0);
	for (size_t i = 0; i < FLIPS; i++) {
		(void)snprintf(want, sizeof(want), "%s/%c", place.dir, f->truth[i]);
		sensors_expect_path(sensors_wait(s, REC_FILE_OPEN, pid, i), want);
		seen[f->truth[i] == 'a']++;
	}
	place_remove(&place);
	if (seen[0] == 0 || seen[1] == 0)
		skip(); /* on one CPU the threads may never meet */
}

static int bind_elsewhere(void *arg)
{
	const struct place *p = arg;
	char other[128], path[160];

	(void)snprintf(other, sizeof(other), "%s/other", p->dir);
	(void)snprintf(path, sizeof(path), "%s/bound", other);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mkdir(other, 0700) < 0 || mount("none", other, "tmpfs", 0, NULL) < 0)
		return 1;
	return open_close(path, O_WRONLY | O_CREAT);
}

static void a_mount_of_another_namespace(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct place place;
	char want[160];
	int status;

	place_make(&place);
	pid_t pid = sensors_child(bind_elsewhere, &place, &status);

	assert_int_equal(status, 0);
	const struct rec_file_open *rec = sensors_wait(s, REC_FILE_OPEN, pid, 0);

	(void)snprintf(want, sizeof(want), "%s/other/bound", place.dir);
	sensors_expect_path(rec, want);
	assert_int_equal(rec->h.flags, 0);
	place_remove(&place);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, what_was_opened, open_rows);
	ADD_TEST(&t, repeated_opens_are_folded);
	ADD_TEST(&t, our_own_are_filtered);
	ADD_TEST(&t, switched_off_is_silent);
	ADD_TEST(&t, no_room_for_more_of_our_own);
	ADD_TEST(&t, flipping_the_name_changes_nothing);
	ADD_TEST(&t, a_mount_of_another_namespace);
	return tests_run(&t, "sensors_files");
}
