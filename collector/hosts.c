/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/hosts.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "batch.pb-c.h"
#include "proto/authorities.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

struct key {
	uint8_t id[SEAL_KEY_ID_LEN];
	uint8_t public[SEAL_PUBLIC_LEN];
	bool stored; /* the record that named it is durable */
};

struct host {
	struct host_info info;
	bool unreadable; /* what the store has of it cannot be read: nothing may be added */
	unsigned int streams; /* open Events streams */
	size_t n_keys;
	struct key keys[HOST_KEYS_MAX];
};

/* Ordered by tenant and host id. The lock is held for copies only: rpc threads, workers and queries all
 * come here. */
struct hosts {
	pthread_mutex_t lock;
	struct host **at;
	size_t n, size;
};

int hosts_new(struct hosts **ret_h, struct error *e)
{
	struct hosts *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return error_set(e, -ENOMEM, "cannot keep a registry of hosts: out of memory");
	(void)pthread_mutex_init(&h->lock, NULL);
	*ret_h = h;
	return 0;
}

void hosts_free(struct hosts *h)
{
	if (h == NULL)
		return;
	for (size_t i = 0; i < h->n; i++)
		free(h->at[i]);
	free(h->at);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}

static int compare_names(const struct batch_name *a, const struct batch_name *b)
{
	int r = memcmp(a->b, b->b, a->len < b->len ? a->len : b->len);

	return r != 0 ? r : (int)a->len - (int)b->len;
}

static int compare(const struct host *a, const struct batch_name *tenant,
		   const struct batch_name *host)
{
	int r = compare_names(&a->info.tenant, tenant);

	return r != 0 ? r : compare_names(&a->info.host_id, host);
}

/* The host, or NULL and where it would stand. */
static struct host *find(const struct hosts *h, const struct batch_name *tenant,
			 const struct batch_name *host, size_t *ret_at)
{
	size_t low = 0;
	size_t high = h->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int r = compare(h->at[mid], tenant, host);

		if (r == 0) {
			*ret_at = mid;
			return h->at[mid];
		}
		if (r < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*ret_at = low;
	return NULL;
}

static int insert(struct hosts *h, size_t at, struct host *new)
{
	if (h->n == HOSTS_MAX)
		return -ENOSPC;
	if (h->n == h->size) {
		size_t size = h->size == 0 ? 64 : 2 * h->size;
		struct host **more = reallocarray(h->at, size, sizeof(struct host *));

		if (more == NULL)
			return -ENOMEM;
		h->at = more;
		h->size = size;
	}
	memmove(&h->at[at + 1], &h->at[at], (h->n - at) * sizeof(struct host *));
	h->at[at] = new;
	h->n++;
	return 0;
}

static struct key *find_key(struct host *host, const struct key *key)
{
	for (size_t i = 0; i < host->n_keys; i++)
		if (memcmp(host->keys[i].public, key->public, sizeof(key->public)) == 0)
			return &host->keys[i];
	return NULL;
}

/* Whether its record is still to be stored. */
static bool add_key(struct host *host, const struct key *key)
{
	const struct key *known = find_key(host, key);

	if (known != NULL)
		return !known->stored;
	if (host->n_keys == HOST_KEYS_MAX) {
		host->n_keys--;
		memmove(&host->keys[0], &host->keys[1], host->n_keys * sizeof(host->keys[0]));
	}
	host->keys[host->n_keys++] = *key;
	return true;
}

static bool take_name(const ProtobufCBinaryData *from, struct batch_name *ret)
{
	if (from->len == 0 || from->len > BATCH_NAME_MAX)
		return false;
	ret->len = (uint8_t)from->len;
	memcpy(ret->b, from->data, from->len);
	return true;
}

/* What a host record says, its signature verified when a is given. */
static int parse_record(const struct authorities *a, const void *bytes, size_t len,
			struct host_info *info, struct key *key, struct error *e)
{
	Exhibit__V1__SignedHostRecord *s =
		len <= HOST_RECORD_MAX ? exhibit__v1__signed_host_record__unpack(NULL, len, bytes) :
					 NULL;
	Exhibit__V1__HostRecord *r =
		s == NULL ? NULL :
			    exhibit__v1__host_record__unpack(NULL, s->record.len, s->record.data);
	int code = 0;

	if (r == NULL || r->sealing_key.len != SEAL_PUBLIC_LEN ||
	    !take_name(&r->tenant, &info->tenant) || !take_name(&r->host_id, &info->host_id)) {
		code = error_set(e, -EBADMSG, "a host record cannot be read");
	} else {
		if (!take_name(&r->host_name, &info->host_name))
			info->host_name = info->host_id;
		memcpy(key->public, r->sealing_key.data, SEAL_PUBLIC_LEN);
		seal_key_id(key->public, key->id);
		if (a != NULL)
			code = authorities_verify_host_record(a, s->record.data, s->record.len,
							      s->signature.data, s->signature.len,
							      e);
	}
	if (r != NULL)
		exhibit__v1__host_record__free_unpacked(r, NULL);
	if (s != NULL)
		exhibit__v1__signed_host_record__free_unpacked(s, NULL);
	return code;
}

/* The host, made when it is new. NULL: -errno in *ret. Under the lock. */
static struct host *find_or_add(struct hosts *h, const struct host_info *info, int *ret)
{
	size_t at;
	struct host *host = find(h, &info->tenant, &info->host_id, &at);

	*ret = 0;
	if (host != NULL)
		return host;
	host = calloc(1, sizeof(*host));
	*ret = host == NULL ? -ENOMEM : insert(h, at, host);
	if (*ret < 0) {
		free(host);
		return NULL;
	}
	host->info = *info;
	return host;
}

static int unreadable(const struct batch_name *tenant, const struct batch_name *host,
		      struct error *e)
{
	(void)error_set(e, -EUCLEAN,
			"the collector cannot read the record it stored of host %.*s of %.*s",
			(int)host->len, (const char *)host->b, (int)tenant->len,
			(const char *)tenant->b);
	error_hint(
		e,
		"stop the collector, run 'exhibit-collector check' and 'exhibit-collector reindex'");
	return -EUCLEAN;
}

int hosts_unreadable(struct hosts *h, const struct batch_name *tenant,
		     const struct batch_name *host_id, struct error *e)
{
	const struct host_info info = {
		.tenant = *tenant, .host_id = *host_id, .host_name = *host_id, .registered = true
	};
	int r;

	(void)pthread_mutex_lock(&h->lock);
	struct host *host = find_or_add(h, &info, &r);

	if (host != NULL)
		host->unreadable = true;
	(void)pthread_mutex_unlock(&h->lock);
	return r < 0 ? error_set(e, r, "cannot register another host: %m") :
		       unreadable(tenant, host_id, e);
}

int hosts_register(struct hosts *h, const struct authorities *a, const void *record, size_t len,
		   bool *ret_new, struct batch_name *ret_tenant, struct batch_name *ret_host,
		   struct error *e)
{
	struct host_info info = { .registered = true };
	struct key key = { .stored = false };
	int r = parse_record(a, record, len, &info, &key, e);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&h->lock);
	struct host *host = find_or_add(h, &info, &r);

	if (host != NULL && host->unreadable)
		r = -EUCLEAN;
	else if (host != NULL)
		*ret_new = add_key(host, &key);
	(void)pthread_mutex_unlock(&h->lock);
	if (r == -EUCLEAN)
		return unreadable(&info.tenant, &info.host_id, e);
	if (r < 0)
		return error_set(e, r, "cannot register another host: %m");
	*ret_tenant = info.tenant;
	*ret_host = info.host_id;
	return 0;
}

void hosts_stored(struct hosts *h, const void *record, size_t len, int64_t received_ns)
{
	struct host_info info;
	struct key key;
	size_t at;

	if (parse_record(NULL, record, len, &info, &key, NULL) < 0)
		return; /* it was registered, thus it can be read */
	(void)pthread_mutex_lock(&h->lock);
	struct host *host = find(h, &info.tenant, &info.host_id, &at);
	struct key *known = host == NULL ? NULL : find_key(host, &key);

	if (known != NULL)
		known->stored = true;
	if (known != NULL &&
	    (host->info.first_seen_ns == 0 || received_ns < host->info.first_seen_ns))
		host->info.first_seen_ns = received_ns;
	(void)pthread_mutex_unlock(&h->lock);
}

static bool is_record(const char *name)
{
	size_t n = strlen(name);

	return n > 7 && strcmp(name + n - 7, ".record") == 0;
}

static void close_dir(DIR **d)
{
	if (*d != NULL)
		(void)closedir(*d);
}

int hosts_load_dir(struct hosts *h, const struct authorities *a, const char *dir,
		   void (*store)(void *ctx, const struct batch_name *tenant,
				 const struct batch_name *host, const void *record, size_t len),
		   void *ctx, struct error *e)
{
	AUTO(close_dir) DIR *d = opendir(dir);
	int n = 0;

	if (d == NULL)
		return error_set(e, -errno, "cannot read the folder of host records '%s': %m", dir);
	for (const struct dirent *entry; (entry = readdir(d)) != NULL;) {
		AUTO(free_ptr) uint8_t *record = NULL;
		struct batch_name tenant, host;
		struct error why = { 0 };
		size_t len;
		bool new = false;

		if (!is_record(entry->d_name))
			continue;
		n++;
		int r = files_read_at(dirfd(d), entry->d_name, HOST_RECORD_MAX, &record, &len,
				      &why);

		if (r == 0)
			r = hosts_register(h, a, record, len, &new, &tenant, &host, &why);
		if (r < 0) {
			(void)error_wrap(&why, r, "host record '%s'", entry->d_name);
			log_failure(LOG_LEVEL_WARN, "a host record is skipped", &why);
		} else if (new &&store != NULL) {
			store(ctx, &tenant, &host, record, len);
		}
	}
	return n;
}

bool hosts_sealing_key(struct hosts *h, const struct batch_name *tenant,
		       const struct batch_name *host, const uint8_t key_id[static SEAL_KEY_ID_LEN],
		       uint8_t ret_public[static SEAL_PUBLIC_LEN])
{
	bool found = false;
	size_t at;

	(void)pthread_mutex_lock(&h->lock);
	const struct host *it = find(h, tenant, host, &at);

	for (size_t i = 0; it != NULL && !found && i < it->n_keys; i++) {
		found = memcmp(it->keys[i].id, key_id, SEAL_KEY_ID_LEN) == 0;
		if (found)
			memcpy(ret_public, it->keys[i].public, SEAL_PUBLIC_LEN);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return found;
}

bool hosts_name(struct hosts *h, const struct batch_name *tenant, const struct batch_name *host,
		struct batch_name *ret)
{
	size_t at;

	(void)pthread_mutex_lock(&h->lock);
	const struct host *it = find(h, tenant, host, &at);
	bool known = it != NULL && it->info.host_name.len > 0;

	if (known)
		*ret = it->info.host_name;
	(void)pthread_mutex_unlock(&h->lock);
	return known;
}

void hosts_connected(struct hosts *h, const struct batch_name *tenant,
		     const struct batch_name *host, bool connected, const char *version)
{
	size_t at;

	(void)pthread_mutex_lock(&h->lock);
	struct host *it = find(h, tenant, host, &at);

	if (it != NULL) {
		if (connected)
			it->streams++;
		else if (it->streams > 0)
			it->streams--;
		it->info.connected = it->streams > 0;
		if (version != NULL)
			(void)snprintf(it->info.version, sizeof(it->info.version), "%s", version);
	}
	(void)pthread_mutex_unlock(&h->lock);
}

void hosts_seen(struct hosts *h, const struct batch_name *tenant, const struct batch_name *host,
		int64_t now_ns, const struct batch_name *name)
{
	size_t at;

	(void)pthread_mutex_lock(&h->lock);
	struct host *it = find(h, tenant, host, &at);

	if (it != NULL) {
		it->info.last_seen_ns = now_ns;
		if (name != NULL && name->len > 0)
			it->info.host_name = *name;
	}
	(void)pthread_mutex_unlock(&h->lock);
}

void hosts_kernel(struct hosts *h, const struct batch_name *tenant, const struct batch_name *host,
		  const char *kernel)
{
	size_t at;

	(void)pthread_mutex_lock(&h->lock);
	struct host *it = find(h, tenant, host, &at);

	if (it != NULL)
		(void)snprintf(it->info.kernel, sizeof(it->info.kernel), "%s", kernel);
	(void)pthread_mutex_unlock(&h->lock);
}

size_t hosts_connected_total(struct hosts *h)
{
	size_t n = 0;

	(void)pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < h->n; i++)
		n += h->at[i]->info.connected;
	(void)pthread_mutex_unlock(&h->lock);
	return n;
}

int hosts_snapshot(struct hosts *h, const struct batch_name *tenant, struct host_info **ret,
		   size_t *ret_n, struct error *e)
{
	static const struct batch_name least = { .len = 0 };
	size_t first, end;
	size_t n = 0;

	(void)pthread_mutex_lock(&h->lock);
	(void)find(h, tenant, &least, &first);
	for (end = first; end < h->n && compare_names(&h->at[end]->info.tenant, tenant) == 0;)
		end++;
	struct host_info *copy = calloc(end - first + 1, sizeof(*copy));

	for (size_t i = first; copy != NULL && i < end; i++)
		copy[n++] = h->at[i]->info;
	(void)pthread_mutex_unlock(&h->lock);
	if (copy == NULL)
		return error_set(e, -ENOMEM, "cannot list the hosts: out of memory");
	*ret = copy;
	*ret_n = n;
	return 0;
}
