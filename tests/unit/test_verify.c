/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker refuses before anything is stored, and what it hands on. */
#include "collector/verify.h"

#include <errno.h>
#include <string.h>

#include "batch.pb-c.h"
#include "proto/envelope.h"
#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

struct world {
	struct sealing s;
	struct hosts *hosts;
	struct verify *verify;
	struct verify_peer peer;
};

static void begin(struct world *w, bool registered)
{
	Exhibit__V1__SignedHostRecord record = EXHIBIT__V1__SIGNED_HOST_RECORD__INIT;
	Exhibit__V1__HostRecord r = EXHIBIT__V1__HOST_RECORD__INIT;
	uint8_t public[SEAL_PUBLIC_LEN], inner[512], packed[1024];
	struct batch_name tenant, host;
	bool new;

	*w = (struct world){ .peer = { .tenant = { .len = 7, .b = "default" },
				       .host_id = { .len = 4, .b = "host" } } };
	sealing_begin(&w->s);
	assert_int_equal(hosts_new(&w->hosts, NULL), 0);
	assert_int_equal(verify_new(w->hosts, &w->verify, NULL), 0);
	seal_key_public(w->s.key, public);
	r.tenant = (ProtobufCBinaryData){ .len = 7, .data = (uint8_t[]){ "default" } };
	r.host_id = (ProtobufCBinaryData){ .len = 4, .data = (uint8_t[]){ "host" } };
	r.sealing_key = (ProtobufCBinaryData){ .len = sizeof(public), .data = public };
	record.record.len = exhibit__v1__host_record__pack(&r, inner);
	record.record.data = inner;
	if (registered)
		assert_int_equal(
			hosts_register(w->hosts, NULL, packed,
				       exhibit__v1__signed_host_record__pack(&record, packed), &new,
				       &tenant, &host, NULL),
			0);
}

static void end(struct world *w)
{
	verify_peer_release(&w->peer);
	verify_free(w->verify);
	hosts_free(w->hosts);
	sealing_end(&w->s);
}

/* A sealed batch of one event entry, malloc'ed. */
static uint8_t *make_batch(struct world *w, size_t *ret_len)
{
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;
	Exhibit__V1__Event event = EXHIBIT__V1__EVENT__INIT;
	struct batch_header h;
	struct seal_hash hash;
	const uint8_t *bytes;
	uint8_t raw[256];

	event.sequence = 1;
	entry.kind_case = EXHIBIT__V1__ENTRY__KIND_EVENT;
	entry.event = &event;
	raw[0] = (uint8_t)exhibit__v1__entry__pack(&entry, raw + 1);
	sealing_header(&h, BATCH_LANE_BULK, 1, 1);
	assert_int_equal(
		batch_seal(w->s.sealer, &h, raw, 1U + raw[0], &bytes, ret_len, &hash, NULL), 0);
	uint8_t *copy = malloc(*ret_len);

	assert_non_null(copy);
	memcpy(copy, bytes, *ret_len);
	return copy;
}

static const struct refused_row {
	const char *name;
	bool registered;
	const char *tenant, *host; /* of the certificate */
	int flip; /* byte from the end to change; 0: none */
	int want;
} refused_rows[] = {
	{ "unknown sealing key", false, "default", "host", 0, -EACCES },
	{ "another tenant", true, "elsewhere", "host", 0, -EACCES },
	{ "another host", true, "default", "hosu", 0, -EACCES },
	{ "a prefix of the host", true, "default", "hos", 0, -EACCES },
	{ "payload changed", true, "default", "host", 1, -EBADMSG },
};

static struct batch_name name(const char *text)
{
	struct batch_name n = { .len = (uint8_t)strlen(text) };

	memcpy(n.b, text, n.len);
	return n;
}

static void refuses(void **state)
{
	const struct refused_row *row = *state;
	struct writer_item *item = NULL;
	struct error e = { 0 };
	struct world w;
	size_t len;

	begin(&w, row->registered);
	w.peer.tenant = name(row->tenant);
	w.peer.host_id = name(row->host);
	uint8_t *bytes = make_batch(&w, &len);

	if (row->flip > 0)
		bytes[len - (size_t)row->flip] ^= 1;
	assert_int_equal(verify_message(w.verify, &w.peer, ENVELOPE_BATCH, bytes, bytes, len, 5,
					&item, &e),
			 row->want);
	assert_null(item);
	assert_string_not_equal(e.text, "");
	free(bytes);
	end(&w);
}

/* Every byte of header, signature and payload is covered by something. */
static void refuses_any_flipped_byte(void **state)
{
	struct writer_item *item;
	struct world w;
	size_t len;

	(void)state;
	begin(&w, true);
	uint8_t *bytes = make_batch(&w, &len);

	for (size_t i = 0; i < len; i++) {
		bytes[i] ^= 0x10;
		assert_true(verify_message(w.verify, &w.peer, ENVELOPE_BATCH, bytes, bytes, len, 5,
					   &item, NULL) < 0);
		bytes[i] ^= 0x10;
	}
	free(bytes);
	end(&w);
}

static void hands_on_a_batch(void **state)
{
	struct writer_item *item = NULL;
	struct world w;
	size_t len;

	(void)state;
	begin(&w, true);
	uint8_t *bytes = make_batch(&w, &len);

	assert_int_equal(verify_message(w.verify, &w.peer, ENVELOPE_BATCH, bytes, bytes, len, 5,
					&item, NULL),
			 0);
	assert_ptr_equal(item->data, bytes);
	assert_int_equal(item->item.kind, STORE_BATCH);
	assert_int_equal(item->item.len, len);
	assert_int_equal(item->item.received_ns, 5);
	assert_int_equal(item->view.header.number, 1);
	assert_true(item->item.n_tokens > 0);
	for (size_t i = 1; i < item->item.n_tokens; i++)
		assert_true(item->tokens[i - 1] < item->tokens[i]);
	writer_item_free(item);
	end(&w);
}

static const struct signed_row {
	const char *name;
	bool idle, forged;
} signed_rows[] = {
	{ "tombstone", false, false },
	{ "forged tombstone", false, true },
	{ "idle message", true, false },
	{ "forged idle message", true, true },
};

static void judges_what_is_signed(void **state)
{
	const struct signed_row *row = *state;
	struct batch_dropped dropped = { .number = 3,
					 .first_sequence = 5,
					 .last_sequence = 6,
					 .has_previous = true,
					 .counts = { [4] = 2 } };
	struct batch_tombstone t = { .tenant = name("default"),
				     .host_id = name("host"),
				     .lane = BATCH_LANE_BULK,
				     .reason = "journal full",
				     .n_dropped = 1,
				     .dropped = &dropped };
	struct batch_idle idle = { .tenant = name("default"),
				   .host_id = name("host"),
				   .lane = BATCH_LANE_BULK,
				   .number = 4,
				   .watermark_ns = 9,
				   .has_hash = true };
	struct writer_item *item = NULL;
	const uint8_t *sealed;
	struct world w;
	size_t len;

	begin(&w, true);
	assert_int_equal(row->idle ?
				 batch_seal_idle(w.s.key, &idle, w.s.arena, &sealed, &len, NULL) :
				 batch_seal_tombstone(w.s.key, &t, w.s.arena, &sealed, &len, NULL),
			 0);
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	memcpy(bytes, sealed, len);
	if (row->forged)
		bytes[len - 1] ^= 1; /* of the signature */
	int r = verify_message(w.verify, &w.peer, row->idle ? ENVELOPE_IDLE : ENVELOPE_TOMBSTONE,
			       bytes, bytes, len, 5, &item, NULL);

	assert_int_equal(r, row->forged ? -EBADMSG : 0);
	if (r < 0) {
		free(bytes);
	} else {
		assert_int_equal(item->idle, row->idle);
		if (!row->idle)
			assert_int_equal(item->tombstone.dropped[0].number, 3);
		writer_item_free(item);
	}
	end(&w);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, refuses, refused_rows);
	ADD_TEST(&t, refuses_any_flipped_byte);
	ADD_TEST(&t, hands_on_a_batch);
	ADD_ROWS(&t, judges_what_is_signed, signed_rows);
	return tests_run(&t, "verify");
}
