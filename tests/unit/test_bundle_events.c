/* SPDX-License-Identifier: Apache-2.0 */
/* Events in a bundle: what is no question with answers is not read, the timeline keeps Timesketch's rules whatever
 * hosts and people wrote into their names. */
#include "collector/cli/bundle_events.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "tests/unit/rows.h"

#define B(s) ((ProtobufCBinaryData){ sizeof(s) - 1, (uint8_t *)(uintptr_t)(s) })
#define S(s) ((int64_t)(s) * (int64_t)NSEC_PER_SEC)
#define NOW S(1700000000)
#define HOSTILE "/tmp/a\nb\x1b[2J\xff\xfe\"=cmd|' /C calc'!A0\xe2\x80\xae\xe2\x80\xac"

/* ---- making ---------------------------------------------------------------------------------------------------- */

static void append(struct bundle_events *x, const ProtobufCMessage *m)
{
	static uint8_t packed[8192];

	assert_true(protobuf_c_message_get_packed_size(m) <= sizeof(packed));
	assert_int_equal(bundle_events_append(x, packed, protobuf_c_message_pack(m, packed)), 0);
}

static void ask(struct bundle_events *x, uint64_t limit)
{
	Exhibit__V1__EventsQuery q = EXHIBIT__V1__EVENTS_QUERY__INIT;
	ProtobufCBinaryData host = B("h-1");

	q.hosts = &host;
	q.n_hosts = 1;
	q.since_ns = NOW;
	q.until_ns = NOW + S(3600);
	q.limit = limit;
	append(x, &q.base);
}

/* One answer: an event of a path at a time, and how complete all of it is. */
static void answer(struct bundle_events *x, const ProtobufCBinaryData *path, int64_t at_ns,
		   uint64_t sequence, const Exhibit__V1__Completeness *completeness)
{
	static uint8_t packed[4096];
	Exhibit__V1__EventsAnswer a = EXHIBIT__V1__EVENTS_ANSWER__INIT;
	Exhibit__V1__EventsPage page = EXHIBIT__V1__EVENTS_PAGE__INIT, *pages = &page;
	Exhibit__V1__BatchContext context = EXHIBIT__V1__BATCH_CONTEXT__INIT;
	Exhibit__V1__Row row = EXHIBIT__V1__ROW__INIT, *rows = &row;
	Exhibit__V1__Event event = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__File file = EXHIBIT__V1__FILE__INIT;

	file.path = *path;
	event.action = EXHIBIT__V1__ACTION__ACTION_CREATE;
	event.sequence = sequence;
	event.boottime_ns = 1;
	event.file = &file;
	event.detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
	row.event = (ProtobufCBinaryData){ exhibit__v1__event__pack(&event, packed), packed };
	context.host_id = B("h-1");
	context.host_name = B("web");
	context.offset_ns = at_ns - 1;
	page.context = &context;
	page.rows = &rows;
	page.n_rows = 1;
	a.pages = &pages;
	a.n_pages = 1;
	a.completeness = (Exhibit__V1__Completeness *)(uintptr_t)completeness;
	append(x, &a.base);
}

static struct bundle_events *events_of(struct bundle *b, const char *id)
{
	struct bundle_events *x = bundle_add_event(b);

	assert_non_null(x);
	(void)snprintf(x->id, sizeof(x->id), "%s", id);
	return x;
}

static void add_leaf(struct bundle *b, uint64_t index, int64_t at_ns,
		     const ProtobufCBinaryData *text)
{
	struct bundle_leaf *l = bundle_add_leaf(b);
	Exhibit__V1__LedgerEntry m = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	static uint8_t packed[4096];

	assert_non_null(l);
	m.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER;
	m.wall_ns = at_ns;
	m.case_id = B("INC-7");
	m.text = *text;
	m.object = B("0123456789abcdef0123456789abcdef");
	l->index = index;
	assert_int_equal(blob_set(&l->bytes, packed, exhibit__v1__ledger_entry__pack(&m, packed)),
			 0);
}

/* ---- reading back ------------------------------------------------------------------------------------------------ */

static char *written(const struct bundle *b)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(bundle_write_timeline(b, out), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static const char *member(const json_t *line, const char *name)
{
	return json_string_value(json_object_get(line, name));
}

/* What Timesketch's importer demands of a line; nothing in it may drive a terminal. */
static void keeps_the_rules(const json_t *line, const char *text)
{
	static const char *const texts[] = { "message", "datetime",        "timestamp_desc",
					     "source",  "evidence_sha256", "case" };
	struct tm when;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (!member(line, texts[i]) || !member(line, texts[i])[0])
			fail_msg("no %s in %s", texts[i], text);
	assert_non_null(strptime(member(line, "datetime"), "%Y-%m-%dT%H:%M:%S", &when));
	assert_true(json_integer_value(json_object_get(line, "timestamp")) > 0);
	for (const char *c = text; *c; c++)
		assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
}

/* The lines, checked; ret: at most max of them. */
static size_t lines_of(char *text, json_t **ret, size_t max)
{
	size_t n = 0;

	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_error_t why;

		assert_true(n < max);
		ret[n] = json_loads(line, JSON_REJECT_DUPLICATES, &why);
		if (!ret[n])
			fail_msg("%s: %s", why.text, line);
		keeps_the_rules(ret[n++], line);
	}
	return n;
}

/* ---- what is refused ---------------------------------------------------------------------------------------------- */

static const struct bad_row {
	const char *name;
	ProtobufCBinaryData bytes;
} bad_rows[] = {
	{ "nothing", B("") },
	{ "half a length", B("\1\0") },
	{ "longer than it is", B("\5\0\0\0\1") },
	{ "the longest of all", B("\xff\xff\xff\xff\1") },
	{ "no message", B("\1\0\0\0\xff") },
	{ "an answer that is none", B("\0\0\0\0\1\0\0\0\xff") },
};

static void is_not_read(void **state)
{
	const struct bad_row *row = *state;
	struct bundle b = { 0 };
	struct bundle_events *x = events_of(&b, "00");
	char *text;

	assert_int_equal(blob_set(&x->bytes, row->bytes.data, row->bytes.len), 0);
	bundle_events_understand(x);
	assert_false(x->readable);
	text = written(&b);
	assert_string_equal(text, "");
	free(text);
	bundle_release(&b);
}

static void more_than_a_file_holds_is_refused(void **state)
{
	struct bundle b = { 0 };
	struct bundle_events *x = events_of(&b, "00");

	(void)state;
	assert_int_equal(bundle_events_append(x, "", BUNDLE_EVENTS_BYTES_MAX + 1), -EFBIG);
	assert_int_equal(x->bytes.len, 0);
	bundle_release(&b);
}

/* ---- the timeline -------------------------------------------------------------------------------------------------- */

static void hostile_names_keep_the_rules(void **state)
{
	const ProtobufCBinaryData hostile = B(HOSTILE);
	Exhibit__V1__Completeness c = EXHIBIT__V1__COMPLETENESS__INIT;
	struct bundle b = { 0 };
	struct bundle_events *x = events_of(&b, "aa");
	json_t *lines[4];
	char *text;

	(void)state;
	ask(x, 10);
	answer(x, &hostile, NOW, 1, &c);
	bundle_events_understand(x);
	assert_true(x->readable);
	add_leaf(&b, 0, NOW, &hostile);
	bundle_understand(&b);
	text = written(&b);
	assert_int_equal(lines_of(text, lines, 4), 2);
	assert_string_equal(member(lines[0], "source"), "ledger");
	assert_string_equal(member(lines[1], "source"), "event");
	assert_string_equal(member(lines[1], "timestamp_desc"), "create");
	assert_string_equal(member(lines[1], "exhibit"), "aa");
	assert_string_equal(member(lines[1], "host"), "h-1");
	/* Exactly what it was stands beside what can be shown. */
	assert_non_null(
		member(json_object_get(json_object_get(lines[1], "ecs"), "file"), "path_base64"));
	for (size_t i = 0; i < 2; i++)
		json_decref(lines[i]);
	free(text);
	bundle_release(&b);
}

/* Two exhibits of one target have the same events around them: once each, by time, whichever file came first. */
static void the_same_event_is_one_line(void **state)
{
	const ProtobufCBinaryData a = B("/a"), other = B("/b");
	Exhibit__V1__Completeness c = EXHIBIT__V1__COMPLETENESS__INIT;
	char *texts[2];
	json_t *lines[8];

	(void)state;
	for (int turned = 0; turned < 2; turned++) {
		struct bundle b = { 0 };

		for (int i = 0; i < 2; i++) {
			struct bundle_events *x = events_of(&b, (i ^ turned) ? "bb" : "aa");

			ask(x, 10);
			answer(x, &a, NOW + S(2), 7, NULL);
			answer(x, &other, NOW + S(1), 8, &c);
			bundle_events_understand(x);
		}
		add_leaf(&b, 0, NOW + S(3), &a);
		bundle_understand(&b);
		texts[turned] = written(&b);
		bundle_release(&b);
	}
	assert_string_equal(texts[0], texts[1]);
	assert_int_equal(lines_of(texts[0], lines, 8), 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(json_integer_value(json_object_get(lines[i], "timestamp")),
				 (NOW + S(1 + (int)i)) / 1000);
		json_decref(lines[i]);
	}
	free(texts[0]);
	free(texts[1]);
}

/* ---- what is said of them --------------------------------------------------------------------------------------- */

static json_t *described(const struct bundle_events *x)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	json_error_t why;
	json_t *root;

	assert_non_null(out);
	bundle_write_events(x, out);
	assert_int_equal(fclose(out), 0);
	root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	free(text);
	assert_non_null(root);
	return root;
}

static bool is(const json_t *root, const char *name)
{
	return json_is_true(json_object_get(root, name));
}

static void what_is_missing_is_said(void **state)
{
	const ProtobufCBinaryData a = B("/a");
	Exhibit__V1__Completeness c = EXHIBIT__V1__COMPLETENESS__INIT;
	Exhibit__V1__Incomplete gap = EXHIBIT__V1__INCOMPLETE__INIT, *gaps = &gap;
	struct bundle b = { 0 };
	struct bundle_events *x = events_of(&b, "aa");
	json_t *root;

	(void)state;
	gap.reason = B(HOSTILE);
	gap.host_id = B("h-1");
	gap.from_ns = NOW;
	c.missing = &gaps;
	c.n_missing = 1;
	c.missing_total = 1;
	c.hosts = 1;
	c.cut = true;
	ask(x, 10);
	answer(x, &a, NOW, 1, &c);
	bundle_events_understand(x);
	root = described(x);
	assert_true(is(root, "cut") && is(root, "asked") && !is(root, "complete"));
	assert_int_equal(json_integer_value(json_object_get(root, "events")), 1);
	assert_int_equal(json_array_size(json_object_get(root, "missing")), 1);
	json_decref(root);
	bundle_release(&b);
}

static const struct complete_row {
	const char *name;
	bool cut;
	uint64_t missing, hosts;
	bool want;
} complete_rows[] = {
	{ "all there is", false, 0, 1, true },
	{ "cut", true, 0, 1, false },
	{ "with a gap", false, 1, 1, false },
	{ "of a time without record", false, 0, 0, false },
};

static void is_complete(void **state)
{
	const struct complete_row *row = *state;
	const ProtobufCBinaryData a = B("/a");
	Exhibit__V1__Completeness c = EXHIBIT__V1__COMPLETENESS__INIT;
	struct bundle b = { 0 };
	struct bundle_events *x = events_of(&b, "aa");
	json_t *root;

	c.cut = row->cut;
	c.missing_total = row->missing;
	c.hosts = row->hosts;
	ask(x, 10);
	answer(x, &a, NOW, 1, &c);
	bundle_events_understand(x);
	assert_int_equal(bundle_events_complete(x), row->want);
	root = described(x);
	assert_int_equal(is(root, "complete"), row->want);
	json_decref(root);
	bundle_release(&b);
}

/* The bundle had its events: then this question was never asked, and that is no completeness. */
static void what_was_not_asked_is_said(void **state)
{
	struct bundle b = { 0 };
	struct bundle_events *x = events_of(&b, "aa");
	json_t *root;

	(void)state;
	ask(x, 0);
	bundle_events_understand(x);
	assert_true(x->readable);
	root = described(x);
	assert_true(is(root, "cut") && !is(root, "asked") && !is(root, "complete"));
	json_decref(root);
	bundle_release(&b);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_not_read, bad_rows);
	ADD_TEST(&t, more_than_a_file_holds_is_refused);
	ADD_TEST(&t, hostile_names_keep_the_rules);
	ADD_TEST(&t, the_same_event_is_one_line);
	ADD_ROWS(&t, is_complete, complete_rows);
	ADD_TEST(&t, what_is_missing_is_said);
	ADD_TEST(&t, what_was_not_asked_is_said);
	return tests_run(&t, "bundle_events");
}
