/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#error "which machine?"
#endif

#define BLOB_FIRST KiB(64)

static bool make_room(struct blob *b, size_t len)
{
	size_t room = b->room == 0 ? BLOB_FIRST : b->room;
	uint8_t *data;

	while (room - b->len < len && room < b->max)
		room *= 2;
	if (b->max - b->len < len || room - b->len < len)
		return false;
	if (room == b->room)
		return true;
	data = realloc(b->data, room);
	if (data == NULL)
		return false;
	b->data = data;
	b->room = room;
	return true;
}

void blob_add(struct blob *b, const void *data, size_t len)
{
	if (b->bad || len == 0)
		return;
	if (!make_room(b, len)) {
		b->bad = true;
		return;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void blob_u32(struct blob *b, uint32_t v)
{
	blob_add(b, &v, sizeof(v));
}

void blob_u64(struct blob *b, uint64_t v)
{
	blob_add(b, &v, sizeof(v));
}

static void blob_pad(struct blob *b)
{
	static const uint8_t zeros[4];

	blob_add(b, zeros, -b->len & 3);
}

void blob_release(struct blob *b)
{
	free(b->data);
	*b = (struct blob){ 0 };
}

/* ---- notes ----------------------------------------------------------------------------------------- */

static void begin_note(struct blob *b, const char *name, uint32_t type, size_t len)
{
	blob_u32(b, (uint32_t)strlen(name) + 1);
	blob_u32(b, (uint32_t)len);
	blob_u32(b, type);
	blob_add(b, name, strlen(name) + 1);
	blob_pad(b);
}

static void put_note(struct blob *b, const char *name, uint32_t type, const void *data, size_t len)
{
	begin_note(b, name, type, len);
	blob_add(b, data, len);
	blob_pad(b);
}

static void put_prstatus(struct blob *b, const struct core_identity *id,
			 const struct core_thread *t)
{
	struct elf_prstatus s = { 0 };

	s.pr_pid = t->tid;
	s.pr_ppid = id->parent;
	s.pr_pgrp = id->group;
	s.pr_sid = id->session;
	s.pr_sighold = t->blocked;
	s.pr_fpvalid = t->has_floating;
	memcpy(&s.pr_reg, &t->general, sizeof(s.pr_reg));
	put_note(b, "CORE", NT_PRSTATUS, &s, sizeof(s));
}

static void put_prpsinfo(struct blob *b, const struct core_identity *id)
{
	static const char states[] = "RSDTZW";
	const char *at = id->state != '\0' ? strchr(states, id->state) : NULL;
	struct elf_prpsinfo p = { 0 };

	p.pr_sname = id->state;
	p.pr_state = (char)(at != NULL ? at - states : 0);
	p.pr_zomb = id->state == 'Z';
	p.pr_nice = (char)id->nice;
	p.pr_uid = id->uid;
	p.pr_gid = id->gid;
	p.pr_pid = id->pid;
	p.pr_ppid = id->parent;
	p.pr_pgrp = id->group;
	p.pr_sid = id->session;
	memcpy(p.pr_fname, id->name, sizeof(p.pr_fname));
	memcpy(p.pr_psargs, id->args, sizeof(p.pr_psargs));
	put_note(b, "CORE", NT_PRPSINFO, &p, sizeof(p));
}

static bool of_file(const struct core_map *m)
{
	return m->inode != 0 && m->name_len > 0;
}

/* u64 count, u64 page size, count times {start, end, offset in pages}, names ended by NUL. */
static void put_files(struct blob *b, const struct core_maps *maps, uint64_t page_bytes)
{
	uint64_t count = 0, len = 2 * sizeof(uint64_t);

	for (size_t i = 0; i < maps->n; i++) {
		if (!of_file(&maps->all[i]))
			continue;
		count++;
		len += 3 * sizeof(uint64_t) + maps->all[i].name_len + 1;
	}
	begin_note(b, "CORE", NT_FILE, len);
	blob_u64(b, count);
	blob_u64(b, page_bytes);
	for (size_t i = 0; i < maps->n; i++) {
		if (!of_file(&maps->all[i]))
			continue;
		blob_u64(b, maps->all[i].start);
		blob_u64(b, maps->all[i].end);
		blob_u64(b, maps->all[i].offset / page_bytes);
	}
	for (size_t i = 0; i < maps->n; i++) {
		if (!of_file(&maps->all[i]))
			continue;
		blob_add(b, maps->all[i].name, maps->all[i].name_len);
		blob_add(b, "", 1);
	}
	blob_pad(b);
}

static void put_more(struct blob *b, const struct core_thread *t)
{
	if (t->has_floating)
		put_note(b, "CORE", NT_FPREGSET, &t->floating, sizeof(t->floating));
	for (size_t i = 0; i < CORE_REGSETS; i++)
		if (t->more[i].len > 0)
			put_note(b, "LINUX", t->more[i].note, t->more[i].data, t->more[i].len);
}

static void put_process(struct blob *b, const struct core_identity *id, const void *auxv,
			size_t auxv_len, const struct core_maps *maps, uint64_t page_bytes)
{
	static const uint8_t no_signal[128];

	put_prpsinfo(b, id);
	put_note(b, "CORE", NT_SIGINFO, no_signal, sizeof(no_signal));
	put_note(b, "CORE", NT_AUXV, auxv, auxv_len);
	put_files(b, maps, page_bytes);
}

void core_elf_notes(struct blob *b, const struct core_identity *id, const struct core_threads *t,
		    const void *auxv, size_t auxv_len, const struct core_maps *maps,
		    uint64_t page_bytes)
{
	bool told = false;

	for (size_t i = 0; i < t->n; i++) {
		if (!t->all[i].has_registers)
			continue;
		put_prstatus(b, id, &t->all[i]);
		if (!told)
			put_process(b, id, auxv, auxv_len, maps, page_bytes);
		put_more(b, &t->all[i]);
		told = true;
	}
	if (!told)
		put_process(b, id, auxv, auxv_len, maps, page_bytes);
}

/* ---- headers --------------------------------------------------------------------------------------- */

struct layout {
	uint64_t notes_at, section_at, data_at;
	bool many; /* more program headers than e_phnum holds: their number stands in section header 0 */
	size_t headers;
};

static struct layout lay_out(size_t n, size_t notes_len, uint64_t page_bytes)
{
	struct layout l = { .headers = n + 1, .many = n + 1 >= PN_XNUM };

	l.section_at = sizeof(Elf64_Ehdr) + l.headers * sizeof(Elf64_Phdr);
	l.notes_at = l.section_at + (l.many ? sizeof(Elf64_Shdr) : 0);
	l.data_at = (l.notes_at + notes_len + page_bytes - 1) / page_bytes * page_bytes;
	return l;
}

static void put_header(uint8_t *at, const struct layout *l)
{
	Elf64_Ehdr h = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				      EV_CURRENT },
			 .e_type = ET_CORE,
			 .e_machine = MACHINE,
			 .e_version = EV_CURRENT,
			 .e_phoff = sizeof(Elf64_Ehdr),
			 .e_ehsize = sizeof(Elf64_Ehdr),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = (uint16_t)(l->many ? PN_XNUM : l->headers) };

	if (l->many) {
		Elf64_Shdr s = { .sh_size = 1, .sh_info = (uint32_t)l->headers };

		h.e_shoff = l->section_at;
		h.e_shentsize = sizeof(Elf64_Shdr);
		h.e_shnum = 1;
		memcpy(at + l->section_at, &s, sizeof(s));
	}
	memcpy(at, &h, sizeof(h));
}

static void put_segments(uint8_t *at, const struct core_segment *segments, size_t n,
			 const struct layout *l, size_t notes_len, uint64_t page_bytes)
{
	Elf64_Phdr note = {
		.p_type = PT_NOTE, .p_offset = l->notes_at, .p_filesz = notes_len, .p_align = 4
	};
	uint64_t offset = l->data_at;

	memcpy(at, &note, sizeof(note));
	for (size_t i = 0; i < n; i++) {
		const struct core_segment *s = &segments[i];
		Elf64_Phdr p = { .p_type = PT_LOAD,
				 .p_flags = (s->read ? (uint32_t)PF_R : 0) |
					    (s->write ? (uint32_t)PF_W : 0) |
					    (s->execute ? (uint32_t)PF_X : 0),
				 .p_offset = offset,
				 .p_vaddr = s->start,
				 .p_filesz = s->filled ? s->bytes : 0,
				 .p_memsz = s->bytes,
				 .p_align = page_bytes };

		offset += p.p_filesz;
		memcpy(at + (i + 1) * sizeof(p), &p, sizeof(p));
	}
}

int core_elf_head(const struct core_segment *segments, size_t n, const struct blob *notes,
		  uint64_t page_bytes, uint8_t **ret, size_t *ret_len, struct error *e)
{
	struct layout l = lay_out(n, notes->len, page_bytes);
	uint8_t *head = notes->bad ? NULL : calloc(1, l.data_at);

	if (head == NULL)
		return error_set(e, -ENOMEM, "cannot lay out the core: out of memory");
	put_header(head, &l);
	put_segments(head + sizeof(Elf64_Ehdr), segments, n, &l, notes->len, page_bytes);
	memcpy(head + l.notes_at, notes->data, notes->len);
	*ret = head;
	*ret_len = l.data_at;
	return 0;
}
