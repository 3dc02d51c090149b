/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_limit.h"

#include <pthread.h>

#define SLOTS 16384 /* a power of two */
#define PROBES 8

struct slot {
	uint64_t hash;
	uint64_t second;
	unsigned int count;
};

struct rpc_limit {
	pthread_mutex_t lock;
	unsigned int per_second;
	struct slot slot[SLOTS];
};

struct rpc_limit *rpc_limit_new(unsigned int per_second)
{
	struct rpc_limit *l = calloc(1, sizeof(*l));

	if (l != NULL) {
		l->per_second = per_second;
		(void)pthread_mutex_init(&l->lock, NULL);
	}
	return l;
}

void rpc_limit_free(struct rpc_limit *l)
{
	if (l != NULL)
		(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

/* FNV-1a: names are certified, so nobody can choose them to collide. */
static uint64_t hash_of(const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
	return h;
}

/* The name's slot; else one whose second is over; else the last one tried, shared. */
static struct slot *find_slot(struct rpc_limit *l, uint64_t hash, uint64_t second)
{
	struct slot *old = NULL, *s = NULL;

	for (size_t i = 0; i < PROBES; i++) {
		s = &l->slot[(hash + i) & (SLOTS - 1)];
		if (s->hash == hash)
			return s;
		if (old == NULL && s->second != second)
			old = s;
	}
	return old != NULL ? old : s;
}

bool rpc_limit_allow(struct rpc_limit *l, const char *name, size_t len, uint64_t now_ns)
{
	uint64_t hash = hash_of(name, len), second = now_ns / NSEC_PER_SEC;
	struct slot *s;
	bool allowed;

	pthread_mutex_lock(&l->lock);
	s = find_slot(l, hash, second);
	if (s->second != second)
		*s = (struct slot){ .hash = hash, .second = second };
	allowed = s->count < l->per_second;
	s->count += allowed;
	pthread_mutex_unlock(&l->lock);
	return allowed;
}
