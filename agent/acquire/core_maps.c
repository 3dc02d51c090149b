/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_maps.h"

#include <errno.h>
#include <string.h>

#include "agent/acquire/proc_text.h"
#include "proto/base/files.h"

static bool flag(struct reader *r, char set, char unset)
{
	char c = (char)reader_u8(r);

	if (c != set && c != unset)
		r->bad = true;
	return c == set;
}

/* "start-end", which begins a line of both files. */
static void parse_range(struct reader *r, uint64_t *ret_start, uint64_t *ret_end)
{
	*ret_start = proc_number(r, 16);
	proc_expect(r, '-');
	*ret_end = proc_number(r, 16);
}

static uint32_t number32(struct reader *r)
{
	uint64_t v = proc_number(r, 16);

	if (v > UINT32_MAX)
		r->bad = true;
	return (uint32_t)v;
}

static bool parse_line(struct reader r, struct core_map *ret)
{
	struct core_map m = { 0 };

	parse_range(&r, &m.start, &m.end);
	proc_expect(&r, ' ');
	m.read = flag(&r, 'r', '-');
	m.write = flag(&r, 'w', '-');
	m.execute = flag(&r, 'x', '-');
	m.shared = flag(&r, 's', 'p');
	proc_expect(&r, ' ');
	m.offset = proc_number(&r, 16);
	proc_expect(&r, ' ');
	m.major = number32(&r);
	proc_expect(&r, ':');
	m.minor = number32(&r);
	proc_expect(&r, ' ');
	m.inode = proc_number(&r, 10);
	proc_blanks(&r);
	m.name_len = r.left;
	m.name = reader_bytes(&r, r.left);
	m.vdso = m.name != NULL && m.name_len == 6 && memcmp(m.name, "[vdso]", 6) == 0;
	m.device = m.start >> 63 != 0; /* [vsyscall]: the kernel's half */
	*ret = m;
	return !r.bad && m.start < m.end;
}

static size_t count_lines(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += text[i] == '\n';
	return n + 1;
}

int core_maps_parse(char *text, size_t text_len, struct core_maps *ret, struct error *e)
{
	struct core_maps m = { .text = text, .text_len = text_len };
	struct reader r = reader_init(text, text_len);
	size_t lines = count_lines(text, text_len);
	uint64_t reached = 0;

	if (lines > CORE_MAPS_MAX + 1) {
		core_maps_release(&m);
		return error_set(e, -E2BIG, "the process has more than %d mappings", CORE_MAPS_MAX);
	}
	m.all = calloc(lines, sizeof(*m.all));
	if (m.all == NULL) {
		core_maps_release(&m);
		return error_set(e, -ENOMEM, "cannot list the mappings: out of memory");
	}
	while (r.left > 0) {
		struct core_map *one = &m.all[m.n];

		if (!parse_line(proc_line(&r), one) || one->start < reached) {
			core_maps_release(&m);
			return error_set(e, -EBADMSG, "line %zu of the list of mappings is not one",
					 m.n + 1);
		}
		reached = one->end;
		m.n++;
	}
	*ret = m;
	return 0;
}

void core_maps_release(struct core_maps *m)
{
	free(m->all);
	free(m->text);
	*m = (struct core_maps){ 0 };
}

static void mark(struct core_maps *m, size_t *at, uint64_t start, uint64_t end)
{
	while (*at < m->n && m->all[*at].end <= start)
		(*at)++;
	for (size_t i = *at; i < m->n && m->all[i].start < end; i++)
		m->all[i].device = true;
}

/* "VmFlags: rd wr mr io pf": words of two letters. */
static bool has_device_flag(struct reader line)
{
	static const char head[] = "VmFlags:";
	const uint8_t *word;
	size_t len;

	if (line.left < sizeof(head) - 1 || memcmp(line.at, head, sizeof(head) - 1) != 0)
		return false;
	reader_skip(&line, sizeof(head) - 1);
	proc_blanks(&line);
	while (line.left > 0) {
		len = proc_word(&line, &word);
		if (len == 2 && (memcmp(word, "io", 2) == 0 || memcmp(word, "pf", 2) == 0))
			return true;
	}
	return false;
}

void core_maps_mark(struct core_maps *m, const char *smaps, size_t len)
{
	struct reader r = reader_init(smaps, len);
	uint64_t start = 0, end = 0;
	size_t at = 0;

	while (r.left > 0) {
		struct reader line = proc_line(&r), range = line;
		uint64_t first = 0, last = 0;

		parse_range(&range, &first, &last);
		if (!range.bad) {
			start = first;
			end = last;
		} else if (start < end && has_device_flag(line)) {
			mark(m, &at, start, end);
		}
	}
}

void core_maps_mark_as(struct core_maps *m, const struct core_maps *known)
{
	size_t at = 0;

	for (size_t i = 0; i < known->n; i++)
		if (known->all[i].device)
			mark(m, &at, known->all[i].start, known->all[i].end);
}

int core_maps_read(int dir, struct core_maps *ret, struct error *e)
{
	uint8_t *text = NULL;
	size_t len = 0;
	int r = files_read_at(dir, "maps", CORE_MAPS_TEXT_MAX, &text, &len, e);

	return r < 0 ? error_wrap(e, r, "cannot read the list of mappings") :
		       core_maps_parse((char *)text, len, ret, e);
}
