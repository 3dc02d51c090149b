/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/order_show.h"

#include <inttypes.h>
#include <string.h>

#include "proto/json.h"

static void hex(const ProtobufCBinaryData *b, size_t max, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = b->len < max ? b->len : max;

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[b->data[i] >> 4];
		*out++ = digits[b->data[i] & 15];
	}
	*out = '\0';
}

const char *order_id_text(const ProtobufCBinaryData *id, char buf[static ORDER_ID_TEXT])
{
	hex(id, ORDER_ID_LEN, buf);
	return buf;
}

bool order_id_prefix(const char *text, char ret[static ORDER_ID_TEXT])
{
	size_t len = strlen(text);

	if (len == 0 || len >= ORDER_ID_TEXT)
		return false;
	for (size_t i = 0; i <= len; i++) {
		ret[i] = (char)(text[i] >= 'A' && text[i] <= 'F' ? text[i] + ('a' - 'A') : text[i]);
		if (ret[i] && !strchr("0123456789abcdef", ret[i]))
			return false;
	}
	return true;
}

bool order_state_is_over(Exhibit__V1__OrderState state)
{
	return state == EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED ||
	       state == EXHIBIT__V1__ORDER_STATE__ORDER_DONE ||
	       state == EXHIBIT__V1__ORDER_STATE__ORDER_FAILED ||
	       state == EXHIBIT__V1__ORDER_STATE__ORDER_EXPIRED;
}

enum color order_state_color(Exhibit__V1__OrderState state)
{
	if (state == EXHIBIT__V1__ORDER_STATE__ORDER_DONE)
		return COLOR_GREEN;
	if (order_state_is_over(state))
		return COLOR_RED;
	return state == EXHIBIT__V1__ORDER_STATE__ORDER_WAITING ? COLOR_YELLOW : COLOR_NONE;
}

const char *order_target_text(const Exhibit__V1__Order *o, char *buf, size_t size)
{
	if (o->process)
		(void)snprintf(buf, size, "process %" PRIu32, o->process->pid);
	else if (o->container_id.len) /* order_parse: letters and digits */
		(void)snprintf(buf, size, "container %.*s", (int)o->container_id.len,
			       (const char *)o->container_id.data);
	else
		(void)snprintf(buf, size, "the whole host");
	return buf;
}

static void hex_field(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	char text[2 * SEAL_HASH_LEN + 1];

	if (b->len == 0)
		return;
	hex(b, SEAL_HASH_LEN, text);
	json_text(j, key, text);
}

static void bytes_field(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len)
		json_bytes(j, key, b->data, b->len);
}

static void order_fields(struct json *j, const Exhibit__V1__Order *o,
			 const Exhibit__V1__OrderStep *step)
{
	const char *kind = order_kind_name(step->kind);

	json_open(j, "order", 5, '{');
	hex_field(j, "id", &step->order_id);
	if (kind)
		json_text(j, "kind", kind);
	json_text(j, "state", order_state_name(step->state));
	bytes_field(j, "reason", &step->reason);
	if (o)
		bytes_field(j, "requester", &o->requester);
	bytes_field(j, "case", &step->case_id);
	hex_field(j, "exhibit", &step->exhibit_id);
	hex_field(j, "manifest", &step->manifest_sha256);
	if (step->bytes_done || step->bytes_total)
		json_u64(j, "bytes", step->bytes_done);
	if (step->bytes_total)
		json_u64(j, "bytes_total", step->bytes_total);
	if (o)
		json_time(j, "expires", o->expires_ns);
	json_close(j, '}');
}

/* Its braces are the writer's. */
static void put_manifest(struct json *j, const char *manifest)
{
	size_t len = strlen(manifest);

	json_open(j, "manifest", 8, '{');
	(void)fwrite(manifest + 1, 1, len - 2, j->out);
	json_close(j, '}');
}

void order_step_json(FILE *out, const Exhibit__V1__Order *o, const Exhibit__V1__OrderStep *step,
		     const char *manifest)
{
	struct json j = json_init(out);

	json_open(&j, NULL, 0, '{');
	json_time(&j, "@timestamp", step->wall_ns);
	json_open(&j, "event", 5, '{');
	json_text(&j, "action", "order");
	json_close(&j, '}');
	if (step->host_id.len) {
		json_open(&j, "host", 4, '{');
		json_bytes(&j, "id", step->host_id.data, step->host_id.len);
		json_close(&j, '}');
	}
	if (step->actor.len) {
		json_open(&j, "user", 4, '{');
		json_bytes(&j, "id", step->actor.data, step->actor.len);
		json_close(&j, '}');
	}
	json_open(&j, "exhibit", 7, '{');
	order_fields(&j, o, step);
	if (manifest)
		put_manifest(&j, manifest);
	json_close(&j, '}');
	json_close(&j, '}');
	json_line(&j);
}

/* "2.9 MiB" */
static void put_size(FILE *out, uint64_t n)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)n;
	size_t unit = 0;

	for (; v >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
		v /= 1024;
	(void)fprintf(out, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

void order_step_note(const Exhibit__V1__OrderStep *step, char *buf, size_t size)
{
	FILE *out = fmemopen(buf, size, "w");
	const char *between = "";
	char id[ORDER_ID_TEXT];

	buf[0] = '\0';
	if (!out)
		return;
	if (step->exhibit_id.len) {
		(void)fprintf(out, "exhibit %s", order_id_text(&step->exhibit_id, id));
		between = ", ";
	}
	if (step->bytes_done) {
		(void)fputs(between, out);
		put_size(out, step->bytes_done);
		between = ", ";
	}
	if (step->reason.len)
		(void)fprintf(out, "%s%.*s", between, (int)step->reason.len,
			      (const char *)step->reason.data);
	(void)fclose(out);
	buf[size - 1] = '\0';
}
