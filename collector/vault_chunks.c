/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_chunks.h"

#include <errno.h>
#include <string.h>

#include "collector/vault_internal.h"
#include "collector/vault_json.h"

static bool get_number(const json_t *o, const char *key, uint64_t max, uint64_t *ret)
{
	const json_t *value = json_object_get(o, key);
	json_int_t n = json_integer_value(value);

	*ret = (uint64_t)n;
	return json_is_integer(value) && n >= 0 && (uint64_t)n <= max;
}

static bool get_word(const json_t *o, const char *key, size_t max, char *ret)
{
	const json_t *value = json_object_get(o, key);
	size_t len = json_string_length(value);

	if (len > max || !vault_name_valid(json_string_value(value), len))
		return false;
	memcpy(ret, json_string_value(value), len + 1);
	return true;
}

static bool get_hash(const json_t *o, struct seal_hash *ret)
{
	const char *text = json_string_value(json_object_get(o, "sha256"));

	return text != NULL && vault_unhex(text, ret->b, SEAL_HASH_LEN);
}

static bool read_line(const json_t *o, struct vault_line *ret)
{
	uint64_t item, bytes;

	if (!get_number(o, "item", VAULT_ITEMS_MAX, &item) || item == 0 ||
	    !get_number(o, "group", INT64_MAX, &ret->group))
		return false;
	ret->item = (uint32_t)item;
	if (json_object_get(o, "name") != NULL) {
		ret->kind = VAULT_LINE_ITEM;
		return get_word(o, "name", VAULT_NAME_MAX, ret->name) &&
		       get_word(o, "format", VAULT_FORMAT_MAX, ret->format) &&
		       get_number(o, "expected", INT64_MAX, &ret->expected_bytes);
	}
	if (json_object_get(o, "end") != NULL) {
		ret->kind = VAULT_LINE_END;
		return get_number(o, "end", INT64_MAX, &ret->offset) && get_hash(o, &ret->hash);
	}
	ret->kind = VAULT_LINE_CHUNK;
	if (!get_number(o, "offset", INT64_MAX, &ret->offset) ||
	    !get_number(o, "bytes", VAULT_CHUNK_BYTES, &bytes) || bytes == 0)
		return false;
	ret->bytes = (uint32_t)bytes;
	return get_hash(o, &ret->hash);
}

int vault_line_read(const char *text, size_t len, struct vault_line *ret)
{
	json_t *o = NULL;
	int r = vault_json_load(text, len, &o, NULL);

	*ret = (struct vault_line){ 0 };
	if (r == 0 && !(json_is_object(o) && read_line(o, ret)))
		r = -EBADMSG;
	json_decref(o);
	return r;
}
