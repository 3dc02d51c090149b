/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_pending.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"

#define PREFIX "pending-"
#define NAME_MAX_LEN 40
#define FILE_MAGIC "EXHLPEND"
#define FILE_VERSION 1
#define NONCE_LEN 16
#define HEAD_LEN (8 + 4 + NONCE_LEN + 4)
#define RECORD_MAGIC 0x4c485845U /* "EXHL" */
#define RECORD_HEAD (4 + 4 + 8 + 8 + 4)
#define BODY_MAX KiB(64)

struct pending {
	int dirfd, fd;
	uint64_t seq, length; /* durable */
	uint8_t nonce[NONCE_LEN];
	bool broken;
};

/* ---- lists ---- */

void leaves_release(struct leaves *l)
{
	leaves_drop(l, l->n);
	free(l->at);
	*l = (struct leaves){ 0 };
}

int leaves_reserve(struct leaves *l, size_t n)
{
	size_t max = l->max ? l->max : 256;
	struct leaf **at;

	while (max < l->n + n)
		max *= 2;
	if (max == l->max)
		return 0;
	at = reallocarray(l->at, max, sizeof(*at));
	if (!at)
		return -ENOMEM;
	l->at = at;
	l->max = max;
	return 0;
}

void leaves_push(struct leaves *l, struct leaf *leaf)
{
	l->bytes += leaf->len;
	l->at[l->n++] = leaf;
}

void leaves_drop(struct leaves *l, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		l->bytes -= l->at[i]->len;
		free(l->at[i]);
	}
	if (n > 0)
		memmove(l->at, l->at + n, (l->n - n) * sizeof(*l->at));
	l->n -= n;
	l->first += n;
}

/* Keep only what is below index. */
static void cut_to(struct leaves *l, uint64_t index)
{
	while (l->n > 0 && l->first + l->n > index) {
		l->bytes -= l->at[l->n - 1]->len;
		free(l->at[--l->n]);
	}
}

/* ---- writing ---- */

static const char *file_name(uint64_t seq, char buf[static NAME_MAX_LEN])
{
	(void)snprintf(buf, NAME_MAX_LEN, PREFIX "%016" PRIx64, seq);
	return buf;
}

/* Over the file's own nonce too: bytes inside a leaf, or of another file, cannot pass for a record. */
static uint32_t sum(const uint8_t nonce[static NONCE_LEN], const void *data, size_t len)
{
	return (uint32_t)crc32(crc32(0, nonce, NONCE_LEN), data, (uInt)len);
}

int pending_make(int dirfd, uint64_t seq, struct pending **ret, struct error *e)
{
	AUTO(pending_close_ptr) struct pending *p = calloc(1, sizeof(*p));
	uint8_t head[HEAD_LEN];
	struct writer w = writer_init(head, sizeof(head));
	char name[NAME_MAX_LEN];
	int r;

	if (!p || RAND_bytes(p->nonce, NONCE_LEN) != 1)
		return error_set(e, -ENOMEM, "cannot make a file for pending leaves: %m");
	p->fd = openat(dirfd, file_name(seq, name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (p->fd < 0)
		return error_set(e, -errno, "cannot make '%s': %m", name);
	writer_bytes(&w, FILE_MAGIC, 8);
	writer_u32(&w, FILE_VERSION);
	writer_bytes(&w, p->nonce, NONCE_LEN);
	writer_u32(&w, sum(p->nonce, head, w.done));
	r = files_write_all(p->fd, head, sizeof(head), e);
	if (!r && (fsync(p->fd) < 0 || fsync(dirfd) < 0))
		r = error_set(e, -errno, "cannot sync '%s': %m", name);
	if (r) {
		(void)unlinkat(dirfd, name, 0);
		return r;
	}
	p->dirfd = dirfd;
	p->seq = seq;
	p->length = HEAD_LEN;
	*ret = TAKE(p);
	return 0;
}

void pending_close(struct pending *p)
{
	if (!p)
		return;
	close_fd(&p->fd);
	free(p);
}

uint64_t pending_seq(const struct pending *p)
{
	return p->seq;
}

uint64_t pending_bytes(const struct pending *p)
{
	return p->length - HEAD_LEN;
}

bool pending_broken(const struct pending *p)
{
	return p->broken;
}

static void write_record(struct writer *w, const struct pending *p, uint64_t index, uint64_t group,
			 const struct leaf *leaf)
{
	uint8_t *head = w->at;
	struct writer back;

	writer_u32(w, RECORD_MAGIC);
	writer_u32(w, 0);
	writer_u64(w, index);
	writer_u64(w, group);
	writer_u32(w, leaf->len);
	writer_bytes(w, leaf->bytes, leaf->len);
	back = writer_init(head + 4, 4);
	writer_u32(&back, sum(p->nonce, head + 8, RECORD_HEAD - 8 + leaf->len));
}

static int write_durably(struct pending *p, const uint8_t *data, size_t len, struct error *e)
{
	int r;

	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(p->fd, data + done, len - done, (off_t)(p->length + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : -EIO;
			/* Taken back, it is as if nothing had been written. */
			if (ftruncate(p->fd, (off_t)p->length) < 0 || r != -ENOSPC)
				p->broken = true;
			return error_set(e, r, "cannot write to the ledger's pending leaves: %m");
		}
		done += (size_t)n;
	}
	if (fdatasync(p->fd) < 0) {
		r = -errno;
		p->broken = true;
		return error_set(e, r, "cannot sync the ledger's pending leaves: %m");
	}
	p->length += len;
	return 0;
}

int pending_append(struct pending *p, uint64_t first, struct leaf *const *leaves, size_t n,
		   struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	struct writer w;
	size_t len = 0;

	if (p->broken)
		return error_set(e, -EIO, "a file of pending leaves is not written any more");
	for (size_t i = 0; i < n; i++)
		len += RECORD_HEAD + leaves[i]->len;
	data = malloc(len + 1);
	if (!data)
		return error_set(e, -ENOMEM, "cannot append to the ledger: %m");
	w = writer_init(data, len);
	for (size_t i = 0; i < n; i++)
		write_record(&w, p, first + i, first, leaves[i]);
	if (w.bad || w.done != len)
		return error_set(e, -EINVAL,
				 "cannot append to the ledger: a leaf changed its size");
	return write_durably(p, data, len, e);
}

/* ---- reading ---- */

struct record {
	uint64_t index, group;
	const uint8_t *body;
	uint32_t len;
};

/* A whole record at the reader's place; the reader is behind it then, else where it was. */
static bool take_record(struct reader *r, const uint8_t nonce[static NONCE_LEN], struct record *ret)
{
	struct reader at = *r;
	const uint8_t *head = at.at;
	uint32_t magic = reader_u32(&at), crc = reader_u32(&at);

	ret->index = reader_u64(&at);
	ret->group = reader_u64(&at);
	ret->len = reader_u32(&at);
	if (at.bad || magic != RECORD_MAGIC || ret->len > BODY_MAX || ret->group > ret->index)
		return false;
	ret->body = reader_bytes(&at, ret->len);
	if (at.bad || sum(nonce, head + 8, RECORD_HEAD - 8 + ret->len) != crc)
		return false;
	*r = at;
	return true;
}

/* A later group stands behind: so what is here was durable, and is damaged. */
static bool later_group(struct reader r, const uint8_t nonce[static NONCE_LEN], uint64_t next)
{
	struct record record;

	while (r.left >= RECORD_HEAD) {
		struct reader at = r;

		if (take_record(&at, nonce, &record) && record.group > next)
			return true;
		reader_skip(&r, 1);
	}
	return false;
}

static int take_leaf(struct leaves *all, const struct record *record, const char *name,
		     struct error *e)
{
	struct leaf *leaf;

	if (record->index < all->first)
		return 0; /* in the checkpoint already */
	if (record->index > all->first + all->n)
		return error_set(e, -EBADMSG,
				 "'%s' goes on with leaf %llu, leaf %" PRIu64 " is nowhere", name,
				 (unsigned long long)record->index, all->first + all->n);
	leaf = malloc(sizeof(*leaf) + record->len);
	if (!leaf || leaves_reserve(all, 1) < 0) {
		free(leaf);
		return error_set(e, -ENOMEM, "cannot read pending leaves: %m");
	}
	leaf->len = record->len;
	memcpy(leaf->bytes, record->body, record->len);
	leaves_push(all, leaf);
	return 0;
}

/* What is no record: of a group that was not reported, or damage. */
static int judge(struct reader *r, const uint8_t nonce[static NONCE_LEN], uint64_t next, size_t at,
		 const char *name, struct error *e)
{
	if (later_group(*r, nonce, next))
		return error_set(e, -EBADMSG, "'%s' is damaged at byte %zu, before leaf %llu", name,
				 at, (unsigned long long)next);
	log_warn("the torn end of a file of pending leaves is cut; none of it was reported",
		 KV_STR("file", name), KV_U64("byte", at));
	return 0;
}

static int take_records(struct reader *r, const uint8_t nonce[static NONCE_LEN], const char *name,
			struct leaves *all, struct error *e)
{
	size_t len = HEAD_LEN + r->left;
	struct record record;
	uint64_t next = 0;

	for (bool first = true; r->left > 0; first = false) {
		struct reader before = *r;
		int x;

		if (!take_record(r, nonce, &record) || (!first && record.index != next))
			return judge(&before, nonce, next, len - before.left, name, e);
		/* The file before was given up: what it holds from here on was never reported. */
		if (first)
			cut_to(all, record.index);
		x = take_leaf(all, &record, name, e);
		if (x < 0)
			return x;
		next = record.index + 1;
	}
	return 0;
}

static int read_file(int dirfd, uint64_t seq, struct leaves *all, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	uint8_t nonce[NONCE_LEN];
	char name[NAME_MAX_LEN];
	struct reader r;
	size_t len;
	int x = files_read_at(dirfd, file_name(seq, name), PENDING_FILE_MAX, &data, &len, e);

	if (x < 0)
		return x;
	r = reader_init(data, len);
	reader_skip(&r, 8 + 4);
	reader_copy(&r, nonce, NONCE_LEN);
	if (reader_u32(&r) != sum(nonce, data, len < HEAD_LEN ? 0 : HEAD_LEN - 4) || r.bad ||
	    memcmp(data, FILE_MAGIC, 8) != 0)
		return len <= HEAD_LEN ?
			       0 /* cut off while it was made */ :
			       error_set(e, -EBADMSG, "the head of '%s' is damaged", name);
	return take_records(&r, nonce, name, all, e);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool parse_name(const char *name, uint64_t *ret)
{
	char *end = NULL;
	char again[NAME_MAX_LEN];

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return false;
	*ret = strtoull(name + strlen(PREFIX), &end, 16);
	return strcmp(file_name(*ret, again), name) == 0;
}

/* Numbers of the files, ascending, malloc'ed. */
static int list(int dirfd, uint64_t **ret, size_t *ret_n, struct error *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t max = 0;
	int r = 0;

	*ret = NULL;
	*ret_n = 0;
	if (!d) {
		r = error_set(e, -errno, "cannot read the ledger's folder: %m");
		close_fd(&fd);
		return r;
	}
	for (const struct dirent *entry; !r && (entry = readdir(d)) != NULL;) {
		uint64_t seq;

		if (!parse_name(entry->d_name, &seq))
			continue;
		if (*ret_n == max) {
			size_t more = max ? 2 * max : 16;
			uint64_t *at = reallocarray(*ret, more, sizeof(*at));

			if (!at) {
				r = error_set(e, -ENOMEM, "cannot read the ledger's folder: %m");
				break;
			}
			*ret = at;
			max = more;
		}
		(*ret)[(*ret_n)++] = seq;
	}
	(void)closedir(d);
	if (*ret_n > 0)
		qsort(*ret, *ret_n, sizeof(**ret), compare);
	return r;
}

int pending_read_all(int dirfd, uint64_t size, struct leaves *ret, uint64_t *ret_last,
		     struct error *e)
{
	AUTO(free_ptr) uint64_t *seqs = NULL;
	size_t n = 0;
	int r = list(dirfd, &seqs, &n, e);

	*ret = (struct leaves){ .first = size };
	*ret_last = n > 0 ? seqs[n - 1] : 0;
	for (size_t i = 0; i < n && !r; i++)
		r = read_file(dirfd, seqs[i], ret, e);
	if (r) {
		leaves_release(ret);
		error_hint(
			e,
			"leaves that no checkpoint holds yet are lost; to go on without them, move "
			"the ledger's 'pending-' files aside");
	}
	return r;
}

void pending_remove(int dirfd, uint64_t seq)
{
	AUTO(free_ptr) uint64_t *seqs = NULL;
	char name[NAME_MAX_LEN];
	size_t n = 0;

	if (list(dirfd, &seqs, &n, NULL) < 0)
		return; /* at the next checkpoint */
	for (size_t i = 0; i < n; i++)
		if (seqs[i] < seq)
			(void)unlinkat(dirfd, file_name(seqs[i], name), 0);
}
