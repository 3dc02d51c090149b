/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/replies.h"

#include <errno.h>

#include "collector/cli/session.h"

static int take_message(const struct replies *r, const uint8_t *data, size_t len, struct outcome *o,
			Exhibit__V1__Completeness **ret_last, struct error *e)
{
	ProtobufCMessage *m = protobuf_c_message_unpack(r->reply, NULL, len, data);
	const Exhibit__V1__Completeness *last;

	if (!m)
		return error_set(
			e, -EBADMSG,
			"the collector's answer cannot be read; is it of another version?");
	last = r->take(r->ctx, m, o);
	if (last) {
		/* Kept beyond its message, to be said after the table. */
		size_t size = exhibit__v1__completeness__get_packed_size(last);
		uint8_t *copy = malloc(size + 1);

		if (copy) {
			(void)exhibit__v1__completeness__pack(last, copy);
			if (*ret_last)
				exhibit__v1__completeness__free_unpacked(*ret_last, NULL);
			*ret_last = exhibit__v1__completeness__unpack(NULL, size, copy);
			free(copy);
		}
	}
	protobuf_c_message_free_unpacked(m, NULL);
	return 0;
}

static int run(const struct replies *r, struct outcome *o, Exhibit__V1__Completeness **ret_last,
	       struct error *e)
{
	AUTO(session_free_ptr) struct session *s = NULL;
	int result = session_open(r->args, r->path, r->question, &s, e);

	while (result >= 0) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		result = session_next(s, &data, &len, e);
		if (result == 0)
			return 0;
		if (result > 0)
			result = take_message(r, data, len, o, ret_last, e);
	}
	return result;
}

int replies_run(const struct replies *r, struct outcome *o, Exhibit__V1__Completeness **ret_last)
{
	struct error e = { 0 };

	*ret_last = NULL;
	if (run(r, o, ret_last, &e) < 0)
		return outcome_failure(&e);
	return 0;
}

bool replies_seen_between(const struct args *a, int64_t seen_ns)
{
	return (!a->since_ns || seen_ns >= a->since_ns) && (!a->until_ns || seen_ns < a->until_ns);
}

void replies_host_json(struct json *j, const ProtobufCBinaryData *id,
		       const ProtobufCBinaryData *name)
{
	json_bytes(j, "id", id->data, id->len);
	if (name->len)
		json_bytes(j, "name", name->data, name->len);
}
