/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stock.h"

#include <errno.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"

#define READ_BYTES_MAX (256 * 1024) /* of which a record takes at most REC_MAX */
#define STAT_MAX 4096
#define START_FIELD 22
#define PROC_PATH_MAX 64

/* fn wants alignment, and room to add arguments. */
union record {
	struct rec_exec exec;
	uint8_t bytes[REC_MAX];
};

struct stock {
	ring_fn fn;
	void *ctx;
	int n;
	union record record;
};

int stock_split(const uint8_t *bytes, size_t len, ring_fn fn, void *ctx, size_t *used)
{
	union record aligned;
	size_t at = 0;

	while (len - at >= sizeof(struct rec_header)) {
		struct reader r = reader_init(bytes + at, len - at);
		uint32_t size = reader_u32(&r);

		if (size < sizeof(struct rec_header) || size > REC_MAX)
			return -EBADMSG;
		if (size > len - at)
			break;
		memcpy(aligned.bytes, bytes + at, size);
		at += size;
		int result = fn(ctx, aligned.bytes, size);

		if (result < 0)
			return result;
	}
	*used = at;
	return 0;
}

uint64_t stock_start_ticks(const void *stat, size_t len)
{
	const char *text = stat;
	/* The name before it may hold anything. */
	const char *at = len > 0 ? memrchr(text, ')', len) : NULL;
	size_t left = at ? len - (size_t)(at - text) : 0;
	uint64_t ticks = 0;

	for (int field = 2; field < START_FIELD; field++) {
		const char *space = left ? memchr(at, ' ', left) : NULL;

		if (!space)
			return 0;
		left -= (size_t)(space + 1 - at);
		at = space + 1;
	}
	for (size_t i = 0; i < left && at[i] >= '0' && at[i] <= '9'; i++)
		ticks = ticks * 10 + (uint64_t)(at[i] - '0');
	return ticks;
}

static bool same_process(const struct rec_image *image)
{
	AUTO(free_ptr) uint8_t *stat = NULL;
	uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK);
	char path[PROC_PATH_MAX];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%u/stat", image->pid);
	if (files_read(path, STAT_MAX, &stat, &len, NULL) < 0)
		return false;
	return stock_start_ticks(stat, len) == image->start_ns / (NSEC_PER_SEC / per_second);
}

/* The arguments are the last part of the tail: replace them by what procfs says, if that is more
 * and of the length that the kernel gave. */
static size_t complete_args(union record *record, size_t len)
{
	struct rec_exec *exec = &record->exec;
	AUTO(free_ptr) uint8_t *args = NULL;
	size_t start = len - exec->args_len, got;
	char path[PROC_PATH_MAX];

	(void)snprintf(path, sizeof(path), "/proc/%u/cmdline", exec->h.actor.image.pid);
	if (files_read(path, MiB(8), &args, &got, NULL) < 0 || !same_process(&exec->h.actor.image))
		return len;
	if (got != exec->args_bytes)
		return len;
	if (got > REC_ARGS_MAX)
		got = REC_ARGS_MAX;
	if (got <= exec->args_len || start + got > sizeof(record->bytes))
		return len;
	memcpy(record->bytes + start, args, got);
	exec->args_len = (uint32_t)got;
	exec->h.flags &= (uint16_t) ~(REC_TRUNCATED | REC_ARGS_UNREAD);
	if (exec->args_len < exec->args_bytes)
		exec->h.flags |= REC_TRUNCATED;
	exec->h.len = (uint32_t)(start + got);
	return start + got;
}

static int process(void *ctx, const void *data, size_t len)
{
	struct stock *s = ctx;
	struct rec_exec *exec = &s->record.exec;

	if (len < sizeof(*exec) || len > sizeof(s->record))
		return -EBADMSG;
	memcpy(s->record.bytes, data, len);
	if (exec->args_len > len - sizeof(*exec))
		return -EBADMSG;
	if (exec->h.flags & REC_TRUNCATED)
		len = complete_args(&s->record, len);
	s->n++;
	return s->fn(s->ctx, s->record.bytes, len);
}

static int socket_found(void *ctx, const void *data, size_t len)
{
	struct stock *s = ctx;

	s->n++;
	return s->fn(s->ctx, data, len);
}

static int read_all(int fd, ring_fn each, struct stock *s)
{
	AUTO(free_ptr) uint8_t *bytes = malloc(READ_BYTES_MAX);
	size_t have = 0, used;

	if (!bytes)
		return -ENOMEM;
	for (;;) {
		ssize_t got = read(fd, bytes + have, READ_BYTES_MAX - have);

		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return have ? -EBADMSG : s->n;
		have += (size_t)got;
		int r = stock_split(bytes, have, each, s, &used);

		if (r < 0)
			return r;
		memmove(bytes, bytes + used, have - used);
		have -= used;
	}
}

static int iterate(const struct hooks *h, enum rec_class class, ring_fn each, ring_fn fn, void *ctx,
		   struct error *e)
{
	AUTO(free_ptr) struct stock *s = malloc(sizeof(*s));
	AUTO(close_fd) int fd = -1;
	int r;

	if (!s)
		return error_set(e, -ENOMEM, "cannot take stock: %m");
	s->fn = fn;
	s->ctx = ctx;
	s->n = 0;
	r = hooks_iterate(h, class, &fd, e);
	if (r < 0)
		return r;
	r = read_all(fd, each, s);
	return r < 0 ? error_set(e, r, "cannot take stock of what exists already: %m") : r;
}

int stock_processes(const struct hooks *h, ring_fn fn, void *ctx, struct error *e)
{
	return iterate(h, REC_CLASS_STOCK_PROCESS, process, fn, ctx, e);
}

int stock_sockets(const struct hooks *h, ring_fn fn, void *ctx, struct error *e)
{
	return iterate(h, REC_CLASS_STOCK_SOCKET, socket_found, fn, ctx, e);
}
