/* SPDX-License-Identifier: Apache-2.0 */
/* The place for tests and for the bench: plain files. */
#include <errno.h>
#include <fcntl.h>

#include "agent/acquire/output_internal.h"
#include "proto/base/files.h"
#include "proto/json.h"

struct folder {
	int dir;
	FILE *notes;
	struct json json;
	struct {
		int fd; /* -1: ended */
		char name[OUTPUT_NAME_MAX + 1];
	} items[OUTPUT_ITEMS_MAX];
	size_t n;
};

/* A line of notes.jsonl is over: on disk at once, as a killed test wants it. */
static int end_line(struct folder *f, struct error *e)
{
	json_close(&f->json, '}');
	json_line(&f->json);
	if (fflush(f->notes) != 0)
		return error_set(e, -errno, "cannot write notes.jsonl: %m");
	return 0;
}

static void begin_line(struct folder *f)
{
	f->json = json_init(f->notes);
	json_open(&f->json, NULL, 0, '{');
}

static int folder_begin(void *ctx, uint32_t item, const char *name, const char *format,
			uint64_t expected_bytes, struct error *e)
{
	struct folder *f = ctx;

	(void)format;
	(void)expected_bytes;
	f->items[item - 1].fd =
		openat(f->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->items[item - 1].fd < 0)
		return error_set(e, -errno, "cannot write the item '%s': %m", name);
	memcpy(f->items[item - 1].name, name, strlen(name) + 1);
	f->n = item;
	return 0;
}

static int folder_chunk(void *ctx, const struct output_chunk *c, struct error *e)
{
	struct folder *f = ctx;
	const char *name = f->items[c->item - 1].name;
	int fd = f->items[c->item - 1].fd;

	if (c->data == NULL) {
		if (ftruncate(fd, (off_t)(c->offset + c->len)) < 0 || lseek(fd, 0, SEEK_END) < 0)
			return error_set(e, -errno, "cannot write the item '%s': %m", name);
		return 0;
	}
	int r = files_write_all(fd, c->data, c->len, e);

	return r < 0 ? error_wrap(e, r, "cannot write the item '%s'", name) : 0;
}

static void write_hash(struct folder *f, const struct seal_hash *hash)
{
	char hex[2 * SEAL_HASH_LEN + 1];

	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", hash->b[i]);
	json_text(&f->json, "sha256", hex);
}

static int folder_end(void *ctx, const struct output_ending *end, struct error *e)
{
	struct folder *f = ctx;
	int fd = f->items[end->item - 1].fd;

	f->items[end->item - 1].fd = -1;
	if (close(fd) < 0)
		return error_set(e, -errno, "cannot write the item '%s': %m",
				 f->items[end->item - 1].name);
	begin_line(f);
	json_text(&f->json, "item", f->items[end->item - 1].name);
	json_u64(&f->json, "bytes", end->bytes);
	write_hash(f, &end->hash);
	if (end->status != NULL)
		json_bytes(&f->json, "status", end->status, strlen(end->status));
	return end_line(f, e);
}

static int folder_note(void *ctx, const struct output_fact *fact, struct error *e)
{
	struct folder *f = ctx;

	begin_line(f);
	json_text(&f->json, "note", fact->key);
	if (fact->data == NULL)
		json_u64(&f->json, "value", fact->value);
	else
		json_bytes(&f->json, "value", fact->data, fact->len);
	return end_line(f, e);
}

static int folder_warn(void *ctx, bool lacking, const char *text, struct error *e)
{
	struct folder *f = ctx;

	begin_line(f);
	json_bytes(&f->json, "warning", text, strlen(text));
	json_bool(&f->json, "lacking", lacking);
	return end_line(f, e);
}

static void folder_free(void *ctx)
{
	struct folder *f = ctx;

	for (size_t i = 0; i < f->n; i++)
		close_fd(&f->items[i].fd);
	if (f->notes != NULL)
		(void)fclose(f->notes);
	close_fd(&f->dir);
	free(f);
}

static void folder_free_ptr(struct folder **f)
{
	if (*f != NULL)
		folder_free(*f);
}

static const struct output_place folder_place = {
	.begin = folder_begin,
	.chunk = folder_chunk,
	.end = folder_end,
	.note = folder_note,
	.warn = folder_warn,
	.free = folder_free,
};

int output_folder(const char *dir, uint64_t max_bytes, struct output **ret, struct error *e)
{
	AUTO(folder_free_ptr) struct folder *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return error_set(e, -ENOMEM, "cannot write to '%s': out of memory", dir);
	f->dir = -1;
	int r = files_mkdirs(dir, 0700, e);

	if (r < 0)
		return r;
	f->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO(close_fd)
	int notes = openat(f->dir, "notes.jsonl", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (f->dir < 0 || notes < 0)
		return error_set(e, -errno, "cannot write to '%s': %m", dir);
	f->notes = fdopen(notes, "w");
	if (f->notes == NULL)
		return error_set(e, -errno, "cannot write to '%s': %m", dir);
	(void)take_fd(&notes);
	return output_new(&folder_place, TAKE(f), max_bytes, ret, e);
}
