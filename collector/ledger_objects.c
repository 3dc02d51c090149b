/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_objects.h"

#include <errno.h>
#include <string.h>

struct key {
	uint64_t a, b; /* both 0: free */
};

struct ledger_objects {
	struct key *slots;
	size_t n, max; /* max: a power of two */
};

struct ledger_objects *ledger_objects_new(void)
{
	struct ledger_objects *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->max = 1024;
	o->slots = calloc(o->max, sizeof(*o->slots));
	if (!o->slots) {
		free(o);
		return NULL;
	}
	return o;
}

void ledger_objects_free(struct ledger_objects *o)
{
	if (!o)
		return;
	free(o->slots);
	free(o);
}

static struct key key_of(const uint8_t hash[SEAL_HASH_LEN])
{
	struct key k;

	memcpy(&k, hash, sizeof(k));
	if (k.a == 0 && k.b == 0)
		k.b = 1;
	return k;
}

static size_t slot_of(const struct ledger_objects *o, struct key k)
{
	size_t at = (size_t)k.a & (o->max - 1);

	while ((o->slots[at].a != 0 || o->slots[at].b != 0) &&
	       (o->slots[at].a != k.a || o->slots[at].b != k.b))
		at = (at + 1) & (o->max - 1);
	return at;
}

static int grow(struct ledger_objects *o)
{
	struct ledger_objects more = { .max = 2 * o->max };

	more.slots = calloc(more.max, sizeof(*more.slots));
	if (!more.slots)
		return -ENOMEM;
	for (size_t i = 0; i < o->max; i++)
		if (o->slots[i].a != 0 || o->slots[i].b != 0)
			more.slots[slot_of(&more, o->slots[i])] = o->slots[i];
	free(o->slots);
	o->slots = more.slots;
	o->max = more.max;
	return 0;
}

int ledger_objects_add(struct ledger_objects *o, const uint8_t hash[SEAL_HASH_LEN])
{
	struct key k = key_of(hash);
	size_t at;

	if (4 * o->n >= 3 * o->max && grow(o) < 0)
		return -ENOMEM;
	at = slot_of(o, k);
	if (o->slots[at].a == 0 && o->slots[at].b == 0)
		o->n++;
	o->slots[at] = k;
	return 0;
}

bool ledger_objects_has(const struct ledger_objects *o, const uint8_t hash[SEAL_HASH_LEN])
{
	size_t at = slot_of(o, key_of(hash));

	return o->slots[at].a != 0 || o->slots[at].b != 0;
}

uint64_t ledger_objects_count(const struct ledger_objects *o)
{
	return o->n;
}
