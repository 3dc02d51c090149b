/* SPDX-License-Identifier: Apache-2.0 */
/* The end of an acquisition: its manifest, and what the collector makes of it. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "agent/acquire/acquire.h"
#include "agent/launch.h"
#include "agent/orders_internal.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "service.pb-c.h"

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

void run_post_upload(struct orders *o, const struct run *run, int fd)
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
void run_upload_manifest(struct orders *o, const struct run *run)
{
	int payload[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, payload) < 0)
		return;
	(void)close(payload[1]);
	run_post_upload(o, run, payload[0]);
	post_manifest(o, run);
}

int run_new_manifest(struct orders *o, struct run *run, struct error *e)
{
	manifest_free(TAKE(run->manifest));
	return manifest_new(&run->order, run->exhibit_id, &o->tool, &o->c.host, &run->started,
			    &run->manifest, e);
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
	return run_save(o, run, e);
}

/* Nothing more comes of the acquirer. failure: NULL: its own word counts. */
void run_end(struct orders *o, struct run *run, const char *failure)
{
	struct manifest_time now = orders_now(o);
	struct rusage used = { 0 };
	struct error e = { 0 };

	(void)getrusage(RUSAGE_SELF, &used);
	manifest_close(run->manifest, failure, &now, (uint64_t)used.ru_maxrss * 1024);
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
			run_upload_manifest(o, run);
		return;
	}
	log_failure(LOG_LEVEL_ERROR, "an exhibit stays without a manifest", &e);
	run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, e.text, EIO);
	run_drop(o, run);
}

/* ---- the collector's answers ---------------------------------------------------------------------- */

static void say_done(struct orders *o, const struct run *run)
{
	if (run->failed)
		run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, run->outcome, EIO);
	else
		run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_DONE,
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
		run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED,
			"the collector sealed the exhibit without this manifest", EIO);
	run_drop(o, run);
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
	run_say(o, run, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, run->upload_failure, EIO);
	run_drop(o, run);
}
