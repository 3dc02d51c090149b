/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/segment_writer.h"

#include "collector/durable_mark.h"
#include "collector/token_log.h"
#include "proto/base/writer.h"
#include "proto/merkle.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define HASH_CHUNK KiB(256)
#define INDEX_TMP ".tmp"

struct segment_writer {
	int dirfd, fd;
	struct segment_begin begin;
	uint64_t durable; /* length of the file */
	uint32_t frames, ordinal; /* whole ones; number of the next */
	bool frozen;
	EVP_MD_CTX *sha; /* over all durable bytes */
	struct merkle *merkle; /* over all durable bodies */
	struct segment_table table;
	struct token_log *log; /* NULL: there is none */
	struct durable_marker *marker; /* likewise */
};

static const char *name_make(const struct segment_id *id, char buf[static SEGMENT_NAME_MAX],
			     const char *before, const char *after)
{
	char text[SEGMENT_ID_TEXT];

	(void)snprintf(buf, SEGMENT_NAME_MAX, "%s%s%s", before, segment_id_text(id, text), after);
	return buf;
}

const char *segment_name_open(const struct segment_id *id, char buf[static SEGMENT_NAME_MAX])
{
	return name_make(id, buf, "open-", ".seg");
}

const char *segment_name_sealed(const struct segment_id *id, char buf[static SEGMENT_NAME_MAX])
{
	return name_make(id, buf, "", ".seg");
}

const char *segment_name_index(const struct segment_id *id, char buf[static SEGMENT_NAME_MAX])
{
	return name_make(id, buf, "", ".idx");
}

void segment_writer_free(struct segment_writer *w)
{
	if (!w)
		return;
	close_fd(&w->fd);
	EVP_MD_CTX_free(w->sha);
	merkle_free(w->merkle);
	token_log_free(w->log);
	durable_marker_free(w->marker);
	segment_table_release(&w->table);
	free(w);
}

struct segment_table *segment_writer_table(struct segment_writer *w)
{
	return &w->table;
}

const struct segment_begin *segment_writer_begin(const struct segment_writer *w)
{
	return &w->begin;
}

uint64_t segment_writer_bytes(const struct segment_writer *w)
{
	return w->durable;
}

bool segment_writer_frozen(const struct segment_writer *w)
{
	return w->frozen;
}

static int writer_new(int dirfd, const struct segment_begin *b, struct segment_writer **ret_w,
		      struct error *e)
{
	struct segment_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return error_set(e, -ENOMEM, "cannot allocate a segment");
	w->dirfd = dirfd;
	w->fd = -1;
	w->begin = *b;
	segment_table_init(&w->table);
	w->merkle = merkle_new();
	w->sha = EVP_MD_CTX_new();
	if (!w->merkle || !w->sha || EVP_DigestInit_ex(w->sha, EVP_sha256(), NULL) != 1) {
		segment_writer_free(w);
		return error_set(e, -ENOMEM, "cannot allocate a segment");
	}
	*ret_w = w;
	return 0;
}

static int failed(struct segment_writer *w, int code, const char *what, struct error *e)
{
	char name[SEGMENT_NAME_MAX];

	error_set(e, code, "cannot %s segment '%s': %m", what,
		  segment_name_open(&w->begin.id, name));
	error_hint(e, code == -ENOSPC ?
			      "free space below store.dir, or let retention remove more" :
			      "check the disk below store.dir; the file is kept as it is");
	return code;
}

static int freeze(struct segment_writer *w, int code, const char *what, struct error *e)
{
	w->frozen = true;
	failed(w, code, what, e);
	return error_wrap(e, -EIO, "segment abandoned");
}

static bool no_space(int code)
{
	return code == ENOSPC || code == EDQUOT || code == EFBIG;
}

/* All of iov at offset. 0 or negative errno; changes iov. */
static int write_all(int fd, struct iovec *iov, size_t n, uint64_t offset)
{
	while (n > 0) {
		ssize_t done = pwritev(fd, iov, (int)n, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		offset += (uint64_t)done;
		while (n > 0 && (size_t)done >= iov->iov_len) {
			done -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

/* Write at the end and sync; on lack of space the end is where it was. */
static int append(struct segment_writer *w, struct iovec *iov, size_t n, struct error *e)
{
	int r = write_all(w->fd, iov, n, w->durable);

	if (r && no_space(-r) && ftruncate(w->fd, (off_t)w->durable) == 0)
		return failed(w, -ENOSPC, "write to", e);
	if (r)
		return freeze(w, r, "write to", e);
	/* A failed sync loses pages silently: never tried again on this file. */
	if (fdatasync(w->fd) < 0)
		return freeze(w, -errno, "sync", e);
	return 0;
}

static void mark(struct segment_writer *w)
{
	durable_marker_set(w->marker, &(struct durable_mark){ w->durable, w->ordinal });
}

static int hash_frames(struct segment_writer *w, const struct frame *frames,
		       uint8_t heads[][SEGMENT_HEAD], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (EVP_DigestUpdate(w->sha, heads[i], SEGMENT_HEAD) != 1 ||
		    EVP_DigestUpdate(w->sha, frames[i].body, frames[i].length) != 1 ||
		    merkle_add(w->merkle, frames[i].body, frames[i].length))
			return -ENOMEM;
	return 0;
}

int segment_writer_put(struct segment_writer *w, struct frame *frames, size_t n, struct error *e)
{
	uint8_t heads[SEGMENT_GROUP_MAX][SEGMENT_HEAD];
	struct iovec iov[2 * SEGMENT_GROUP_MAX];
	uint64_t at = w->durable;
	int r;

	if (w->frozen || n > SEGMENT_GROUP_MAX)
		return error_set(e, -EIO,
				 "a frozen segment, or a group of %zu frames, cannot be written",
				 n);
	for (size_t i = 0; i < n; i++) {
		struct frame *f = &frames[i];

		f->ordinal = w->ordinal + (uint32_t)i;
		f->group = w->ordinal;
		f->offset = at;
		at += SEGMENT_HEAD + (uint64_t)f->length;
		segment_frame_head(&w->begin.id, f, heads[i]);
		iov[2 * i] = (struct iovec){ heads[i], SEGMENT_HEAD };
		iov[2 * i + 1] = (struct iovec){ (void *)f->body, f->length };
	}
	r = append(w, iov, 2 * n, e);
	if (r)
		return r;
	w->durable = at;
	w->frames += (uint32_t)n;
	w->ordinal += (uint32_t)n;
	mark(w);
	/* Durable in any case; a segment that lost its hashes is sealed from its bytes at the next start. */
	if (hash_frames(w, frames, heads, n))
		w->frozen = true;
	return 0;
}

int segment_writer_create(int dirfd, const struct segment_begin *b, struct segment_writer **ret_w,
			  struct error *e)
{
	AUTO(segment_writer_free_ptr) struct segment_writer *w = NULL;
	uint8_t body[SEGMENT_BEGIN_MAX];
	struct frame f = { .kind = FRAME_BEGIN, .received_ns = b->created_ns, .body = body };
	char name[SEGMENT_NAME_MAX];
	int r = writer_new(dirfd, b, &w, e);

	if (!w)
		return r;
	segment_name_open(&b->id, name);
	w->fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (w->fd < 0) {
		r = no_space(errno) ? -ENOSPC : -errno;
		return error_set(e, r, "cannot make segment '%s': %m", name);
	}
	f.length = (uint32_t)segment_begin_pack(b, body);
	r = segment_writer_put(w, &f, 1, e);
	if (!r && fsync(dirfd) < 0)
		r = failed(w, -EIO, "sync the folder of", e);
	if (!r && w->frozen)
		r = error_set(e, -ENOMEM, "cannot hash the segment '%s'", name);
	if (r) {
		(void)unlinkat(dirfd, name, 0);
		return r;
	}
	w->log = token_log_new(dirfd, &b->id);
	w->marker = durable_marker_new(dirfd, &b->id);
	mark(w);
	*ret_w = TAKE(w);
	return 0;
}

void segment_writer_note(struct segment_writer *w, uint32_t first_row)
{
	token_log_write(w->log, &w->table, first_row);
}

int segment_writer_resume(int dirfd, int fd, const struct segment_begin *b,
			  struct segment_writer **ret_w, struct error *e)
{
	int r = writer_new(dirfd, b, ret_w, e);

	if (!r)
		(*ret_w)->fd = fd;
	return r;
}

int segment_writer_leaf(struct segment_writer *w, const void *body, size_t len)
{
	w->frames++;
	return merkle_add(w->merkle, body, len);
}

int segment_writer_resumed(struct segment_writer *w, uint64_t length, uint32_t ordinal,
			   struct segment_table *table, struct error *e)
{
	AUTO(free_ptr) uint8_t *chunk = malloc(HASH_CHUNK);

	if (!chunk)
		return error_set(e, -ENOMEM, "cannot allocate a buffer to hash a segment");
	for (uint64_t at = 0; at < length;) {
		uint64_t left = length - at;
		ssize_t n = segment_pread(&w->fd, at, chunk,
					  left < HASH_CHUNK ? (size_t)left : HASH_CHUNK);

		if (n <= 0)
			return failed(w, n < 0 ? (int)n : -EIO, "read", e);
		if (EVP_DigestUpdate(w->sha, chunk, (size_t)n) != 1)
			return error_set(e, -ENOMEM, "cannot hash a segment");
		at += (uint64_t)n;
	}
	w->durable = length;
	w->ordinal = ordinal;
	segment_table_release(&w->table);
	w->table = *table;
	segment_table_init(table);
	w->log = token_log_new(w->dirfd, &w->begin.id);
	w->marker = durable_marker_new(w->dirfd, &w->begin.id);
	mark(w);
	segment_writer_note(w, 0);
	return 0;
}

/* ---- sealing ---- */

struct tail {
	uint8_t head[SEGMENT_HEAD];
	uint8_t *body;
	size_t body_len;
	uint8_t trailer[SEGMENT_TRAILER];
	struct seal_hash sha256; /* of the whole file */
	struct seal_hash root;
};

static void tail_release(struct tail *t)
{
	free(t->body);
}

static bool digest_so_far(const EVP_MD_CTX *sha, const struct tail *more, struct seal_hash *ret)
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	bool ok = copy && EVP_MD_CTX_copy_ex(copy, sha) == 1;

	if (ok && more)
		ok = EVP_DigestUpdate(copy, more->head, SEGMENT_HEAD) == 1 &&
		     EVP_DigestUpdate(copy, more->body, more->body_len) == 1 &&
		     EVP_DigestUpdate(copy, more->trailer, SEGMENT_TRAILER) == 1;
	ok = ok && EVP_DigestFinal_ex(copy, ret->b, NULL) == 1;
	EVP_MD_CTX_free(copy);
	return ok;
}

static void end_of(const struct segment_writer *w, struct segment_end *end)
{
	const struct segment_table *t = &w->table;

	*end = (struct segment_end){
		.frames = w->frames,
		.batches = t->batches,
		.tombstones = t->tombstones,
		.events = t->events,
		.first_wall_ns = t->first_wall_ns,
		.last_wall_ns = t->last_wall_ns,
		.first_received_ns = t->first_received_ns,
		.last_received_ns = t->last_received_ns,
		.streams = t->n_streams,
	};
}

/* First and last number of each stream: filled in the streams themselves (the index does the same). */
static void number_streams(struct segment_table *t)
{
	for (uint32_t i = 0; i < t->n_streams; i++) {
		t->streams[i].first_number = UINT64_MAX;
		t->streams[i].last_number = 0;
	}
	for (uint32_t i = 0; i < t->n_rows; i++) {
		const struct row *row = &t->rows[i];
		struct index_stream *s;

		if (row->stream == ROW_NO_STREAM)
			continue;
		s = &t->streams[row->stream];
		if (row->number < s->first_number)
			s->first_number = row->number;
		if (row->number + row->numbers - 1 > s->last_number)
			s->last_number = row->number + row->numbers - 1;
	}
}

static void write_stream(struct writer *out, const struct index_stream *s)
{
	struct segment_end_stream es = {
		.host_id = s->key.host_id,
		.lane = s->key.lane,
		.first_number = s->first_number,
		.last_number = s->last_number,
	};

	memcpy(es.boot_id, s->key.boot_id, BATCH_BOOT_LEN);
	memcpy(es.epoch, s->key.epoch, BATCH_EPOCH_LEN);
	segment_end_stream_write(out, &es);
}

static int tail_make(struct segment_writer *w, struct tail *t, struct error *e)
{
	size_t size = SEGMENT_END_FIXED + (size_t)w->table.end_bytes;
	struct frame f = { .kind = FRAME_END, .ordinal = w->ordinal, .group = w->ordinal };
	struct segment_end end;
	struct writer out;

	t->body = malloc(size);
	end_of(w, &end);
	if (!t->body || !digest_so_far(w->sha, NULL, &end.sha256) ||
	    merkle_root(w->merkle, &end.root))
		return error_set(e, -ENOMEM, "cannot hash a segment to seal it");
	out = writer_init(t->body, size);
	segment_end_write(&out, &end);
	number_streams(&w->table);
	for (uint32_t i = 0; i < w->table.n_streams; i++)
		write_stream(&out, &w->table.streams[i]);
	if (out.bad || out.done > SEGMENT_BODY_MAX)
		return error_set(e, -EFBIG, "a segment has too many streams to be sealed");
	t->body_len = out.done;
	f.body = t->body;
	f.length = (uint32_t)out.done;
	f.received_ns = end.last_received_ns;
	segment_frame_head(&w->begin.id, &f, t->head);
	segment_trailer_pack(w->durable, t->trailer);
	t->root = end.root;
	if (!digest_so_far(w->sha, t, &t->sha256))
		return error_set(e, -ENOMEM, "cannot hash a segment to seal it");
	return 0;
}

static int index_make(struct segment_writer *w, const struct tail *t, struct index_summary *ret,
		      const char *name, struct error *e)
{
	struct segment_table *table = &w->table;
	struct index_source source = {
		.summary = {
			.id = w->begin.id,
			.segment_bytes = w->durable + SEGMENT_HEAD + t->body_len + SEGMENT_TRAILER,
			.segment_sha256 = t->sha256,
			.root = t->root,
			.frames = w->frames,
			.batches = table->batches,
			.events = table->events,
			.first_wall_ns = table->first_wall_ns,
			.last_wall_ns = table->last_wall_ns,
			.first_received_ns = table->first_received_ns,
			.last_received_ns = table->last_received_ns,
		},
		.rows = table->rows,
		.tokens = table->tokens,
		.n_rows = table->n_rows,
		.streams = table->streams,
		.n_streams = table->n_streams,
	};

	return segment_index_write(&source, w->dirfd, name, ret, e);
}

/* From here on the file is complete: nothing may follow, whatever fails. */
static int publish(struct segment_writer *w, const char *index_tmp, struct error *e)
{
	char from[SEGMENT_NAME_MAX], to[SEGMENT_NAME_MAX], index[SEGMENT_NAME_MAX];

	segment_name_open(&w->begin.id, from);
	segment_name_sealed(&w->begin.id, to);
	segment_name_index(&w->begin.id, index);
	if (fchmod(w->fd, 0444) < 0 || fsync(w->fd) < 0)
		return freeze(w, -errno, "make read-only", e);
	if (renameat(w->dirfd, index_tmp, w->dirfd, index) < 0 ||
	    renameat(w->dirfd, from, w->dirfd, to) < 0)
		return freeze(w, -errno, "rename", e);
	if (fsync(w->dirfd) < 0)
		return freeze(w, -errno, "sync the folder of", e);
	return 0;
}

int segment_writer_seal(struct segment_writer *w, struct index_summary *ret_summary,
			struct error *e)
{
	AUTO(tail_release) struct tail t = { .body = NULL };
	char name[SEGMENT_NAME_MAX];
	int r = w->frozen ? error_set(e, -EIO, "an abandoned segment is sealed at the next start") :
			    tail_make(w, &t, e);

	if (r)
		return r;
	(void)name_make(&w->begin.id, name, "", ".idx" INDEX_TMP);
	r = index_make(w, &t, ret_summary, name, e);
	if (!r) {
		struct iovec iov[] = {
			{ t.head, SEGMENT_HEAD },
			{ t.body, t.body_len },
			{ t.trailer, SEGMENT_TRAILER },
		};

		r = append(w, iov, ARRAY_LEN(iov), e);
	}
	if (!r)
		r = publish(w, name, e);
	if (r) {
		(void)unlinkat(w->dirfd, name, 0);
		return r;
	}
	token_log_remove(w->dirfd, &w->begin.id);
	durable_mark_remove(w->dirfd, &w->begin.id);
	return 0;
}
