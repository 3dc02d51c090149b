/* SPDX-License-Identifier: Apache-2.0 */
/* One segment, every byte: sums, signatures, hashes, chains, its last frame. */
#include "collector/check_internal.h"

#include "collector/retention_record.h"
#include "proto/base/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

/* ---- first pass ---- */

static int by_key(const void *a, const void *b)
{
	const struct check_key *x = a, *y = b;
	int r = batch_name_compare(&x->host_id, &y->host_id);

	return r ? r : memcmp(x->key_id, y->key_id, SEAL_KEY_ID_LEN);
}

void check_keys_sort(struct check *k)
{
	if (k->n_keys > 0)
		qsort(k->keys, k->n_keys, sizeof(*k->keys), by_key);
}

static int keep_key(struct check *k, const struct frame *f, struct error *e)
{
	struct host_record_info info;
	int r = host_record_open(f->body, f->length, &info);

	if (r)
		return r == -EBADMSG ? 0 : error_set(e, r, "cannot allocate a host's key");
	if (k->n_keys == k->max_keys) {
		size_t max = k->max_keys ? 2 * k->max_keys : 64;
		struct check_key *all = realloc(k->keys, max * sizeof(*all));

		if (!all)
			return error_set(e, -ENOMEM, "cannot allocate a host's key");
		k->keys = all;
		k->max_keys = max;
	}
	k->keys[k->n_keys] = (struct check_key){ .host_id = info.host_id };
	memcpy(k->keys[k->n_keys].key_id, info.key_id, SEAL_KEY_ID_LEN);
	if (seal_verifier_new(info.sealing_key, &k->keys[k->n_keys].verifier, NULL) == 0)
		k->n_keys++;
	return 0;
}

static int keep_removed(struct check *k, const struct frame *f, struct error *e)
{
	struct retention_info info;

	arena_reset(k->arena);
	/* False ones prove nothing; the second pass names them. */
	if (retention_record_open(f->body, f->length, k->ledger, k->arena, &info, NULL) ||
	    !info.has_segment)
		return 0;
	if (k->n_removed == k->max_removed) {
		size_t max = k->max_removed ? 2 * k->max_removed : 64;
		struct check_removed *all = realloc(k->removed, max * sizeof(*all));

		if (!all)
			return error_set(e, -ENOMEM, "cannot allocate a list of removed segments");
		k->removed = all;
		k->max_removed = max;
	}
	k->removed[k->n_removed++].id = info.segment;
	return 0;
}

static int collect_frame(struct check *k, int fd, const struct segment_id *id,
			 const struct frame *head, struct error *e)
{
	AUTO(free_ptr) uint8_t *body = NULL;
	struct frame f;
	int r;

	if (head->kind != FRAME_HOST_RECORD && head->kind != FRAME_RETENTION)
		return 0;
	r = segment_read_frame(segment_pread, &fd, id, head->offset, &f, &body, NULL);
	if (r == -EBADMSG)
		return 0;
	if (r)
		return error_set(e, r, "cannot read a segment: %m");
	return f.kind == FRAME_HOST_RECORD ? keep_key(k, &f, e) : keep_removed(k, &f, e);
}

/* By the heads alone; behind damage by looking for the next one. */
int check_collect(struct check *k, const char *name, const struct segment_id *id, struct error *e)
{
	AUTO(close_fd) int fd = openat(k->tenant->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO(segment_scan_free_ptr) struct segment_scan *scan = NULL;
	uint64_t at = 0;
	struct frame f;
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open segment '%s': %m", name);
	while (!r && at < (uint64_t)st.st_size) {
		r = segment_read_head(segment_pread, &fd, id, at, &f, NULL);
		if (r == -EBADMSG) {
			if (!scan)
				r = segment_scan_new(segment_pread, &fd, id, (uint64_t)st.st_size,
						     &scan, e);
			else
				r = 0;
			if (!r) {
				segment_scan_seek(scan, at, 0);
				r = segment_scan_skip(scan, e);
				at = segment_scan_offset(scan);
			}
			continue;
		}
		if (!r)
			r = collect_frame(k, fd, id, &f, e);
		at = f.offset + SEGMENT_HEAD + f.length;
	}
	return r;
}

/* ---- second pass ---- */

struct pass {
	struct check *k;
	const char *name;
	const struct segment_id *id;
	int fd;
	bool open;
	struct durable_mark durable; /* of an open one */
	EVP_MD_CTX *sha;
	uint64_t hashed; /* bytes of the file that are in sha */
	bool damaged;
	uint32_t frames, batches, tombstones;
	uint64_t events;
	struct segment_end end;
	bool has_end;
	struct seal_hash root; /* of what is here */
	struct segment_table table; /* streams only matter: first and last numbers */
};

static void pass_release(struct pass *p)
{
	EVP_MD_CTX_free(p->sha);
	segment_table_release(&p->table);
}

static void fault_at(struct pass *p, uint64_t offset, const char *what)
{
	check_fault(p->k, p->name, "byte %llu: %s", (unsigned long long)offset, what);
}

static struct seal_verifier *verifier_of(struct check *k, const struct batch_name *host_id,
					 const uint8_t *key_id)
{
	struct check_key want = { .host_id = *host_id };
	struct check_key *found;

	memcpy(want.key_id, key_id, SEAL_KEY_ID_LEN);
	found = k->n_keys ? bsearch(&want, k->keys, k->n_keys, sizeof(want), by_key) : NULL;
	return found ? found->verifier : NULL;
}

/* Tombstones name no key: any of the host's will do. */
static int open_tombstone(struct check *k, const struct frame *f, struct batch_tombstone *t,
			  struct error *e)
{
	int r = batch_open_tombstone(f->body, f->length, NULL, k->arena, t, e);
	bool any = false;

	if (r)
		return r;
	for (size_t i = 0; i < k->n_keys; i++) {
		if (!batch_name_equal(&k->keys[i].host_id, &t->host_id))
			continue;
		any = true;
		r = batch_open_tombstone(f->body, f->length, k->keys[i].verifier, k->arena, t, e);
		if (r == 0 || r != -EBADMSG)
			return r;
	}
	return any ? r :
		     error_set(e, -EBADMSG, "no stored host record holds the key that signed it");
}

/* Chains: the same bookkeeping as when it was received. */
static int follow(struct pass *p, const struct frame *f, struct row *row,
		  const struct stream_key *key, struct error *e)
{
	struct stream *stream;
	uint64_t breaks;
	int r = streams_get(p->k->streams, key, &stream);

	if (!r)
		r = stream_reserve(stream, row->number > stream->contiguous + 1);
	if (!r)
		r = segment_table_reserve(&p->table, 1);
	if (r)
		return r == -EDQUOT ? 0 : error_set(e, r, "cannot follow a chain: %m");
	if (f->flags & FRAME_CONFLICT)
		row->flags |= ROW_CONFLICT;
	row->stream = segment_table_stream(&p->table, key, stream->key_hash);
	segment_table_add(&p->table, row, (struct token_row){ 0 });
	breaks = stream->chain_breaks;
	stream_add(stream, row, segment_id_sequence(p->id));
	if (stream->chain_breaks != breaks)
		check_fault(
			p->k, p->name,
			"byte %llu: around batch %llu of host '%.*s' the chain is broken: a header does not name "
			"the one before it",
			(unsigned long long)f->offset, (unsigned long long)row->number,
			key->host_id.len, (const char *)key->host_id.b);
	return 0;
}

static int check_batch(struct pass *p, const struct frame *f, struct error *e)
{
	struct error why = { 0 };
	struct batch_view view;
	struct seal_verifier *v;
	const uint8_t *raw;
	struct stream_key key;
	struct row row;
	size_t raw_len;
	int r = batch_parse(f->body, f->length, p->k->arena, &view, &why);

	if (r) {
		fault_at(p, f->offset, why.text);
		return 0;
	}
	v = verifier_of(p->k, &view.header.host_id, view.header.key_id);
	r = v ? batch_open(p->k->opener, &view, v, &raw, &raw_len, &why) :
		error_set(&why, -EBADMSG, "no stored host record holds the key that signed it");
	if (r == -EBADMSG)
		fault_at(p, f->offset, why.text);
	else if (r)
		return error_set(e, r, "%s", why.text);
	if (!batch_name_equal(&view.header.tenant, &p->k->tenant->name)) {
		fault_at(p, f->offset, "the batch belongs to another tenant");
		return 0;
	}
	p->batches++;
	p->events += view.header.count;
	row_of_batch(&view, &row, &key);
	return follow(p, f, &row, &key, e);
}

static int check_tombstone(struct pass *p, const struct frame *f, struct error *e)
{
	struct error why = { 0 };
	struct batch_tombstone t;
	struct stream_key key;
	struct row row;
	int r = open_tombstone(p->k, f, &t, &why);

	if (r && r != -EBADMSG)
		return error_set(e, r, "%s", why.text);
	if (r || t.n_dropped == 0) {
		fault_at(p, f->offset, r ? why.text : "a tombstone for nothing");
		return 0;
	}
	p->tombstones++;
	row_of_tombstone(&t, &row, &key);
	return follow(p, f, &row, &key, e);
}

static int check_retention(struct pass *p, const struct frame *f, struct error *e)
{
	struct error why = { 0 };
	struct retention_info info;
	int r = retention_record_open(f->body, f->length, p->k->ledger, p->k->arena, &info, &why);

	if (r) {
		fault_at(p, f->offset, why.text);
		return 0;
	}
	for (size_t i = 0; i < info.n_streams; i++) {
		const struct retention_stream *rs = &info.streams[i];
		struct stream *s;

		r = streams_get(p->k->streams, &rs->key, &s);
		if (r == -EDQUOT)
			continue;
		if (r)
			return error_set(e, r, "cannot follow a chain: %m");
		stream_removed(s, rs->first_number, rs->last_number, &rs->last_hash,
			       segment_id_sequence(p->id));
	}
	return 0;
}

static void check_begin(struct pass *p, const struct frame *f)
{
	static const struct segment_id no_id;
	static const struct seal_hash no_root;
	struct check *k = p->k;
	struct segment_begin b;
	struct error why = { 0 };

	if (segment_begin_parse(f->body, f->length, &b, &why)) {
		fault_at(p, f->offset, why.text);
		return;
	}
	if (memcmp(b.id.b, p->id->b, SEGMENT_ID_LEN) != 0)
		fault_at(p, f->offset,
			 "the first frame names another segment than the file's name");
	if (!batch_name_equal(&b.tenant, &k->tenant->name))
		fault_at(p, f->offset, "the segment belongs to another tenant");
	if (memcmp(k->last_id.b, no_id.b, SEGMENT_ID_LEN) == 0 ||
	    segment_id_sequence(&k->last_id) + 1 != segment_id_sequence(&b.id))
		return;
	if (memcmp(b.previous.b, k->last_id.b, SEGMENT_ID_LEN) != 0)
		fault_at(p, f->offset, "the segment before is not the one that this one names");
	else if (memcmp(b.previous_root.b, no_root.b, SEAL_HASH_LEN) != 0 &&
		 memcmp(k->last_root.b, no_root.b, SEAL_HASH_LEN) != 0 &&
		 memcmp(b.previous_root.b, k->last_root.b, SEAL_HASH_LEN) != 0)
		fault_at(p, f->offset,
			 "the segment before has another Merkle root than this one names");
}

/* All bytes up to a place into the hash. */
static int hash_up_to(struct pass *p, uint64_t offset, struct error *e)
{
	uint8_t chunk[KiB(16)];

	while (p->hashed < offset) {
		uint64_t left = offset - p->hashed;
		ssize_t n = segment_pread(&p->fd, p->hashed, chunk,
					  left < sizeof(chunk) ? (size_t)left : sizeof(chunk));

		if (n <= 0)
			return error_set(e, n < 0 ? (int)n : -EIO, "cannot read segment '%s': %m",
					 p->name);
		if (EVP_DigestUpdate(p->sha, chunk, (size_t)n) != 1)
			return error_set(e, -ENOMEM, "cannot hash a segment");
		p->hashed += (uint64_t)n;
	}
	return 0;
}

static void check_numbers(struct pass *p, struct reader *r, uint64_t offset)
{
	struct segment_end_stream s;
	uint32_t n = 0;

	while (segment_end_stream_read(r, &s) == 1) {
		struct stream_key key = { .tenant = p->k->tenant->name,
					  .host_id = s.host_id,
					  .lane = s.lane };
		uint64_t hash;
		uint32_t row = UINT32_MAX, slot = 0;

		memcpy(key.boot_id, s.boot_id, BATCH_BOOT_LEN);
		memcpy(key.epoch, s.epoch, BATCH_EPOCH_LEN);
		n++;
		if (stream_key_hash(&key, &hash) == 0 &&
		    !segment_table_find(&p->table, &key, hash, s.first_number, &row, &slot) &&
		    !p->damaged)
			fault_at(p, offset,
				 "the last frame names a batch that is not in the segment");
	}
	if (r->bad || n != p->end.streams || (n != p->table.n_streams && !p->damaged))
		fault_at(p, offset, "the last frame's list of streams is wrong");
}

static int check_end(struct pass *p, const struct frame *f, struct error *e)
{
	struct reader r = reader_init(f->body, f->length);
	struct error why = { 0 };
	struct seal_hash sha;
	int x = hash_up_to(p, f->offset, e);

	if (x)
		return x;
	if (segment_end_read(&r, &p->end, &why)) {
		fault_at(p, f->offset, why.text);
		return 0;
	}
	p->has_end = true;
	if (merkle_root(p->k->merkle, &p->root) || EVP_DigestFinal_ex(p->sha, sha.b, NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash a segment");
	check_numbers(p, &r, f->offset);
	/* Damage was named where it is; that the sums do not fit either is no second fault. */
	if (p->damaged)
		return 0;
	if (memcmp(sha.b, p->end.sha256.b, SEAL_HASH_LEN) != 0)
		fault_at(p, f->offset, "the SHA-256 of the segment is not the one that was sealed");
	if (memcmp(p->root.b, p->end.root.b, SEAL_HASH_LEN) != 0)
		fault_at(p, f->offset,
			 "the Merkle root of the segment is not the one that was sealed");
	if (p->frames != p->end.frames || p->batches != p->end.batches ||
	    p->tombstones != p->end.tombstones || p->events != p->end.events)
		fault_at(p, f->offset, "the counts of the segment are not those that were sealed");
	return 0;
}

/* Nothing more is stored before what is stored has its leaf: so a crash leaves the last group without, and
 * anything else was put there. */
static void check_leaf(struct pass *p, const struct frame *f)
{
	struct check *k = p->k;

	if (!k->c->has_leaf || f->kind >= FRAME_BEGIN)
		return;
	if (!k->c->has_leaf(k->c->has_leaf_ctx, (enum store_kind)f->kind, &k->tenant->name, f->body,
			    f->length)) {
		if (k->bare.n++ > 0)
			return;
		k->bare.offset = f->offset;
		k->bare.group = f->group;
		(void)snprintf(k->bare.name, sizeof(k->bare.name), "%s", p->name);
		return;
	}
	if (k->bare.n == 0 || (f->group == k->bare.group && strcmp(k->bare.name, p->name) == 0))
		return;
	check_fault(k, k->bare.name,
		    "byte %llu: %llu frames from here on have no leaf in the ledger",
		    (unsigned long long)k->bare.offset, (unsigned long long)k->bare.n);
	k->bare.n = 0;
}

static int check_frame(struct pass *p, const struct frame *f, struct error *e)
{
	int r = 0;

	arena_reset(p->k->arena);
	switch (f->kind) {
	case FRAME_BATCH:
		r = check_batch(p, f, e);
		break;
	case FRAME_TOMBSTONE:
		r = check_tombstone(p, f, e);
		break;
	case FRAME_RETENTION:
		r = check_retention(p, f, e);
		break;
	case FRAME_HOST_RECORD: {
		struct host_record_info info;

		if (host_record_open(f->body, f->length, &info))
			fault_at(p, f->offset, "a host record does not parse");
		break;
	}
	case FRAME_BEGIN:
		check_begin(p, f);
		break;
	case FRAME_END:
		return check_end(p, f, e);
	}
	check_leaf(p, f);
	p->frames++;
	if (!r && merkle_add(p->k->merkle, f->body, f->length))
		r = error_set(e, -ENOMEM, "cannot hash a segment");
	return r;
}

static int check_scan(struct pass *p, struct segment_scan *scan, struct error *e)
{
	for (;;) {
		struct error why = { 0 };
		enum segment_fault fault = SEGMENT_DAMAGED;
		struct frame f;
		int r = segment_scan_next(scan, &f, &why);

		if (r == 1) {
			if (p->frames == 0 && f.kind != FRAME_BEGIN)
				fault_at(p, f.offset,
					 "the segment does not begin with its first frame");
			r = check_frame(p, &f, e);
			if (r)
				return r;
			continue;
		}
		if (r != -EBADMSG) {
			if (r && e)
				*e = why;
			return r;
		}
		/* A torn end of the segment being written was never acknowledged. */
		r = p->open ? segment_scan_judge(scan, p->durable.length, &fault, e) : 0;
		if (!r && fault == SEGMENT_TORN)
			check_note(p->k, p->name,
				   "%s: a torn end, of which nothing is known to have been "
				   "acknowledged; the next start cuts it off and keeps it aside",
				   why.text);
		if (r || fault == SEGMENT_TORN)
			return r;
		check_fault(p->k, p->name, "%s", why.text);
		p->damaged = true;
		r = segment_scan_skip(scan, e);
		if (r)
			return r;
	}
}

static void check_trailer(struct pass *p, uint64_t size)
{
	uint8_t trailer[SEGMENT_TRAILER];
	uint64_t end;

	if (!p->has_end && !p->damaged)
		fault_at(p, size, "the sealed segment has lost its end");
	else if (p->has_end && (segment_pread(&p->fd, size - SEGMENT_TRAILER, trailer,
					      sizeof(trailer)) != SEGMENT_TRAILER ||
				!segment_trailer_parse(trailer, &end)))
		fault_at(p, size - SEGMENT_TRAILER, "the segment's last 16 bytes are damaged");
}

int check_segment(struct check *k, const char *name, const struct segment_id *id, bool open,
		  uint64_t length, struct error *e)
{
	AUTO(close_fd) int fd = openat(k->tenant->dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO(segment_scan_free_ptr) struct segment_scan *scan = NULL;
	AUTO(pass_release) struct pass p = { .k = k, .name = name, .id = id, .open = open };
	struct stat st;
	int r;

	segment_table_init(&p.table);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open segment '%s': %m", name);
	p.fd = fd;
	p.sha = EVP_MD_CTX_new();
	if (!p.sha || EVP_DigestInit_ex(p.sha, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash a segment");
	merkle_reset(k->merkle);
	if (open)
		durable_mark_read(k->tenant->dirfd, id, &p.durable);
	r = segment_scan_new(segment_pread, &p.fd, id,
			     open && length ? length : (uint64_t)st.st_size, &scan, e);
	if (!r)
		r = check_scan(&p, scan, e);
	if (r)
		return r;
	if (!open)
		check_trailer(&p, (uint64_t)st.st_size);
	else if ((uint64_t)st.st_size < p.durable.length)
		fault_at(&p, (uint64_t)st.st_size,
			 "the file ends here, though more of it was acknowledged");
	k->last_id = *id;
	k->last_root = p.has_end && !p.damaged ? p.root : (struct seal_hash){ 0 };
	return 0;
}

/* ---- the index ---- */

static int read_whole_index(const struct segment_index *i)
{
	AUTO(row_cursor_release) struct row_cursor c;
	AUTO(free_ptr) struct index_stream *streams = NULL;
	AUTO(bitmap_release) struct bitmap hits = { 0 };
	uint32_t rows = segment_index_summary(i)->rows;
	struct row row;
	size_t n = 0;
	int r = segment_index_streams(i, &streams, &n);

	row_cursor_init(&c, i);
	if (!r && !bitmap_init(&hits, rows, false))
		r = -ENOMEM;
	for (uint32_t k = 0; k < rows && !r; k++)
		r = row_cursor_get(&c, k, &row);
	for (size_t k = 0; k < n && !r; k++)
		r = segment_index_stream_rows(i, &streams[k], &hits);
	for (uint32_t b = 0; b < 1u << segment_index_bits(i) && !r; b++)
		r = segment_index_token(i, b << (32 - segment_index_bits(i)), &hits);
	return r;
}

void check_index(struct check *k, const struct segment_id *id)
{
	AUTO(segment_index_close_ptr) struct segment_index *i = NULL;
	char name[SEGMENT_NAME_MAX];
	struct error why = { 0 };
	int r = segment_index_open(k->tenant->dirfd, segment_name_index(id, name), &i, &why);

	if (!r)
		r = read_whole_index(i);
	if (r == -ENOENT)
		check_fault(k, name,
			    "the index is missing; 'exhibit-collector reindex' builds it again");
	else if (r)
		check_fault(k, name,
			    "the index is damaged; 'exhibit-collector reindex' builds it again");
}
