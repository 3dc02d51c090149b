/* SPDX-License-Identifier: Apache-2.0 */
/* Where an acquirer puts what it reads: items, one after the other or several at once, each a stream of
 * bytes that is hashed while it is read, cut into chunks, compressed and sent. Nothing of it touches the
 * host's disk. Also where it says what must stand in the manifest.
 *
 * The interface is abstract so that acquirers are tested without a connection: output_folder writes plain
 * files. One thread. */
#ifndef ACQUIRE_OUTPUT_H
#define ACQUIRE_OUTPUT_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"

#define OUTPUT_CHUNK_BYTES MiB(1)
#define OUTPUT_ITEMS_MAX 256
#define OUTPUT_OPEN_MAX 16 /* items that are begun and not ended */
#define OUTPUT_NAME_MAX 128 /* [A-Za-z0-9._-], no leading dot */
#define OUTPUT_CLOSING_BYTES MiB(4) /* see output_write */
#define OUTPUT_NOTES_MAX 256 /* keys */
#define OUTPUT_NOTE_MAX KiB(4)

struct output;

/* An item begins. format: see ItemStart in proto/exhibit.proto. expected_bytes: 0 when not known (progress).
 * ret_item: its number, from 1. -EINVAL: the name or the number of items; -ECANCELED: see output_write. */
MUST_CHECK int output_begin(struct output *o, const char *name, const char *format,
			    uint64_t expected_bytes, uint32_t *ret_item, struct error *e);
/* The next bytes of an item. Blocks while the way to the collector is full (back-pressure) or the rate limit
 * says so. -ECANCELED: the order's limit of bytes or time is used up, or it was told to stop: what fitted was
 * taken; end the item, and finish with what there is. So that formats can be closed (a tar's end, a side
 * table), OUTPUT_CLOSING_BYTES more are taken in all after the first -ECANCELED. -EPIPE: the other side is
 * gone, give up. */
MUST_CHECK int output_write(struct output *o, uint32_t item, const void *data, size_t len,
			    struct error *e);
/* What was written of an item goes on its way now, however little it is: somebody watches. Each call makes a chunk of
 * its own; call it a few times a second at most. */
MUST_CHECK int output_flush(struct output *o, uint32_t item, struct error *e);
/* len zero bytes, without sending them. */
MUST_CHECK int output_zeros(struct output *o, uint32_t item, uint64_t len, struct error *e);
/* The item is whole as far as it goes. status: NULL, or one sentence of what it lacks (it then shows as
 * incomplete in the manifest). ret_hash may be NULL. */
MUST_CHECK int output_end(struct output *o, uint32_t item, const char *status,
			  struct seal_hash *ret_hash, struct error *e);
/* Bytes that the order's limit still allows, of all items together; UINT64_MAX: it has none. An archive's entry,
 * which is of no use cut, is begun when it fits. */
uint64_t output_left(const struct output *o);
/* Bytes written to an item so far. */
uint64_t output_bytes(const struct output *o, uint32_t item);

/* A fact for the manifest under "method": key like "source" or "frozen_ns" (ECS style, [a-z0-9_.]), set once
 * or again. Text is bytes of any kind. At most 256 keys, 4 KiB each. */
MUST_CHECK int output_note(struct output *o, const char *key, const char *text, struct error *e);
MUST_CHECK int output_note_bytes(struct output *o, const char *key, const void *data, size_t len,
				 struct error *e);
MUST_CHECK int output_note_u64(struct output *o, const char *key, uint64_t value, struct error *e);
/* Something that could not be read, or is not as asked: one sentence. All are counted; the first 1,000 stand
 * in the manifest, all in the side table that the acquirer makes where one is needed. The exhibit is then
 * "complete: false" when lacking is true. */
MUST_CHECK int output_warn(struct output *o, bool lacking, struct error *e, const char *format, ...)
	PRINTF(4, 5);

/* For tests and for the bench: files in dir (made when missing), notes and warnings as dir/notes.jsonl.
 * max_bytes: 0: no limit. */
MUST_CHECK int output_folder(const char *dir, uint64_t max_bytes, struct output **ret,
			     struct error *e);
void output_free(struct output *o); /* NULL allowed; ends nothing */

#endif
