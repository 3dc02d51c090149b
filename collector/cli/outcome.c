/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/outcome.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "proto/base/clock.h"

#define MISSING_SHOWN 20
#define LATER_SHOWN 5

const char *outcome_time(int64_t wall_ns, int digits, char *buf)
{
	if (wall_ns == 0)
		return memcpy(buf, "-", 2);
	(void)clock_format(wall_ns, buf);
	/* 2026-11-24T14:00:00.123456789Z: cut behind the second, or so many digits. */
	memcpy(buf + (digits ? 20 + digits : 19), "Z", 2);
	return buf;
}

static void say_missing(const struct screen *s, const Exhibit__V1__Incomplete *m)
{
	const ProtobufCBinaryData *name = m->host_name.len ? &m->host_name : &m->host_id;

	(void)fputs("  ", s->out);
	if (name->len) {
		(void)screen_cell(s, name->data, name->len, SIZE_MAX, false, COLOR_NONE);
		(void)fputs(": ", s->out);
	}
	(void)screen_cell(s, m->reason.data, m->reason.len, SIZE_MAX, false, COLOR_NONE);
	(void)fputc('\n', s->out);
}

/* Known of a part of the time alone: no loss, but no proof of its absence from before either. */
static void say_later(const Exhibit__V1__Completeness *c)
{
	const struct screen s = { .out = stderr };
	char since[CLOCK_TEXT_MAX];

	for (size_t i = 0; i < c->n_later && i < LATER_SHOWN; i++) {
		const Exhibit__V1__RecordBegin *b = c->later[i];
		const ProtobufCBinaryData *name = b->host_name.len ? &b->host_name : &b->host_id;

		(void)fputs("  ", s.out);
		(void)screen_cell(&s, name->data, name->len, SIZE_MAX, false, COLOR_NONE);
		(void)fprintf(s.out, ": recorded only from %s on\n",
			      outcome_time(b->since_ns, 0, since));
	}
	if (c->later_total > LATER_SHOWN)
		(void)fprintf(s.out, "  and %" PRIu64 " more hosts recorded only from later on\n",
			      c->later_total - LATER_SHOWN);
}

void outcome_completeness(struct outcome *o, const Exhibit__V1__Completeness *c)
{
	const struct screen s = { .out = stderr };
	const char *plural = c->hosts == 1 ? "" : "s";
	char since[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];

	/* What was shown so far comes first where both go to one place. */
	(void)fflush(stdout);
	(void)outcome_time(c->since_ns, 0, since);
	(void)outcome_time(c->until_ns, 0, until);
	if (c->missing_total == 0) {
		(void)fprintf(stderr, "complete for %" PRIu64 " host%s, %s to %s%s\n", c->hosts,
			      plural, c->since_ns ? since : "from the beginning", until,
			      c->hosts ? "" : "; no host was recorded then");
	} else {
		o->incomplete = true;
		(void)fprintf(stderr,
			      "INCOMPLETE: %" PRIu64
			      " host%s, known for all of them only up to %s; missing:\n",
			      c->hosts, plural, c->until_ns ? until : "no time at all");
		for (size_t i = 0; i < c->n_missing && i < MISSING_SHOWN; i++)
			say_missing(&s, c->missing[i]);
		if (c->missing_total > MISSING_SHOWN)
			(void)fprintf(stderr, "  and %" PRIu64 " more\n",
				      c->missing_total - MISSING_SHOWN);
	}
	say_later(c);
	if (c->cut)
		(void)fprintf(stderr,
			      "cut by --limit: only the newest %" PRIu64
			      " rows are shown, more match\n",
			      c->rows);
}

int outcome_failure(const struct error *e)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	(void)fflush(stdout);
	(void)fprintf(stderr, "exhibit: %s\n", error_format(e, text, sizeof(text)));
	return EXIT_ERROR;
}

bool outcome_deaf(void)
{
	return fflush(stdout) != 0 || ferror(stdout);
}

/* errno of the write that failed is long gone: a pipe tells that its reader left. */
static bool reader_left(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

int outcome_exit(const struct outcome *o)
{
	if (outcome_deaf() && !reader_left()) {
		(void)fprintf(stderr,
			      "exhibit: cannot write to standard output; is its disk full?\n");
		return EXIT_ERROR;
	}
	if (o->incomplete)
		return EXIT_INCOMPLETE;
	return o->rows ? EXIT_FOUND : EXIT_NONE;
}
