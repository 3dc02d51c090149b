/* SPDX-License-Identifier: Apache-2.0 */
/* A process with every odd kind of memory that memory.md names, each with a marker of its own, and several threads.
 * Prints one line for each: NAME ADDRESS BYTES, or NAME - when this kernel has none; then "ready", and sleeps.
 *
 * driver_odd DIR [fork|idle|touch MiB [PART]|beat MiB|orphans]
 * fork: a child shares the memory, untouched. touch: writes a counter into each page of so many MiB, and then over
 * and over into the first 1/PART of them, from the first page to the last: a copy of one instant shows one step at
 * most. beat: looks at the clock all the time, and prints the longest gap since it was last asked by SIGUSR1.
 * orphans: the main thread ends, the others go on. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 16UL
#define GUARD_INSTALL 102
#define THREADS 3

static void say(const char *name, const void *at, size_t bytes)
{
	if (at == MAP_FAILED || at == NULL)
		(void)printf("%s -\n", name);
	else
		(void)printf("%s %lx %lu\n", name, (unsigned long)(uintptr_t)at,
			     (unsigned long)bytes);
}

/* "MARK name page" at the start of each page. */
static void *fill(void *at, const char *name)
{
	for (size_t i = 0; at != MAP_FAILED && i < PAGES; i++)
		(void)snprintf((char *)at + i * PAGE, PAGE, "MARK %s %02lu", name,
			       (unsigned long)i);
	return at;
}

static void *anonymous(const char *name, int flags)
{
	return fill(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0),
		    name);
}

static void *of_file(int fd, const char *name, int flags)
{
	if (fd < 0 || ftruncate(fd, PAGES * PAGE) < 0)
		return MAP_FAILED;
	return fill(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0), name);
}

static int new_file(const char *dir, const char *name)
{
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

static void advised(const char *name, int advice)
{
	void *at = anonymous(name, MAP_PRIVATE);

	(void)madvise(at, PAGES * PAGE, advice);
	say(name, at, PAGES * PAGE);
}

static void files(const char *dir)
{
	int deleted = new_file(dir, "deleted"), cut = new_file(dir, "short");
	void *at = of_file(deleted, "deleted", MAP_PRIVATE);
	char path[4096];

	say("deleted", at, PAGES * PAGE);
	(void)snprintf(path, sizeof(path), "%s/deleted", dir);
	(void)unlink(path);
	at = of_file(cut, "beyond", MAP_SHARED);
	if (ftruncate(cut, (long)(PAGES * PAGE / 2)) < 0)
		perror("ftruncate");
	say("beyond", at, PAGES * PAGE / 2);
	say("memfd", of_file((int)syscall(SYS_memfd_create, "odd", 0), "memfd", MAP_SHARED),
	    PAGES * PAGE);
}

static void secret(void)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);

	say("secret", of_file(fd, "secret", MAP_SHARED), PAGES * PAGE);
}

static void guarded(void)
{
	void *at = anonymous("guard", MAP_PRIVATE);

	if (madvise((char *)at + 8 * PAGE, 4 * PAGE, GUARD_INSTALL) < 0)
		at = MAP_FAILED;
	say("guard", at, 8 * PAGE);
}

static void ring(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 8, &p);

	say("ring",
	    fd < 0 ? MAP_FAILED :
		     mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING),
	    PAGE);
}

static void system_v(void)
{
	int id = shmget(IPC_PRIVATE, PAGES * PAGE, 0600 | IPC_CREAT);
	void *at = id < 0 ? MAP_FAILED : shmat(id, NULL, 0);

	if (id >= 0)
		(void)shmctl(id, IPC_RMID, NULL);
	say("sysv", fill(at, "sysv"), PAGES * PAGE);
}

static __attribute__((noinline)) void *sleeper(void *arg)
{
	(void)prctl(PR_SET_NAME, arg);
	for (;;) {
		(void)pause();
		asm volatile("" ::: "memory");
	}
	return NULL;
}

static void touch_all(uint8_t *at, size_t bytes, uint64_t n)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		*(volatile uint64_t *)(void *)(at + i) = n;
}

static void touch(size_t mib, size_t part)
{
	size_t bytes = mib << 20;
	uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	touch_all(at, bytes, 1);
	say("touched", at, bytes);
	(void)printf("ready\n");
	(void)fflush(stdout);
	for (uint64_t n = 2;; n++)
		touch_all(at, bytes / part, n);
}

static volatile sig_atomic_t asked;

static void on_ask(int number)
{
	asked = number;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void beat(size_t mib)
{
	uint8_t *at =
		mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t before, longest = 0;

	(void)signal(SIGUSR1, on_ask);
	touch_all(at, mib << 20, 1);
	(void)printf("ready\n");
	(void)fflush(stdout);
	for (before = now_ns();;) {
		uint64_t now = now_ns();

		longest = now - before > longest ? now - before : longest;
		before = now;
		if (!asked)
			continue;
		asked = 0;
		(void)printf("gap %lu\n", (unsigned long)longest);
		(void)fflush(stdout);
		longest = 0;
		before = now_ns();
	}
}

/* Frames that a debugger is to find are kept. */
static __attribute__((noinline)) void run(const char *mode, const char *mib, const char *part)
{
	if (strcmp(mode, "touch") == 0)
		touch(strtoul(mib, NULL, 10), strtoul(part, NULL, 10));
	if (strcmp(mode, "beat") == 0)
		beat(strtoul(mib, NULL, 10));
	if (strcmp(mode, "fork") == 0 && fork() == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	else
		(void)printf("ready\n");
	(void)fflush(stdout);
	if (strcmp(mode, "orphans") == 0)
		pthread_exit(NULL);
	(void)sleeper("odd-main");
	asm volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
	static char names[THREADS][16];
	pthread_t thread;

	for (int i = 0; i < THREADS; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "odd-%d", i);
		if (pthread_create(&thread, NULL, sleeper, names[i]) != 0)
			return 1;
	}
	void *none = anonymous("none", MAP_PRIVATE);

	(void)mprotect(none, PAGES * PAGE, PROT_NONE);
	say("none", none, PAGES * PAGE);
	advised("dontdump", MADV_DONTDUMP);
	advised("dontfork", MADV_DONTFORK);
	files(argv[1]);
	secret();
	guarded();
	ring();
	system_v();
	say("shared", anonymous("shared", MAP_SHARED), PAGES * PAGE);
	say("huge",
	    fill(mmap(NULL, 2UL << 20, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0),
		 "huge"),
	    PAGES * PAGE);
	say("sparse",
	    mmap(NULL, 1UL << 30, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
	    1UL << 30);
	run(argc > 2 ? argv[2] : "idle", argc > 3 ? argv[3] : "16", argc > 4 ? argv[4] : "1");
	asm volatile("" ::: "memory");
	return 0;
}
