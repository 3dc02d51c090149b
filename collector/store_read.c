/* SPDX-License-Identifier: Apache-2.0 */
/* The stored bytes behind a reference. */
#include "collector/store_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A segment is open under one of two names, the later one for good. */
static int open_segment(const struct tenant *t, const struct segment_id *id,
			char name[static SEGMENT_NAME_MAX])
{
	int fd = openat(t->dirfd, segment_name_sealed(id, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 && errno == ENOENT)
		fd = openat(t->dirfd, segment_name_open(id, name),
			    O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		fd = openat(t->dirfd, segment_name_sealed(id, name),
			    O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd;
}

static int read_body(const struct tenant *t, const struct segment_id *id, uint64_t offset,
		     enum frame_kind kind, uint8_t **ret_body, size_t *ret_len, struct error *e)
{
	char name[SEGMENT_NAME_MAX];
	AUTO(close_fd) int fd = open_segment(t, id, name);
	AUTO(free_ptr) uint8_t *body = NULL;
	struct frame f;
	int r;

	if (fd < 0)
		return error_set(e, -errno, "cannot open segment '%s': %m", name);
	r = segment_read_frame(segment_pread, &fd, id, offset, &f, &body, e);
	if (!r && f.kind != kind)
		r = error_set(e, -EBADMSG, "byte %llu: a frame of another kind",
			      (unsigned long long)offset);
	if (r) {
		if (r == -EBADMSG)
			error_hint(e, "run 'exhibit-collector check' to see what is damaged");
		return error_wrap(e, r, "segment '%s'", name);
	}
	*ret_body = TAKE(body);
	*ret_len = f.length;
	return 0;
}

int segment_body(const struct segment *g, uint64_t offset, enum frame_kind kind, uint8_t **ret_body,
		 size_t *ret_len, struct error *e)
{
	return read_body(g->tenant, &g->id, offset, kind, ret_body, ret_len, e);
}

int store_read(struct store *s, const struct store_ref *ref, uint8_t **ret_bytes, size_t *ret_len,
	       struct error *e)
{
	struct segment_id id;
	const struct tenant *t;
	bool known;

	memcpy(id.b, ref->segment, SEGMENT_ID_LEN);
	/* Tenants live as long as the store; a segment may go at any time, which the open file survives. */
	(void)pthread_rwlock_rdlock(&s->lock);
	t = store_tenant(s, &ref->tenant);
	known = t && tenant_segment(t, &id);
	(void)pthread_rwlock_unlock(&s->lock);
	if (!known)
		return error_set(e, -ENOENT, "the segment of this batch was removed by retention");
	return read_body(t, &id, ref->offset, (enum frame_kind)ref->kind, ret_bytes, ret_len, e);
}
