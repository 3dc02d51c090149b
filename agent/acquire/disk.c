/* SPDX-License-Identifier: Apache-2.0 */
/* A block device or partition as a raw image. It is opened for reading only and read past the page cache (which
 * the host's own work needs), through the first process's root, so that an agent in a container names the host's
 * devices. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/acquire/acquire.h"
#include "agent/acquire/disk_copy.h"
#include "agent/acquire/disk_use.h"
#include "agent/acquire/host_root.h"
#include "proto/base/files.h"

static int64_t read_device(void *ctx, uint64_t offset, void *buf, size_t len)
{
	const int *fd = ctx;

	for (;;) {
		ssize_t n = pread(*fd, buf, len, (off_t)offset);

		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

static int open_device(const struct acquire_request *r, int *ret_fd, struct stat *ret_st,
		       struct error *e)
{
	const ProtobufCBinaryData *name = &r->order->disk->device;
	char path[PATH_MAX], root[HOST_ROOT_MAX];
	int n = snprintf(path, sizeof(path), "%s%.*s", host_root(r, root), (int)name->len,
			 (const char *)name->data);

	if (n >= (int)sizeof(path) || name->len == 0 || name->data[0] != '/' ||
	    memchr(name->data, '\0', name->len) != NULL)
		return error_set(e, -EINVAL, "the device's name is no absolute path");
	/* Where it cannot be read directly (some virtual devices) it is read as it can. */
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 && errno == EINVAL)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, ret_st) < 0)
		return error_set(e, -errno, "cannot open the device %.*s: %m", (int)name->len,
				 (const char *)name->data);
	if (!S_ISBLK(ret_st->st_mode))
		return error_set(e, -ENOTBLK, "%.*s is no block device", (int)name->len,
				 (const char *)name->data);
	*ret_fd = take_fd(&fd);
	return 0;
}

static int measure(int fd, struct disk_reader *ret, struct error *e)
{
	int logical = 0;

	if (ioctl(fd, BLKGETSIZE64, &ret->bytes) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0)
		return error_set(e, -errno, "cannot ask the device for its size: %m");
	if (logical < 512 || (size_t)logical > DISK_READ_BYTES || (logical & (logical - 1)) != 0)
		return error_set(e, -EINVAL, "the device has sectors of %d bytes", logical);
	ret->sector = (uint32_t)logical;
	return 0;
}

/* One line of /sys/dev/block/MAJOR:MINOR/NAME as a note, where it is. */
static int note_line(const struct acquire_request *r, struct output *o, dev_t device,
		     const char *name, const char *key, struct error *e)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	(void)snprintf(path, sizeof(path), "%s/dev/block/%u:%u/%s", r->sys, major(device),
		       minor(device), name);
	if (files_read(path, KiB(4) - 1, &text, &len, NULL) < 0)
		return 0;
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	return output_note_bytes(o, key, text, len, e);
}

static int note_device(const struct acquire_request *r, struct output *o, dev_t device, int fd,
		       const struct disk_reader *d, struct error *e)
{
	static const struct {
		const char *name, *key;
	} lines[] = {
		{ "device/model", "disk.model" },  { "device/serial", "disk.serial" },
		{ "partition", "disk.partition" }, { "start", "disk.start_sector" },
		{ "dm/name", "disk.mapper_name" },
	};
	int physical = 0, read_only = 0;
	int result = output_note_u64(o, "disk.bytes", d->bytes, e);

	(void)ioctl(fd, BLKPBSZGET, &physical);
	(void)ioctl(fd, BLKROGET, &read_only);
	if (result == 0)
		result = output_note_u64(o, "disk.sector_bytes", d->sector, e);
	if (result == 0)
		result = output_note_u64(o, "disk.physical_sector_bytes", (uint64_t)physical, e);
	if (result == 0)
		result = output_note_u64(o, "disk.read_only", read_only != 0, e);
	for (size_t i = 0; result == 0 && i < ARRAY_LEN(lines); i++)
		result = note_line(r, o, device, lines[i].name, lines[i].key, e);
	return result;
}

/* What is in use goes on changing while it is read. */
static int warn_used(const struct acquire_request *r, struct output *o, dev_t device,
		     struct error *e)
{
	char by[DISK_USE_MAX];

	disk_use_find(r, device, by);
	return by[0] == '\0' ?
		       0 :
		       output_warn(
			       o, false, e,
			       "%s: what changed while the device was read is of no one instant",
			       by);
}

int acquire_disk(const struct acquire_request *r, struct output *o, struct error *e)
{
	AUTO(close_fd) int fd = -1;
	struct disk_reader d = { .read = read_device, .ctx = &fd };
	struct disk_result done = { 0 };
	struct stat st;
	int result = open_device(r, &fd, &st, e);

	if (result == 0)
		result = measure(fd, &d, e);
	if (result == 0)
		result = note_device(r, o, st.st_rdev, fd, &d, e);
	if (result == 0)
		result = warn_used(r, o, st.st_rdev, e);
	if (result == 0)
		result = disk_copy(&d, o, &done, e);
	if (result == 0)
		result = output_note_u64(o, "disk.unreadable_bytes", done.unreadable, e);
	return result == 0 ? output_note_u64(o, "disk.read_bytes", done.read, e) : result;
}
