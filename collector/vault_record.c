/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_record.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "collector/vault_internal.h"
#include "collector/vault_json.h"
#include "proto/json.h"

#define VERSION_NUMBER 1
/* The last member, of all bytes before it. */
#define SUM_KEY "sha256"
#define SUM_BEFORE ",\"" SUM_KEY "\":\""
#define SUM_BEHIND "\"}\n"
#define SUM_LEN (sizeof(SUM_BEFORE) - 1 + 2 * SEAL_HASH_LEN + sizeof(SUM_BEHIND) - 1)

static const char *const states[] = {
	[EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_STATE_UNKNOWN] = "unknown",
	[EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING] = "arriving",
	[EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED] = "sealed",
	[EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_INCOMPLETE] = "incomplete",
};

const char *vault_state_name(Exhibit__V1__ExhibitState state)
{
	return (size_t)state < ARRAY_LEN(states) ? states[state] : "unknown";
}

/* ORDER_MEMORY is "memory" wherever a person sees it. */
const char *vault_kind_name(Exhibit__V1__OrderKind kind, char buf[static 32])
{
	static const char prefix[] = "ORDER_";
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
		&exhibit__v1__order_kind__descriptor, (int)kind);
	const char *name = value != NULL ? value->name : "ORDER_UNKNOWN";
	size_t n = 0;

	for (name += strlen(prefix); *name != '\0' && n + 1 < 32; name++)
		buf[n++] = (char)tolower((unsigned char)*name);
	buf[n] = '\0';
	return buf;
}

static Exhibit__V1__OrderKind kind_of(const char *name)
{
	const ProtobufCEnumDescriptor *d = &exhibit__v1__order_kind__descriptor;
	char buf[32];

	for (unsigned int i = 0; i < d->n_values; i++)
		if (strcmp(vault_kind_name((Exhibit__V1__OrderKind)d->values[i].value, buf),
			   name) == 0)
			return (Exhibit__V1__OrderKind)d->values[i].value;
	return EXHIBIT__V1__ORDER_KIND__ORDER_UNKNOWN;
}

static Exhibit__V1__ExhibitState state_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (strcmp(states[i], name) == 0)
			return (Exhibit__V1__ExhibitState)i;
	return EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_STATE_UNKNOWN;
}

void vault_record_release(struct vault_record *r)
{
	if (r->info != NULL)
		exhibit__v1__exhibit_info__free_unpacked(r->info, NULL);
	r->info = NULL;
}

Exhibit__V1__ExhibitInfo *vault_info_copy(const Exhibit__V1__ExhibitInfo *info)
{
	size_t len = exhibit__v1__exhibit_info__get_packed_size(info);
	AUTO(free_ptr) uint8_t *data = malloc(len + 1);

	if (data == NULL)
		return NULL;
	(void)exhibit__v1__exhibit_info__pack(info, data);
	return exhibit__v1__exhibit_info__unpack(NULL, len, data);
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static void hex_field(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	char text[2 * SEAL_HASH_LEN + 1];

	if (b->len == 0 || b->len > SEAL_HASH_LEN)
		return;
	vault_hex(b->data, b->len, text);
	json_text(j, key, text);
}

static void bytes_field(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len > 0)
		json_bytes(j, key, b->data, b->len);
}

static void write_items(struct json *j, const Exhibit__V1__ExhibitInfo *info)
{
	json_open(j, "items", 5, '[');
	for (size_t i = 0; i < info->n_items; i++) {
		const Exhibit__V1__ItemInfo *item = info->items[i];

		json_open(j, NULL, 0, '{');
		bytes_field(j, "name", &item->name);
		bytes_field(j, "format", &item->format);
		json_u64(j, "bytes", item->bytes);
		hex_field(j, "sha256", &item->sha256);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void write_record(struct json *j, const struct vault_record *r,
			 const struct batch_name *tenant)
{
	const Exhibit__V1__ExhibitInfo *info = r->info;
	char kind[32], key[2 * SEAL_KEY_ID_LEN + 1];

	json_open(j, NULL, 0, '{');
	json_u64(j, "version", VERSION_NUMBER);
	json_bytes(j, "tenant", tenant->b, tenant->len);
	hex_field(j, "exhibit_id", &info->exhibit_id);
	hex_field(j, "order_id", &info->order_id);
	bytes_field(j, "host_id", &info->host_id);
	bytes_field(j, "host_name", &info->host_name);
	bytes_field(j, "case_id", &info->case_id);
	bytes_field(j, "requester", &info->requester);
	json_text(j, "kind", vault_kind_name(info->kind, kind));
	json_text(j, "state", vault_state_name(info->state));
	bytes_field(j, "reason", &info->reason);
	json_i64(j, "began_ns", info->began_ns);
	json_i64(j, "sealed_ns", info->sealed_ns);
	json_i64(j, "retain_until_ns", info->retain_until_ns);
	json_u64(j, "bytes", info->bytes);
	hex_field(j, "manifest_sha256", &info->manifest_sha256);
	if (r->has_key) {
		vault_hex(r->key_id, sizeof(r->key_id), key);
		json_text(j, "manifest_key_id", key);
	}
	if (r->leaf)
		json_u64(j, "ledger_index", info->ledger_index);
	if (r->has_chunks)
		hex_field(j, "chunks_sha256",
			  &(ProtobufCBinaryData){ SEAL_HASH_LEN,
						  (uint8_t *)(uintptr_t)r->chunks.b });
	write_items(j, info);
}

/* text, len: of the stream, what was written before. */
static int write_sum(struct json *j, char *const *text, const size_t *len)
{
	char hex[2 * SEAL_HASH_LEN + 1];
	struct seal_hash sum;

	if (fflush(j->out) != 0 || seal_sha256(*text, *len, &sum) < 0)
		return -ENOMEM;
	vault_hex(sum.b, SEAL_HASH_LEN, hex);
	json_text(j, SUM_KEY, hex);
	json_close(j, '}');
	json_line(j);
	return 0;
}

int vault_record_write(const struct vault_record *r, const struct batch_name *tenant, char **ret,
		       size_t *ret_len, struct error *e)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return error_set(e, -ENOMEM, "cannot write an exhibit's record: out of memory");
	struct json j = json_init(out);

	write_record(&j, r, tenant);
	bool bad = write_sum(&j, &text, &len) < 0 || ferror(out) != 0 || j.bad;

	if (fclose(out) != 0 || bad) {
		free(text);
		return error_set(e, -ENOMEM, "cannot write an exhibit's record: out of memory");
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

/* What is read points into the JSON and into here, until it is copied as a whole. */
struct scratch {
	const json_t *root;
	bool bad, lacked; /* lacked: memory */
	const char *what; /* the first member that is wrong */
	size_t n_buffers;
	uint8_t *buffers[32 + 4 * VAULT_ITEMS_MAX];
};

static void scratch_release(struct scratch *s)
{
	for (size_t i = 0; i < s->n_buffers; i++)
		free(s->buffers[i]);
}

static void wrong(struct scratch *s, const char *what)
{
	if (!s->bad)
		s->what = what;
	s->bad = true;
}

static uint8_t *buffer(struct scratch *s, size_t len)
{
	uint8_t *p = s->n_buffers < ARRAY_LEN(s->buffers) ? malloc(len + 1) : NULL;

	if (p == NULL) {
		s->lacked = s->n_buffers < ARRAY_LEN(s->buffers);
		wrong(s, "too many members");
	} else
		s->buffers[s->n_buffers++] = p;
	return p;
}

static ProtobufCBinaryData get_hex(struct scratch *s, const json_t *object, const char *key,
				   size_t len, bool needed)
{
	const char *text = json_string_value(json_object_get(object, key));
	uint8_t *data;

	if (text == NULL) {
		if (needed)
			wrong(s, key);
		return (ProtobufCBinaryData){ 0 };
	}
	data = buffer(s, len);
	if (data == NULL || !vault_unhex(text, data, len)) {
		wrong(s, key);
		return (ProtobufCBinaryData){ 0 };
	}
	return (ProtobufCBinaryData){ len, data };
}

/* KEY_base64 carries what is not UTF-8. */
static ProtobufCBinaryData get_bytes(struct scratch *s, const json_t *object, const char *key,
				     size_t max)
{
	char name[64];
	const json_t *plain = json_object_get(object, key), *exact;
	size_t len;

	(void)snprintf(name, sizeof(name), "%s_base64", key);
	exact = json_object_get(object, name);
	len = json_string_length(exact != NULL ? exact : plain);
	if (exact == NULL && plain == NULL)
		return (ProtobufCBinaryData){ 0 };
	const char *text = json_string_value(exact != NULL ? exact : plain);
	uint8_t *data = text != NULL && len <= 2 * max + 4 ? buffer(s, len) : NULL;

	if (data == NULL) {
		wrong(s, key);
		return (ProtobufCBinaryData){ 0 };
	}
	if (exact == NULL) {
		memcpy(data, text, len);
	} else {
		int n = EVP_DecodeBlock(data, (const uint8_t *)text, (int)len);
		size_t padding = len >= 2 && text[len - 1] == '=' ? 1u + (text[len - 2] == '=') : 0;

		if (n < 0 || (size_t)n < padding)
			wrong(s, key);
		len = n < 0 ? 0 : (size_t)n - padding;
	}
	if (len > max)
		wrong(s, key);
	return (ProtobufCBinaryData){ len, data };
}

static int64_t get_int(struct scratch *s, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		wrong(s, key);
	return json_integer_value(value);
}

static uint64_t get_size(struct scratch *s, const json_t *object, const char *key)
{
	int64_t n = get_int(s, object, key);

	if (n < 0)
		wrong(s, key);
	return (uint64_t)n;
}

static void get_items(struct scratch *s, Exhibit__V1__ExhibitInfo *info,
		      Exhibit__V1__ItemInfo *items, Exhibit__V1__ItemInfo **pointers)
{
	const json_t *list = json_object_get(s->root, "items");

	if (!json_is_array(list) || json_array_size(list) > VAULT_ITEMS_MAX) {
		wrong(s, "items");
		return;
	}
	info->n_items = json_array_size(list);
	info->items = pointers;
	for (size_t i = 0; i < info->n_items; i++) {
		const json_t *object = json_array_get(list, i);

		exhibit__v1__item_info__init(&items[i]);
		pointers[i] = &items[i];
		items[i].name = get_bytes(s, object, "name", VAULT_NAME_MAX);
		items[i].format = get_bytes(s, object, "format", VAULT_FORMAT_MAX);
		items[i].bytes = get_size(s, object, "bytes");
		items[i].sha256 = get_hex(s, object, "sha256", SEAL_HASH_LEN, true);
		if (!vault_name_valid(items[i].name.data, items[i].name.len))
			wrong(s, "the name of an item");
	}
}

static void get_info(struct scratch *s, Exhibit__V1__ExhibitInfo *info)
{
	const json_t *o = s->root;
	const char *kind = json_string_value(json_object_get(o, "kind"));
	const char *state = json_string_value(json_object_get(o, "state"));

	if (get_int(s, o, "version") != VERSION_NUMBER)
		wrong(s, "version");
	info->exhibit_id = get_hex(s, o, "exhibit_id", VAULT_ID_LEN, true);
	info->order_id = get_hex(s, o, "order_id", VAULT_ID_LEN, true);
	info->host_id = get_bytes(s, o, "host_id", BATCH_NAME_MAX);
	info->host_name = get_bytes(s, o, "host_name", BATCH_NAME_MAX);
	info->case_id = get_bytes(s, o, "case_id", VAULT_TEXT_MAX);
	info->requester = get_bytes(s, o, "requester", VAULT_TEXT_MAX);
	info->reason = get_bytes(s, o, "reason", 4096);
	info->kind = kind_of(kind != NULL ? kind : "");
	info->state = state_of(state != NULL ? state : "");
	info->began_ns = get_int(s, o, "began_ns");
	info->sealed_ns = get_int(s, o, "sealed_ns");
	info->retain_until_ns = get_int(s, o, "retain_until_ns");
	info->bytes = get_size(s, o, "bytes");
	info->manifest_sha256 = get_hex(s, o, "manifest_sha256", SEAL_HASH_LEN, false);
	if (info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_STATE_UNKNOWN)
		wrong(s, "state");
	if (info->host_id.len == 0)
		wrong(s, "host_id");
}

static int read_into(struct scratch *s, struct vault_record *ret, struct batch_name *ret_tenant,
		     struct error *e)
{
	AUTO(free_ptr) Exhibit__V1__ItemInfo *items = calloc(VAULT_ITEMS_MAX, sizeof(*items));
	AUTO(free_ptr)
	Exhibit__V1__ItemInfo **pointers = calloc(VAULT_ITEMS_MAX, sizeof(*pointers));
	Exhibit__V1__ExhibitInfo info = EXHIBIT__V1__EXHIBIT_INFO__INIT;
	struct vault_record r = { 0 };

	if (items == NULL || pointers == NULL)
		return error_set(e, -ENOMEM, "cannot read an exhibit's record: out of memory");
	get_info(s, &info);
	get_items(s, &info, items, pointers);
	ProtobufCBinaryData tenant = get_bytes(s, s->root, "tenant", BATCH_NAME_MAX);
	ProtobufCBinaryData key = get_hex(s, s->root, "manifest_key_id", SEAL_KEY_ID_LEN, false);
	ProtobufCBinaryData chunks = get_hex(s, s->root, "chunks_sha256", SEAL_HASH_LEN, false);

	r.leaf = json_object_get(s->root, "ledger_index") != NULL;
	if (r.leaf)
		info.ledger_index = get_size(s, s->root, "ledger_index");
	if (tenant.len == 0)
		wrong(s, "tenant");
	if (s->lacked)
		return error_set(e, -ENOMEM, "cannot read an exhibit's record: out of memory");
	if (s->bad)
		return error_set(e, -EBADMSG, "'%s' is missing or wrong", s->what);
	r.has_key = key.len > 0;
	if (r.has_key)
		memcpy(r.key_id, key.data, SEAL_KEY_ID_LEN);
	r.has_chunks = chunks.len > 0;
	if (r.has_chunks)
		memcpy(r.chunks.b, chunks.data, SEAL_HASH_LEN);
	r.info = vault_info_copy(&info);
	if (r.info == NULL)
		return error_set(e, -ENOMEM, "cannot read an exhibit's record: out of memory");
	if (ret_tenant != NULL) {
		ret_tenant->len = (uint8_t)tenant.len;
		memcpy(ret_tenant->b, tenant.data, tenant.len);
	}
	*ret = r;
	return 0;
}

/* Byte for byte: nothing of the file is left without a sum. */
static int check_sum(const char *text, size_t len, struct error *e)
{
	char want[SUM_LEN + 1], hex[2 * SEAL_HASH_LEN + 1];
	struct seal_hash sum;

	if (len < SUM_LEN)
		return error_set(e, -EBADMSG, "it does not end in its SHA-256");
	if (seal_sha256(text, len - SUM_LEN, &sum) < 0)
		return error_set(e, -ENOMEM, "cannot read an exhibit's record: out of memory");
	vault_hex(sum.b, SEAL_HASH_LEN, hex);
	(void)snprintf(want, sizeof(want), SUM_BEFORE "%s" SUM_BEHIND, hex);
	if (memcmp(text + len - SUM_LEN, want, SUM_LEN) != 0)
		return error_set(e, -EBADMSG, "it does not have the SHA-256 that it ends in");
	return 0;
}

int vault_record_read(const void *data, size_t len, struct vault_record *ret,
		      struct batch_name *ret_tenant, struct error *e)
{
	int r = check_sum(data, len, e);

	return r == 0 ? vault_record_read_members(data, len, ret, ret_tenant, e) : r;
}

int vault_record_read_members(const void *data, size_t len, struct vault_record *ret,
			      struct batch_name *ret_tenant, struct error *e)
{
	json_error_t why;
	struct scratch *s = calloc(1, sizeof(*s));
	json_t *root = NULL;
	int r = vault_json_load(data, len, &root, &why);

	if (r == -EBADMSG)
		(void)error_set(e, r, "line %d: %s", why.line, why.text);
	else if (r < 0 || s == NULL)
		r = error_set(e, -ENOMEM, "cannot read an exhibit's record: out of memory");
	else if (!json_is_object(root))
		r = error_set(e, -EBADMSG, "it is not an object");
	else {
		s->root = root;
		r = read_into(s, ret, ret_tenant, e);
	}
	if (s != NULL)
		scratch_release(s);
	free(s);
	json_decref(root);
	return r;
}

int vault_hold_read(const void *data, size_t len, bool *ret, struct error *e)
{
	json_error_t why;
	json_t *root = NULL;
	int r = vault_json_load(data, len, &root, &why);
	const json_t *hold = json_object_get(root, "hold");

	if (r == -ENOMEM)
		return error_set(e, r, "cannot read a hold: out of memory");
	if (json_is_boolean(hold))
		*ret = json_is_true(hold);
	else
		r = error_set(e, -EBADMSG, "it does not say whether there is a hold");
	json_decref(root);
	return r;
}
