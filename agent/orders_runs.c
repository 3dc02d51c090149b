/* SPDX-License-Identifier: Apache-2.0 */
/* Which acquisitions there are: made, remembered in a file each, found again after a restart. */
#include <dirent.h>
#include <errno.h>

#include "agent/acquire/acquire.h"
#include "agent/orders_internal.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "service.pb-c.h"

#define NAME_MAX_LEN 64

void run_say(struct orders *o, const struct run *run, Exhibit__V1__OrderState state,
	     const char *reason, uint32_t error)
{
	orders_say(o, run,
		   &(struct orders_said){ .state = state, .reason = reason, .error = error });
}

static int state_path(const struct orders *o, const struct run *run, char ret[static PATH_MAX],
		      struct error *e)
{
	char name[NAME_MAX_LEN] = "run-";

	for (size_t i = 0; i < ORDER_ID_LEN; i++)
		(void)snprintf(name + 4 + 2 * i, 3, "%02x", run->order.id[i]);
	return orders_path(o, name, ret, e);
}

int run_save(const struct orders *o, const struct run *run, struct error *e)
{
	char path[PATH_MAX];
	struct orders_state s = { .attempts = run->attempts,
				  .wall_ns = run->started.wall_ns,
				  .monotonic_ns = run->started.monotonic_ns,
				  .boottime_ns = run->started.boottime_ns,
				  .order = run->signed_order,
				  .order_len = run->signed_len,
				  .manifest = run->packed,
				  .manifest_len = run->packed_len };
	int r = state_path(o, run, path, e);

	memcpy(s.exhibit_id, run->exhibit_id, sizeof(s.exhibit_id));
	memcpy(s.boot_id, o->c.host.boot_id, sizeof(s.boot_id));
	return r < 0 ? r : orders_state_save(path, &s, e);
}

void run_free(struct run *r)
{
	if (r == NULL)
		return;
	close_fd(&r->control);
	manifest_free(r->manifest);
	order_checked_release(&r->order);
	free(r->signed_order);
	free(r->packed);
	free(r);
}

void run_drop(struct orders *o, struct run *run)
{
	char path[PATH_MAX];

	if (state_path(o, run, path, NULL) == 0)
		(void)unlink(path);
	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i] == run) {
			o->runs[i] = o->runs[--o->n_runs];
			break;
		}
	run_free(run);
}

struct run *run_by_exhibit(const struct orders *o, const uint8_t *id)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (memcmp(o->runs[i]->exhibit_id, id, MANIFEST_ID_LEN) == 0)
			return o->runs[i];
	return NULL;
}

struct run *run_new(struct orders *o, struct order_checked *order, const uint8_t *data, size_t len)
{
	struct run *run = o->n_runs == RUNS_MAX ? NULL : calloc(1, sizeof(*run));

	if (run == NULL)
		return NULL;
	run->control = -1;
	run->signed_order = malloc(len);
	if (run->signed_order == NULL) {
		free(run);
		return NULL;
	}
	memcpy(run->signed_order, data, len);
	run->signed_len = len;
	run->order = *order;
	*order = (struct order_checked){ 0 };
	run->kind = acquire_by_kind(run->order.order->kind);
	o->runs[o->n_runs++] = run;
	return run;
}

/* ---- after a restart ------------------------------------------------------------------------------ */

/* It was accepted then; what was revoked or expired since does not undo that. */
static int check_again(const struct orders *o, const struct orders_state *s,
		       struct order_checked *ret, struct error *e)
{
	struct order_context c = { .authorities = o->c.authorities,
				   .domain = o->c.domain,
				   .tenant = o->c.host.tenant,
				   .host_id = o->c.host.host_id,
				   .now_ns = s->wall_ns,
				   .clock_skew_ns = (int64_t)(o->c.clock_skew_ms * NSEC_PER_MSEC) };

	return order_check(&c, s->order, s->order_len, ret, e);
}

static int take_manifest(struct run *run, const struct orders_state *s, struct error *e)
{
	Exhibit__V1__SignedManifest *m =
		exhibit__v1__signed_manifest__unpack(NULL, s->manifest_len, s->manifest);
	int r = m == NULL ? -EBADMSG :
			    seal_sha256(m->manifest.data, m->manifest.len, &run->manifest_hash);

	if (m != NULL)
		exhibit__v1__signed_manifest__free_unpacked(m, NULL);
	run->packed = r == 0 ? malloc(s->manifest_len) : NULL;
	if (run->packed == NULL)
		return error_set(e, r < 0 ? r : -ENOMEM, "a manifest cannot be read back");
	memcpy(run->packed, s->manifest, s->manifest_len);
	run->packed_len = s->manifest_len;
	run->phase = RUN_UPLOADING;
	return 0;
}

static int restore(struct orders *o, const struct orders_state *s, struct error *e)
{
	struct order_checked order = { 0 };
	int r = check_again(o, s, &order, e);
	struct run *run = r < 0 ? NULL : run_new(o, &order, s->order, s->order_len);

	order_checked_release(&order);
	if (run == NULL)
		return r < 0 ? r : error_set(e, -ENOMEM, "out of memory");
	run->attempts = s->attempts;
	run->started = (struct manifest_time){ .wall_ns = s->wall_ns,
					       .monotonic_ns = s->monotonic_ns,
					       .boottime_ns = s->boottime_ns };
	memcpy(run->exhibit_id, s->exhibit_id, sizeof(run->exhibit_id));
	run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_STARTED, "the agent was started again", 0);
	if (s->manifest_len > 0 && (run->kind == NULL || !run->kind->resumable))
		return take_manifest(run, s, e);
	if (run->kind != NULL && run->kind->resumable && run->attempts < ATTEMPTS_MAX)
		return 0; /* waits for the uplink */
	r = run_new_manifest(o, run, e);
	if (r == 0)
		run_end(o, run, "the agent ended while the acquisition ran");
	return r;
}

static void load_one(struct orders *o, const char *name)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *data = NULL;
	struct orders_state s;
	struct error e = { 0 };
	size_t len;
	int r = orders_path(o, name, path, &e);

	if (r == 0)
		r = files_read(path, ORDERS_STATE_MAX, &data, &len, &e);
	if (r == 0 && orders_state_parse(data, len, &s) < 0)
		r = error_set(&e, -EBADMSG, "'%s' is damaged", path);
	if (r == 0)
		r = restore(o, &s, &e);
	if (r == 0)
		return;
	log_failure(LOG_LEVEL_ERROR, "an acquisition that was under way is given up", &e);
	(void)unlink(path);
}

void orders_load(struct orders *o)
{
	char path[PATH_MAX];
	AUTO(free_ptr) uint8_t *hash = NULL;
	size_t len;
	DIR *dir = opendir(o->c.dir);

	if (orders_path(o, "manifest", path, NULL) == 0 &&
	    files_read(path, SEAL_HASH_LEN, &hash, &len, NULL) == 0 && len == SEAL_HASH_LEN) {
		memcpy(o->previous.b, hash, len);
		o->has_previous = true;
	}
	for (const struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;)
		if (strncmp(d->d_name, "run-", 4) == 0 && o->n_runs < RUNS_MAX)
			load_one(o, d->d_name);
	if (dir != NULL)
		(void)closedir(dir);
}
