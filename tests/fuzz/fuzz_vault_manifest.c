/* SPDX-License-Identifier: Apache-2.0 */
/* What the vault reads as JSON: a host's manifest, its own exhibit.json, a line of chunks.jsonl. */
#include <string.h>

#include "collector/vault_chunks.h"
#include "collector/vault_manifest.h"
#include "collector/vault_record.h"
#include "tests/fuzz/fuzz.h"

static void read_record(const uint8_t *data, size_t size)
{
	struct vault_record record = { 0 }, again = { 0 };
	struct batch_name tenant;
	char *text = NULL;
	size_t len;

	if (vault_record_read(data, size, &record, NULL, NULL) == 0)
		vault_record_release(&record);
	if (vault_record_read_members(data, size, &record, &tenant, NULL) < 0)
		return;
	/* What was read can be written, and is then the same. */
	if (vault_record_write(&record, &tenant, &text, &len, NULL) < 0 ||
	    vault_record_read(text, len, &again, NULL, NULL) < 0 ||
	    again.info->n_items != record.info->n_items ||
	    again.info->bytes != record.info->bytes ||
	    again.info->case_id.len != record.info->case_id.len)
		abort();
	free(text);
	vault_record_release(&record);
	vault_record_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vault_manifest *m = NULL;
	struct vault_line line;

	if (vault_manifest_read(data, size, &m, NULL) == 0)
		for (size_t i = 0; i < m->n_items; i++)
			if (!vault_name_valid(m->items[i].name, strlen(m->items[i].name)))
				abort();
	free(m);
	if (vault_line_read((const char *)data, size, &line) == 0 &&
	    (line.item == 0 || line.item > VAULT_ITEMS_MAX || line.bytes > VAULT_CHUNK_BYTES))
		abort();
	read_record(data, size);
	return 0;
}
