/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/order_manifest.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "collector/cli/session.h"
#include "collector/vault_json.h"
#include "proto/seal.h"

#define FETCH_PATH "/exhibit.v1.Vault/Fetch"

/* A host wrote it: it is read as JSON and written anew, never passed on as it is. */
static int rewrite(const Exhibit__V1__OrderStep *step, const ProtobufCBinaryData *manifest,
		   char **ret, struct error *e)
{
	struct seal_hash hash;
	json_t *root = NULL;
	int r = seal_sha256(manifest->data, manifest->len, &hash);

	if (r < 0)
		return error_set(e, r, "cannot hash the manifest: %m");
	if (step->manifest_sha256.len != sizeof(hash.b) ||
	    memcmp(step->manifest_sha256.data, hash.b, sizeof(hash.b)) != 0)
		return error_set(e, -EBADMSG,
				 "the manifest that is here is not the one that the host reported");
	if (vault_json_load(manifest->data, manifest->len, &root, NULL) == -ENOMEM)
		return error_set(e, -ENOMEM, "cannot read the manifest: out of memory");
	*ret = json_is_object(root) ? json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
	json_decref(root);
	return *ret ? 0 : error_set(e, -EBADMSG, "the manifest is no JSON object");
}

static int take_reply(const Exhibit__V1__OrderStep *step, const uint8_t *data, size_t len,
		      char **ret, struct error *e)
{
	Exhibit__V1__FetchReply *reply = exhibit__v1__fetch_reply__unpack(NULL, len, data);
	int r;

	if (!reply)
		return error_set(e, -EBADMSG, "the collector's answer cannot be read");
	if (reply->kind_case == EXHIBIT__V1__FETCH_REPLY__KIND_MANIFEST)
		r = rewrite(step, &reply->manifest->manifest, ret, e);
	else
		r = error_set(e, -EBADMSG, "the collector sent no manifest");
	exhibit__v1__fetch_reply__free_unpacked(reply, NULL);
	return r;
}

int order_manifest(const struct args *a, const Exhibit__V1__OrderStep *step, char **ret,
		   struct error *e)
{
	Exhibit__V1__FetchRequest q = EXHIBIT__V1__FETCH_REQUEST__INIT;
	AUTO(session_free_ptr) struct session *s = NULL;
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;
	int r;

	q.exhibit_id = step->exhibit_id;
	r = session_open(a, FETCH_PATH, &q, &s, e);
	if (r == 0)
		r = session_next(s, &data, &len, e);
	if (r == 0)
		return error_set(e, -EBADMSG, "the collector sent no manifest");
	return r < 0 ? r : take_reply(step, data, len, ret, e);
}
