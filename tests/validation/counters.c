/* SPDX-License-Identifier: Apache-2.0 */
/* The black-box payload of Gruhn and Freiling (DFRWS EU 2016), for Linux: two threads on two halves of some pages
 * write a counter into each page, one page after the other, the second half only after the first is done. At every
 * instant the values of all pages in order are g...g, g-1...g-1: a dump that shows anything else holds bytes of
 * different instants. Beside them pages that never change.
 *
 * counters PAGES: prints "COUNTERS PAGES CONSTANTS PAGES" (addresses in hexadecimal), then goes on until killed. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE 4096
#define CONSTANT_PAGES 64

static struct {
	unsigned char *pages;
	size_t half; /* pages */
	_Atomic uint64_t first_done, second_done; /* rounds */
} job;

static void write_half(size_t from, uint64_t round)
{
	for (size_t i = from; i < from + job.half; i++)
		*(volatile uint64_t *)(void *)(job.pages + i * PAGE) = round;
}

static void *second(void *unused)
{
	for (uint64_t round = 1;; round++) {
		while (atomic_load(&job.first_done) < round)
			sched_yield();
		write_half(job.half, round);
		atomic_store(&job.second_done, round);
	}
	return unused;
}

static unsigned char *map(size_t pages)
{
	unsigned char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		exit(1);
	return at;
}

int main(int argc, char **argv)
{
	size_t pages = argc > 1 ? strtoul(argv[1], NULL, 10) & ~(size_t)1 : 1024;
	unsigned char *constants = map(CONSTANT_PAGES);
	uint64_t seed = 88172645463325252ULL;
	pthread_t thread;

	job.pages = map(pages);
	job.half = pages / 2;
	for (size_t i = 0; i < CONSTANT_PAGES * PAGE; i++) { /* xorshift64, Marsaglia 2003 */
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		constants[i] = (unsigned char)seed;
	}
	if (pthread_create(&thread, NULL, second, NULL) != 0)
		return 1;
	printf("%p %zu %p %d\n", (void *)job.pages, pages, (void *)constants, CONSTANT_PAGES);
	(void)fflush(stdout);
	for (uint64_t round = 1;; round++) {
		while (atomic_load(&job.second_done) < round - 1)
			sched_yield();
		write_half(0, round);
		atomic_store(&job.first_done, round);
	}
}
