/* SPDX-License-Identifier: Apache-2.0 */
/* The acquirer over a host that is plain files: its kcore is a core of a few pages, its page flags are numbers that
 * tell which page they are of. */
#include "agent/acquire/acquire.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
/* after those */
#include <cmocka.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"
#include "proto/seal.h"

#define PAGE 4096U
#define DIRECT_MAP 0xffff888000000000ULL
#define HEAD 0x1000
#define LIME 32
#define CHUNKS_MAX 64

/* RAM of two ranges: one with ragged ends of which kcore lacks the last bytes, one of three chunks and a bit. */
#define LOW_FIRST 0x1000ULL
#define LOW_LAST 0x9fbffULL
#define LOW_READ_LAST 0x9efffULL
#define HIGH_FIRST 0x180000ULL
#define HIGH_LAST 0x402fffULL
#define PAGES (0x403U)
#define RAM (LOW_LAST - LOW_FIRST + 1 + HIGH_LAST - HIGH_FIRST + 1)

#define POISONED 0x200U /* pages */
#define OFFLINE 0x000fU
#define OFFLINE_TOO 0x0010U

struct host {
	char dir[64];
	struct acquire_request request;
	Exhibit__V1__Order order;
};

static uint64_t flags_of(uint64_t page)
{
	return page << 32 | (page == POISONED ? 1U << 19 : 0) |
	       (page == OFFLINE || page == OFFLINE_TOO ? 1U << 23 : 0);
}

static uint8_t byte_at(uint64_t phys)
{
	return (uint8_t)(phys / PAGE * 7 + phys % PAGE + 1);
}

static void put_file(const struct host *h, const char *name, const void *data, size_t len)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", h->dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(files_write_all(fd, data, len, NULL), 0);
	close_fd(&fd);
}

static void put_kcore(const struct host *h)
{
	static const uint64_t runs[][2] = { { LOW_FIRST, LOW_READ_LAST },
					    { HIGH_FIRST, HIGH_LAST } };
	size_t len = HEAD + PAGES * PAGE;
	AUTO(free_ptr) uint8_t *file = calloc(1, len);

	assert_non_null(file);
	Elf64_Ehdr head = { .e_type = ET_CORE,
			    .e_phoff = sizeof(head),
			    .e_phentsize = sizeof(Elf64_Phdr),
			    .e_phnum = ARRAY_LEN(runs) };

	memcpy(head.e_ident, ELFMAG, SELFMAG);
	head.e_ident[EI_CLASS] = ELFCLASS64;
	head.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(file, &head, sizeof(head));
	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		Elf64_Phdr part = { .p_type = PT_LOAD,
				    .p_vaddr = DIRECT_MAP + runs[i][0],
				    .p_paddr = runs[i][0],
				    .p_memsz = runs[i][1] - runs[i][0] + 1,
				    .p_offset = HEAD + runs[i][0] };

		memcpy(file + sizeof(head) + i * sizeof(part), &part, sizeof(part));
	}
	for (uint64_t at = 0; at < PAGES * PAGE; at++)
		file[HEAD + at] = byte_at(at);
	put_file(h, "kcore", file, len);
}

static void put_flags(const struct host *h, uint64_t pages)
{
	uint64_t flags[PAGES];

	for (uint64_t page = 0; page < pages; page++)
		flags[page] = flags_of(page);
	put_file(h, "kpageflags", flags, pages * sizeof(flags[0]));
}

static int make(void **state)
{
	static struct host h;
	char iomem[256];

	h = (struct host){ .dir = "/tmp/exhibit-memory-XXXXXX" };
	assert_non_null(mkdtemp(h.dir));
	exhibit__v1__order__init(&h.order);
	h.request = (struct acquire_request){
		.order = &h.order, .proc = h.dir, .sys = h.dir, .cgroup = h.dir
	};
	(void)snprintf(iomem, sizeof(iomem),
		       "%08llx-%08llx : System RAM\n%08llx-%08llx : System RAM\n", LOW_FIRST,
		       LOW_LAST, HIGH_FIRST, HIGH_LAST);
	put_file(&h, "iomem", iomem, strlen(iomem));
	put_file(&h, "version", "Linux version 6.1\n", 18);
	put_kcore(&h);
	put_flags(&h, PAGES);
	*state = &h;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

static int clean(void **state)
{
	struct host *h = *state;

	return nftw(h->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The folder of items; max_bytes: 0: no limit. */
static const char *acquire(struct host *h, uint64_t max_bytes)
{
	static char dir[96];
	struct output *o = NULL;
	struct error e = { 0 };

	(void)snprintf(dir, sizeof(dir), "%s/out", h->dir);
	(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(output_folder(dir, max_bytes, &o, &e), 0);
	int r = acquire_memory(&h->request, o, &e);

	if (r < 0)
		print_message("%s\n", e.text);
	output_free(o);
	assert_int_equal(r, 0);
	return dir;
}

static uint8_t *item(const char *dir, const char *name, size_t *len)
{
	char path[160];
	uint8_t *data = NULL;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(files_read(path, MiB(16), &data, len, NULL), 0);
	return data;
}

/* ---- the tables, read by an independent and simple reader ---------------------------------------------- */

static uint64_t number(const char *line, const char *key)
{
	char quoted[32];

	(void)snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	const char *at = strstr(line, quoted);

	assert_non_null(at);
	at += strlen(quoted);
	return strtoull(at + (*at == '"'), NULL, 10);
}

static bool has(const char *line, const char *text)
{
	return strstr(line, text) != NULL;
}

/* Each line of a table ends, and is an object. ret: the lines, NUL for LF. */
static size_t split(char *text, size_t len, const char *ret[CHUNKS_MAX])
{
	size_t n = 0;

	for (char *line = text; line < text + len; n++) {
		char *end = memchr(line, '\n', (size_t)(text + len - line));

		assert_true(n < CHUNKS_MAX);
		assert_non_null(end);
		assert_true(line[0] == '{' && end[-1] == '}');
		*end = '\0';
		ret[n] = line;
		line = end + 1;
	}
	return n;
}

struct image {
	uint8_t *lime, *flags;
	char *chunks, *gaps;
	size_t lime_len, flags_len, n_chunks, n_gaps;
	const char *chunk[CHUNKS_MAX], *gap[CHUNKS_MAX];
};

static void load(const char *dir, struct image *i)
{
	size_t chunks_len = 0, gaps_len = 0;

	i->lime = item(dir, "memory.lime", &i->lime_len);
	i->flags = item(dir, "memory.pageflags.bin", &i->flags_len);
	i->chunks = (char *)item(dir, "memory.chunks.jsonl", &chunks_len);
	i->gaps = (char *)item(dir, "memory.gaps.jsonl", &gaps_len);
	i->n_chunks = split(i->chunks, chunks_len, i->chunk);
	i->n_gaps = split(i->gaps, gaps_len, i->gap);
}

static void image_release(struct image *i)
{
	free(i->lime);
	free(i->flags);
	free(i->chunks);
	free(i->gaps);
}

/* Segments from the chunk's offset on while they lie in it: their bytes are right, and hash to what the line says.
 * Returns how many bytes. */
static uint64_t check_segments(const struct image *i, const char *line, uint64_t *ret_end)
{
	AUTO(free_ptr) uint8_t *joined = malloc(OUTPUT_CHUNK_BYTES);
	uint64_t at = number(line, "image_offset"), total = 0;
	char hex[2 * SEAL_HASH_LEN + 1];
	const char *sum = strstr(line, "\"sha256\":\"");
	struct seal_hash hash;

	assert_non_null(joined);
	while (at < i->lime_len) {
		struct reader r = reader_init(i->lime + at, i->lime_len - at);

		assert_int_equal(reader_u32(&r), 0x4c694d45);
		assert_int_equal(reader_u32(&r), 1);
		uint64_t first = reader_u64(&r), last = reader_u64(&r);

		if (first > number(line, "last"))
			break;
		assert_true(first >= number(line, "first") && last <= number(line, "last"));
		assert_true(at + LIME + last - first < i->lime_len);
		for (uint64_t phys = first; phys <= last; phys++)
			assert_int_equal(i->lime[at + LIME + phys - first], byte_at(phys));
		memcpy(joined + total, i->lime + at + LIME, last - first + 1);
		total += last - first + 1;
		at += LIME + last - first + 1;
	}
	assert_int_equal(seal_sha256(joined, total, &hash), 0);
	for (size_t b = 0; b < SEAL_HASH_LEN; b++)
		(void)snprintf(hex + 2 * b, 3, "%02x", hash.b[b]);
	assert_non_null(sum);
	assert_memory_equal(sum + 10, hex, 2 * SEAL_HASH_LEN);
	*ret_end = at;
	return total;
}

static void check_flags(const struct image *i, const char *line, uint64_t known)
{
	uint64_t first = number(line, "first") / PAGE, last = number(line, "last") / PAGE;
	uint64_t len = number(line, "flags_bytes");
	struct reader r = reader_init(i->flags + number(line, "flags_offset"), len);

	assert_true(number(line, "flags_offset") + len <= i->flags_len);
	if (last >= known)
		last = known - 1;
	assert_int_equal(len, first >= known ? 0 : (last - first + 1) * 8);
	for (uint64_t page = first; page < first + len / 8; page++)
		assert_int_equal(reader_u64(&r), flags_of(page));
}

/* Everything that the tables promise. known: pages that the host tells the flags of. Returns bytes of the image. */
static uint64_t check(const struct image *i, uint64_t known)
{
	uint64_t read = 0, end = 0, flags = 0, lacking = 0;

	for (size_t n = 0; n < i->n_chunks; n++) {
		const char *line = i->chunk[n];
		uint64_t span = number(line, "last") - number(line, "first") + 1, got;

		assert_int_equal(number(line, "image_offset"), end);
		assert_int_equal(number(line, "flags_offset"), flags);
		assert_true(number(line, "from_boottime_ns") <= number(line, "to_boottime_ns"));
		got = check_segments(i, line, &end);
		check_flags(i, line, known);
		assert_int_equal(has(line, "\"whole\":true"), got == span);
		flags += number(line, "flags_bytes");
		read += got;
	}
	assert_int_equal(end, i->lime_len);
	assert_int_equal(flags, i->flags_len);
	for (size_t n = 0; n < i->n_gaps; n++)
		lacking += number(i->gap[n], "last") - number(i->gap[n], "first") + 1;
	assert_int_equal(read + lacking, RAM);
	return read;
}

/* ---- tests ---------------------------------------------------------------------------------------------- */

static void flags_of_each_page_stand_beside(void **state)
{
	AUTO(image_release) struct image i = { 0 };

	load(acquire(*state, 0), &i);
	uint64_t read = check(&i, PAGES);

	assert_int_equal(i.n_chunks, 5);
	assert_int_equal(read, RAM - 3 * PAGE - (LOW_LAST - LOW_READ_LAST));
	assert_int_equal(i.n_gaps, 3);
	assert_true(has(i.gap[0], "offline"));
	assert_int_equal(number(i.gap[0], "first"), OFFLINE * PAGE);
	assert_int_equal(number(i.gap[0], "last"), (OFFLINE_TOO + 1) * PAGE - 1);
	assert_true(has(i.gap[1], "not offered by the source"));
	assert_true(has(i.gap[2], "hwpoison"));
	assert_int_equal(number(i.gap[2], "first"), POISONED * PAGE);
}

static void unknown_flags_are_not_zeros(void **state)
{
	AUTO(image_release) struct image i = { 0 };

	put_flags(*state, 0x190);
	load(acquire(*state, 0), &i);
	(void)check(&i, 0x190);
	assert_int_equal(i.flags_len, (0x9f - 0x01 + 0x190 - 0x180) * 8);
}

static void host_without_flags_has_no_table(void **state)
{
	struct host *h = *state;
	char path[128];
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/kpageflags", h->dir);
	assert_int_equal(unlink(path), 0);
	const char *dir = acquire(h, 0);
	AUTO(free_ptr) uint8_t *notes = item(dir, "notes.jsonl", &len);
	AUTO(free_ptr) uint8_t *chunks = item(dir, "memory.chunks.jsonl", &len);

	assert_true(has((char *)notes, "cannot read page flags"));
	assert_false(has((char *)chunks, "flags_"));
	(void)snprintf(path, sizeof(path), "%s/memory.pageflags.bin", dir);
	assert_int_equal(access(path, F_OK), -1);
}

static void check_limited(struct host *h, uint64_t max)
{
	AUTO(image_release) struct image i = { 0 };
	size_t len = 0;
	const char *dir = acquire(h, max);
	AUTO(free_ptr) uint8_t *notes = item(dir, "notes.jsonl", &len);

	load(dir, &i);
	(void)check(&i, PAGES);
	assert_int_equal(has(i.gap[i.n_gaps - 1], "stopped before"),
			 has((char *)notes, "the image is not whole"));
}

static uint64_t size_of(const char *dir, const char *name)
{
	char path[160];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

/* Wherever the order's limit falls, each item is well formed, and what is not in the image is a gap. */
static void limit_anywhere(void **state)
{
	static const char *const items[] = { "version.txt",         "iomem.txt",
					     "memory.lime",         "memory.pageflags.bin",
					     "memory.chunks.jsonl", "memory.gaps.jsonl" };
	struct host *h = *state;
	const char *dir = acquire(h, 0);
	uint64_t all = 0;

	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		all += size_of(dir, items[i]);
	for (uint64_t max = 1; max < 400; max += 7) /* in the inputs and the first header */
		check_limited(h, max);
	for (uint64_t max = 400; max < all; max += KiB(67) + 1)
		check_limited(h, max);
	for (uint64_t max = all - 600; max < all; max += 13) /* in the tables' last lines */
		check_limited(h, max);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(flags_of_each_page_stand_beside, make, clean),
		cmocka_unit_test_setup_teardown(unknown_flags_are_not_zeros, make, clean),
		cmocka_unit_test_setup_teardown(host_without_flags_has_no_table, make, clean),
		cmocka_unit_test_setup_teardown(limit_anywhere, make, clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
