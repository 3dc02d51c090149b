/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a manifest: what the host writes, the vault reads. */
#include <errno.h>

#include "agent/manifest.h"
#include "collector/vault_manifest.h"
#include "rows.h"
#include "tests/unit/orders.h"

#define TEXT(s) ((struct control_bytes){ .data = (const uint8_t *)(s), .len = sizeof(s) - 1 })

struct world {
	struct order_kit t;
	struct order_checked order;
	struct manifest_tool tool;
	struct manifest_host host;
	struct manifest_time now;
	struct manifest *m;
	struct error e;
};

static const uint8_t exhibit_id[MANIFEST_ID_LEN] = { 0xee, 1 };
static const uint8_t boot_id[16] = { 0xb0 };

static void open_world(struct world *w, Exhibit__V1__OrderKind kind)
{
	memset(w, 0, sizeof(*w));
	orders_init(&w->t);
	orders_kind(&w->t, kind);
	w->order.order = &w->t.o;
	memcpy(w->order.id, w->t.o.order_id.data, ORDER_ID_LEN);
	memcpy(w->order.requester.name, "ann", 4);
	w->host = (struct manifest_host){ .tenant = "acme", .host_id = "h-1", .boot_id = boot_id };
	w->tool.version = "1";
	w->tool.commit = "c0ffee";
	w->order.requester_certificate.b[0] = 5;
	w->now = manifest_now();
	assert_int_equal(
		manifest_new(&w->order, exhibit_id, &w->tool, &w->host, &w->now, &w->m, &w->e), 0);
}

static int take(struct world *w, struct control_message c)
{
	return manifest_take(w->m, &c, 1700000000 * (int64_t)NSEC_PER_SEC);
}

static int item(struct world *w, uint32_t number, struct control_bytes name)
{
	return take(w, (struct control_message){
			       .kind = CONTROL_ITEM,
			       .u.item = { .item = number, .name = name, .format = TEXT("raw") } });
}

static int item_end(struct world *w, uint32_t number, uint64_t bytes, struct control_bytes status)
{
	return take(w, (struct control_message){ .kind = CONTROL_ITEM_END,
						 .u.item_end = { .item = number,
								 .bytes = bytes,
								 .hash = { { 7 } },
								 .status = status } });
}

static int end(struct world *w, uint32_t code, struct control_bytes sentence)
{
	return take(w, (struct control_message){ .kind = CONTROL_END,
						 .u.end = { .code = code, .sentence = sentence } });
}

/* What the vault makes of it; the text stays in *ret_text. */
static struct vault_manifest *read_back(struct world *w, char **ret_text)
{
	struct vault_manifest *v = NULL;
	size_t len = 0;

	assert_int_equal(manifest_make(w->m, NULL, ret_text, &len, &w->e), 0);
	assert_true(len <= MANIFEST_MAX);
	int r = vault_manifest_read(*ret_text, len, &v, &w->e);

	if (r < 0)
		fail_msg("%s", w->e.text);
	assert_memory_equal(v->exhibit_id, exhibit_id, sizeof(exhibit_id));
	assert_memory_equal(v->order_id, w->order.id, sizeof(w->order.id));
	return v;
}

static void close_world(struct world *w)
{
	manifest_free(w->m);
}

static void test_complete(void **state)
{
	struct world w;
	AUTO(free_ptr) char *text = NULL;

	(void)state;
	open_world(&w, EXHIBIT__V1__ORDER_KIND__ORDER_DISK);
	assert_int_equal(item(&w, 1, TEXT("disk.raw")), 0);
	assert_int_equal(item_end(&w, 1, 9, TEXT("")), 0);
	assert_int_equal(end(&w, 0, TEXT("")), 0);
	manifest_close(w.m, NULL, &w.now, 77);
	assert_true(manifest_complete(w.m));
	AUTO(free_ptr) struct vault_manifest *v = read_back(&w, &text);

	assert_true(v->complete);
	assert_int_equal(v->n_items, 1);
	assert_string_equal(v->items[0].name, "disk.raw");
	assert_int_equal(v->items[0].bytes, 9);
	assert_int_equal(v->items[0].sha256.b[0], 7);
	assert_non_null(strstr(text, "\"parameters\":{\"device\":\"/dev/"));
	assert_non_null(strstr(text, "\"adjtimex\":{\"synchronised\":"));
	assert_null(strstr(text, "\"failure\""));
	assert_non_null(strstr(text,
			       "\"format\":\"raw\",\"started\":\"2023-11-14T22:13:20.000000000Z\","
			       "\"ended\":\"2023-11-14T22:13:20.000000000Z\","));
	assert_non_null(strstr(text, "\"commit\":\"c0ffee\""));
	assert_non_null(strstr(text, "\"agent_rss_bytes\":77,"));
	assert_non_null(strstr(text, "\"requester\":{\"name\":"));
	assert_non_null(strstr(text, "\"certificate_sha256\":\"0500"));
	assert_null(strstr(text, "collector_clock"));
	close_world(&w);
}

/* What is not known is absent: an offset of zero would be a claim. */
static void test_collector_clock(void **state)
{
	struct manifest_time ended;
	struct world w;
	AUTO(free_ptr) char *text = NULL;

	(void)state;
	open_world(&w, EXHIBIT__V1__ORDER_KIND__ORDER_DISK);
	assert_int_equal(end(&w, 0, TEXT("")), 0);
	ended = w.now;
	ended.wall_ns = 1700000010 * (int64_t)NSEC_PER_SEC;
	ended.boottime_ns = 50 * NSEC_PER_SEC;
	ended.collector_known = true;
	ended.collector = (struct clock_offset){ .offset_ns = -5,
						 .round_trip_ns = 7,
						 .boottime_ns = 40 * NSEC_PER_SEC };
	manifest_close(w.m, NULL, &ended, 77);
	free(read_back(&w, &text));
	const char *started = strstr(text, "\"started\""), *at = strstr(text, "\"ended\"");

	assert_true(started != NULL && at != NULL && started < at);
	assert_ptr_equal(strstr(started, "\"collector_clock\""), strstr(at, "\"collector_clock\""));
	assert_non_null(strstr(
		at, "\"collector_clock\":{\"offset_ns\":-5,\"bound_ns\":4,\"round_trip_ns\":7,"
		    "\"measured\":\"2023-11-14T22:13:20.000000000Z\",\"method\":\""));
	close_world(&w);
}

static void fail_end(struct world *w)
{
	assert_int_equal(end(w, EIO, TEXT("the disk is gone")), 0);
	manifest_close(w->m, NULL, &w->now, 77);
}

static void fail_open_item(struct world *w)
{
	assert_int_equal(item(w, 1, TEXT("a")), 0);
	assert_int_equal(end(w, 0, TEXT("")), 0);
	manifest_close(w->m, NULL, &w->now, 77);
}

static void fail_status(struct world *w)
{
	assert_int_equal(item(w, 1, TEXT("a")), 0);
	assert_int_equal(item_end(w, 1, 1, TEXT("cut")), 0);
	assert_int_equal(end(w, 0, TEXT("")), 0);
	manifest_close(w->m, NULL, &w->now, 77);
}

static void fail_warning(struct world *w)
{
	assert_int_equal(take(w, (struct control_message){ .kind = CONTROL_WARNING,
							   .u.warning = { true, TEXT("page 3") } }),
			 0);
	assert_int_equal(end(w, 0, TEXT("")), 0);
	manifest_close(w->m, NULL, &w->now, 77);
}

static void fail_no_end(struct world *w)
{
	manifest_close(w->m, "the agent was ended", &w->now, 77);
}

static const struct incomplete {
	const char *name;
	void (*fill)(struct world *w);
	const char *want;
} incomplete_rows[] = {
	{ "failed", fail_end, "\"failure\":\"the disk is gone\"" },
	{ "an item did not end", fail_open_item,
	  "\"unfinished_items\":[{\"name\":\"a\",\"format\":\"raw\",\"started\":\"2023-" },
	{ "an item lacks something", fail_status, "\"status\":\"cut\"" },
	{ "something could not be read", fail_warning,
	  "\"gaps\":1,\"warnings_total\":1,\"warnings\":[{\"text\":\"page 3\",\"lacking\":true}]" },
	{ "no end", fail_no_end, "\"footprint\":null" },
};

static void test_incomplete(void **state)
{
	const struct incomplete *row = *state;
	AUTO(free_ptr) char *text = NULL;
	struct world w;

	open_world(&w, EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY);
	row->fill(&w);
	assert_false(manifest_complete(w.m));
	AUTO(free_ptr) struct vault_manifest *v = read_back(&w, &text);

	assert_false(v->complete);
	if (strstr(text, row->want) == NULL)
		fail_msg("%s", text);
	close_world(&w);
}

static void test_order_of_facts(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, EXHIBIT__V1__ORDER_KIND__ORDER_FILES);
	assert_int_equal(item(&w, 2, TEXT("a")), -EBADMSG);
	assert_int_equal(item_end(&w, 1, 0, TEXT("")), -EBADMSG);
	assert_int_equal(item(&w, 1, TEXT("a")), 0);
	assert_int_equal(item(&w, 1, TEXT("b")), -EBADMSG);
	assert_int_equal(item(&w, 2, TEXT("a")), -EBADMSG);
	assert_int_equal(item_end(&w, 1, 0, TEXT("")), 0);
	assert_int_equal(item_end(&w, 1, 0, TEXT("")), -EBADMSG);
	assert_int_equal(end(&w, 0, TEXT("")), 0);
	assert_int_equal(item(&w, 2, TEXT("b")), -EBADMSG);
	assert_int_equal(take(&w, (struct control_message){ .kind = CONTROL_REQUEST }), -EBADMSG);
	close_world(&w);
}

static int note(struct world *w, const char *key, struct control_bytes text)
{
	return take(w, (struct control_message){
			       .kind = CONTROL_NOTE,
			       .u.note = { .key = { (const uint8_t *)key, strlen(key) },
					   .text = text } });
}

/* All of the longest and worst: it still fits, and every reader of JSON takes it. */
static void test_longest(void **state)
{
	static uint8_t worst[OUTPUT_NOTE_MAX];
	struct world w;
	char key[32], name[32];
	AUTO(free_ptr) char *text = NULL;

	(void)state;
	open_world(&w, EXHIBIT__V1__ORDER_KIND__ORDER_FILES);
	for (size_t i = 0; i < sizeof(worst); i++)
		worst[i] = (uint8_t)(i % 2 == 0 ? 0 : 0xff);
	for (unsigned int i = 0; i < OUTPUT_NOTES_MAX; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		assert_int_equal(note(&w, key, (struct control_bytes){ worst, sizeof(worst) }), 0);
	}
	assert_int_equal(note(&w, "one_more", TEXT("")), -EBADMSG);
	assert_int_equal(note(&w, "k1_base64", TEXT("")), -EBADMSG);
	for (unsigned int i = 0; i < 2 * MANIFEST_WARNINGS_MAX; i++)
		assert_int_equal(
			take(&w,
			     (struct control_message){
				     .kind = CONTROL_WARNING,
				     .u.warning = { false, { worst, CONTROL_TEXT_MAX } } }),
			0);
	for (uint32_t i = 1; i <= OUTPUT_ITEMS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "item%u", i);
		assert_int_equal(
			item(&w, i, (struct control_bytes){ (const uint8_t *)name, strlen(name) }),
			0);
		assert_int_equal(item_end(&w, i, UINT32_MAX,
					  (struct control_bytes){ worst, CONTROL_TEXT_MAX }),
				 0);
	}
	assert_int_equal(end(&w, 0, TEXT("")), 0);
	manifest_close(w.m, NULL, &w.now, 77);
	AUTO(free_ptr) struct vault_manifest *v = read_back(&w, &text);

	assert_int_equal(v->n_items, OUTPUT_ITEMS_MAX);
	assert_non_null(strstr(text, "\"warnings_total\":2000"));
	close_world(&w);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_order_of_facts);
	ADD_ROWS(&t, test_incomplete, incomplete_rows);
	ADD_TEST(&t, test_longest);
	ADD_TEST(&t, test_complete);
	ADD_TEST(&t, test_collector_clock);
	return tests_run(&t, "manifest_read");
}
