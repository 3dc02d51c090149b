/* SPDX-License-Identifier: Apache-2.0 */
/* A device copied to an item, byte for byte; what cannot be read is filled with zeros in its place, so that all
 * else lies where it lay, and listed to the sector. The reader is given, so that failing sectors can be tested
 * without a failing disk. */
#ifndef ACQUIRE_DISK_COPY_H
#define ACQUIRE_DISK_COPY_H

#include "agent/acquire/output.h"

#define DISK_READ_BYTES OUTPUT_CHUNK_BYTES

struct disk_reader {
	uint64_t bytes; /* of the device */
	uint32_t sector; /* bytes: the unit that fails or does not; a power of two, 512..DISK_READ_BYTES */
	/* len bytes at offset, both multiples of sector (but for the device's end). Returns bytes read, > 0; or
	 * negative errno: the first sector cannot be read. */
	int64_t (*read)(void *ctx, uint64_t offset, void *buf, size_t len);
	void *ctx;
};

struct disk_result {
	uint64_t read; /* bytes */
	uint64_t unreadable; /* bytes */
	uint64_t runs; /* of unreadable sectors: lines of the table */
};

/* disk.raw and disk.unreadable.jsonl. A device that ends early is told of and ends the image. -ECANCELED from
 * the output ends the image and is told of, 0 is returned. */
MUST_CHECK int disk_copy(const struct disk_reader *d, struct output *o, struct disk_result *ret,
			 struct error *e);

#endif
