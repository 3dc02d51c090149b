/* SPDX-License-Identifier: Apache-2.0 */
/* What a host does, timed or paced, in static loops; run on one CPU with the daemons on another.
 *
 * workload cost DIR TINY REPEATS MS: each operation for MS milliseconds (distinct files: a fixed
 *	number), REPEATS times over; prints "NAME NANOSECONDS", the median of the repeats.
 * workload one DIR TINY NAME: that operation alone, for a second; prints "TIMES NANOSECONDS". To look at
 *	what programs in the kernel take meanwhile.
 * workload files DIR RATE SECONDS: RATE times a second open, write and close a file (two events, open_write
 *	and modify), each file once per process, a new process for each pass, so that nothing is folded;
 *	prints "FILES NANOSECONDS". RATE 0: as fast as it goes.
 * DIR holds files of the workload alone and is kept: the distinct files are made once. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "proto/base/base.h"
#include "proto/base/clock.h"

#define REPEATS_MAX 99
#define FILES_PER_DIR 500
#define FILES 50000 /* distinct ones, each opened once in a run: nothing is folded */
#define PASS_FILES 10000 /* of these, by one process of `files` */
#define FILES_MAX_MS 500 /* of a repeat: only auditd is that slow */
#define LOOPBACKS 16 /* 127.0.1.x, so that TIME_WAIT does not use up the ports */

struct load {
	const char *dir, *tiny;
	uint64_t counter; /* of operations, over all repeats */
	int listener;
	uint16_t port;
	char same[4096];
};

static void die(const char *what)
{
	(void)fprintf(stderr, "workload: cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static void wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("run a child");
}

static void do_spawn(struct load *l, const char *path)
{
	char *argv[] = { (char *)path, NULL }, *envp[] = { NULL };
	pid_t pid;

	(void)l;
	errno = posix_spawn(&pid, path, NULL, NULL, argv, envp);
	if (errno != 0)
		die("start a program");
	wait_for(pid);
}

static void do_exec(struct load *l)
{
	do_spawn(l, l->tiny);
}

static void do_exec_dynamic(struct load *l)
{
	do_spawn(l, "/bin/true");
}

static void do_fork(struct load *l)
{
	pid_t pid = fork();

	(void)l;
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		die("fork");
	wait_for(pid);
}

static void write_file(const char *path, int flags)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);

	if (fd < 0 || write(fd, path, 16) != 16 || close(fd) != 0)
		die("write a file");
}

static void file_name(const struct load *l, uint64_t n, char path[static 4096])
{
	(void)snprintf(path, 4096, "%s/d%03u/file%03u", l->dir, (unsigned int)(n / FILES_PER_DIR),
		       (unsigned int)(n % FILES_PER_DIR));
}

static void do_same(struct load *l)
{
	write_file(l->same, 0);
}

static void do_distinct(struct load *l)
{
	char path[4096];

	file_name(l, l->counter % FILES, path);
	write_file(path, 0);
}

/* The last file is made last: all are there when it is. */
static void make_files(struct load *l, uint64_t n)
{
	char path[4096];
	struct stat st;

	(void)snprintf(l->same, sizeof(l->same), "%s/same", l->dir);
	write_file(l->same, O_CREAT);
	file_name(l, n - 1, path);
	if (stat(path, &st) == 0)
		return;
	for (uint64_t i = 0; i < n; i++) {
		if (i % FILES_PER_DIR == 0) {
			(void)snprintf(path, sizeof(path), "%s/d%03u", l->dir,
				       (unsigned int)(i / FILES_PER_DIR));
			if (mkdir(path, 0700) != 0 && errno != EEXIST)
				die("make a folder");
		}
		file_name(l, i, path);
		write_file(path, O_CREAT);
	}
	sync();
}

static void make_listener(struct load *l)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);

	l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->listener < 0 || bind(l->listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    listen(l->listener, 16) != 0 ||
	    getsockname(l->listener, (struct sockaddr *)&at, &len) != 0)
		die("listen");
	l->port = at.sin_port;
}

static void do_tcp(struct load *l)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = l->port,
		.sin_addr.s_addr = htonl(0x7f000101u + (uint32_t)(l->counter % LOOPBACKS)),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect");
	int other = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);

	if (other < 0 || close(fd) != 0 || close(other) != 0)
		die("accept");
}

static void do_untraced(struct load *l)
{
	(void)l;
	(void)syscall(SYS_getppid);
}

static const struct operation {
	const char *name;
	void (*run)(struct load *l);
	unsigned int chunk; /* between two looks at the clock */
	uint64_t count; /* a fixed number per repeat; 0: by time */
} operations[] = {
	{ "exec", do_exec, 4, 0 },
	{ "exec_dynamic", do_exec_dynamic, 4, 0 },
	{ "fork", do_fork, 4, 0 },
	{ "same", do_same, 64, 0 },
	{ "distinct", do_distinct, 64, 0 },
	{ "tcp", do_tcp, 16, 0 },
	{ "untraced", do_untraced, 4096, 0 },
};

static double one_repeat(struct load *l, const struct operation *o, uint64_t limit_ns,
			 uint64_t count_max)
{
	uint64_t start = clock_monotonic_ns(), now = start, done = 0;

	while (now - start < limit_ns && done < count_max) {
		for (unsigned int i = 0; i < o->chunk; i++, l->counter++)
			o->run(l);
		done += o->chunk;
		now = clock_monotonic_ns();
	}
	return (double)(now - start) / (double)done;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void cost(struct load *l, unsigned int repeats, uint64_t ms)
{
	double times[REPEATS_MAX];

	make_files(l, FILES);
	make_listener(l);
	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		const struct operation *o = &operations[i];
		bool distinct = o->run == do_distinct;

		l->counter = 0;
		if (!distinct) /* warm up; a distinct file is opened once */
			(void)one_repeat(l, o, ms * NSEC_PER_MSEC / 4, UINT64_MAX);
		for (unsigned int r = 0; r < repeats; r++)
			times[r] = one_repeat(l, o, (distinct ? FILES_MAX_MS : ms) * NSEC_PER_MSEC,
					      distinct ? FILES / repeats : UINT64_MAX);
		qsort(times, repeats, sizeof(*times), compare);
		printf("%s %.1f\n", o->name, times[repeats / 2]);
	}
}

static void one(struct load *l, const char *name)
{
	make_files(l, FILES);
	make_listener(l);
	for (size_t i = 0; i < ARRAY_LEN(operations); i++)
		if (strcmp(operations[i].name, name) == 0) {
			double ns = one_repeat(l, &operations[i], NSEC_PER_SEC, FILES);

			printf("%llu %.1f\n", (unsigned long long)l->counter, ns);
		}
}

struct pace {
	uint64_t start_ns, end_ns, rate;
	uint64_t done; /* files, by all passes */
};

/* Not faster than the rate: sleeps until the next file is due. false: the time is over. */
static bool wait_until_due(const struct pace *p)
{
	for (;;) {
		uint64_t now = clock_monotonic_ns();

		if (now >= p->end_ns)
			return false;
		if (p->rate == 0 || p->done < p->rate * (now - p->start_ns) / NSEC_PER_SEC)
			return true;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
}

static void pass(const struct load *l, struct pace *p)
{
	char path[4096];

	for (uint64_t i = 0; i < PASS_FILES && wait_until_due(p); i++, p->done++) {
		file_name(l, i, path);
		write_file(path, 0);
	}
}

static void files(struct load *l, uint64_t rate, uint64_t seconds)
{
	struct pace *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("share memory");
	make_files(l, PASS_FILES);
	p->rate = rate;
	p->start_ns = clock_monotonic_ns();
	p->end_ns = p->start_ns + seconds * NSEC_PER_SEC;
	while (clock_monotonic_ns() < p->end_ns) {
		pid_t pid = fork();

		if (pid == 0) {
			pass(l, p);
			_exit(0);
		}
		if (pid < 0)
			die("fork");
		wait_for(pid);
	}
	printf("%llu %llu\n", (unsigned long long)p->done,
	       (unsigned long long)(clock_monotonic_ns() - p->start_ns));
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);

	if (*text == '\0' || *end != '\0') {
		(void)fprintf(stderr, "workload: '%s' is no number\n", text);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	struct load l = { .dir = argc > 2 ? argv[2] : NULL };

	if (l.dir != NULL && mkdir(l.dir, 0700) != 0 && errno != EEXIST)
		die("make the workload's folder");
	if (argc == 6 && strcmp(argv[1], "cost") == 0) {
		uint64_t repeats = number(argv[4]);

		l.tiny = argv[3];
		cost(&l,
		     (unsigned int)(repeats == 0          ? 1 :
				    repeats > REPEATS_MAX ? REPEATS_MAX :
							    repeats),
		     number(argv[5]));
	} else if (argc == 5 && strcmp(argv[1], "one") == 0) {
		l.tiny = argv[3];
		one(&l, argv[4]);
	} else if (argc == 5 && strcmp(argv[1], "files") == 0) {
		files(&l, number(argv[3]), number(argv[4]));
	} else {
		(void)fprintf(stderr, "usage: workload cost DIR TINY REPEATS MS\n"
				      "       workload one DIR TINY NAME\n"
				      "       workload files DIR RATE SECONDS\n");
		return 2;
	}
	return 0;
}
