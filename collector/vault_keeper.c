/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_keeper.h"

#include <errno.h>
#include <pthread.h>

#include "proto/base/queue.h"

#define EVERY_MS 2000

struct vault_keeper {
	struct vault *vault;
	struct queue *stop; /* closed: end */
	pthread_t thread;
};

static void *work(void *arg)
{
	struct vault_keeper *k = arg;

	while (!queue_closed(k->stop)) {
		vault_tick(k->vault);
		(void)queue_pop(k->stop, EVERY_MS);
	}
	return NULL;
}

int vault_keeper_start(struct vault *v, struct vault_keeper **ret, struct error *e)
{
	struct vault_keeper *k = calloc(1, sizeof(*k));
	int r;

	if (k == NULL || (k->stop = queue_new(1)) == NULL) {
		free(k);
		return error_set(e, -ENOMEM, "cannot keep the vault: out of memory");
	}
	k->vault = v;
	r = pthread_create(&k->thread, NULL, work, k);
	if (r != 0) {
		queue_free(k->stop);
		free(k);
		return error_set(e, -r, "cannot start the vault's thread: %m");
	}
	*ret = k;
	return 0;
}

void vault_keeper_stop(struct vault_keeper *k)
{
	if (k == NULL)
		return;
	vault_stop(k->vault);
	queue_close(k->stop);
	(void)pthread_join(k->thread, NULL);
	queue_free(k->stop);
	free(k);
}
