/* SPDX-License-Identifier: Apache-2.0 */
/* The last group commit of the segment being written: what was acknowledged and then damaged is named and
 * keeps its place; what a crash tore is cut off, kept aside and counted. */
#include "tests/unit/rows.h"
#include "tests/unit/store_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HEAD 36 /* of a frame; its body's length is at byte 8 */
#define FRAMES_MAX 16

struct file {
	char path[256];
	uint8_t *bytes;
	long size;
	long at[FRAMES_MAX + 1]; /* where frames begin, and the end */
	size_t n;
};

static void file_read(struct file *f, struct world *w, const char *suffix)
{
	struct stat st;
	FILE *in;

	assert_true(world_file(w, "acme", suffix, 0, f->path));
	assert_int_equal(stat(f->path, &st), 0);
	f->size = st.st_size;
	f->bytes = malloc((size_t)f->size + 1);
	in = fopen(f->path, "rb");
	assert_non_null(in);
	assert_int_equal(fread(f->bytes, 1, (size_t)f->size, in), f->size);
	assert_int_equal(fclose(in), 0);
}

static void file_release(struct file *f)
{
	free(f->bytes);
}

/* A store whose last group holds three batches, closed; its segment with the places of the frames. */
static void make(struct world *w, struct file *f, struct world_stream *s)
{
	uint32_t len;

	*s = world_stream("a", 1, BATCH_LANE_BULK);
	world_open(w);
	(void)world_host_record(w, "acme", "a", 1);
	world_put_all(w, STORE_STORED);
	world_store(w, s, 10, "word");
	for (unsigned int i = 0; i < 3; i++)
		(void)world_batch(w, s, 11 + i, "word");
	world_put_all(w, STORE_STORED);
	world_close(w);
	file_read(f, w, ".seg");
	for (long at = 0; at < f->size; at += HEAD + (long)len) {
		assert_true(f->n < FRAMES_MAX);
		f->at[f->n++] = at;
		memcpy(&len, f->bytes + at + 8, sizeof(len));
	}
	f->at[f->n] = f->size;
	assert_int_equal(f->n, 6);
}

static uint8_t byte_at(const char *path, long at)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	assert_int_equal(close(fd), 0);
	return byte;
}

/* ---- damage of what was acknowledged ----------------------------------------------------------------- */

static void every_byte_of_the_last_group_is_checked(struct world *w)
{
	AUTO(file_release) struct file f = { .n = 0 };
	struct world_stream s;
	char first[1024], place[64];

	make(w, &f, &s);
	assert_int_equal(world_check(w, first), 0);
	for (size_t i = f.n - 3; i < f.n; i++)
		for (long at = f.at[i]; at < f.at[i + 1]; at += at < f.at[i] + HEAD ? 1 : 13) {
			world_flip(f.path, at, 16);
			if (world_check(w, first) == 0)
				fail_msg("bit at byte %ld: not seen", at);
			(void)snprintf(place, sizeof(place), ".seg': byte %ld: ", f.at[i]);
			if (!strstr(first, place))
				fail_msg("bit at byte %ld: '%s'", at, first);
			world_flip(f.path, at, 16);
		}
	assert_int_equal(world_check(w, first), 0);
}

struct flip {
	const char *name;
	size_t frame; /* of the last group's three */
	long at; /* in the frame; negative: from its end */
};

static const struct flip flips[] = {
	{ "magic of the first", 0, 0 },      { "kind of the first", 0, 5 },
	{ "length of the first", 0, 9 },     { "number of the first", 0, 12 },
	{ "group of the first", 0, 16 },     { "sums of the first", 0, 30 },
	{ "body of the first", 0, 60 },      { "end of the first", 0, -1 },
	{ "magic of the second", 1, 2 },     { "body of the second", 1, HEAD },
	{ "magic of the last", 2, 1 },       { "flags of the last", 2, 6 },
	{ "length of the last", 2, 8 },      { "number of the last", 2, 12 },
	{ "group of the last", 2, 16 },      { "time of the last", 2, 22 },
	{ "body's sum of the last", 2, 28 }, { "head's sum of the last", 2, 33 },
	{ "body of the last", 2, HEAD },     { "very last byte", 2, -1 },
};

static void damage_keeps_its_place(void **state)
{
	const struct flip *row = *state;
	struct world *w = world_new();
	AUTO(file_release) struct file f = { .n = 0 };
	struct store_totals t;
	struct world_stream s;
	char first[1024], place[64], path[256];
	size_t frame;
	long at;

	make(w, &f, &s);
	frame = f.n - 3 + row->frame;
	at = row->at < 0 ? f.at[frame + 1] + row->at : f.at[frame] + row->at;
	world_flip(f.path, at, 1);
	world_open(w);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 3);
	store_totals(w->store, &t);
	assert_int_equal(t.damaged, 1);
	assert_int_equal(t.cut_files, 0);
	/* What comes later does not stand in its place. */
	world_store(w, &s, 20, "word");
	assert_int_equal(world_find(w, "acme", NULL, "word"), 4);
	assert_int_equal(world_view(w, &s).contiguous, 1 + row->frame);
	world_close(w);
	assert_int_equal(world_files(w, "acme", ".cut"), 0);
	assert_true(world_file(w, "acme", ".seg", 0, path));
	assert_int_equal(byte_at(path, at), f.bytes[at] ^ 1);
	(void)snprintf(place, sizeof(place), ".seg': byte %ld: ", f.at[frame]);
	assert_true(world_check(w, first) > 0);
	if (!strstr(first, place))
		fail_msg("%s", first);
	/* Nor do indexes that are built again make it good. */
	assert_int_equal(store_reindex(&w->config, &w->error), 0);
	assert_true(world_check(w, first) > 0);
	assert_non_null(strstr(first, place));
	world_open(w);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 4);
	world_free(w);
}

/* A file that became shorter lost what was acknowledged, though each frame that is left is whole. */
static void frames_cut_off_are_missed(struct world *w)
{
	AUTO(file_release) struct file f = { .n = 0 };
	struct world_stream s;
	char first[1024];

	make(w, &f, &s);
	world_cut(f.path, f.size - f.at[f.n - 1]);
	assert_true(world_check(w, first) > 0);
	assert_non_null(strstr(first, "the file ends here, though more of it was acknowledged"));
	world_open(w);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 3);
	world_store(w, &s, 20, "word");
	world_close(w);
	assert_true(world_check(w, first) > 0);
	world_open(w);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 4);
}

static void a_segment_that_lost_every_frame_stays(struct world *w)
{
	AUTO(file_release) struct file f = { .n = 0 };
	struct world_stream s;
	char first[1024];

	make(w, &f, &s);
	for (size_t i = 0; i < f.n; i++)
		world_flip(f.path, f.at[i], 1);
	world_open(w);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 0);
	world_store(w, &s, 20, "word");
	world_close(w);
	assert_true(world_check(w, first) > 0);
	assert_non_null(strstr(first, ".seg': byte 0: "));
	world_open(w);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 1);
}

/* ---- torn ends ----------------------------------------------------------------------------------------- */

static const char tail[] = "EXHF\x01\x01 a frame that was being written when the machine died";

struct torn {
	const char *name;
	size_t bytes; /* of tail behind what was acknowledged, then zeros */
	size_t zeros;
};

static const struct torn torn_rows[] = {
	{ "one byte", 1, 0 },
	{ "half a frame", sizeof(tail), 0 },
	{ "a frame and zeros", sizeof(tail), 5000 },
	{ "zeros alone", 0, 4096 },
};

static void append(const char *path, const struct torn *row)
{
	FILE *f = fopen(path, "ab");

	assert_non_null(f);
	assert_int_equal(fwrite(tail, 1, row->bytes, f), row->bytes);
	for (size_t i = 0; i < row->zeros; i++)
		assert_int_equal(fputc(0, f), 0);
	assert_int_equal(fclose(f), 0);
}

static void a_torn_end_is_kept_aside(void **state)
{
	const struct torn *row = *state;
	struct world *w = world_new();
	AUTO(file_release) struct file f = { .n = 0 }, cut = { .n = 0 };
	struct world_stream s;
	struct store_totals t;
	char first[1024];

	make(w, &f, &s);
	append(f.path, row);
	assert_int_equal(world_check(w, first), 0);
	assert_non_null(strstr(first, "a torn end"));
	world_open(w);
	store_totals(w->store, &t);
	assert_int_equal(t.damaged, 0);
	assert_int_equal(t.cut_files, 1);
	assert_int_equal(t.cut_bytes, row->bytes + row->zeros);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 4);
	world_store(w, &s, 20, "word");
	world_reopen(w);
	store_totals(w->store, &t);
	assert_int_equal(t.cut_bytes, row->bytes + row->zeros);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 5);
	world_close(w);
	file_read(&cut, w, ".cut");
	assert_int_equal(cut.size, row->bytes + row->zeros);
	assert_memory_equal(cut.bytes, tail, row->bytes);
	assert_int_equal(world_check(w, first), 0);
	assert_non_null(strstr(first, ".cut': "));
	world_free(w);
}

/* Without the mark, which is never synced, nobody can tell: nothing is lost beyond that, and it shows. */
static void without_a_mark_it_is_kept_aside_too(struct world *w)
{
	AUTO(file_release) struct file f = { .n = 0 };
	struct world_stream s;
	struct store_totals t;
	char path[256], first[1024];

	make(w, &f, &s);
	assert_true(world_file(w, "acme", ".mark", 0, path));
	world_flip(path, 0, 1);
	world_flip(path, 16, 1);
	world_flip(f.path, -1, 1);
	assert_int_equal(world_check(w, first), 0);
	assert_non_null(strstr(first, "a torn end"));
	world_open(w);
	store_totals(w->store, &t);
	assert_int_equal(t.cut_bytes, f.size - f.at[f.n - 1]);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 3);
}

/* One slot torn leaves the other, which is older. */
static void a_torn_mark_is_an_older_mark(struct world *w)
{
	for (long slot = 0; slot < 2; slot++) {
		AUTO(file_release) struct file f = { .n = 0 };
		struct world *own = slot ? world_new() : w;
		struct world_stream s;
		char path[256], first[1024];

		make(own, &f, &s);
		assert_true(world_file(own, "acme", ".mark", 0, path));
		world_flip(path, slot * 16 + 3, 1);
		world_flip(f.path, f.at[2] + 50, 1);
		assert_true(world_check(own, first) > 0);
		if (slot)
			world_free(own);
	}
}

static void retention_takes_what_was_kept(struct world *w)
{
	AUTO(file_release) struct file f = { .n = 0 };
	struct world_stream s;
	struct store_totals t;

	make(w, &f, &s);
	append(f.path, &torn_rows[1]);
	w->config.retain_ms = 35000;
	world_open(w);
	assert_int_equal(world_files(w, "acme", ".cut"), 1);
	w->now_ns += 3600 * (int64_t)NSEC_PER_SEC;
	assert_int_equal(store_retain(w->store, w->now_ns, &w->error), 0);
	world_store(w, &s, 20, "word");
	w->now_ns += 10 * (int64_t)NSEC_PER_SEC;
	assert_int_equal(store_retain(w->store, w->now_ns, &w->error), 0);
	assert_int_equal(world_find(w, "acme", NULL, "word"), 1);
	assert_int_equal(world_files(w, "acme", ".cut"), 0);
	assert_int_equal(world_files(w, "acme", ".mark"), world_files(w, "acme", ".tok"));
	store_totals(w->store, &t);
	assert_int_equal(t.cut_files, 0);
	assert_int_equal(t.cut_bytes, 0);
}

static const struct world_scene scenes[] = {
	SCENE(every_byte_of_the_last_group_is_checked),
	SCENE(frames_cut_off_are_missed),
	SCENE(a_segment_that_lost_every_frame_stays),
	SCENE(without_a_mark_it_is_kept_aside_too),
	SCENE(a_torn_mark_is_an_older_mark),
	SCENE(retention_takes_what_was_kept),
};

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, world_play, scenes);
	ADD_ROWS(&t, damage_keeps_its_place, flips);
	ADD_ROWS(&t, a_torn_end_is_kept_aside, torn_rows);
	return tests_run(&t, "store_torn");
}
