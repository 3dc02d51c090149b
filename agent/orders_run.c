/* SPDX-License-Identifier: Apache-2.0 */
/* One acquisition from its begin to the collector's receipt. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/acquire/acquire.h"
#include "agent/launch.h"
#include "agent/orders_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "service.pb-c.h"

#define RECEIVE_MAX 256 /* messages of one acquirer, then others have their turn */
#define DRAIN_MAX 1024 /* times RECEIVE_MAX, at its end */
#define PROGRESS_NS (2 * NSEC_PER_SEC) /* to the collector */
#define FINISH_NS (8 * NSEC_PER_SEC) /* acquirers that are told to stop */
#define NAME_MAX_LEN 64

static void say(struct orders *o, const struct run *run, Exhibit__V1__OrderState state,
		const char *reason, uint32_t error)
{
	orders_say(o, run,
		   &(struct orders_said){ .state = state, .reason = reason, .error = error });
}

/* ---- what is remembered ------------------------------------------------------------------------- */

static int state_path(const struct orders *o, const struct run *run, char ret[static PATH_MAX],
		      struct error *e)
{
	char name[NAME_MAX_LEN] = "run-";

	for (size_t i = 0; i < ORDER_ID_LEN; i++)
		(void)snprintf(name + 4 + 2 * i, 3, "%02x", run->order.id[i]);
	return orders_path(o, name, ret, e);
}

static int save_run(const struct orders *o, const struct run *run, struct error *e)
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

static void drop_run(struct orders *o, struct run *run)
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

static struct run *run_by_exhibit(const struct orders *o, const uint8_t *id)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (memcmp(o->runs[i]->exhibit_id, id, MANIFEST_ID_LEN) == 0)
			return o->runs[i];
	return NULL;
}

/* ---- mail --------------------------------------------------------------------------------------- */

/* fd: taken over. */
static void post(struct orders *o, enum link_kind kind, const void *body, size_t len, int fd)
{
	struct mail *m = mail_new(kind, body, len, fd);

	if (m != NULL && queue_try_push(o->c.mail->out, m))
		return;
	/* The acquirer sees its payload's end closed, and fails; a manifest goes again with the next link. */
	mail_free(m);
	log_warn("the uplink does not take what orders have for it");
}

static void post_upload(struct orders *o, const struct run *run, int fd)
{
	Exhibit__V1__UploadStart start = EXHIBIT__V1__UPLOAD_START__INIT;
	uint8_t packed[128];

	start.order_id = (ProtobufCBinaryData){ ORDER_ID_LEN, (uint8_t *)(uintptr_t)run->order.id };
	start.exhibit_id =
		(ProtobufCBinaryData){ MANIFEST_ID_LEN, (uint8_t *)(uintptr_t)run->exhibit_id };
	start.kind = run->order.order->kind;
	start.protocol = 1;
	post(o, LINK_UPLOAD, packed, exhibit__v1__upload_start__pack(&start, packed), fd);
}

static void post_manifest(struct orders *o, const struct run *run)
{
	size_t len = MANIFEST_ID_LEN + run->packed_len;
	AUTO(free_ptr) uint8_t *body = malloc(len);

	if (body == NULL)
		return;
	memcpy(body, run->exhibit_id, MANIFEST_ID_LEN);
	memcpy(body + MANIFEST_ID_LEN, run->packed, run->packed_len);
	post(o, LINK_MANIFEST, body, len, -1);
}

/* No payload: what arrived is known to the collector. */
static void upload_manifest_alone(struct orders *o, const struct run *run)
{
	int payload[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, payload) < 0)
		return;
	(void)close(payload[1]);
	post_upload(o, run, payload[0]);
	post_manifest(o, run);
}

/* ---- the manifest ------------------------------------------------------------------------------- */

static int sign_manifest(struct orders *o, struct run *run, const char *text, size_t len,
			 struct error *e)
{
	Exhibit__V1__SignedManifest s = EXHIBIT__V1__SIGNED_MANIFEST__INIT;
	uint8_t signature[SEAL_SIGNATURE_LEN], public[SEAL_PUBLIC_LEN], key_id[SEAL_KEY_ID_LEN];
	int r = seal_sign(o->c.key, MANIFEST_DOMAIN, text, len, signature, e);

	if (r == 0 && seal_sha256(text, len, &run->manifest_hash) < 0)
		r = error_set(e, -ENOMEM, "cannot hash a manifest: out of memory");
	if (r < 0)
		return r;
	seal_key_public(o->c.key, public);
	seal_key_id(public, key_id);
	s.manifest = (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)text };
	s.signature = (ProtobufCBinaryData){ sizeof(signature), signature };
	s.key_id = (ProtobufCBinaryData){ sizeof(key_id), key_id };
	run->packed_len = exhibit__v1__signed_manifest__get_packed_size(&s);
	run->packed = malloc(run->packed_len);
	if (run->packed == NULL)
		return error_set(e, -ENOMEM, "cannot sign a manifest: out of memory");
	(void)exhibit__v1__signed_manifest__pack(&s, run->packed);
	return 0;
}

/* Each manifest names the one before: a missing one shows. */
static void remember_previous(struct orders *o, const struct seal_hash *hash)
{
	char path[PATH_MAX];
	struct error e = { 0 };
	int r = orders_path(o, "manifest", path, &e);

	o->previous = *hash;
	o->has_previous = true;
	if (r == 0)
		r = files_replace(path, hash->b, sizeof(hash->b), 0600, &e);
	if (r < 0)
		log_failure(LOG_LEVEL_WARN, "the last manifest's hash cannot be kept", &e);
}

static int make_manifest(struct orders *o, struct run *run, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	int r = manifest_make(run->manifest, o->has_previous ? &o->previous : NULL, &text, &len, e);

	if (r == 0)
		r = sign_manifest(o, run, text, len, e);
	if (r < 0)
		return r;
	remember_previous(o, &run->manifest_hash);
	return save_run(o, run, e);
}

/* Nothing more comes of the acquirer. failure: NULL: its own word counts. */
static void end_acquiring(struct orders *o, struct run *run, const char *failure)
{
	struct manifest_time now = manifest_now();
	struct error e = { 0 };

	manifest_close(run->manifest, failure, &now);
	run->failed = manifest_failure(run->manifest)[0] != '\0';
	run->complete = manifest_complete(run->manifest);
	(void)snprintf(run->outcome, sizeof(run->outcome), "%s",
		       run->failed ? manifest_failure(run->manifest) : "");
	run->bytes = manifest_bytes(run->manifest);
	run->phase = RUN_UPLOADING;
	if (make_manifest(o, run, &e) == 0) {
		if (run->link == o->links)
			post_manifest(o, run);
		else /* the uplink that had the payload is gone */
			upload_manifest_alone(o, run);
		return;
	}
	log_failure(LOG_LEVEL_ERROR, "an exhibit stays without a manifest", &e);
	say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, e.text, EIO);
	drop_run(o, run);
}

/* ---- starting ------------------------------------------------------------------------------------ */

static int new_manifest(struct orders *o, struct run *run, struct error *e)
{
	manifest_free(TAKE(run->manifest));
	return manifest_new(&run->order, run->exhibit_id, &o->tool, &o->c.host, &run->started,
			    &run->manifest, e);
}

static int send_request(const struct orders *o, const struct run *run, int control, struct error *e)
{
	const Exhibit__V1__OrderLimits *asked = run->order.order->limits;
	const struct orders_policy *p = &o->c.policy;
	struct control_message m = {
		.kind = CONTROL_REQUEST,
		.u.request = { .spool_bytes = o->c.spool_bytes,
			       .freeze_max_ms = o->c.freeze_max_ms },
	};
	size_t len = exhibit__v1__order__get_packed_size(run->order.order);
	AUTO(free_ptr) uint8_t *order = malloc(len);

	if (order == NULL)
		return error_set(e, -ENOMEM, "cannot ask an acquirer: out of memory");
	(void)exhibit__v1__order__pack(run->order.order, order);
	m.u.request.order = (struct control_bytes){ order, len };
	m.u.request.max_bytes =
		orders_policy_least(p->max_bytes, asked == NULL ? 0 : asked->max_bytes);
	m.u.request.max_seconds =
		orders_policy_least(p->max_seconds, asked == NULL ? 0 : asked->max_seconds);
	m.u.request.bytes_per_second = orders_policy_least(
		p->bytes_per_second, asked == NULL ? 0 : asked->bytes_per_second);
	int r = control_send(control, &m);

	return r < 0 ? error_set(e, r, "cannot ask an acquirer: %m") : 0;
}

static int start_process(struct orders *o, struct run *run, struct error *e)
{
	int control[2], payload[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		return error_set(e, -errno, "cannot start an acquirer: %m");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, payload) < 0) {
		int saved = errno;

		(void)close(control[0]);
		(void)close(control[1]);
		return error_set(e, -saved, "cannot start an acquirer: %m");
	}
	if (++o->next_token == 0)
		o->next_token = 1;
	run->token = o->next_token;
	run->control = control[0];
	int r = send_request(o, run, control[0], e);

	if (r == 0 && fcntl(control[0], F_SETFL, O_NONBLOCK) < 0)
		r = error_set(e, -errno, "cannot start an acquirer: %m");
	if (r == 0)
		r = launch_acquire(o->c.control, run->token, (uint32_t)run->kind->kind, control[1],
				   payload[1], e);
	(void)close(control[1]);
	(void)close(payload[1]);
	if (r < 0) {
		run->token = 0;
		(void)close(payload[0]);
		return r;
	}
	post_upload(o, run, payload[0]);
	return 0;
}

/* There is an uplink. */
static void start_run(struct orders *o, struct run *run)
{
	struct error e = { 0 };
	int r = 0;

	run->attempts++;
	run->link = o->links;
	run->phase = RUN_ACQUIRING;
	run->bytes = run->expected_bytes = 0;
	r = save_run(o, run, &e);
	if (r == 0)
		r = new_manifest(o, run, &e);
	if (r == 0)
		r = start_process(o, run, &e);
	if (r == 0)
		return;
	log_failure(LOG_LEVEL_ERROR, "an order cannot be carried out", &e);
	if (run->manifest != NULL) {
		end_acquiring(o, run, e.text);
		return;
	}
	say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, e.text, EIO);
	drop_run(o, run);
}

static struct run *run_new(struct orders *o, struct order_checked *order, const uint8_t *data,
			   size_t len)
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

void orders_begin(struct orders *o, struct order_checked *order, const uint8_t *data, size_t len)
{
	struct run *run = run_new(o, order, data, len);
	struct error e = { 0 };

	if (run == NULL) {
		(void)error_set(&e, -ENOMEM, "the order cannot be carried out: out of memory");
		orders_refuse(o, order->order, &order->hash, true, &e);
		return;
	}
	run->started = manifest_now();
	if (getrandom(run->exhibit_id, sizeof(run->exhibit_id), 0) !=
	    (ssize_t)sizeof(run->exhibit_id)) {
		say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, "no random numbers", EIO);
		drop_run(o, run);
		return;
	}
	log_info("an order is carried out", KV_STR("kind", run->kind->name),
		 KV_STR("requester", run->order.requester.name));
	say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_STARTED, NULL, 0);
	start_run(o, run);
}

/* ---- running ------------------------------------------------------------------------------------- */

bool orders_receive(struct orders *o, struct run *run)
{
	struct control_message m;

	for (size_t i = 0; i < RECEIVE_MAX && run->control >= 0; i++) {
		int r = control_receive(run->control, o->buf, &m);

		if (r == 0)
			return false;
		if (r > 0 && m.kind == CONTROL_PROGRESS) {
			run->bytes = m.u.progress.bytes;
			run->expected_bytes = m.u.progress.expected_bytes;
		}
		if (r > 0)
			r = manifest_take(run->manifest, &m);
		if (r == 0)
			continue;
		if (r != -EPIPE) { /* it read hostile bytes, and may have been taken over by them */
			run->broke_rules = true;
			launch_stop(o->c.control, run->token, true);
		}
		close_fd(&run->control);
		run->control = -1;
	}
	return run->control >= 0;
}

/* What ended it was not the source: the collector's or our own end, which another attempt may not meet. */
static bool worth_repeating(const struct run *run, int status)
{
	const char *failure = manifest_failure(run->manifest);
	bool killed = !manifest_ended(run->manifest) && !run->broke_rules && status != -1;

	return run->kind->resumable && run->attempts < ATTEMPTS_MAX &&
	       run->upload_failure[0] == '\0' &&
	       (killed || strcmp(failure, "the uplink is gone") == 0);
}

static const char *why_ended(const struct run *run, int status, char *buf, size_t size)
{
	if (run->broke_rules)
		return "the acquirer broke the rules of what it may say, and was ended";
	if (manifest_ended(run->manifest))
		return NULL;
	if (status == -1)
		return "the acquirer could not be started";
	if (WIFSIGNALED(status))
		(void)snprintf(buf, size, "the acquirer was ended by signal %d", WTERMSIG(status));
	else
		(void)snprintf(buf, size, "the acquirer ended with status %d and without a word",
			       WEXITSTATUS(status));
	return buf;
}

static struct run *run_by_token(const struct orders *o, uint32_t token)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->token == token && token != 0)
			return o->runs[i];
	return NULL;
}

/* Its process has ended. going_on: unless the agent itself ends. */
static void process_ended(struct orders *o, uint32_t token, int status, bool going_on)
{
	struct run *run = run_by_token(o, token);
	char buf[128];

	if (run == NULL)
		return;
	/* All that it said is there; somebody else may hold its end open, and talk on for ever. */
	for (size_t i = 0; i < DRAIN_MAX && run->control >= 0 && orders_receive(o, run); i++)
		continue;
	close_fd(&run->control);
	run->control = -1;
	run->token = 0;
	if (run->upload_failure[0] != '\0') {
		say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, run->upload_failure, EIO);
		drop_run(o, run);
	} else if (!worth_repeating(run, status)) {
		end_acquiring(o, run, why_ended(run, status, buf, sizeof(buf)));
	} else {
		run->phase = RUN_WAITING; /* for the next uplink, or the next start */
		if (going_on && (WIFSIGNALED(status) || run->link != o->links))
			start_run(o,
				  run); /* it was not for want of an uplink, or there is another */
	}
}

void orders_process_ended(struct orders *o, uint32_t token, int status)
{
	process_ended(o, token, status, true);
}

void orders_tell_progress(struct orders *o)
{
	uint64_t now = clock_monotonic_ns();

	for (size_t i = 0; i < o->n_runs; i++) {
		struct run *run = o->runs[i];

		if (run->phase != RUN_ACQUIRING || run->bytes == run->told_bytes ||
		    now - run->told_ns < PROGRESS_NS)
			continue;
		run->told_ns = now;
		run->told_bytes = run->bytes;
		orders_say(o, run,
			   &(struct orders_said){ .state = EXHIBIT__V1__ORDER_STATE__ORDER_PROGRESS,
						  .quiet = true });
	}
}

/* ---- the collector's answers ---------------------------------------------------------------------- */

static void say_done(struct orders *o, const struct run *run)
{
	if (run->failed)
		say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, run->outcome, EIO);
	else
		say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_DONE,
		    run->complete ? NULL : "the exhibit is incomplete: see its manifest", 0);
}

void orders_take_receipt(struct orders *o, const uint8_t *data, size_t len)
{
	struct run *run = len < LINK_ID_LEN ? NULL : run_by_exhibit(o, data);
	Exhibit__V1__Receipt *receipt =
		run == NULL ?
			NULL :
			exhibit__v1__receipt__unpack(NULL, len - LINK_ID_LEN, data + LINK_ID_LEN);

	if (receipt == NULL)
		return;
	bool ours = run->packed != NULL && receipt->manifest_sha256.len == SEAL_HASH_LEN &&
		    memcmp(receipt->manifest_sha256.data, run->manifest_hash.b, SEAL_HASH_LEN) == 0;

	exhibit__v1__receipt__free_unpacked(receipt, NULL);
	if (!ours && run->phase != RUN_UPLOADING) {
		/* Nothing of it is wanted any more. */
		(void)snprintf(run->upload_failure, sizeof(run->upload_failure),
			       "the collector sealed the exhibit before it was whole");
		launch_stop(o->c.control, run->token, true);
		return;
	}
	if (ours)
		say_done(o, run);
	else
		say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED,
		    "the collector sealed the exhibit without this manifest", EIO);
	drop_run(o, run);
}

void orders_upload_failed(struct orders *o, const uint8_t *data, size_t len)
{
	struct run *run = len < LINK_ID_LEN ? NULL : run_by_exhibit(o, data);

	if (run == NULL)
		return;
	(void)snprintf(run->upload_failure, sizeof(run->upload_failure), "%.*s",
		       (int)(len - LINK_ID_LEN), (const char *)data + LINK_ID_LEN);
	if (run->upload_failure[0] == '\0')
		(void)snprintf(run->upload_failure, sizeof(run->upload_failure),
			       "the collector did not take the exhibit");
	if (run->phase == RUN_ACQUIRING) {
		launch_stop(o->c.control, run->token, true);
		return; /* its end is reported */
	}
	say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, run->upload_failure, EIO);
	drop_run(o, run);
}

/* ---- a new uplink ---------------------------------------------------------------------------------- */

/* The uplink that ended may have had chunks that never reached the collector: what can be read again is. */
static void go_on(struct orders *o, struct run *run)
{
	if (run->phase == RUN_WAITING) {
		start_run(o, run);
	} else if (run->phase == RUN_UPLOADING && run->kind != NULL && run->kind->resumable &&
		   !run->failed && run->attempts < ATTEMPTS_MAX) {
		free(TAKE(run->packed));
		run->packed_len = 0;
		start_run(o, run);
	} else if (run->phase == RUN_UPLOADING) {
		upload_manifest_alone(o, run);
	}
}

void orders_new_link(struct orders *o)
{
	struct run *runs[RUNS_MAX];
	size_t n = o->n_runs;

	o->links++;
	orders_tell_held(o);
	memcpy(runs, o->runs, sizeof(runs)); /* going on may end one */
	for (size_t i = 0; i < n; i++)
		go_on(o, runs[i]);
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
	say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_STARTED, "the agent was started again", 0);
	if (s->manifest_len > 0 && (run->kind == NULL || !run->kind->resumable))
		return take_manifest(run, s, e);
	if (run->kind != NULL && run->kind->resumable && run->attempts < ATTEMPTS_MAX)
		return 0; /* waits for the uplink */
	r = new_manifest(o, run, e);
	if (r == 0)
		end_acquiring(o, run, "the agent ended while the acquisition ran");
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

/* ---- the end -------------------------------------------------------------------------------------- */

static bool any_process(const struct orders *o)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->token != 0)
			return true;
	return false;
}

/* What can be read again goes on after the next start; the others finish with what they have. */
void orders_finish(struct orders *o)
{
	uint64_t until_ns = clock_monotonic_ns() + FINISH_NS;

	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->token != 0)
			launch_stop(o->c.control, o->runs[i]->token, o->runs[i]->kind->resumable);
	while (any_process(o) && clock_monotonic_ns() < until_ns) {
		struct launch_report report;
		int r = launch_receive(o->c.control, &report);

		if (r < 0)
			return;
		if (r == 0)
			(void)usleep(10000);
		else if (report.kind == LAUNCH_LINK)
			(void)close(report.fd);
		else
			process_ended(o, report.token, report.status, false);
		for (size_t i = 0; i < o->n_runs; i++)
			if (o->runs[i]->control >= 0)
				(void)orders_receive(o, o->runs[i]);
	}
}
