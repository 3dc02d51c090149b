/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders_nonces.h"

#include <errno.h>
#include <fcntl.h>
#include <zlib.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"

#define MAGIC "EXHNONC1"
#define HEAD_LEN 20
#define CALLER_LEN 8
#define RECORD_LEN 44
#define KEEP_NS (24 * 3600 * (int64_t)NSEC_PER_SEC) /* after they expired */
#define FILE_MAX (HEAD_LEN + (size_t)NONCES_MAX * RECORD_LEN)

struct nonce {
	uint8_t id[ORDER_ID_LEN];
	int64_t expires_ns, taken_ns;
	uint8_t caller[CALLER_LEN];
};

struct nonces {
	int fd;
	char *path;
	bool broken; /* a write failed: what the file holds is not known */
	int64_t horizon_ns;
	size_t n;
	struct nonce at[NONCES_MAX];
};

static void put_sum(struct writer *w, const uint8_t *from, size_t len)
{
	writer_u32(w, (uint32_t)crc32(0, from, (uInt)len));
}

static void put_head(const struct nonces *n, uint8_t buf[static HEAD_LEN])
{
	struct writer w = writer_init(buf, HEAD_LEN);

	writer_bytes(&w, MAGIC, 8);
	writer_u64(&w, (uint64_t)n->horizon_ns);
	put_sum(&w, buf, 16);
}

static void put_record(const struct nonce *o, uint8_t buf[static RECORD_LEN])
{
	struct writer w = writer_init(buf, RECORD_LEN);

	writer_bytes(&w, o->id, sizeof(o->id));
	writer_u64(&w, (uint64_t)o->expires_ns);
	writer_u64(&w, (uint64_t)o->taken_ns);
	writer_bytes(&w, o->caller, sizeof(o->caller));
	put_sum(&w, buf, RECORD_LEN - 4);
}

static bool get_head(struct nonces *n, struct reader *r)
{
	const uint8_t *from = r->at;
	uint8_t magic[8];

	reader_copy(r, magic, sizeof(magic));
	n->horizon_ns = (int64_t)reader_u64(r);
	uint32_t sum = reader_u32(r);

	return !r->bad && memcmp(magic, MAGIC, sizeof(magic)) == 0 &&
	       sum == (uint32_t)crc32(0, from, 16);
}

static bool get_record(struct nonce *o, struct reader *r)
{
	const uint8_t *from = r->at;

	reader_copy(r, o->id, sizeof(o->id));
	o->expires_ns = (int64_t)reader_u64(r);
	o->taken_ns = (int64_t)reader_u64(r);
	reader_copy(r, o->caller, sizeof(o->caller));
	uint32_t sum = reader_u32(r);

	return !r->bad && sum == (uint32_t)crc32(0, from, RECORD_LEN - 4);
}

/* The last record may be torn: it was not taken. */
static int parse(struct nonces *n, const uint8_t *data, size_t len, struct error *e)
{
	struct reader r = reader_init(data, len);

	if (len == 0)
		return 0;
	if (!get_head(n, &r))
		return error_set(e, -EBADMSG, "'%s' is damaged at its beginning", n->path);
	while (r.left > 0 && n->n < NONCES_MAX) {
		bool last = r.left <= RECORD_LEN;

		if (get_record(&n->at[n->n], &r))
			n->n++;
		else if (!last)
			return error_set(e, -EBADMSG, "'%s' is damaged at byte %zu", n->path,
					 HEAD_LEN + n->n * RECORD_LEN);
	}
	return 0;
}

static void forget_old(struct nonces *n, int64_t now_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < n->n; i++) {
		if (n->at[i].expires_ns + KEEP_NS >= now_ns)
			n->at[kept++] = n->at[i];
		else if (n->at[i].expires_ns > n->horizon_ns)
			n->horizon_ns = n->at[i].expires_ns;
	}
	n->n = kept;
}

static int write_all(struct nonces *n, struct error *e)
{
	size_t len = HEAD_LEN + n->n * RECORD_LEN;
	AUTO(free_ptr) uint8_t *data = malloc(len);

	if (data == NULL)
		return error_set(e, -ENOMEM, "cannot write '%s': out of memory", n->path);
	put_head(n, data);
	for (size_t i = 0; i < n->n; i++)
		put_record(&n->at[i], data + HEAD_LEN + i * RECORD_LEN);
	int r = files_replace(n->path, data, len, 0600, e);

	if (r < 0)
		return r;
	n->fd = open(n->path, O_WRONLY | O_CLOEXEC);
	return n->fd < 0 ? error_set(e, -errno, "cannot open '%s': %m", n->path) : 0;
}

static void nonces_free_ptr(struct nonces **n)
{
	nonces_free(*n);
}

int nonces_open(const char *path, int64_t now_ns, struct nonces **ret, struct error *e)
{
	AUTO(nonces_free_ptr) struct nonces *n = calloc(1, sizeof(*n));
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;

	if (n == NULL)
		return error_set(e, -ENOMEM, "cannot remember orders: out of memory");
	n->fd = -1;
	n->horizon_ns = INT64_MIN;
	n->path = strdup(path);
	if (n->path == NULL)
		return error_set(e, -ENOMEM, "cannot remember orders: out of memory");
	int r = files_read(path, FILE_MAX, &data, &len, e);

	if (r == -ENOENT)
		r = 0;
	if (r == 0)
		r = parse(n, data, len, e);
	if (r < 0) {
		error_hint(
			e,
			"no order runs: any might be a repetition; once all orders of before have "
			"expired, remove it");
		return error_wrap(e, r, "cannot tell which orders were taken before");
	}
	forget_old(n, now_ns);
	r = write_all(n, e);
	if (r == 0)
		*ret = TAKE(n);
	return r;
}

void nonces_free(struct nonces *n)
{
	if (n == NULL)
		return;
	close_fd(&n->fd);
	free(n->path);
	free(n);
}

bool nonces_known(const struct nonces *n, const uint8_t id[static ORDER_ID_LEN])
{
	for (size_t i = n->n; i > 0; i--)
		if (memcmp(n->at[i - 1].id, id, ORDER_ID_LEN) == 0)
			return true;
	return false;
}

static void hash_caller(const char *caller, uint8_t ret[static CALLER_LEN])
{
	struct seal_hash h = { { 0 } };

	/* Out of memory: counted with others for whom there was none. */
	(void)!seal_sha256(caller, strlen(caller), &h);
	memcpy(ret, h.b, CALLER_LEN);
}

static int append(struct nonces *n, const struct nonce *o, struct error *e)
{
	uint8_t record[RECORD_LEN];

	put_record(o, record);
	errno = ENOSPC; /* of a short write */
	if (pwrite(n->fd, record, RECORD_LEN, (off_t)(HEAD_LEN + n->n * RECORD_LEN)) !=
	    RECORD_LEN) {
		int saved = errno;

		(void)error_set(e, -saved, "cannot remember the order in '%s': %m", n->path);
		error_hint(e, "the order did not run; free space there, and give it again");
		return -saved;
	}
	/* After this fails nobody knows what the disk holds, however often it is asked again. */
	if (fdatasync(n->fd) < 0) {
		n->broken = true;
		return error_set(e, -errno, "cannot remember the order in '%s': %m", n->path);
	}
	n->at[n->n++] = *o;
	return 0;
}

int nonces_take(struct nonces *n, const uint8_t id[static ORDER_ID_LEN], int64_t expires_ns,
		int64_t now_ns, const char *caller, struct error *e)
{
	struct nonce o = { .expires_ns = expires_ns, .taken_ns = now_ns };

	if (n->broken)
		return error_set(e, -EIO,
				 "orders cannot be remembered in '%s' since a write failed",
				 n->path);
	if (nonces_known(n, id))
		return error_set(e, -EEXIST, "the order was taken before: it cannot be repeated");
	if (expires_ns <= n->horizon_ns)
		return error_set(e, -EKEYEXPIRED,
				 "the order expired before others that this host has forgotten");
	if (n->n == NONCES_MAX)
		return error_set(e, -ENOSPC, "this host cannot remember more than %d orders a day",
				 NONCES_MAX);
	memcpy(o.id, id, ORDER_ID_LEN);
	hash_caller(caller, o.caller);
	return append(n, &o, e);
}

uint64_t nonces_since(const struct nonces *n, int64_t since_ns, const char *caller)
{
	uint8_t hash[CALLER_LEN];
	uint64_t count = 0;

	hash_caller(caller == NULL ? "" : caller, hash);
	for (size_t i = 0; i < n->n; i++)
		count += n->at[i].taken_ns >= since_ns &&
			 (caller == NULL || memcmp(n->at[i].caller, hash, CALLER_LEN) == 0);
	return count;
}
