/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks_log.h"

#include <bpf/libbpf.h>
#include <stdarg.h>

#include "proto/base/log.h"

#define LINE_MAX_BYTES 512
#define LONG_MAX_BYTES (16u << 20) /* libbpf asks the verifier for no more */
#define LAST_LINES 12

static _Thread_local char first[LINE_MAX_BYTES];

static void trim(char *line)
{
	size_t n = strlen(line);

	while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == ' '))
		line[--n] = '\0';
}

/* The verifier's log is one message of up to millions of lines; the last ones say what it refused. */
static PRINTF(1, 0) void log_end(const char *format, va_list ap, size_t len)
{
	AUTO(free_ptr) char *text = len <= LONG_MAX_BYTES ? malloc(len + 1) : NULL;

	if (!text)
		return;
	(void)vsnprintf(text, len + 1, format, ap);
	trim(text);
	char *at = text + strlen(text);

	for (size_t lines = 0; at > text; at--)
		if (at[-1] == '\n' && ++lines == LAST_LINES)
			break;
	while (at) {
		const char *line = strsep(&at, "\n");

		log_debug("libbpf", KV_STR("text", line));
	}
}

static PRINTF(2, 0) int print(enum libbpf_print_level level, const char *format, va_list ap)
{
	char line[LINE_MAX_BYTES];
	va_list again;

	va_copy(again, ap);
	int len = vsnprintf(line, sizeof(line), format, ap);

	trim(line);
	if (level == LIBBPF_WARN && !first[0])
		(void)snprintf(first, sizeof(first), "%s", line);
	log_debug("libbpf", KV_STR("text", line));
	if (len >= (int)sizeof(line))
		log_end(format, again, (size_t)len);
	va_end(again);
	return 0;
}

void hooks_log_capture(void)
{
	(void)libbpf_set_print(print);
}

void hooks_log_clear(void)
{
	first[0] = '\0';
}

const char *hooks_log_reason(void)
{
	return first[0] ? first : "libbpf gives no reason";
}
