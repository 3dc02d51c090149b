/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/coverage.h"

#include <stdarg.h>

#include "proto/actions.h"

static const char *const state_names[] = {
	[COVERAGE_UNKNOWN] = "unknown",
	[COVERAGE_ATTACHED] = "attached",
	[COVERAGE_FAILED] = "failed",
	[COVERAGE_PARTIAL] = "partial",
};

struct coverage_row *coverage_row(struct coverage *c, uint32_t class, const char *what)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->row[i].class == class && strcmp(c->row[i].what, what) == 0)
			return &c->row[i];
	if (c->n >= COVERAGE_ROWS_MAX)
		return NULL;
	struct coverage_row *row = &c->row[c->n++];

	*row = (struct coverage_row){ .class = class, .what = what, .hook = "none" };
	return row;
}

void coverage_attached(struct coverage *c, uint32_t class, const char *what, uint8_t tier,
		       const char *hook, const char *limit)
{
	struct coverage_row *row = coverage_row(c, class, what);

	if (!row)
		return;
	row->tier = tier;
	row->hook = hook;
	row->state = limit ? COVERAGE_PARTIAL : COVERAGE_ATTACHED;
	(void)snprintf(row->reason, sizeof(row->reason), "%s", limit ? limit : "");
}

void coverage_failed(struct coverage *c, uint32_t class, const char *what, const char *fmt, ...)
{
	struct coverage_row *row = coverage_row(c, class, what);
	va_list ap;

	if (!row)
		return;
	row->tier = 0;
	row->hook = "none";
	row->state = COVERAGE_FAILED;
	va_start(ap, fmt);
	(void)vsnprintf(row->reason, sizeof(row->reason), fmt, ap);
	va_end(ap);
}

const char *coverage_state_name(enum coverage_state state)
{
	return (size_t)state < ARRAY_LEN(state_names) ? state_names[state] : "unknown";
}

bool coverage_has(const struct coverage *c, uint32_t class)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->row[i].class == class &&
		    (c->row[i].state == COVERAGE_ATTACHED || c->row[i].state == COVERAGE_PARTIAL))
			return true;
	return false;
}

void coverage_print(const struct coverage *c, FILE *out)
{
	static const char format[] = "%-12s %-30s %-4s %-31s %-9s %s\n";

	(void)fprintf(out, format, "CLASS", "EVENTS", "TIER", "HOOK", "STATE", "REASON");
	for (size_t i = 0; i < c->n; i++) {
		const struct coverage_row *row = &c->row[i];
		char tier[8] = "-";

		if (row->state != COVERAGE_FAILED)
			(void)snprintf(tier, sizeof(tier), "T%u", row->tier);
		(void)fprintf(out, format, class_name(row->class), row->what, tier, row->hook,
			      coverage_state_name(row->state), row->reason);
	}
}
