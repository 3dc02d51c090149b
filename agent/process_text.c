/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process_text.h"

#include <string.h>

struct process_text {
	size_t refs, len;
	uint8_t at[];
};

struct process_text *process_text_new(const void *at, size_t len)
{
	struct process_text *text = malloc(sizeof(*text) + len);

	if (!text)
		return NULL;
	text->refs = 1;
	text->len = len;
	memcpy(text->at, at, len);
	return text;
}

struct process_text *process_text_share(struct process_text *text)
{
	if (text)
		text->refs++;
	return text;
}

size_t process_text_size(const struct process_text *text)
{
	return text ? sizeof(*text) + text->len : 0;
}

size_t process_text_drop(struct process_text *text)
{
	size_t size = process_text_size(text);

	if (!text || --text->refs)
		return 0;
	free(text);
	return size;
}

struct bytes process_text_bytes(const struct process_text *text)
{
	return text ? (struct bytes){ .at = text->at, .len = text->len } : (struct bytes){ 0 };
}
