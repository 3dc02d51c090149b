/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_follow.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "collector/vault_chunks.h"
#include "collector/vault_internal.h"

#define READ_BYTES KiB(64)

struct vault_follow {
	struct vault *vault;
	struct batch_name tenant;
	uint8_t id[VAULT_ID_LEN];
	char name[VAULT_NAME_MAX + 1];
	int chunks_fd, item_fd;
	uint64_t at; /* of chunks.jsonl: the lines before were read */
	uint32_t item; /* its number; 0: not begun */
	uint64_t bytes;
	bool ended;
	char buffer[READ_BYTES];
};

static void take_line(struct vault_follow *f, const struct vault_line *line)
{
	if (line->kind == VAULT_LINE_ITEM && strcmp(line->name, f->name) == 0)
		f->item = line->item;
	if (f->item == 0 || line->item != f->item)
		return;
	if (line->kind == VAULT_LINE_CHUNK)
		f->bytes = line->offset + line->bytes;
	f->ended |= line->kind == VAULT_LINE_END;
}

/* The whole lines of the buffer's n bytes; the last may be half written. */
static int take_lines(struct vault_follow *f, size_t n, struct error *e)
{
	size_t done = 0;

	for (const char *end; (end = memchr(f->buffer + done, '\n', n - done)) != NULL;) {
		size_t len = (size_t)(end - (f->buffer + done));
		struct vault_line line;
		int r = vault_line_read(f->buffer + done, len, &line);

		if (r < 0)
			return error_set(e, r == -ENOMEM ? r : -EIO,
					 "byte %" PRIu64
					 " of the exhibit's chunks.jsonl cannot be read",
					 (uint64_t)f->at + done);
		take_line(f, &line);
		done += len + 1;
	}
	f->at += done;
	return 0;
}

static int read_lines(struct vault_follow *f, struct error *e)
{
	for (;;) {
		uint64_t before = f->at;
		ssize_t n = pread(f->chunks_fd, f->buffer, sizeof(f->buffer), (off_t)f->at);

		if (n < 0)
			return error_set(e, -EIO, "the exhibit's chunks.jsonl cannot be read: %s",
					 strerror(errno));
		int r = take_lines(f, (size_t)n, e);

		if (r < 0 || f->at == before)
			return r;
	}
}

/* 1: not arriving, or on its way out of incoming/. */
static int open_incoming(const struct vault_follow *f, const char *leaf, int *ret, struct error *e)
{
	char path[PATH_MAX];

	vault_tenant_path(f->vault, &f->tenant, path, "incoming", f->id, leaf);
	*ret = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret >= 0)
		return 0;
	return errno == ENOENT ? 1 :
				 error_set(e, -EIO, "cannot open '%s': %s", path, strerror(errno));
}

static int is_arriving(const struct vault_follow *f, bool *ret, struct error *e)
{
	Exhibit__V1__ExhibitInfo *info = NULL;
	int r = vault_get(f->vault, &f->tenant, f->id, &info, e);

	if (r < 0)
		return r;
	*ret = info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING;
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	return 0;
}

static int open_files(struct vault_follow *f, struct error *e)
{
	bool arriving = false;
	char leaf[16];
	int r = is_arriving(f, &arriving, e);

	if (r == 0 && !arriving)
		r = 1;
	if (r == 0)
		r = open_incoming(f, VAULT_FILE_CHUNKS, &f->chunks_fd, e);
	if (r == 0)
		r = read_lines(f, e);
	if (r == 0 && f->item == 0)
		r = error_set(e, -EAGAIN, "the exhibit has no item '%s' yet", f->name);
	(void)snprintf(leaf, sizeof(leaf), "%u", f->item);
	return r == 0 ? open_incoming(f, leaf, &f->item_fd, e) : r;
}

int vault_follow_open(struct vault *v, const struct batch_name *tenant,
		      const uint8_t id[static VAULT_ID_LEN], const void *name, size_t len,
		      struct vault_follow **ret, struct error *e)
{
	struct vault_follow *f;
	int r;

	if (!vault_name_valid(name, len))
		return error_set(e, -EINVAL, "that is no item's name");
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		return error_set(e, -ENOMEM, "the collector is out of memory");
	f->vault = v;
	f->tenant = *tenant;
	f->chunks_fd = f->item_fd = -1;
	memcpy(f->id, id, VAULT_ID_LEN);
	memcpy(f->name, name, len);
	r = open_files(f, e);
	if (r == 0)
		*ret = f;
	else
		vault_follow_free(f);
	return r;
}

int vault_follow_look(struct vault_follow *f, uint64_t *ret_bytes, bool *ret_end, struct error *e)
{
	bool arriving = false;
	/* Asked before the lines are read: what comes with its sealing is among them. -ENOENT: it was sealed, and
	 * removed since. */
	int r = is_arriving(f, &arriving, e);

	if (r == -ENOENT)
		r = 0;
	if (r == 0)
		r = read_lines(f, e);
	*ret_bytes = f->bytes;
	*ret_end = f->ended || !arriving;
	return r;
}

int vault_follow_fd(const struct vault_follow *f)
{
	return f->item_fd;
}

void vault_follow_free(struct vault_follow *f)
{
	if (f == NULL)
		return;
	close_fd(&f->chunks_fd);
	close_fd(&f->item_fd);
	free(f);
}
