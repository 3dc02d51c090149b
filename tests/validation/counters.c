/* SPDX-License-Identifier: Apache-2.0 */
/* The black-box payload of Gruhn and Freiling (DFRWS EU 2016), for Linux: threads or processes, each with its part
 * of some pages, write a counter into each page, one page after the other, each part only after the one before it is
 * done. At every instant the values of all pages in order are g...g, g-1...g-1: a dump that shows anything else holds
 * bytes of different instants. Beside them pages that never change.
 *
 * counters PAGES [PROCESSES]: two threads, or so many processes, whose pages are private and lie at the same address.
 * Prints "COUNTERS PAGES CONSTANTS PAGES ROUNDS PID ..." (addresses in hexadecimal; ROUNDS: shared, one round done per
 * part; one pid per part of processes), then goes on until killed. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE 4096
#define CONSTANT_PAGES 64
#define PARTS_MAX 8

static struct {
	unsigned char *pages;
	size_t parts, part; /* part: pages */
	_Atomic uint64_t *done; /* rounds, of each part */
} job;

static void write_part(size_t part, uint64_t round)
{
	for (size_t i = part * job.part; i < (part + 1) * job.part; i++)
		*(volatile uint64_t *)(void *)(job.pages + i * PAGE) = round;
}

static void write_rounds(size_t part)
{
	const _Atomic uint64_t *before = &job.done[(part > 0 ? part : job.parts) - 1];

	for (uint64_t round = 1;; round++) {
		while (atomic_load(before) < (part > 0 ? round : round - 1))
			sched_yield();
		write_part(part, round);
		atomic_store(&job.done[part], round);
	}
}

static void *second(void *unused)
{
	write_rounds(1);
	return unused;
}

static unsigned char *map(size_t pages, int how)
{
	unsigned char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				 how | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		exit(1);
	return at;
}

static void fill(unsigned char *constants)
{
	uint64_t seed = 88172645463325252ULL;

	for (size_t i = 0; i < CONSTANT_PAGES * PAGE; i++) { /* xorshift64, Marsaglia 2003 */
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		constants[i] = (unsigned char)seed;
	}
}

/* The others, who wait for the first round. They end with their parent. */
static void start_processes(pid_t pids[PARTS_MAX])
{
	pid_t parent = pids[0] = getpid();

	for (size_t i = 1; i < job.parts; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			exit(1);
		if (pids[i] > 0)
			continue;
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(1);
		write_rounds(i);
	}
}

int main(int argc, char **argv)
{
	size_t pages = argc > 1 ? strtoul(argv[1], NULL, 10) : 1024;
	size_t processes = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	unsigned char *constants = map(CONSTANT_PAGES, MAP_PRIVATE);
	pid_t pids[PARTS_MAX];
	pthread_t thread;

	if (processes == 1 || processes > PARTS_MAX)
		return 2;
	fill(constants);
	job.parts = processes > 0 ? processes : 2;
	job.part = pages / job.parts;
	job.done = (_Atomic uint64_t *)(void *)map(1, MAP_SHARED);
	job.pages = map(job.parts * job.part, MAP_PRIVATE);
	if (processes > 0)
		start_processes(pids);
	else if (pthread_create(&thread, NULL, second, NULL) != 0)
		return 1;
	printf("%p %zu %p %d %p", (void *)job.pages, job.parts * job.part, (void *)constants,
	       CONSTANT_PAGES, (void *)job.done);
	for (size_t i = 0; i < processes; i++)
		printf(" %d", (int)pids[i]);
	printf("\n");
	(void)fflush(stdout);
	write_rounds(0);
}
