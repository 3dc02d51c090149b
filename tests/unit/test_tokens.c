/* SPDX-License-Identifier: Apache-2.0 */
/* What of a batch the index knows. That questions find by it what a scan finds is test_query_events.c's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "batch.pb-c.h"
#include "collector/tokens.h"
#include "proto/base/writer.h"
#include "proto/entity.h"

#define B(text) ((ProtobufCBinaryData){ sizeof(text) - 1, (uint8_t *)(uintptr_t)(text) })

struct batch {
	struct batch_header header;
	uint8_t raw[8192];
	struct writer w;
	struct arena *arena;
	uint64_t *tokens;
	size_t n;
};

static int setup(void **state)
{
	struct batch *b = calloc(1, sizeof(*b));

	b->w = writer_init(b->raw, sizeof(b->raw));
	b->arena = arena_new(MiB(1), 0);
	memset(b->header.boot_id, 5, sizeof(b->header.boot_id));
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct batch *b = *state;

	arena_free(b->arena);
	free(b);
	return 0;
}

static void add(struct batch *b, Exhibit__V1__Process *process, Exhibit__V1__Event *event)
{
	Exhibit__V1__Entry entry = EXHIBIT__V1__ENTRY__INIT;
	uint8_t bytes[1024];
	size_t len;

	entry.kind_case = process ? EXHIBIT__V1__ENTRY__KIND_PROCESS :
				    EXHIBIT__V1__ENTRY__KIND_EVENT;
	if (process)
		entry.process = process;
	else
		entry.event = event;
	len = exhibit__v1__entry__pack(&entry, bytes);
	writer_varint(&b->w, len);
	writer_bytes(&b->w, bytes, len);
}

static int extract(struct batch *b, struct error *e)
{
	return tokens_extract(&b->header, b->raw, b->w.done, b->arena, &b->tokens, &b->n, e);
}

static bool has(const struct batch *b, enum token_family family, const void *value, size_t len)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->tokens[i] == token_hash(family, value, len))
			return true;
	return false;
}

static void cut_batch_is_refused(void **state)
{
	struct batch *b = *state;
	struct error e = { 0 };

	writer_varint(&b->w, 200);
	writer_u8(&b->w, 1);
	assert_int_equal(extract(b, &e), -EBADMSG);
	assert_string_equal(e.text, "the batch's entries are cut short");
}

static void what_is_no_entry_is_refused(void **state)
{
	struct batch *b = *state;
	struct error e = { 0 };

	writer_varint(&b->w, 3);
	writer_bytes(&b->w, "\xff\xff\xff", 3);
	assert_int_equal(extract(b, &e), -EBADMSG);
	assert_string_equal(e.text, "entry 1 of the batch is not an Entry");
}

static void an_empty_batch_has_none(void **state)
{
	struct batch *b = *state;

	assert_int_equal(extract(b, NULL), 0);
	assert_int_equal(b->n, 0);
}

static void a_process_is_known_by_all_its_names(void **state)
{
	struct batch *b = *state;
	Exhibit__V1__ImageKey key = EXHIBIT__V1__IMAGE_KEY__INIT,
			      parent = EXHIBIT__V1__IMAGE_KEY__INIT;
	Exhibit__V1__Process p = EXHIBIT__V1__PROCESS__INIT;
	struct entity id = { .pid = 7, .start_ns = 8, .exec_id = 9 };
	uint8_t encoded[ENTITY_ENCODED_LEN];

	key.pid = 7;
	key.start_ns = 8;
	key.exec_id = 9;
	parent.pid = 1;
	p.key = &key;
	p.parent = &parent;
	p.name = B("sh");
	p.executable = B("/bin/sh");
	p.container_id = B("3f");
	p.pod_name = B("web-1");
	p.pod_namespace = B("shop");
	p.image_name = B("nginx");
	p.uid = 1000;
	add(b, &p, NULL);
	add(b, &p, NULL); /* said twice: known once */
	assert_int_equal(extract(b, NULL), 0);
	assert_int_equal(b->n, 10);
	memcpy(id.boot_id, b->header.boot_id, sizeof(id.boot_id));
	entity_encode(&id, encoded);
	assert_true(has(b, TOKEN_ENTITY, encoded, sizeof(encoded)));
	assert_false(has(b, TOKEN_PARENT, encoded, sizeof(encoded)));
	assert_true(has(b, TOKEN_PID, "\x07\0\0\0", 4));
	assert_true(has(b, TOKEN_NAME, "sh", 2));
	assert_true(has(b, TOKEN_PATH, "/bin/sh", 7));
	assert_true(has(b, TOKEN_CONTAINER, "3f", 2));
	assert_true(has(b, TOKEN_POD, "web-1", 5));
	assert_true(has(b, TOKEN_NAMESPACE, "shop", 4));
	assert_true(has(b, TOKEN_IMAGE, "nginx", 5));
	assert_true(has(b, TOKEN_USER, "\xe8\x03\0\0", 4));
	for (size_t i = 1; i < b->n; i++)
		assert_true(b->tokens[i - 1] < b->tokens[i]);
}

static void an_event_is_known_by_addresses_and_paths(void **state)
{
	struct batch *b = *state;
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Net net = EXHIBIT__V1__NET__INIT;
	Exhibit__V1__File file = EXHIBIT__V1__FILE__INIT;

	net.source_ip = B("\x0a\0\0\x01");
	net.destination_port = 443;
	net.source_port = 70000; /* no port: no token */
	e.action = EXHIBIT__V1__ACTION__ACTION_CONNECT;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_NET;
	e.net = &net;
	add(b, NULL, &e);
	file.path = B("/new");
	file.old_path = B("/old");
	e.action = EXHIBIT__V1__ACTION__ACTION_RENAME;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
	e.file = &file;
	add(b, NULL, &e);
	assert_int_equal(extract(b, NULL), 0);
	assert_int_equal(b->n, 6);
	assert_true(has(b, TOKEN_IP, "\x0a\0\0\x01", 4));
	assert_true(has(b, TOKEN_PORT, "\xbb\x01", 2));
	assert_true(has(b, TOKEN_PATH, "/new", 4));
	assert_true(has(b, TOKEN_PATH, "/old", 4));
	assert_true(has(b, TOKEN_ACTION, "\x1e\0\0\0", 4));
}

/* These stand in index files: another version must hash alike. */
static void hashes_are_fixed(void **state)
{
	(void)state;
	assert_true(token_hash(TOKEN_PATH, "/etc/passwd", 11) == 0x0093ab40fb469c43ULL);
	assert_true(token_hash(TOKEN_IP, "\x7f\0\0\x01", 4) == 0xbb6b58abd1bcbdf2ULL);
	assert_true(token_hash(TOKEN_NAME, "", 0) != token_hash(TOKEN_PATH, "", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(cut_batch_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_entry_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_batch_has_none, setup, teardown),
		cmocka_unit_test_setup_teardown(a_process_is_known_by_all_its_names, setup,
						teardown),
		cmocka_unit_test_setup_teardown(an_event_is_known_by_addresses_and_paths, setup,
						teardown),
		cmocka_unit_test(hashes_are_fixed),
	};

	return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
