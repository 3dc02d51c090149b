/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks_log.h"

#include <bpf/libbpf.h>
#include <stdarg.h>

#include "proto/base/log.h"

#define LINE_MAX_BYTES 512

static _Thread_local char first[LINE_MAX_BYTES];

static void trim(char *line)
{
	size_t n = strlen(line);

	while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == ' '))
		line[--n] = '\0';
}

static PRINTF(2, 0) int print(enum libbpf_print_level level, const char *format, va_list ap)
{
	char line[LINE_MAX_BYTES];

	(void)vsnprintf(line, sizeof(line), format, ap);
	trim(line);
	if (level == LIBBPF_WARN && !first[0])
		(void)snprintf(first, sizeof(first), "%s", line);
	log_debug("libbpf", KV_STR("text", line));
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
