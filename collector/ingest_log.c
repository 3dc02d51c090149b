/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ingest_log.h"

#include <pthread.h>

#include "collector/row.h"

#define PROBES 8

struct place {
	struct batch_name tenant, host;
	uint64_t said_ns; /* 0: free */
	uint64_t held;
};

struct ingest_log {
	pthread_mutex_t lock;
	uint64_t homeless; /* held back of hosts that lost their place */
	struct place at[INGEST_LOG_HOSTS];
};

struct ingest_log *ingest_log_new(void)
{
	struct ingest_log *l = calloc(1, sizeof(*l));

	if (l != NULL)
		(void)pthread_mutex_init(&l->lock, NULL);
	return l;
}

void ingest_log_free(struct ingest_log *l)
{
	if (l != NULL)
		(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

/* FNV-1a: names are certified, so nobody can choose them to collide. */
static uint64_t hash_more(uint64_t h, const struct batch_name *name)
{
	for (size_t i = 0; i < name->len; i++)
		h = (h ^ name->b[i]) * 0x100000001b3u;
	return (h ^ 0xff) * 0x100000001b3u;
}

/* The host's place; else the one among its own that was silent longest. */
static struct place *find(struct ingest_log *l, const struct batch_name *tenant,
			  const struct batch_name *host)
{
	uint64_t hash = hash_more(hash_more(0xcbf29ce484222325u, tenant), host);
	struct place *oldest = NULL;

	for (size_t i = 0; i < PROBES; i++) {
		struct place *p = &l->at[(hash + i) % INGEST_LOG_HOSTS];

		if (p->said_ns != 0 && batch_name_equal(&p->tenant, tenant) &&
		    batch_name_equal(&p->host, host))
			return p;
		if (oldest == NULL || p->said_ns < oldest->said_ns)
			oldest = p;
	}
	l->homeless += oldest->held;
	*oldest = (struct place){ .tenant = *tenant, .host = *host };
	return oldest;
}

bool ingest_log_may(struct ingest_log *l, const struct batch_name *tenant,
		    const struct batch_name *host, uint64_t now_ns, uint64_t *ret_held)
{
	(void)pthread_mutex_lock(&l->lock);
	struct place *p = find(l, tenant, host);
	bool may = p->said_ns == 0 || now_ns - p->said_ns > INGEST_LOG_EVERY_NS;

	*ret_held = p->held;
	p->held = may ? 0 : p->held + 1;
	if (may)
		p->said_ns = now_ns;
	(void)pthread_mutex_unlock(&l->lock);
	return may;
}

static bool is_due(const struct place *p, uint64_t now_ns)
{
	return p->held > 0 && now_ns - p->said_ns > INGEST_LOG_EVERY_NS;
}

bool ingest_log_take(struct ingest_log *l, uint64_t now_ns, struct batch_name *ret_tenant,
		     struct batch_name *ret_host, uint64_t *ret_held)
{
	*ret_held = 0;
	*ret_tenant = *ret_host = (struct batch_name){ 0 };
	(void)pthread_mutex_lock(&l->lock);
	for (size_t i = 0; *ret_held == 0 && i < INGEST_LOG_HOSTS; i++) {
		struct place *p = &l->at[i];

		if (!is_due(p, now_ns))
			continue;
		*ret_tenant = p->tenant;
		*ret_host = p->host;
		*ret_held = p->held;
		p->held = 0;
		p->said_ns = now_ns; /* that was its line */
	}
	if (*ret_held == 0) {
		*ret_held = l->homeless;
		l->homeless = 0;
	}
	(void)pthread_mutex_unlock(&l->lock);
	return *ret_held > 0;
}
