/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/order_describe.h"

#include <inttypes.h>
#include <string.h>

#include "collector/cli/order_show.h"
#include "proto/base/clock.h"
#include "proto/entity.h"

static void put(FILE *out, const char *label, const void *text, size_t len)
{
	const struct screen s = { .out = out };

	(void)fprintf(out, "  %-10s", label);
	(void)screen_cell(&s, text, len, SIZE_MAX, false, COLOR_NONE);
	(void)fputc('\n', out);
}

static void put_bytes(FILE *out, const char *label, const ProtobufCBinaryData *b)
{
	if (b->len)
		put(out, label, b->data, b->len);
}

static void put_text(FILE *out, const char *label, const char *text)
{
	put(out, label, text, strlen(text));
}

static void put_number(FILE *out, const char *label, uint64_t n, const char *unit)
{
	if (n)
		(void)fprintf(out, "  %-10s%" PRIu64 "%s\n", label, n, unit);
}

/* ---- each kind's own fields ---------------------------------------------------------------------------- */

static void describe_packets(FILE *out, const Exhibit__V1__PacketsOrder *p)
{
	put_bytes(out, "filter", &p->filter);
	put_bytes(out, "interface", &p->interface);
	put_number(out, "for", p->seconds, " s");
	put_number(out, "before", p->before_seconds, " s");
	put_number(out, "snap", p->snap_bytes, " bytes of each");
	put_number(out, "net-ns", p->net_ns, "");
	if (p->live)
		put_text(out, "and", "shown while it is captured");
}

static void describe_files(FILE *out, const Exhibit__V1__FilesOrder *f)
{
	for (size_t i = 0; i < f->n_paths; i++)
		put_bytes(out, "path", &f->paths[i]);
	if (f->deleted)
		put_text(out, "and", "what is deleted and still open");
}

static void describe_arrest(FILE *out, const Exhibit__V1__ArrestOrder *a)
{
	static const char *const ends[] = {
		[EXHIBIT__V1__ARREST_END__ARREST_CONTINUE] = "it goes on",
		[EXHIBIT__V1__ARREST_END__ARREST_STAY] = "it STAYS STOPPED",
		[EXHIBIT__V1__ARREST_END__ARREST_KILL] = "it is KILLED",
	};

	switch (a->pattern_case) {
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_PATH:
		put_bytes(out, "stop", &a->path);
		break;
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_PREFIX:
		put_bytes(out, "stop all", &a->prefix);
		break;
	case EXHIBIT__V1__ARREST_ORDER__PATTERN_FILE:
		(void)fprintf(out, "  %-10sinode %" PRIu64 " of device %" PRIu64 "\n", "stop",
			      a->file->inode, a->file->device);
		break;
	case EXHIBIT__V1__ARREST_ORDER__PATTERN__NOT_SET:
	case _EXHIBIT__V1__ARREST_ORDER__PATTERN__CASE_IS_INT_SIZE:
		break;
	}
	put_number(out, "at most", a->max_stops ? a->max_stops : 1, " times");
	if ((size_t)a->end < ARRAY_LEN(ends))
		put_text(out, "then", ends[a->end]);
}

static void describe_detail(FILE *out, const Exhibit__V1__Order *o)
{
	switch (o->detail_case) {
	case EXHIBIT__V1__ORDER__DETAIL_CORE:
		put_text(out, "meanwhile",
			 o->core->no_freeze ? "it runs on" : "it is frozen for moments");
		break;
	case EXHIBIT__V1__ORDER__DETAIL_PACKETS:
		describe_packets(out, o->packets);
		break;
	case EXHIBIT__V1__ORDER__DETAIL_FILES:
		describe_files(out, o->files);
		break;
	case EXHIBIT__V1__ORDER__DETAIL_DISK:
		put_bytes(out, "device", &o->disk->device);
		break;
	case EXHIBIT__V1__ORDER__DETAIL_ARREST:
		describe_arrest(out, o->arrest);
		break;
	case EXHIBIT__V1__ORDER__DETAIL_MEMORY:
	case EXHIBIT__V1__ORDER__DETAIL_CHANGES:
	case EXHIBIT__V1__ORDER__DETAIL_TRIAGE:
	case EXHIBIT__V1__ORDER__DETAIL__NOT_SET:
	case _EXHIBIT__V1__ORDER__DETAIL__CASE_IS_INT_SIZE:
		break;
	}
}

/* ---- what all kinds have --------------------------------------------------------------------------------- */

static void describe_target(FILE *out, const Exhibit__V1__Order *o)
{
	char text[CLOCK_TEXT_MAX + ENTITY_TEXT_MAX + 160];
	struct entity id;

	(void)order_target_text(o, text, sizeof(text));
	put_text(out, "of", text);
	if (!o->process || o->process->boot_id.len != sizeof(id.boot_id))
		return;
	memcpy(id.boot_id, o->process->boot_id.data, sizeof(id.boot_id));
	id.pid = o->process->pid;
	id.start_ns = o->process->start_ns;
	id.exec_id = o->process->exec_id;
	put_text(out, "", entity_format(&id, text));
}

static void put_time(FILE *out, const char *label, int64_t at_ns)
{
	char text[CLOCK_TEXT_MAX];

	if (at_ns)
		put_text(out, label, outcome_time(at_ns, 0, text));
}

void order_describe(FILE *out, const Exhibit__V1__Order *o)
{
	const char *kind = order_kind_name(o->kind);
	char id[ORDER_ID_TEXT];

	put_text(out, "order", order_id_text(&o->order_id, id));
	put_text(out, "kind", kind ? kind : "unknown");
	for (size_t i = 0; i < o->n_hosts; i++)
		put_bytes(out, "host", &o->hosts[i]);
	describe_target(out, o);
	describe_detail(out, o);
	put_bytes(out, "case", &o->case_id);
	put_bytes(out, "reason", &o->reason);
	put_bytes(out, "requester", &o->requester);
	put_time(out, "made", o->made_ns);
	put_time(out, "not before", o->not_before_ns);
	put_time(out, "expires", o->expires_ns);
	if (!o->limits)
		return;
	put_number(out, "at most", o->limits->max_bytes, " bytes");
	put_number(out, "at most", o->limits->max_seconds, " s");
	put_number(out, "at most", o->limits->bytes_per_second, " bytes a second");
}
