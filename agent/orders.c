/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders.h"

#include <errno.h>
#include <poll.h>

#include "agent/orders_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define TICK_MS 500

static void take_mail(struct orders *o, const struct mail *m)
{
	if (m->new_link) {
		orders_new_link(o);
		return;
	}
	switch (m->kind) {
	case LINK_ORDERS:
		orders_repeat_steps(o);
		break;
	case LINK_ORDER:
		orders_take(o, m->body, m->len);
		break;
	case LINK_REVOCATIONS:
		orders_take_revocations(o, m->body, m->len);
		break;
	case LINK_RECEIPT:
		orders_take_receipt(o, m->body, m->len);
		break;
	case LINK_UPLOAD_FAILED:
		orders_upload_failed(o, m->body, m->len);
		break;
	case LINK_LEDGER:
		orders_take_ledger(o, m->body, m->len);
		break;
	case LINK_CLOCK:
		orders_take_clock(o, m->body, m->len);
		break;
	case LINK_WANT:
	case LINK_ACK:
	case LINK_STATE:
	case LINK_BATCH:
	case LINK_TOMBSTONE:
	case LINK_IDLE:
	case LINK_STOP:
	case LINK_HELD:
	case LINK_STEP:
	case LINK_UPLOAD:
	case LINK_MANIFEST:
	case LINK_CONTRADICTION:
	case LINK_KINDS:
		break; /* not for us */
	}
}

static void wait_for_work(struct orders *o)
{
	struct pollfd fds[2 + RUNS_MAX] = { { .fd = queue_fd(o->c.mail->in), .events = POLLIN },
					    { .fd = queue_fd(o->ended), .events = POLLIN } };
	nfds_t n = 2;

	for (size_t i = 0; i < o->n_runs; i++)
		fds[n++] = (struct pollfd){ .fd = o->runs[i]->control, .events = POLLIN };
	(void)poll(fds, n, TICK_MS);
}

static void receive_all(struct orders *o)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->control >= 0)
			(void)orders_receive(o, o->runs[i]);
}

static void *run_orders(void *arg)
{
	struct orders *o = arg;

	orders_tool_read(&o->tool, o->uuid);
	o->c.host.product_uuid = o->uuid;
	orders_tell_checkpoint(o);
	orders_load(o);
	while (!queue_closed(o->ended)) {
		wait_for_work(o);
		receive_all(o);
		for (struct ended *e; (e = queue_pop(o->ended, 0)) != NULL; free(e))
			orders_process_ended(o, e->token, e->status);
		for (struct mail *m; (m = queue_pop(o->c.mail->in, 0)) != NULL; mail_free(m))
			take_mail(o, m);
		orders_tell_progress(o);
		atomic_store(&o->busy, o->n_runs > 0);
	}
	orders_finish(o);
	return NULL;
}

static int load_revocations(struct orders *o, struct error *e)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len;
	int r = revocations_new(o->c.host.tenant, &o->revocations, e);

	if (r == 0)
		r = orders_path(o, "revocations", path, e);
	if (r < 0)
		return r;
	r = files_read(path, REVOCATIONS_BYTES_MAX, &data, &len, e);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = revocations_take(o->revocations, o->c.authorities, data, len, e);
	if (r < 0)
		error_hint(e, "remove it only if the collector holds the newest list");
	return r < 0 ? error_wrap(e, r, "cannot tell who is revoked from '%s'", path) : 0;
}

/* A host that cannot remember orders still watches: it takes none, and says why. */
static int open_nonces(struct orders *o, struct error *e)
{
	char path[PATH_MAX];
	struct error why = { 0 };
	int r = orders_path(o, "nonces", path, e);

	if (r < 0)
		return r;
	if (nonces_open(path, clock_wall_ns(), &o->nonces, &why) < 0) {
		(void)error_format(&why, o->no_nonces, sizeof(o->no_nonces));
		log_failure(LOG_LEVEL_ERROR, "ALARM no order runs on this host", &why);
	}
	return 0;
}

static int open_ledger(struct orders *o, struct error *e)
{
	char path[PATH_MAX];
	int r = orders_path(o, "checkpoint", path, e);

	if (r == 0)
		r = ledger_watch_open(path, o->c.authorities, &o->ledger, e);
	if (r < 0)
		error_hint(e, "when the order authority or the ledger was replaced, remove it");
	return r < 0 ? error_wrap(e, r,
				  "cannot tell which checkpoint of the ledger was seen last") :
		       0;
}

static void name_self(struct orders *o)
{
	struct identity id = { .kind = IDENTITY_HOST };

	(void)snprintf(id.domain, sizeof(id.domain), "%s", o->c.domain);
	(void)snprintf(id.tenant, sizeof(id.tenant), "%s", o->c.host.tenant);
	(void)snprintf(id.name, sizeof(id.name), "%s", o->c.host.host_id);
	(void)identity_spiffe(&id, o->self);
}

static void orders_free(struct orders *o)
{
	for (size_t i = 0; i < o->n_runs; i++)
		run_free(o->runs[i]);
	for (struct ended *e; o->ended != NULL && (e = queue_pop(o->ended, 0)) != NULL;)
		free(e);
	orders_forget_steps(o);
	queue_free(o->ended);
	free(o->dir);
	revocations_free(o->revocations);
	nonces_free(o->nonces);
	ledger_watch_free(o->ledger);
	authorities_free(o->c.authorities);
	seal_key_free(o->c.key);
	free(o);
}

int orders_start(const struct orders_config *c, struct orders **ret, struct error *e)
{
	struct orders *o = calloc(1, sizeof(*o));

	if (o == NULL) {
		authorities_free(c->authorities);
		seal_key_free(c->key);
		return error_set(e, -ENOMEM, "cannot take orders: out of memory");
	}
	o->c = *c;
	o->c.dir = o->dir = strdup(c->dir);
	name_self(o);
	o->ended = queue_new(2 * RUNS_MAX);
	int r = o->ended == NULL || o->dir == NULL ?
			error_set(e, -ENOMEM, "cannot take orders: out of memory") :
			files_mkdirs(c->dir, 0700, e);

	if (r == 0)
		r = load_revocations(o, e);
	if (r == 0)
		r = open_nonces(o, e);
	if (r == 0)
		r = open_ledger(o, e);
	if (r == 0) {
		r = -pthread_create(&o->thread, NULL, run_orders, o);
		if (r < 0)
			(void)error_set(e, r, "cannot start the orders thread: %m");
	}
	if (r < 0) {
		orders_free(o);
		return r;
	}
	(void)pthread_setname_np(o->thread, "orders");
	*ret = o;
	return 0;
}

void orders_ended(struct orders *o, uint32_t token, int status)
{
	struct ended *e = malloc(sizeof(*e));

	if (e != NULL)
		*e = (struct ended){ .token = token, .status = status };
	if (e == NULL || !queue_push(o->ended, e))
		free(e);
}

bool orders_busy(const struct orders *o)
{
	return atomic_load(&o->busy);
}

void orders_stop(struct orders *o)
{
	if (o == NULL)
		return;
	queue_close(o->ended);
	(void)pthread_join(o->thread, NULL);
	orders_free(o);
}
