/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BUFFER_BYTES KiB(256)

int outfile_open(struct outfile *o, int dirfd, const char *name)
{
	*o = (struct outfile){ .fd = -1 };
	o->buffer = malloc(BUFFER_BYTES);
	if (!o->buffer)
		return -ENOMEM;
	o->fd = openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (o->fd < 0) {
		o->error = -errno;
		free(TAKE(o->buffer));
		return o->error;
	}
	return 0;
}

static void write_out(struct outfile *o, const uint8_t *data, size_t len)
{
	while (len > 0 && !o->error) {
		ssize_t n = write(o->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			o->error = -errno;
			return;
		}
		data += n;
		len -= (size_t)n;
	}
}

static void flush(struct outfile *o)
{
	write_out(o, o->buffer, o->used);
	o->used = 0;
}

void outfile_write(struct outfile *o, const void *data, size_t len)
{
	o->offset += len;
	if (o->used + len > BUFFER_BYTES)
		flush(o);
	if (len > BUFFER_BYTES) {
		write_out(o, data, len);
		return;
	}
	if (len > 0)
		memcpy(o->buffer + o->used, data, len);
	o->used += len;
}

int outfile_finish(struct outfile *o, const void *head, size_t head_len)
{
	flush(o);
	if (!o->error && lseek(o->fd, 0, SEEK_SET) < 0)
		o->error = -errno;
	write_out(o, head, head_len);
	if (!o->error && fsync(o->fd) < 0)
		o->error = -errno;
	if (o->fd >= 0 && close(o->fd) < 0 && !o->error)
		o->error = -errno;
	o->fd = -1;
	outfile_close(o);
	return o->error;
}

void outfile_close(struct outfile *o)
{
	close_fd(&o->fd);
	o->fd = -1;
	free(TAKE(o->buffer));
}
