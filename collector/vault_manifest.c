/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_manifest.h"

#include <errno.h>
#include <string.h>

#include "collector/vault_internal.h"
#include "collector/vault_json.h"

static int bad(struct error *e, const char *what)
{
	return error_set(e, -EBADMSG, "the manifest cannot be read: %s", what);
}

static bool get_id(const json_t *o, const char *key, uint8_t ret[static VAULT_ID_LEN])
{
	const char *text = json_string_value(json_object_get(o, key));

	return text != NULL && vault_id_parse(text, ret);
}

static int read_item(const json_t *o, struct vault_manifest_item *ret, struct error *e)
{
	const json_t *name = json_object_get(o, "name");
	const json_t *bytes = json_object_get(o, "bytes");
	const char *hash = json_string_value(json_object_get(o, "sha256"));
	size_t len = json_string_length(name);

	if (!vault_name_valid(json_string_value(name), len))
		return bad(e, "an item has no name, or one that no item can have");
	memcpy(ret->name, json_string_value(name), len + 1);
	if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
		return bad(e, "an item's 'bytes' is missing or wrong");
	ret->bytes = (uint64_t)json_integer_value(bytes);
	if (hash == NULL || !vault_unhex(hash, ret->sha256.b, SEAL_HASH_LEN))
		return bad(e, "an item's 'sha256' is missing or wrong");
	return 0;
}

static int read_unfinished(const json_t *root, struct vault_manifest *m, struct error *e)
{
	const json_t *list = json_object_get(root, "unfinished_items");

	if (list != NULL && (!json_is_array(list) || json_array_size(list) > VAULT_ITEMS_MAX))
		return bad(e, "'unfinished_items' is no list, or too long");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *name = json_object_get(json_array_get(list, i), "name");
		size_t len = json_string_length(name);

		if (!vault_name_valid(json_string_value(name), len))
			return bad(e, "an item has no name, or one that no item can have");
		memcpy(m->unfinished[m->n_unfinished++], json_string_value(name), len + 1);
	}
	return 0;
}

static void read_failure(const json_t *root, struct vault_manifest *m)
{
	const char *text = json_string_value(json_object_get(root, "failure"));

	(void)snprintf(m->failure, sizeof(m->failure), "%s", text != NULL ? text : "");
}

static int read_manifest(const json_t *root, struct vault_manifest *m, struct error *e)
{
	const json_t *items = json_object_get(root, "items");
	const json_t *complete = json_object_get(root, "complete");
	int r = 0;

	if (!json_is_object(root))
		return bad(e, "it is not an object");
	if (!get_id(root, "exhibit_id", m->exhibit_id))
		return bad(e, "'exhibit_id' is missing or wrong");
	if (!get_id(root, "order_id", m->order_id))
		return bad(e, "'order_id' is missing or wrong");
	if (complete != NULL && !json_is_boolean(complete))
		return bad(e, "'complete' is neither true nor false");
	m->complete = complete == NULL || json_is_true(complete);
	if (!json_is_array(items) || json_array_size(items) > VAULT_ITEMS_MAX)
		return bad(e, "'items' is missing or too long");
	m->n_items = json_array_size(items);
	for (size_t i = 0; r == 0 && i < m->n_items; i++)
		r = read_item(json_array_get(items, i), &m->items[i], e);
	read_failure(root, m);
	return r == 0 ? read_unfinished(root, m, e) : r;
}

int vault_manifest_read(const void *data, size_t len, struct vault_manifest **ret, struct error *e)
{
	struct vault_manifest *m;
	json_error_t why;
	json_t *root = NULL;
	int r;

	if (len > VAULT_MANIFEST_MAX)
		return error_set(e, -E2BIG, "the manifest has %zu bytes, at most %llu are taken",
				 len, (unsigned long long)VAULT_MANIFEST_MAX);
	r = vault_json_load(data, len, &root, &why);
	if (r < 0)
		return error_set(e, r, "the manifest cannot be read: line %d: %s", why.line,
				 r == -ENOMEM ? "out of memory" : why.text);
	m = calloc(1, sizeof(*m));
	r = m != NULL ? read_manifest(root, m, e) :
			error_set(e, -ENOMEM, "cannot read a manifest: out of memory");
	json_decref(root);
	if (r < 0)
		free(m);
	else
		*ret = m;
	return r;
}

static const Exhibit__V1__ItemInfo *find(const Exhibit__V1__ExhibitInfo *info, const char *name)
{
	for (size_t i = 0; i < info->n_items; i++)
		if (info->items[i]->name.len == strlen(name) &&
		    memcmp(info->items[i]->name.data, name, strlen(name)) == 0)
			return info->items[i];
	return NULL;
}

static bool names(const struct vault_manifest *m, const Exhibit__V1__ItemInfo *item)
{
	for (size_t i = 0; i < m->n_items; i++)
		if (strlen(m->items[i].name) == item->name.len &&
		    memcmp(m->items[i].name, item->name.data, item->name.len) == 0)
			return true;
	for (size_t i = 0; i < m->n_unfinished; i++)
		if (strlen(m->unfinished[i]) == item->name.len &&
		    memcmp(m->unfinished[i], item->name.data, item->name.len) == 0)
			return true;
	return false;
}

static bool is_id(const ProtobufCBinaryData *b, const uint8_t id[static VAULT_ID_LEN])
{
	return b->len == VAULT_ID_LEN && memcmp(b->data, id, VAULT_ID_LEN) == 0;
}

static int compare_item(const struct vault_manifest_item *said,
			const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	const Exhibit__V1__ItemInfo *item = find(info, said->name);

	if (item == NULL)
		return error_set(e, -EBADMSG, "the manifest names item '%s', which did not arrive",
				 said->name);
	if (item->bytes != said->bytes)
		return error_set(e, -EBADMSG,
				 "the manifest says that item '%s' has %llu bytes, %llu arrived",
				 said->name, (unsigned long long)said->bytes,
				 (unsigned long long)item->bytes);
	if (memcmp(item->sha256.data, said->sha256.b, SEAL_HASH_LEN) != 0)
		return error_set(
			e, -EBADMSG,
			"the manifest names another SHA-256 for item '%s' than that of what arrived",
			said->name);
	return 0;
}

int vault_manifest_compare(const struct vault_manifest *m, const Exhibit__V1__ExhibitInfo *info,
			   struct error *e)
{
	int r = 0;

	if (!is_id(&info->exhibit_id, m->exhibit_id))
		return error_set(e, -EBADMSG, "the manifest is that of another exhibit");
	if (!is_id(&info->order_id, m->order_id))
		return error_set(e, -EBADMSG, "the manifest is that of another order");
	for (size_t i = 0; r == 0 && i < m->n_items; i++)
		r = compare_item(&m->items[i], info, e);
	for (size_t i = 0; r == 0 && i < info->n_items; i++)
		if (!names(m, info->items[i]))
			r = error_set(e, -EBADMSG,
				      "item '%.*s' arrived, the manifest does not name it",
				      (int)info->items[i]->name.len,
				      (const char *)info->items[i]->name.data);
	for (size_t i = 0; r == 0 && i < m->n_items; i++)
		for (size_t k = 0; r == 0 && k < i; k++)
			if (strcmp(m->items[i].name, m->items[k].name) == 0)
				r = error_set(e, -EBADMSG, "the manifest names an item twice");
	return r;
}
