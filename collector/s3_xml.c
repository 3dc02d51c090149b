/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/s3_xml.h"

#include <stdio.h>
#include <string.h>

/* One character of text at `at`: its length there; 0: no character of text. */
static size_t next_char(const char *at, size_t len, char *out)
{
	static const struct {
		const char *name;
		char c;
	} entities[] = { { "&amp;", '&' },
			 { "&lt;", '<' },
			 { "&gt;", '>' },
			 { "&quot;", '"' },
			 { "&apos;", '\'' } };

	if (*at != '&') {
		*out = *at;
		return *at == '<' || *at == '\0' ? 0 : 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(entities); i++) {
		size_t n = strlen(entities[i].name);

		if (len >= n && memcmp(at, entities[i].name, n) == 0) {
			*out = entities[i].c;
			return n;
		}
	}
	return 0;
}

bool s3_xml_text(const char *xml, size_t len, const char *name, char *out, size_t size)
{
	char open[64], close[64];
	size_t n = 0, step;
	const char *at, *end;

	(void)snprintf(open, sizeof(open), "<%s>", name);
	(void)snprintf(close, sizeof(close), "</%s>", name);
	at = len > 0 ? memmem(xml, len, open, strlen(open)) : NULL;
	if (at == NULL)
		return false;
	at += strlen(open);
	end = memmem(at, len - (size_t)(at - xml), close, strlen(close));
	if (end == NULL)
		return false;
	for (; at < end; at += step) {
		step = n + 1 < size ? next_char(at, (size_t)(end - at), &out[n]) : 0;
		if (step == 0)
			return false;
		n++;
	}
	out[n] = '\0';
	return true;
}
