/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/row_view.h"

#include <inttypes.h>
#include <string.h>

#include "proto/actions.h"
#include "proto/order.h"

#define ARROW " \xe2\x86\x92 " /* U+2192 */
#define CONTAINER_SHOWN 12 /* digits, as docker ps shows them */

bool row_view_open(struct row_view *v, const Exhibit__V1__BatchContext *context,
		   const Exhibit__V1__Row *row, struct arena *a)
{
	const Exhibit__V1__Event *event;
	const Exhibit__V1__Process *process = NULL;

	arena_reset(a);
	event = exhibit__v1__event__unpack(arena_protobuf(a), row->event.len, row->event.data);
	if (!event || !context)
		return false;
	if (row->process.len)
		process = exhibit__v1__process__unpack(arena_protobuf(a), row->process.len,
						       row->process.data);
	*v = (struct row_view){
		.subject = { .context = context, .event = event, .process = process, .arena = a },
		.row = row,
		.time_ns = (int64_t)((uint64_t)context->offset_ns + event->boottime_ns),
	};
	return true;
}

enum color row_view_color(const struct row_view *v)
{
	if (v->subject.context->conflict)
		return COLOR_RED;
	switch (v->subject.event->detail_case) {
	case EXHIBIT__V1__EVENT__DETAIL_EXEC:
	case EXHIBIT__V1__EVENT__DETAIL_EXIT:
		return COLOR_GREEN;
	case EXHIBIT__V1__EVENT__DETAIL_FILE:
		return COLOR_YELLOW;
	case EXHIBIT__V1__EVENT__DETAIL_NET:
		return COLOR_CYAN;
	case EXHIBIT__V1__EVENT__DETAIL_GAP:
		return COLOR_RED;
	case EXHIBIT__V1__EVENT__DETAIL_ORDER:
		return COLOR_BOLD;
	case EXHIBIT__V1__EVENT__DETAIL_COVERAGE:
	case EXHIBIT__V1__EVENT__DETAIL_AGENT:
		return COLOR_BLUE;
	case EXHIBIT__V1__EVENT__DETAIL__NOT_SET:
	case _EXHIBIT__V1__EVENT__DETAIL__CASE_IS_INT_SIZE:
		return COLOR_NONE;
	}
	return COLOR_NONE;
}

static void put(FILE *f, const ProtobufCBinaryData *b)
{
	if (b->len)
		(void)fwrite(b->data, 1, b->len, f);
}

/* ---- what happened ------------------------------------------------------------------------------------- */

static void what_process(FILE *f, struct row_view *v)
{
	const Exhibit__V1__Process *p = v->subject.process;

	if (!p)
		return;
	for (size_t i = 0; i < p->n_args; i++) {
		if (i)
			(void)fputc(' ', f);
		put(f, &p->args[i]);
	}
	if (!p->n_args)
		put(f, &p->executable);
	if ((v->subject.event->flags | p->flags) & EVENT_TRUNCATED)
		(void)fprintf(f, " [cut, %" PRIu64 " bytes]", p->args_bytes);
}

static void what_exit(FILE *f, const Exhibit__V1__Exit *x)
{
	if (x->signal)
		(void)fprintf(f, "signal %u", x->signal);
	else
		(void)fprintf(f, "code %u", x->code);
}

static void what_file(FILE *f, const Exhibit__V1__File *file)
{
	if (file->old_path.len) {
		put(f, &file->old_path);
		(void)fputs(ARROW, f);
	}
	put(f, &file->path);
	if (file->has_size_before_case && file->has_size_case)
		(void)fprintf(f, " (%" PRIu64 ARROW "%" PRIu64 " bytes)", file->size_before,
			      file->size);
	else if (file->has_size_case)
		(void)fprintf(f, " (%" PRIu64 " bytes)", file->size);
	if (file->repeated)
		(void)fprintf(f, " and %u times more", file->repeated);
}

static void put_address(FILE *f, const ProtobufCBinaryData *ip, uint32_t port)
{
	char text[FIELDS_IP_TEXT_MAX];

	(void)fprintf(f, ip->len == 16 ? "[%s]:%u" : "%s:%u",
		      ip->len ? fields_ip_text(*ip, text) : "*", port);
}

static void what_net(FILE *f, const Exhibit__V1__Net *net)
{
	put_address(f, &net->source_ip, net->source_port);
	if (net->destination_ip.len || net->destination_port) {
		(void)fputs(ARROW, f);
		put_address(f, &net->destination_ip, net->destination_port);
	}
	if (net->has_source_bytes_case || net->has_destination_bytes_case)
		(void)fprintf(f, " %" PRIu64 " / %" PRIu64 " bytes",
			      net->has_source_bytes_case ? net->source_bytes : 0,
			      net->has_destination_bytes_case ? net->destination_bytes : 0);
	if (net->has_duration_case)
		(void)fprintf(f, " in %.3f s", (double)net->duration_ns / 1e9);
}

static void what_gap(FILE *f, const Exhibit__V1__Gap *gap)
{
	const char *class = gap->class_ ? class_name((uint32_t)gap->class_) : "any";

	if (gap->has_count_case)
		(void)fprintf(f, "%" PRIu64, gap->count);
	else
		(void)fputs("an unknown number of", f);
	(void)fprintf(f, " events (%s) lost in %s", class, gap_where_name((uint32_t)gap->where));
	if (gap->has_cpu_case)
		(void)fprintf(f, " on cpu %u", gap->cpu);
	if (gap->reason.len) {
		(void)fputs(": ", f);
		put(f, &gap->reason);
	}
}

static void what_agent(FILE *f, const Exhibit__V1__AgentInfo *agent)
{
	put(f, &agent->version);
	if (agent->kernel.len) {
		(void)fputs(", kernel ", f);
		put(f, &agent->kernel);
	}
	if (agent->reason.len) {
		(void)fputs(", ", f);
		put(f, &agent->reason);
	}
}

static void what_order(FILE *f, const Exhibit__V1__OrderInfo *o)
{
	const char *kind = order_kind_name(o->kind);

	(void)fprintf(f, "%s %s", kind ? kind : "order", order_state_name(o->state));
	if (o->case_id.len) {
		(void)fputs(", case ", f);
		put(f, &o->case_id);
	}
	if (o->reason.len) {
		(void)fputs(": ", f);
		put(f, &o->reason);
	}
}

static void what(FILE *f, struct row_view *v)
{
	const Exhibit__V1__Event *e = v->subject.event;

	/* First, so that no hostile length pushes it out of sight. */
	if (v->subject.context->conflict)
		(void)fputs("[conflict] ", f);
	switch (e->detail_case) {
	case EXHIBIT__V1__EVENT__DETAIL_EXIT:
		what_exit(f, e->exit);
		break;
	case EXHIBIT__V1__EVENT__DETAIL_FILE:
		what_file(f, e->file);
		break;
	case EXHIBIT__V1__EVENT__DETAIL_NET:
		what_net(f, e->net);
		break;
	case EXHIBIT__V1__EVENT__DETAIL_GAP:
		what_gap(f, e->gap);
		break;
	case EXHIBIT__V1__EVENT__DETAIL_COVERAGE:
		(void)fprintf(f, "%zu classes; see 'exhibit coverage'", e->coverage->n_rows);
		break;
	case EXHIBIT__V1__EVENT__DETAIL_AGENT:
		what_agent(f, e->agent);
		break;
	case EXHIBIT__V1__EVENT__DETAIL_ORDER:
		what_order(f, e->order);
		break;
	case EXHIBIT__V1__EVENT__DETAIL_EXEC:
	case EXHIBIT__V1__EVENT__DETAIL__NOT_SET:
	case _EXHIBIT__V1__EVENT__DETAIL__CASE_IS_INT_SIZE:
		what_process(f, v);
		break;
	}
	if (e->error)
		(void)fprintf(f, " failed: %s", strerror((int)e->error));
}

char *row_view_what(struct row_view *v, size_t *ret_len)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_len);

	if (!f)
		return NULL;
	what(f, v);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

/* ---- who and where ---------------------------------------------------------------------------------------- */

static size_t copy(char *out, size_t size, const ProtobufCBinaryData *b, size_t max)
{
	size_t len = b->len < max ? b->len : max;

	len = len < size - 1 ? len : size - 1;
	if (len)
		memcpy(out, b->data, len);
	out[len] = '\0';
	return len;
}

size_t row_view_process(const struct row_view *v, char *out, size_t size)
{
	const Exhibit__V1__Process *p = v->subject.process;
	size_t n;
	int m;

	out[0] = '\0';
	if (!p)
		return 0;
	n = copy(out, size, &p->name, 32);
	m = p->key ? snprintf(out + n, size - n, "(%u)", p->key->pid) : 0;
	return m < 0 ? n : n + (size_t)m < size ? n + (size_t)m : size - 1;
}

size_t row_view_user(const struct row_view *v, char *out, size_t size)
{
	const Exhibit__V1__Process *p = v->subject.process;

	out[0] = '\0';
	if (!p)
		return 0;
	if (p->user_name.len)
		return copy(out, size, &p->user_name, SIZE_MAX);
	(void)snprintf(out, size, "%u", p->uid);
	return strlen(out);
}

size_t row_view_place(const struct row_view *v, char *out, size_t size)
{
	const Exhibit__V1__Process *p = v->subject.process;

	out[0] = '\0';
	if (!p)
		return 0;
	if (p->pod_name.len)
		return copy(out, size, &p->pod_name, SIZE_MAX);
	if (p->container_id.len)
		return copy(out, size, &p->container_id, CONTAINER_SHOWN);
	return copy(out, size, &p->unit, SIZE_MAX);
}
