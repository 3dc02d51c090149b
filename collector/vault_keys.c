/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_keys.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "collector/retention_record.h"

static int compare_names(const struct batch_name *a, const struct batch_name *b)
{
	return a->len != b->len ? (int)a->len - (int)b->len : memcmp(a->b, b->b, a->len);
}

static int compare(const void *a, const void *b)
{
	const struct host_record_info *x = a, *y = b;
	int r = compare_names(&x->tenant, &y->tenant);

	if (r == 0)
		r = compare_names(&x->host_id, &y->host_id);
	return r != 0 ? r : memcmp(x->key_id, y->key_id, SEAL_KEY_ID_LEN);
}

void vault_keys_release(struct vault_keys *k)
{
	tdestroy(k->root, free);
	k->root = NULL;
}

int vault_keys_add(struct vault_keys *k, const struct batch_name *tenant,
		   const struct batch_name *host, const uint8_t public[static SEAL_PUBLIC_LEN])
{
	struct host_record_info *one = calloc(1, sizeof(*one));
	void *node;

	if (one == NULL)
		return -ENOMEM;
	one->tenant = *tenant;
	one->host_id = *host;
	memcpy(one->sealing_key, public, SEAL_PUBLIC_LEN);
	seal_key_id(public, one->key_id);
	node = tsearch(one, &k->root, compare);
	if (node == NULL || *(void **)node != one)
		free(one);
	return node == NULL ? -ENOMEM : 0;
}

int vault_keys_add_record(struct vault_keys *k, const void *record, size_t len)
{
	struct host_record_info info;
	int r = host_record_open(record, len, &info);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	return vault_keys_add(k, &info.tenant, &info.host_id, info.sealing_key);
}

bool vault_keys_find(const struct vault_keys *k, const struct batch_name *tenant,
		     const struct batch_name *host, const uint8_t key_id[static SEAL_KEY_ID_LEN],
		     uint8_t ret_public[static SEAL_PUBLIC_LEN])
{
	struct host_record_info wanted = { .tenant = *tenant, .host_id = *host };
	void *node;

	memcpy(wanted.key_id, key_id, SEAL_KEY_ID_LEN);
	node = tfind(&wanted, &k->root, compare);
	if (node == NULL)
		return false;
	memcpy(ret_public, (*(struct host_record_info **)node)->sealing_key, SEAL_PUBLIC_LEN);
	return true;
}
