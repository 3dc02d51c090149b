/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/vault_call.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/cli/session.h"
#include "collector/vault_record.h"
#include "proto/base/clock.h"
#include "proto/json.h"

#define PREFIX_MIN 4

/* ---- asking ---------------------------------------------------------------------------------------------- */

void exhibit_list_release(struct exhibit_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		exhibit__v1__exhibit_info__free_unpacked(l->at[i], NULL);
	free(l->at);
	*l = (struct exhibit_list){ 0 };
}

static int add(struct exhibit_list *l, const uint8_t *data, size_t len, struct error *e)
{
	Exhibit__V1__ExhibitInfo *info;

	if (l->n == VAULT_EXHIBITS_MAX)
		return error_set(e, -E2BIG, "the collector names too many exhibits");
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		Exhibit__V1__ExhibitInfo **at = reallocarray(l->at, size, sizeof(*at));

		if (!at)
			return error_set(e, -ENOMEM, "cannot list exhibits: out of memory");
		l->at = at;
		l->size = size;
	}
	info = exhibit__v1__exhibit_info__unpack(NULL, len, data);
	if (!info || info->exhibit_id.len != VAULT_ID_LEN) {
		if (info)
			exhibit__v1__exhibit_info__free_unpacked(info, NULL);
		return error_set(
			e, -EBADMSG,
			"the collector's answer cannot be read; is it of another version?");
	}
	l->at[l->n++] = info;
	return 0;
}

int exhibit_list_ask(const struct args *a, const char *path, const void *question,
		     struct exhibit_list *ret, struct error *e)
{
	AUTO(session_free_ptr) struct session *s = NULL;
	int r = session_open(a, path, question, &s, e);

	while (r >= 0) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		r = session_next(s, &data, &len, e);
		if (r == 0)
			break;
		if (r > 0)
			r = add(ret, data, len, e);
	}
	if (r < 0)
		exhibit_list_release(ret);
	return r;
}

static bool begins_with(const Exhibit__V1__ExhibitInfo *info, const char *text)
{
	char id[VAULT_ID_TEXT];

	return strncmp(vault_id_text(info->exhibit_id.data, id), text, strlen(text)) == 0;
}

static int keep_matching(struct exhibit_list *l, const char *text, struct error *e)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++)
		if (begins_with(l->at[i], text))
			l->at[kept++] = l->at[i];
		else
			exhibit__v1__exhibit_info__free_unpacked(l->at[i], NULL);
	l->n = kept;
	if (kept == 1)
		return 0;
	if (kept == 0) {
		(void)error_set(e, -ENOENT, "there is no exhibit '%s'", text);
		error_hint(e, "'exhibit exhibits' lists them");
		return -ENOENT;
	}
	(void)error_set(e, -EINVAL, "%zu exhibits begin with '%s'", kept, text);
	error_hint(e, "give more of the id");
	return -EINVAL;
}

int exhibit_find(const struct args *a, const char *text, struct exhibit_list *ret, struct error *e)
{
	Exhibit__V1__ExhibitsQuery q = EXHIBIT__V1__EXHIBITS_QUERY__INIT;
	uint8_t id[VAULT_ID_LEN];
	int r;

	if (!text || strlen(text) < PREFIX_MIN || strlen(text) >= VAULT_ID_TEXT ||
	    strspn(text, "0123456789abcdef") != strlen(text)) {
		(void)error_set(e, -EINVAL, "'%s' is not the id of an exhibit", text ? text : "");
		error_hint(e, "give its id, or the first %d digits or more", PREFIX_MIN);
		return -EINVAL;
	}
	if (vault_id_parse(text, id))
		q.exhibit_id = (ProtobufCBinaryData){ VAULT_ID_LEN, id };
	r = exhibit_list_ask(a, VAULT_PATH_EXHIBITS, &q, ret, e);
	if (r == 0)
		r = keep_matching(ret, text, e);
	if (r < 0)
		exhibit_list_release(ret);
	return r;
}

/* ---- showing --------------------------------------------------------------------------------------------- */

static const char *const headers[] = { "EXHIBIT", "STATE", "KIND", "HOST", "CASE",
				       "BYTES",   "BEGAN", "KEPT", "WHY",  NULL };

static void add_bytes(struct table *t, const ProtobufCBinaryData *b)
{
	table_add_bytes(t, COLOR_NONE, b->data, b->len);
}

static void add_row(struct table *t, const Exhibit__V1__ExhibitInfo *info)
{
	char id[VAULT_ID_TEXT], began[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX], kind[32];
	static const enum color colors[] = {
		[EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING] = COLOR_YELLOW,
		[EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED] = COLOR_GREEN,
		[EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_INCOMPLETE] = COLOR_RED,
	};
	size_t state = (size_t)info->state;

	table_add(t, COLOR_BOLD, "%s", vault_id_text(info->exhibit_id.data, id));
	table_add(t, state < ARRAY_LEN(colors) ? colors[state] : COLOR_NONE, "%s",
		  vault_state_name(info->state));
	table_add(t, COLOR_NONE, "%s", vault_kind_name(info->kind, kind));
	add_bytes(t, info->host_name.len ? &info->host_name : &info->host_id);
	add_bytes(t, &info->case_id);
	table_add(t, COLOR_NONE, "%" PRIu64, info->bytes);
	table_add(t, COLOR_NONE, "%s", outcome_time(info->began_ns, 0, began));
	table_add(t, info->hold ? COLOR_YELLOW : COLOR_NONE, "%s",
		  info->hold && info->hold_pending ? "on hold (not yet in S3)" :
		  info->hold                       ? "on hold" :
		  info->retain_until_ns            ? outcome_time(info->retain_until_ns, 0, until) :
						     "for ever");
	add_bytes(t, &info->reason);
}

static void hex_field(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	char text[2 * SEAL_HASH_LEN + 1];

	if (b->len == 0 || b->len > SEAL_HASH_LEN)
		return;
	for (size_t i = 0; i < b->len; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", b->data[i]);
	json_text(j, key, text);
}

static void bytes_field(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len)
		json_bytes(j, key, b->data, b->len);
}

static void write_items(struct json *j, const Exhibit__V1__ExhibitInfo *info)
{
	json_open(j, "items", 5, '[');
	for (size_t i = 0; i < info->n_items; i++) {
		json_open(j, NULL, 0, '{');
		bytes_field(j, "name", &info->items[i]->name);
		bytes_field(j, "format", &info->items[i]->format);
		json_u64(j, "bytes", info->items[i]->bytes);
		hex_field(j, "sha256", &info->items[i]->sha256);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void write_sealing(struct json *j, const Exhibit__V1__ExhibitInfo *info)
{
	hex_field(j, "manifest_sha256", &info->manifest_sha256);
	if (info->state != EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING)
		json_u64(j, "ledger_index", info->ledger_index);
	json_bool(j, "hold", info->hold);
	if (info->hold_pending)
		json_bool(j, "hold_pending", true);
	bytes_field(j, "hold_failure", &info->hold_failure);
	if (info->retain_until_ns)
		json_time(j, "retain_until", info->retain_until_ns);
}

void exhibit_json(FILE *out, const Exhibit__V1__ExhibitInfo *info)
{
	struct json j = json_init(out);
	char kind[32];

	json_open(&j, NULL, 0, '{');
	json_open(&j, "host", 4, '{');
	bytes_field(&j, "id", &info->host_id);
	bytes_field(&j, "name", &info->host_name);
	json_close(&j, '}');
	json_open(&j, "exhibit", 7, '{');
	hex_field(&j, "id", &info->exhibit_id);
	hex_field(&j, "order_id", &info->order_id);
	bytes_field(&j, "case_id", &info->case_id);
	bytes_field(&j, "requester", &info->requester);
	json_text(&j, "kind", vault_kind_name(info->kind, kind));
	json_text(&j, "state", vault_state_name(info->state));
	bytes_field(&j, "reason", &info->reason);
	json_time(&j, "began", info->began_ns);
	if (info->sealed_ns)
		json_time(&j, "sealed", info->sealed_ns);
	json_u64(&j, "bytes", info->bytes);
	write_sealing(&j, info);
	write_items(&j, info);
	json_close(&j, '}');
	json_close(&j, '}');
	json_line(&j);
}

void exhibit_list_show(const struct args *a, const struct exhibit_list *l, struct outcome *o)
{
	struct screen screen;
	AUTO(table_free_ptr) struct table *t = NULL;

	screen_init(&screen, a);
	if (screen.table)
		t = table_new(headers);
	for (size_t i = 0; i < l->n; i++) {
		o->rows++;
		if (t)
			add_row(t, l->at[i]);
		else if (!screen.table)
			exhibit_json(screen.out, l->at[i]);
	}
	if (t && l->n)
		table_print(t, &screen);
}
