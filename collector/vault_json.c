/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_json.h"

#include <errno.h>
#include <pthread.h>

static _Thread_local bool lacked;

static void *take(size_t size)
{
	void *p = malloc(size);

	lacked = lacked || p == NULL;
	return p;
}

static void set_up(void)
{
	json_set_alloc_funcs(take, free);
}

int vault_json_load(const void *data, size_t len, json_t **ret, json_error_t *why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, set_up);
	lacked = false;
	/* NUL may stand in a name that a host chose. */
	*ret = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, why);
	/* jansson 2.14 drops a byte of a text for which it had no room, and goes on. */
	if (*ret != NULL && lacked) {
		json_decref(*ret);
		*ret = NULL;
	}
	if (*ret != NULL)
		return 0;
	return lacked ? -ENOMEM : -EBADMSG;
}
