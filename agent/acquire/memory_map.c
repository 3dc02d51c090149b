/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/memory_map.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "proto/base/reader.h"

#define RAM "System RAM" /* also "System RAM (kmem)", "System RAM (virtio_mem)" */
#define TEXT_ALIAS 0xffffffff80000000ULL /* the kernel's own image a second time */
#define GIB_MASK (GiB(1) - 1)

/* ---- iomem --------------------------------------------------------------------------------------- */

static const char *take_hex(const char *at, const char *end, uint64_t *ret)
{
	const char *start = at;

	for (*ret = 0; at < end && at - start < 16; at++) {
		unsigned int digit;

		if (*at >= '0' && *at <= '9')
			digit = (unsigned int)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			digit = (unsigned int)(*at - 'a') + 10;
		else
			break;
		*ret = *ret << 4 | digit;
	}
	return at > start ? at : NULL;
}

/* FIRST-LAST : NAME. 1: a range of RAM; 0: something else; -EBADMSG. */
static int parse_line(const char *at, const char *end, struct memory_range *ret)
{
	if (at == end || *at == ' ')
		return 0; /* nested: part of a line above */
	at = take_hex(at, end, &ret->first);
	if (at == NULL || at == end || *at++ != '-')
		return -EBADMSG;
	at = take_hex(at, end, &ret->last);
	if (at == NULL || end - at < 3 || memcmp(at, " : ", 3) != 0)
		return -EBADMSG;
	at += 3;
	return (size_t)(end - at) >= strlen(RAM) && memcmp(at, RAM, strlen(RAM)) == 0;
}

int memory_ranges_parse(const char *iomem, size_t len, struct memory_range **ret, size_t *ret_n,
			struct error *e)
{
	AUTO(free_ptr) struct memory_range *all = calloc(MEMORY_RANGES_MAX, sizeof(*all));
	const char *end = iomem + len;
	size_t n = 0;

	if (all == NULL)
		return error_set(e, -ENOMEM, "cannot list the host's memory: out of memory");
	for (const char *line = iomem; line < end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		struct memory_range at = { 0 };

		stop = stop != NULL ? stop : end;
		int r = parse_line(line, stop, &at);

		if (r < 0)
			return error_set(e, r, "/proc/iomem has a line that is none");
		if (r > 0 && at.last == 0)
			return error_set(
				e, -EPERM,
				"/proc/iomem hides where memory is: CAP_SYS_ADMIN is missing");
		if (r > 0 && n == MEMORY_RANGES_MAX)
			return error_set(e, -E2BIG,
					 "/proc/iomem names more than %d ranges of memory",
					 MEMORY_RANGES_MAX);
		if (r > 0 && (at.last < at.first || (n > 0 && at.first <= all[n - 1].last)))
			return error_set(e, -EBADMSG,
					 "/proc/iomem names ranges that are not in order");
		if (r > 0)
			all[n++] = at;
		line = stop + 1;
	}
	if (n == 0)
		return error_set(e, -EBADMSG, "/proc/iomem names no memory");
	*ret = TAKE(all);
	*ret_n = n;
	return 0;
}

/* ---- kcore --------------------------------------------------------------------------------------- */

static int not_kcore(struct error *e, const char *why)
{
	return error_set(e, -EBADMSG, "/proc/kcore is not as expected: %s", why);
}

static int take_load(struct memory_kcore *k, const Elf64_Phdr *p, struct error *e)
{
	if (p->p_vaddr >= TEXT_ALIAS || p->p_paddr == UINT64_MAX || p->p_memsz == 0)
		return 0;
	if (p->p_paddr == 0 && (p->p_vaddr & GIB_MASK) != 0)
		return error_set(
			e, -EOPNOTSUPP,
			"/proc/kcore does not tell physical addresses: the kernel is older than 4.19");
	if (p->p_memsz - 1 > UINT64_MAX - p->p_paddr)
		return not_kcore(e, "a segment has no end");
	uint64_t direct = p->p_vaddr - p->p_paddr;

	if (k->n > 0 && direct != k->direct_map)
		return not_kcore(e, "its segments do not agree on where memory is mapped");
	k->direct_map = direct;
	k->segments[k->n++] = (struct memory_segment){ .first = p->p_paddr,
						       .last = p->p_paddr + p->p_memsz - 1,
						       .offset = p->p_offset };
	return 0;
}

/* The note of that name in a segment of notes. */
static int take_notes(struct memory_kcore *k, struct reader notes, struct error *e)
{
	static const char wanted[] = "VMCOREINFO";

	while (!notes.bad && notes.left >= sizeof(Elf64_Nhdr)) {
		uint32_t name_len = reader_u32(&notes), len = reader_u32(&notes);

		(void)reader_u32(&notes); /* type */
		const uint8_t *name = reader_bytes(&notes, ((uint64_t)name_len + 3) & ~3ULL);
		const uint8_t *data = reader_bytes(&notes, ((uint64_t)len + 3) & ~3ULL);

		if (name == NULL || data == NULL || name_len != sizeof(wanted) ||
		    memcmp(name, wanted, sizeof(wanted)) != 0 || k->note != NULL)
			continue;
		if (len > MEMORY_NOTE_MAX)
			return not_kcore(e, "VMCOREINFO is too long");
		k->note = calloc(1, (size_t)len + 1);
		if (k->note == NULL)
			return error_set(e, -ENOMEM, "cannot read /proc/kcore: out of memory");
		memcpy(k->note, data, len);
		k->note_len = strnlen(k->note, len);
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct memory_segment *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static int take_header(struct memory_kcore *k, const uint8_t *head, size_t len, const Elf64_Phdr *p,
		       struct error *e)
{
	if (p->p_type == PT_LOAD)
		return take_load(k, p, e);
	if (p->p_type != PT_NOTE)
		return 0;
	if (p->p_offset > len || p->p_filesz > len - p->p_offset)
		return not_kcore(e, "its notes lie behind its head");
	return take_notes(k, reader_init(head + p->p_offset, p->p_filesz), e);
}

static int parse_headers(struct memory_kcore *k, const uint8_t *head, size_t len, struct error *e)
{
	Elf64_Ehdr file;

	if (len < sizeof(file))
		return not_kcore(e, "it is shorter than its head");
	memcpy(&file, head, sizeof(file));
	if (memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_ident[EI_CLASS] != ELFCLASS64 ||
	    file.e_ident[EI_DATA] != ELFDATA2LSB || file.e_type != ET_CORE ||
	    file.e_phentsize != sizeof(Elf64_Phdr))
		return not_kcore(e, "it is no 64-bit core file");
	if (file.e_phoff > len || file.e_phnum > (len - file.e_phoff) / sizeof(Elf64_Phdr))
		return not_kcore(e, "its program headers lie behind its head");
	k->segments = calloc((size_t)file.e_phnum + 1, sizeof(*k->segments));
	if (k->segments == NULL)
		return error_set(e, -ENOMEM, "cannot read /proc/kcore: out of memory");
	for (size_t i = 0; i < file.e_phnum; i++) {
		Elf64_Phdr p;

		memcpy(&p, head + file.e_phoff + i * sizeof(p), sizeof(p));
		int r = take_header(k, head, len, &p, e);

		if (r < 0)
			return r;
	}
	qsort(k->segments, k->n, sizeof(*k->segments), compare);
	for (size_t i = 1; i < k->n; i++)
		if (k->segments[i].first <= k->segments[i - 1].last)
			return not_kcore(e, "its segments overlap");
	return k->n > 0 ? 0 : not_kcore(e, "it names no memory");
}

int memory_kcore_parse(const void *head, size_t len, struct memory_kcore *ret, struct error *e)
{
	struct memory_kcore k = { 0 };
	int r = parse_headers(&k, head, len, e);

	if (r < 0)
		memory_kcore_release(&k);
	else
		*ret = k;
	return r;
}

void memory_kcore_release(struct memory_kcore *k)
{
	free(k->segments);
	free(k->note);
	*k = (struct memory_kcore){ 0 };
}

const struct memory_segment *memory_segment_at(const struct memory_kcore *k, uint64_t phys)
{
	for (size_t i = 0; i < k->n; i++)
		if (phys <= k->segments[i].last)
			return &k->segments[i];
	return NULL;
}

const char *memory_note_find(const char *note, size_t len, const char *key, size_t *ret_len)
{
	const char *end = note + len;
	size_t key_len = strlen(key);

	for (const char *line = note; line < end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		stop = stop != NULL ? stop : end;
		if ((size_t)(stop - line) >= key_len && memcmp(line, key, key_len) == 0) {
			*ret_len = (size_t)(stop - line) - key_len;
			return line + key_len;
		}
		line = stop + 1;
	}
	return NULL;
}
