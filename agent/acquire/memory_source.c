/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/memory_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/files.h"

static const struct memory_source_ops *const sources[] = { &memory_kcore_ops, &memory_bpf_ops };

const struct memory_source_ops *memory_source_at(size_t i)
{
	return i < ARRAY_LEN(sources) ? sources[i] : NULL;
}

const char *memory_lockdown(const struct acquire_request *r, char buf[static 32])
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	buf[0] = '\0';
	(void)snprintf(path, sizeof(path), "%s/kernel/security/lockdown", r->sys);
	if (files_read(path, KiB(4), &text, &len, NULL) < 0)
		return buf;
	const char *open = strchr((const char *)text, '[');
	const char *close = open != NULL ? strchr(open, ']') : NULL;

	if (close != NULL && close - open < 32)
		(void)snprintf(buf, 32, "%.*s", (int)(close - open - 1), open + 1);
	return buf;
}

/* ---- /proc/kcore --------------------------------------------------------------------------------- */

struct kcore {
	int fd;
	struct memory_kcore map;
};

static void kcore_close(void *ctx)
{
	struct kcore *k = ctx;

	if (k == NULL)
		return;
	memory_kcore_release(&k->map);
	close_fd(&k->fd);
	free(k);
}

static int read_head(struct kcore *k, struct error *e)
{
	AUTO(free_ptr) uint8_t *head = malloc(MEMORY_HEAD_MAX);
	size_t len = 0;

	if (head == NULL)
		return error_set(e, -ENOMEM, "cannot read /proc/kcore: out of memory");
	while (len < MEMORY_HEAD_MAX) {
		ssize_t n = pread(k->fd, head + len, MEMORY_HEAD_MAX - len, (off_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	return memory_kcore_parse(head, len, &k->map, e);
}

static int kcore_open(const struct acquire_request *r, void **ret, struct error *e)
{
	struct kcore *k = calloc(1, sizeof(*k));
	char path[PATH_MAX];

	if (k == NULL)
		return error_set(e, -ENOMEM, "cannot read /proc/kcore: out of memory");
	(void)snprintf(path, sizeof(path), "%s/kcore", r->proc);
	k->fd = open(path, O_RDONLY | O_CLOEXEC);
	int result = k->fd < 0 ? error_set(e, -errno, "cannot open %s: %m", path) : read_head(k, e);

	if (result < 0)
		kcore_close(k);
	else
		*ret = k;
	return result;
}

static int64_t kcore_read(void *ctx, uint64_t phys, void *buf, size_t len)
{
	struct kcore *k = ctx;
	const struct memory_segment *s = memory_segment_at(&k->map, phys);

	if (s == NULL || phys < s->first)
		return -EIO;
	if (len > s->last - phys + 1)
		len = (size_t)(s->last - phys + 1);
	for (;;) {
		ssize_t n = pread(k->fd, buf, len, (off_t)(s->offset + (phys - s->first)));

		if (n > 0)
			return n;
		if (n == 0 || errno != EINTR)
			return -EIO;
	}
}

static bool kcore_next(void *ctx, uint64_t phys, uint64_t *ret_first, uint64_t *ret_last)
{
	struct kcore *k = ctx;
	const struct memory_segment *s = memory_segment_at(&k->map, phys);

	if (s == NULL)
		return false;
	*ret_first = phys > s->first ? phys : s->first;
	*ret_last = s->last;
	return true;
}

static const char *kcore_note(void *ctx, size_t *ret_len)
{
	struct kcore *k = ctx;

	*ret_len = k->map.note_len;
	return k->map.note;
}

static uint64_t kcore_direct_map(void *ctx)
{
	struct kcore *k = ctx;

	return k->map.direct_map;
}

const struct memory_source_ops memory_kcore_ops = {
	.name = "kcore",
	.open = kcore_open,
	.read = kcore_read,
	.next = kcore_next,
	.note = kcore_note,
	.direct_map = kcore_direct_map,
	.close = kcore_close,
};
