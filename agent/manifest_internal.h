/* SPDX-License-Identifier: Apache-2.0 */
/* What manifest.c gathers and manifest_write.c writes. */
#ifndef AGENT_MANIFEST_INTERNAL_H
#define AGENT_MANIFEST_INTERNAL_H

#include "agent/manifest.h"

struct item {
	bool begun, ended;
	int64_t began_ns, ended_ns; /* Unix time; when the agent heard of it */
	char name[OUTPUT_NAME_MAX + 1], format[33];
	uint64_t bytes;
	struct seal_hash hash;
	char *status; /* NULL: whole */
};

struct note {
	char *key;
	bool number;
	uint64_t value;
	uint8_t *text;
	size_t len;
};

struct warning {
	bool lacking;
	char *text;
};

struct manifest {
	const struct order_checked *order;
	uint8_t exhibit_id[MANIFEST_ID_LEN];
	const struct manifest_tool *tool;
	const struct manifest_host *host;
	struct manifest_time started, closed;
	size_t n_items; /* highest number */
	struct item items[OUTPUT_ITEMS_MAX];
	size_t n_notes, n_warnings, facts_bytes;
	struct note notes[OUTPUT_NOTES_MAX];
	struct warning warnings[MANIFEST_WARNINGS_MAX];
	uint64_t warned, lacking;
	bool ended;
	uint64_t agent_rss_bytes;
	struct control_end end; /* its sentence: failure */
	char failure[CONTROL_TEXT_MAX + 1];
};

#endif
