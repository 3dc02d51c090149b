/* SPDX-License-Identifier: Apache-2.0 */
/* Open and close, the tenants, and what is answered from memory. */
#include "collector/store_internal.h"

#include "proto/base/files.h"
#include "proto/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define DIR_MODE 0700
#define SEGMENT_BYTES_MIN KiB(64)
#define SEGMENT_BYTES_DEFAULT MiB(64)
#define SEGMENT_AGE_DEFAULT_MS (10u * 60 * 1000)

/* ---- tenants ---- */

bool store_tenant_valid(const struct batch_name *name)
{
	if (name->len == 0 || name->len > STORE_TENANT_LEN_MAX || name->b[0] == '.')
		return false;
	for (size_t i = 0; i < name->len; i++) {
		uint8_t c = name->b[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

struct tenant *store_tenant(const struct store *s, const struct batch_name *name)
{
	for (size_t i = 0; i < s->n_tenants; i++)
		if (batch_name_equal(&s->tenants[i]->name, name))
			return s->tenants[i];
	return NULL;
}

void segment_free(struct segment *g)
{
	if (g)
		segment_writer_free(g->writer);
	free(g);
}

static void tenant_free(struct tenant *t)
{
	for (size_t i = 0; i < t->n_segments; i++)
		segment_free(t->segments[i]);
	free(t->segments);
	close_fd(&t->dirfd);
	free(t);
}

/* -EEXIST is what a restart meets. */
static int open_folder(struct store *s, struct tenant *t, struct error *e)
{
	char name[BATCH_NAME_MAX + 1] = { 0 };

	memcpy(name, t->name.b, t->name.len);
	if (mkdirat(s->dirfd, name, DIR_MODE) < 0 && errno != EEXIST)
		return error_set(e, errno == ENOSPC ? -ENOSPC : -EIO,
				 "cannot make the folder '%s/%s': %m", s->dir, name);
	t->dirfd = openat(s->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (t->dirfd < 0 || fsync(s->dirfd) < 0)
		return error_set(e, -EIO, "cannot open the folder '%s/%s': %m", s->dir, name);
	return 0;
}

int store_tenant_get(struct store *s, const struct batch_name *name, struct tenant **ret,
		     struct error *e)
{
	struct tenant *t = store_tenant(s, name), **all;
	int r;

	*ret = t;
	if (t)
		return 0;
	if (s->n_tenants >= STORE_TENANTS_MAX)
		return error_set(e, -EDQUOT, "the store has %d tenants already", STORE_TENANTS_MAX);
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_set(e, -ENOMEM, "cannot allocate a tenant");
	t->name = *name;
	r = open_folder(s, t, e);
	if (r) {
		tenant_free(t);
		return r;
	}
	(void)pthread_rwlock_wrlock(&s->lock);
	all = realloc(s->tenants, (s->n_tenants + 1) * sizeof(struct tenant *));
	if (all) {
		s->tenants = all;
		s->tenants[s->n_tenants++] = t;
	}
	(void)pthread_rwlock_unlock(&s->lock);
	if (!all) {
		tenant_free(t);
		return error_set(e, -ENOMEM, "cannot allocate a tenant");
	}
	*ret = t;
	return 0;
}

int tenant_reserve(struct store *s, struct tenant *t)
{
	size_t max = t->max_segments ? 2 * t->max_segments : 64;
	struct segment **all;

	if (t->n_segments < t->max_segments)
		return 0;
	(void)pthread_rwlock_wrlock(&s->lock);
	all = realloc(t->segments, max * sizeof(struct segment *));
	if (all) {
		t->segments = all;
		t->max_segments = max;
	}
	(void)pthread_rwlock_unlock(&s->lock);
	return all ? 0 : -ENOMEM;
}

void tenant_add(struct store *s, struct tenant *t, struct segment *g)
{
	size_t at = t->n_segments;

	(void)pthread_rwlock_wrlock(&s->lock);
	while (at > 0 && memcmp(t->segments[at - 1]->id.b, g->id.b, SEGMENT_ID_LEN) > 0)
		at--;
	memmove(t->segments + at + 1, t->segments + at,
		(t->n_segments - at) * sizeof(struct segment *));
	t->segments[at] = g;
	t->n_segments++;
	(void)pthread_rwlock_unlock(&s->lock);
}

struct segment *tenant_segment(const struct tenant *t, const struct segment_id *id)
{
	size_t low = 0, high = t->n_segments;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = memcmp(t->segments[middle]->id.b, id->b, SEGMENT_ID_LEN);

		if (order == 0)
			return t->segments[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

void store_ref_make(const struct segment *g, const struct row *row, const struct stream_key *k,
		    struct store_ref *ret)
{
	*ret = (struct store_ref){
		.offset = row->offset,
		.len = row->length,
		.kind = row->kind == FRAME_TOMBSTONE ? STORE_TOMBSTONE : STORE_BATCH,
		.tenant = k->tenant,
		.host_id = k->host_id,
		.lane = (enum batch_lane)k->lane,
		.conflict = row->flags & ROW_CONFLICT,
		.number = row->number,
		.first_sequence = row->first_sequence,
		.last_sequence = row->last_sequence,
		.count = row->count,
		.gaps = row->gaps,
		.first_wall_ns = row->first_wall_ns,
		.last_wall_ns = row->last_wall_ns,
		.offset_ns = row->offset_ns,
		.received_ns = row->received_ns,
	};
	memcpy(ret->segment, g->id.b, SEGMENT_ID_LEN);
	memcpy(ret->boot_id, k->boot_id, BATCH_BOOT_LEN);
	memcpy(ret->epoch, k->epoch, BATCH_EPOCH_LEN);
}

void store_drop_catalog(struct store *s, const struct error *why)
{
	if (!s->catalog)
		return;
	if (why)
		log_failure(LOG_LEVEL_WARN, "catalog given up until the next start", why);
	catalog_rollback(s->catalog);
	catalog_close(TAKE(s->catalog));
	catalog_remove(s->dirfd);
}

/* ---- open, close ---- */

static int lock_folder(struct store *s, struct error *e)
{
	s->lockfd = openat(s->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lockfd < 0)
		return error_set(e, -errno, "cannot open '%s/lock': %m", s->dir);
	if (flock(s->lockfd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return error_set(e, -errno, "cannot lock '%s/lock': %m", s->dir);
	error_set(e, -EBUSY, "another process holds the store '%s'", s->dir);
	error_hint(e, "stop the other collector, or give this one a store.dir of its own");
	return -EBUSY;
}

static int begin_store(struct store *s, struct error *e)
{
	int r = files_mkdirs(s->dir, DIR_MODE, e);

	if (r)
		return r;
	s->dirfd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0)
		return error_set(e, -errno, "cannot open the store '%s': %m", s->dir);
	s->streams = streams_new();
	if (!s->streams)
		return error_set(e, -ENOMEM, "cannot allocate the table of streams");
	return lock_folder(s, e);
}

static void apply_defaults(struct store_config *c)
{
	if (c->segment_bytes == 0)
		c->segment_bytes = SEGMENT_BYTES_DEFAULT;
	if (c->segment_bytes < SEGMENT_BYTES_MIN)
		c->segment_bytes = SEGMENT_BYTES_MIN;
	if (c->segment_age_ms == 0)
		c->segment_age_ms = SEGMENT_AGE_DEFAULT_MS;
}

int store_open_locked(const struct store_config *c, struct store **ret_s, struct error *e)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(e, -ENOMEM, "cannot allocate the store");
	s->c = *c;
	apply_defaults(&s->c);
	s->dirfd = s->lockfd = -1;
	if (pthread_rwlock_init(&s->lock, NULL)) {
		free(s);
		return error_set(e, -ENOMEM, "cannot make a lock");
	}
	s->dir = strdup(c->dir);
	r = s->dir ? begin_store(s, e) : error_set(e, -ENOMEM, "cannot allocate the store");
	if (r) {
		store_close(s);
		return r;
	}
	*ret_s = s;
	return 0;
}

int store_open(const struct store_config *c, struct store **ret_s, struct error *e)
{
	struct store *s = NULL;
	int r = store_open_locked(c, &s, e);

	if (r)
		return r;
	r = store_load(s, e);
	if (r) {
		store_close(s);
		return error_wrap(e, r, "cannot open the store '%s'", c->dir);
	}
	*ret_s = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	catalog_close(s->catalog);
	for (size_t i = 0; i < s->n_tenants; i++)
		tenant_free(s->tenants[i]);
	free(s->tenants);
	streams_free(s->streams);
	close_fd(&s->dirfd);
	close_fd(&s->lockfd);
	(void)pthread_rwlock_destroy(&s->lock);
	free(s->dir);
	free(s);
}

/* ---- from memory ---- */

int store_idle(struct store *s, const struct batch_idle *idle, int64_t received_ns)
{
	struct stream_key k = { .tenant = idle->tenant,
				.host_id = idle->host_id,
				.lane = (uint8_t)idle->lane };
	struct stream *stream;
	int64_t wall;
	int r = -ESTALE;

	memcpy(k.boot_id, idle->boot_id, BATCH_BOOT_LEN);
	memcpy(k.epoch, idle->epoch, BATCH_EPOCH_LEN);
	(void)pthread_rwlock_wrlock(&s->lock);
	stream = streams_find(s->streams, &k);
	if (stream && stream->stored && idle->has_hash && stream->n_runs == 0 &&
	    idle->number == stream->contiguous &&
	    memcmp(idle->header_hash.b, stream->contiguous_hash.b, SEAL_HASH_LEN) == 0 &&
	    idle->watermark_ns <= INT64_MAX &&
	    !__builtin_add_overflow((int64_t)idle->watermark_ns, stream->offset_ns, &wall)) {
		if (wall > stream->watermark_wall_ns)
			stream->watermark_wall_ns = wall;
		if (received_ns > stream->received_ns)
			stream->received_ns = received_ns;
		r = 0;
	}
	(void)pthread_rwlock_unlock(&s->lock);
	return r;
}

bool store_acknowledged(struct store *s, const struct batch_header *h, uint64_t *ret_number,
			struct seal_hash *ret_hash)
{
	struct stream_key k = { .tenant = h->tenant,
				.host_id = h->host_id,
				.lane = (uint8_t)h->lane };
	const struct stream *stream;
	bool any;

	memcpy(k.boot_id, h->boot_id, BATCH_BOOT_LEN);
	memcpy(k.epoch, h->epoch, BATCH_EPOCH_LEN);
	(void)pthread_rwlock_rdlock(&s->lock);
	stream = streams_find(s->streams, &k);
	any = stream && stream->contiguous > 0;
	if (any) {
		*ret_number = stream->contiguous;
		*ret_hash = stream->contiguous_hash;
	}
	(void)pthread_rwlock_unlock(&s->lock);
	return any;
}

struct gather {
	const struct batch_name *tenant, *host_id;
	size_t n, max;
	struct store_stream *streams;
	struct store_host *hosts;
	bool no_memory;
};

static bool gather_streams(void *ctx, struct stream_host *h)
{
	struct gather *g = ctx;

	if (!batch_name_equal(&h->tenant, g->tenant) ||
	    (g->host_id && !batch_name_equal(&h->host_id, g->host_id)))
		return true;
	for (const struct stream *s = h->streams; s; s = s->next) {
		if (!s->stored)
			continue;
		if (g->n == g->max) {
			size_t max = g->max ? 2 * g->max : 64;
			struct store_stream *all = realloc(g->streams, max * sizeof(*all));

			if (!all) {
				g->no_memory = true;
				return false;
			}
			g->streams = all;
			g->max = max;
		}
		stream_view(s, &g->streams[g->n++]);
	}
	return true;
}

static int by_host_and_time(const void *a, const void *b)
{
	const struct store_stream *x = a, *y = b;
	int r = batch_name_compare(&x->host_id, &y->host_id);

	if (r)
		return r;
	return x->first_wall_ns < y->first_wall_ns ? -1 : x->first_wall_ns > y->first_wall_ns;
}

int store_streams(struct store *s, const struct batch_name *tenant,
		  const struct batch_name *host_id, struct store_stream **ret, size_t *ret_n,
		  struct error *e)
{
	struct gather g = { .tenant = tenant, .host_id = host_id };

	(void)pthread_rwlock_rdlock(&s->lock);
	streams_each_host(s->streams, gather_streams, &g);
	(void)pthread_rwlock_unlock(&s->lock);
	if (g.no_memory) {
		free(g.streams);
		return error_set(e, -ENOMEM, "cannot allocate a list of streams");
	}
	if (g.n > 0)
		qsort(g.streams, g.n, sizeof(*g.streams), by_host_and_time);
	*ret = g.streams;
	*ret_n = g.n;
	return 0;
}

static int64_t first_received(const struct stream_host *h)
{
	int64_t first = h->records[0].received_ns;

	for (uint32_t i = 1; i < h->n_records; i++)
		if (h->records[i].received_ns < first)
			first = h->records[i].received_ns;
	return first;
}

static bool gather_hosts(void *ctx, struct stream_host *h)
{
	struct gather *g = ctx;
	const struct host_record *newest;
	struct store_host *to;

	if (h->n_records == 0)
		return true;
	newest = &h->records[h->n_records - 1];
	if (g->n == g->max) {
		size_t max = g->max ? 2 * g->max : 64;
		struct store_host *all = realloc(g->hosts, max * sizeof(*all));

		g->no_memory = !all;
		if (!all)
			return false;
		g->hosts = all;
		g->max = max;
	}
	to = &g->hosts[g->n];
	*to = (struct store_host){ .tenant = h->tenant,
				   .host_id = h->host_id,
				   .record_len = newest->len,
				   .first_received_ns = first_received(h),
				   .record = malloc(newest->len + 1) };
	g->no_memory = !to->record;
	if (!to->record)
		return false;
	memcpy(to->record, newest->bytes, newest->len);
	g->n++;
	return true;
}

int store_hosts(struct store *s, struct store_host **ret, size_t *ret_n, struct error *e)
{
	struct gather g = { 0 };

	(void)pthread_rwlock_rdlock(&s->lock);
	streams_each_host(s->streams, gather_hosts, &g);
	(void)pthread_rwlock_unlock(&s->lock);
	if (g.no_memory) {
		store_hosts_free(g.hosts, g.n);
		return error_set(e, -ENOMEM, "cannot allocate a list of hosts");
	}
	*ret = g.hosts;
	*ret_n = g.n;
	return 0;
}

void store_hosts_free(struct store_host *h, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(h[i].record);
	free(h);
}

static void add_times(struct store_totals *t, int64_t first, int64_t last)
{
	if (first < t->oldest_ns)
		t->oldest_ns = first;
	if (last > t->newest_ns)
		t->newest_ns = last;
}

static void add_segment(struct store_totals *t, const struct segment *g)
{
	const struct segment_table *table;

	t->segments++;
	if (g->state == SEGMENT_SEALED) {
		t->segment_bytes += g->summary.segment_bytes;
		t->index_bytes += g->summary.index_bytes;
		t->batches += g->summary.batches;
		t->events += g->summary.events;
		add_times(t, g->summary.first_wall_ns, g->summary.last_wall_ns);
		return;
	}
	table = segment_writer_table(g->writer);
	t->segment_bytes += segment_writer_bytes(g->writer);
	t->batches += table->batches;
	t->events += table->events;
	add_times(t, table->first_wall_ns, table->last_wall_ns);
}

void store_totals(struct store *s, struct store_totals *ret)
{
	struct statvfs v;

	*ret = (struct store_totals){ .oldest_ns = INT64_MAX, .newest_ns = INT64_MIN };
	(void)pthread_rwlock_rdlock(&s->lock);
	for (size_t i = 0; i < s->n_tenants; i++) {
		const struct tenant *t = s->tenants[i];

		ret->cut_files += t->cut_off.files;
		ret->cut_bytes += t->cut_off.bytes;
		ret->damaged += t->damaged;
		for (size_t k = 0; k < t->n_segments; k++)
			add_segment(ret, t->segments[k]);
	}
	(void)pthread_rwlock_unlock(&s->lock);
	if (ret->batches == 0)
		ret->oldest_ns = ret->newest_ns = 0;
	if (fstatvfs(s->dirfd, &v) == 0)
		ret->free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
}
