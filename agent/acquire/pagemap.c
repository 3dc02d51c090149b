/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* include/uapi/linux/fs.h since 6.7; these headers may be older. */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan)
#define SCAN_PRESENT (1ULL << 3)
#define SCAN_SWAPPED (1ULL << 4)

enum page_kind pagemap_kind(uint64_t entry, const struct core_map *map)
{
	if (entry & PAGEMAP_GUARD)
		return PAGE_GUARD;
	if (map->vdso || (entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)))
		return PAGE_READ;
	return map->inode == 0 && !map->shared ? PAGE_UNTOUCHED : PAGE_NOT_RESIDENT;
}

size_t pagemap_run(const uint64_t *entries, size_t n, const struct core_map *map,
		   enum page_kind *ret_kind)
{
	size_t run = 1;

	*ret_kind = pagemap_kind(entries[0], map);
	while (run < n && pagemap_kind(entries[run], map) == *ret_kind)
		run++;
	return run;
}

size_t pagemap_read(int fd, uint64_t first, uint64_t *entries, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, entries + done, (n - done) * sizeof(*entries),
				    (off_t)((first + done) * sizeof(*entries)));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < (ssize_t)sizeof(*entries))
			break;
		done += (size_t)got / sizeof(*entries);
	}
	memset(entries + done, 0, (n - done) * sizeof(*entries));
	return done;
}

uint64_t pagemap_skip(int fd, uint64_t start, uint64_t end)
{
	struct scan_region found = { 0 };
	struct scan s = { .size = sizeof(s),
			  .start = start,
			  .end = end,
			  .vec = (uint64_t)(uintptr_t)&found,
			  .vec_len = 1,
			  .max_pages = 1,
			  .category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
			  .return_mask = SCAN_PRESENT };
	int n = ioctl(fd, SCAN_IOCTL, &s);

	if (n < 0)
		return start;
	return n == 0 ? end : found.start;
}

/* Clearing is of the whole process: our own, before anything else uses these bits. */
static bool try_page(volatile uint8_t *page, uint64_t page_bytes)
{
	AUTO(close_fd) int clear = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	AUTO(close_fd) int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t at = (uint64_t)(uintptr_t)page / page_bytes, before = 0, after = 0;

	*page = 1;
	if (clear < 0 || map < 0 || write(clear, "4", 1) != 1)
		return false;
	if (pagemap_read(map, at, &before, 1) != 1)
		return false;
	*page = 2;
	if (pagemap_read(map, at, &after, 1) != 1)
		return false;
	return !(before & PAGEMAP_SOFT_DIRTY) && (after & PAGEMAP_SOFT_DIRTY);
}

bool pagemap_has_soft_dirty(void)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return false;
	bool has = try_page(page, bytes);

	(void)munmap(page, bytes);
	return has;
}
