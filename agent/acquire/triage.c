/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/triage.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>

#include "proto/base/clock.h"
#include "proto/base/version.h"

#define LOG_LINES_MAX 10000
#define LOG_TEXT_MAX KiB(1)
#define REASON_MAX ERROR_TEXT_MAX

/* RFC 3227 2.1: registers and caches are for no tool on the host; then what a connection or a process takes with it
 * when it ends, temporary file systems, the disk, logs. */
static const struct triage_step steps[] = {
	{ 1, "sockets, routes, neighbours, interfaces", "network", 60, false, triage_network },
	{ 1, "processes", "memory", 180, false, triage_processes },
	{ 2, "kernel, mounts, modules, parameters", "memory", 60, true, triage_kernel },
	{ 3, "temporary file systems", "temporary files", 60, false, triage_temporary },
	{ 4, "users, logins, configuration, scheduled work, histories", "files", 120, false,
	  triage_files },
	{ 5, "bodyfile of important folders", "disk", 180, false, triage_bodyfile },
	{ 6, "logs", "logs", 300, false, triage_logs },
};

struct bundle {
	struct triage t;
	uint32_t order; /* the item triage.order.jsonl */
	char *log;
	size_t log_len;
	bool cut; /* the order's limits ended it */
	bool lacking;
	char reason[REASON_MAX]; /* of cut */
};

const struct triage_step *triage_step_at(size_t i)
{
	return i < ARRAY_LEN(steps) ? &steps[i] : NULL;
}

bool triage_over(struct triage *t)
{
	t->late |= clock_boottime_ns() >= t->deadline_ns;
	return t->late || (t->r->stop != NULL && *t->r->stop != 0);
}

/* Names of a hostile host stand in it: one line stays one line. */
static void print_safe(FILE *f, const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || (unsigned char)*text > '~' || *text == '\\')
			(void)fprintf(f, "\\x%02x", (unsigned char)*text);
		else
			(void)fputc(*text, f);
}

void triage_tell(struct triage *t, bool lacking, const char *format, ...)
{
	char when[CLOCK_TEXT_MAX], text[LOG_TEXT_MAX];
	va_list args;

	t->lacking += lacking;
	if (t->log == NULL || ++t->logged > LOG_LINES_MAX)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)fprintf(t->log, "%s %s", clock_format(clock_wall_ns(), when),
		      lacking ? "lacks: " : "");
	print_safe(t->log, text);
	(void)fputc('\n', t->log);
}

/* ---- triage.order.jsonl ------------------------------------------------------------------------------ */

/* A line that the order's limits would cut is written whole: there is room for closing. */
static int put_whole(struct bundle *b, const char *text, size_t len, struct error *e)
{
	uint64_t before = output_bytes(b->t.o, b->order);
	int r = output_write(b->t.o, b->order, text, len, e);

	if (r != -ECANCELED)
		return r;
	size_t done = (size_t)(output_bytes(b->t.o, b->order) - before);
	int rest = output_write(b->t.o, b->order, text + done, len - done, NULL);

	return rest < 0 ? error_set(e, -EIO, "the order of triage ends in the middle") : r;
}

/* key: "planned" or "done". */
static int put_order(struct bundle *b, const char *key, size_t i, uint64_t from_ns, uint64_t to_ns,
		     const char *left_out, struct error *e)
{
	bool done = strcmp(key, "done") == 0;
	char *text = NULL;
	size_t len = 0;
	FILE *line = open_memstream(&text, &len);

	if (line == NULL)
		return error_set(e, -ENOMEM, "cannot tell the order of triage: out of memory");
	struct json j = json_init(line);

	json_open(&j, NULL, 0, '{');
	json_u64(&j, key, i + 1);
	json_u64(&j, "rank", steps[i].rank);
	json_text(&j, "step", steps[i].name);
	json_text(&j, "holds", steps[i].holds);
	if (left_out != NULL)
		json_text(&j, "left_out", left_out);
	if (done) {
		json_u64(&j, "from_boottime_ns", from_ns);
		json_u64(&j, "to_boottime_ns", to_ns);
		json_time(&j, "ended", clock_wall_ns());
		json_u64(&j, "entries", b->t.entries);
		json_u64(&j, "bytes", b->t.bytes);
		json_u64(&j, "lacking", b->t.lacking);
		json_bool(&j, "whole", !b->cut && !b->t.late && b->t.lacking == 0);
	}
	json_close(&j, '}');
	json_line(&j);
	int r = fclose(line) != 0 ?
			error_set(e, -ENOMEM, "cannot tell the order of triage: out of memory") :
			put_whole(b, text, len, e);

	free(text);
	return r;
}

static const char *left_out(const struct bundle *b, size_t i)
{
	return steps[i].host_only && !b->t.target.whole_host ?
		       "is the host's, not the container's" :
		       NULL;
}

static int put_plan(struct bundle *b, struct error *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(steps); i++)
		r = put_order(b, "planned", i, 0, 0, left_out(b, i), e);
	return r;
}

/* ---- steps ------------------------------------------------------------------------------------------- */

/* What was begun is closed, and the rest left out: the bundle stays one that opens. */
static int cut(struct bundle *b, struct error *e)
{
	b->cut = true;
	(void)snprintf(b->reason, sizeof(b->reason), "%s", e->text);
	triage_tell(&b->t, true, "the bundle ends here: %s", b->reason);
	return 0;
}

static int run_step(struct bundle *b, size_t i, struct error *e)
{
	struct triage *t = &b->t;
	uint64_t from_ns = clock_boottime_ns();

	t->deadline_ns = from_ns + steps[i].seconds * NSEC_PER_SEC;
	t->late = false;
	t->entries = t->bytes = t->lacking = 0;
	triage_tell(t, false, "begins: %s", steps[i].name);
	int r = steps[i].run(t, e);

	if (r == -ECANCELED)
		r = cut(b, e);
	if (r < 0)
		return r;
	if (t->late)
		triage_tell(t, true, "%s: the time of this step is used up", steps[i].name);
	b->lacking |= t->lacking > 0;
	r = put_order(b, "done", i, from_ns, clock_boottime_ns(), NULL, e);
	return r == -ECANCELED ? cut(b, e) : r;
}

static int run_steps(struct bundle *b, struct error *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && !b->cut && i < ARRAY_LEN(steps); i++)
		if (left_out(b, i) == NULL)
			r = run_step(b, i, e);
	return r;
}

/* ---- the bundle -------------------------------------------------------------------------------------- */

static uint32_t first_process(const struct bundle *b)
{
	return b->t.target.n_pids > 0 ? b->t.target.pids[0] : 1;
}

/* UAC's own name: what tells its bundles, unpacked, from others. */
static int put_head(struct bundle *b, struct error *e)
{
	const Exhibit__V1__Order *order = b->t.r->order;
	char when[CLOCK_TEXT_MAX];
	struct utsname host;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL || uname(&host) < 0)
		return error_set(e, -ENOMEM, "cannot begin the bundle: out of memory");
	(void)fprintf(f, "exhibit-agent %s: triage in order of volatility, laid out as UAC does\n",
		      VERSION);
	(void)fprintf(f, "begun %s, boot time %llu ns, clock %s\n",
		      clock_format(clock_wall_ns(), when), (unsigned long long)clock_boottime_ns(),
		      clock_synchronised() ? "synchronised" : "not synchronised");
	(void)fputs("host ", f);
	print_safe(f, host.nodename);
	(void)fprintf(f, ", kernel %s, %s\nview: ", host.release, host.machine);
	if (order->process != NULL)
		(void)fprintf(f, "process %u", order->process->pid);
	else if (order->container_id.len > 0)
		(void)fprintf(f, "container, first process %u", first_process(b));
	else
		(void)fputs("host", f);
	(void)fputs("\nwhat was done, and what is lacking: exhibit.log\n", f);
	int r = fclose(f) != 0 ? error_set(e, -ENOMEM, "cannot begin the bundle: out of memory") :
				 triage_put(&b->t, "uac.log", text, len, e);

	free(text);
	return r;
}

static int put_log(struct bundle *b, struct error *e)
{
	if (b->t.logged > LOG_LINES_MAX)
		(void)fprintf(b->t.log, "%llu more lines are left out\n",
			      (unsigned long long)(b->t.logged - LOG_LINES_MAX));
	int failed = fclose(TAKE(b->t.log));

	return failed != 0 ? error_set(e, -ENOMEM, "cannot end the log: out of memory") :
			     triage_put(&b->t, "exhibit.log", b->log, b->log_len, e);
}

/* Also when it was cut: then within the few bytes that are left for closing. */
static int finish(struct bundle *b, struct error *e)
{
	struct triage *t = &b->t;
	int r = t->broken ? 0 : put_log(b, e);

	if (r == -ECANCELED && !b->cut)
		r = cut(b, e);
	if (r == 0)
		r = tar_finish(t->tar, b->cut ? b->reason : NULL, e);
	if (r == 0)
		r = output_end(t->o, b->order, b->cut ? "the bundle was cut" : NULL, NULL, e);
	if (r == 0 && t->atime_touched > 0)
		r = output_warn(t->o, false, e,
				"%llu files could only be read so that their access time changes",
				(unsigned long long)t->atime_touched);
	if (r == 0 && b->cut)
		r = output_warn(t->o, true, e, "the bundle is not whole: %s", b->reason);
	else if (r == 0 && b->lacking)
		r = output_warn(
			t->o, true, e,
			"some of what was planned is lacking: see exhibit.log in the bundle");
	return r == 0 ? output_note_u64(t->o, "triage.view_process", first_process(b), e) : r;
}

static int make(struct bundle *b, struct error *e)
{
	int r = output_begin(b->t.o, "triage.order.jsonl", "jsonl", 0, &b->order, e);

	if (r == 0)
		r = put_plan(b, e);
	if (r == -ECANCELED)
		r = cut(b, e);
	if (r == 0)
		r = tar_new(b->t.o, "triage.tar", &b->t.tar, e);
	if (r == 0)
		r = put_head(b, e);
	if (r == -ECANCELED)
		r = cut(b, e);
	if (r == 0)
		r = run_steps(b, e);
	return r == 0 ? finish(b, e) : r;
}

int acquire_triage(const struct acquire_request *r, struct output *o, struct error *e)
{
	AUTO(free_ptr) struct bundle *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return error_set(e, -ENOMEM, "cannot begin the bundle: out of memory");
	b->t.r = r;
	b->t.o = o;
	int result = target_open(r, &b->t.target, e);

	if (result < 0)
		return result;
	b->t.log = open_memstream(&b->log, &b->log_len);
	result = b->t.log != NULL ? make(b, e) :
				    error_set(e, -ENOMEM, "cannot begin the bundle: out of memory");
	if (b->t.log != NULL)
		(void)fclose(b->t.log);
	free(b->log);
	tar_free(b->t.tar);
	target_release(&b->t.target);
	return result;
}
