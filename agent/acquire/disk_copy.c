/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/disk_copy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/json.h"

struct copy {
	const struct disk_reader *d;
	struct output *o;
	struct disk_result *result;
	uint8_t *buf; /* DISK_READ_BYTES, on a page: devices are read directly */
	uint32_t image, table;
	uint64_t bad_first, bad_next; /* a run that still grows; equal: none */
	int bad_errno;
};

static int tell_bad(struct copy *c, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;

	if (c->bad_first == c->bad_next)
		return 0;
	FILE *line = open_memstream(&text, &len);

	if (line == NULL)
		return error_set(e, -ENOMEM, "cannot list unreadable sectors: out of memory");
	struct json j = json_init(line);

	json_open(&j, NULL, 0, '{');
	json_u64(&j, "first_byte", c->bad_first);
	json_u64(&j, "bytes", c->bad_next - c->bad_first);
	json_text(&j, "reason", strerror(c->bad_errno));
	json_close(&j, '}');
	json_line(&j);
	c->result->runs++;
	c->bad_first = c->bad_next;
	if (fclose(line) != 0)
		return error_set(e, -ENOMEM, "cannot list unreadable sectors: out of memory");
	return output_write(c->o, c->table, text, len, e);
}

static int add_bad(struct copy *c, uint64_t at, uint64_t bytes, int why, struct error *e)
{
	int r = 0;

	if (c->bad_first != c->bad_next && (c->bad_next != at || c->bad_errno != why))
		r = tell_bad(c, e);
	if (c->bad_first == c->bad_next)
		c->bad_first = at;
	c->bad_next = at + bytes;
	c->bad_errno = why;
	c->result->unreadable += bytes;
	return r;
}

/* Up to DISK_READ_BYTES at `at` into the buffer, zeros where they cannot be read. One failure in a large read
 * sends us through its sectors one by one. Returns bytes, or 0 at an early end. */
static int64_t fill(struct copy *c, uint64_t at, size_t want, struct error *e)
{
	size_t done = 0, step = want;

	while (done < want) {
		size_t ask = step < want - done ? step : want - done;
		int64_t n = c->d->read(c->d->ctx, at + done, c->buf + done, ask);

		if (n > 0) {
			done += (size_t)n;
			c->result->read += (uint64_t)n;
			continue;
		}
		if (n == 0)
			return (int64_t)done;
		if (ask > c->d->sector) {
			step = c->d->sector;
			continue;
		}
		memset(c->buf + done, 0, ask);
		int r = add_bad(c, at + done, ask, (int)-n, e);

		if (r < 0)
			return r;
		done += ask;
	}
	return (int64_t)done;
}

static int copy_all(struct copy *c, struct error *e)
{
	for (uint64_t at = 0; at < c->d->bytes;) {
		uint64_t left = c->d->bytes - at;
		int64_t n = fill(c, at, left < DISK_READ_BYTES ? (size_t)left : DISK_READ_BYTES, e);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return error_set(e, -ECANCELED, "the device ended at byte %llu of %llu",
					 (unsigned long long)at, (unsigned long long)c->d->bytes);
		int r = output_write(c->o, c->image, c->buf, (size_t)n, e);

		if (r < 0)
			return r;
		at += (uint64_t)n;
	}
	return 0;
}

static int finish(struct copy *c, int result, struct error *e)
{
	const char *why = result == -ECANCELED ? e->text : NULL;
	struct error told = { 0 };
	int r = result == 0 || result == -ECANCELED ? tell_bad(c, &told) : result;

	if (r == 0 && why != NULL)
		r = output_warn(c->o, true, &told, "the image is not whole: %s", why);
	if (r == 0 && c->result->unreadable > 0)
		r = output_warn(
			c->o, true, &told,
			"%llu bytes could not be read and are zeros in the image; disk.unreadable.jsonl lists them",
			(unsigned long long)c->result->unreadable);
	if (r == 0)
		r = output_end(c->o, c->image, why, NULL, &told);
	if (r == 0)
		r = output_end(c->o, c->table, NULL, NULL, &told);
	if (told.code != 0 && e != NULL)
		*e = told;
	return r;
}

int disk_copy(const struct disk_reader *d, struct output *o, struct disk_result *ret,
	      struct error *e)
{
	struct copy c = { .d = d, .o = o, .result = ret };
	struct error why = { 0 };

	*ret = (struct disk_result){ 0 };
	void *buf = mmap(NULL, DISK_READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	if (buf == MAP_FAILED)
		return error_set(e, -ENOMEM, "cannot read the device: out of memory");
	c.buf = buf;
	int r = output_begin(o, "disk.raw", "raw", d->bytes, &c.image, &why);

	if (r == 0)
		r = output_begin(o, "disk.unreadable.jsonl", "jsonl", 0, &c.table, &why);
	if (r == 0)
		r = finish(&c, copy_all(&c, &why), &why);
	(void)munmap(buf, DISK_READ_BYTES);
	if (r < 0 && e != NULL)
		*e = why;
	return r;
}
