/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/journal_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int draw(void *ctx, void *buf, size_t len)
{
	struct journal_world *w = ctx;

	memset(buf, ++w->epochs, len);
	return 0;
}

void journal_world_reopen(struct journal_world *w)
{
	journal_close(w->j);
	w->j = NULL;
	assert_int_equal(journal_open(&w->c, &w->j, &w->rec, &w->e), 0);
}

void journal_world_begin(struct journal_world *w)
{
	memset(w, 0, sizeof(*w));
	sealing_begin(&w->s);
	(void)snprintf(w->dir, sizeof(w->dir), "%s/deep/journal", w->s.dir);
	w->c = (struct journal_config){
		.dir = w->dir, .max_bytes = JOURNAL_WORLD_BUDGET, .random = draw, .random_ctx = w
	};
	journal_world_reopen(w);
	assert_true(w->rec.new_epoch);
}

void journal_world_end(struct journal_world *w)
{
	journal_close(w->j);
	sealing_end(&w->s);
}

int journal_world_append(struct journal_world *w, enum batch_lane lane, uint32_t n,
			 struct seal_hash *ret_hash)
{
	static uint8_t raw[KiB(128)];
	static uint32_t noise = 1;
	struct batch_header h;
	struct journal_tail tail;
	uint64_t counts[16] = { [4] = n };
	const uint8_t *bytes;
	size_t len;

	journal_tail(w->j, lane, &tail);
	sealing_header(&h, lane, tail.number + 1, n);
	h.has_previous = tail.has_hash;
	h.previous = tail.hash;
	if (n > 0) {
		h.first_sequence = tail.last_sequence + 1;
		h.last_sequence = tail.last_sequence + n;
	}
	memcpy(h.epoch, journal_epoch(w->j), sizeof(h.epoch));
	for (uint32_t i = 0; i < n; i++) {
		raw[21 * i] = 20;
		for (size_t k = 1; k < 21; k++)
			raw[21 * i + k] = (uint8_t)((noise = noise * 1664525 + 1013904223) >> 24);
	}
	assert_int_equal(
		batch_seal(w->s.sealer, &h, raw, 21 * (size_t)n, &bytes, &len, ret_hash, NULL), 0);
	return journal_append(w->j, &h, ret_hash, counts, bytes, len, &w->e);
}

void journal_world_append_many(struct journal_world *w, enum batch_lane lane, size_t n,
			       struct seal_hash *hashes)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(journal_world_append(w, lane, 50, &hashes[i]), 0);
}

void journal_world_assert_frame(struct journal_world *w, enum batch_lane lane, uint64_t position,
				const struct seal_hash *hash)
{
	struct batch_view view;
	enum journal_kind kind;
	const uint8_t *bytes;
	size_t len;

	assert_int_equal(journal_read(w->j, lane, position, &kind, &bytes, &len, &w->e), 0);
	assert_int_equal(kind, JOURNAL_BATCH);
	arena_reset(w->s.arena);
	assert_int_equal(batch_parse(bytes, len, w->s.arena, &view, NULL), 0);
	assert_memory_equal(&view.hash, hash, sizeof(*hash));
}

void journal_world_assert_range(struct journal_world *w, enum batch_lane lane, uint64_t first,
				uint64_t last)
{
	uint64_t f, l;

	journal_range(w->j, lane, &f, &l);
	assert_int_equal(f, first);
	assert_int_equal(l, last);
}

char *journal_world_path(struct journal_world *w, const char *name)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	return path;
}

bool journal_world_exists(struct journal_world *w, const char *name)
{
	struct stat st;

	return stat(journal_world_path(w, name), &st) == 0;
}

void journal_world_flip(struct journal_world *w, const char *name, off_t at)
{
	int fd = open(journal_world_path(w, name), O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	if (at < 0)
		at += lseek(fd, 0, SEEK_END);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

size_t journal_world_readable(struct journal_world *w, enum batch_lane lane)
{
	uint64_t first, last;
	size_t n = 0;

	journal_range(w->j, lane, &first, &last);
	for (uint64_t p = journal_next(w->j, lane, 1); p <= last;
	     p = journal_next(w->j, lane, p + 1))
		n++;
	return n;
}

off_t journal_world_size(struct journal_world *w, const char *name)
{
	struct stat st;

	assert_int_equal(stat(journal_world_path(w, name), &st), 0);
	return st.st_size;
}

void journal_world_close(struct journal_world *w)
{
	journal_close(w->j);
	w->j = NULL;
}
