/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest as JSON. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/manifest_internal.h"
#include "agent/manifest_json.h"

/* What may be left out so that it fits. */
struct measure {
	size_t warnings, note_bytes;
};

#define OPEN(j, key, bracket) json_open((j), (key), strlen(key), (bracket))

/* How far the collector's clock is from this host's; without a measurement there is none, as zero would be one. */
static void put_collector_clock(struct json *j, const struct manifest_time *t)
{
	const struct clock_offset *c = &t->collector;

	if (!t->collector_known)
		return;
	OPEN(j, "collector_clock", '{');
	json_i64(j, "offset_ns", c->offset_ns);
	manifest_put_u64(j, "bound_ns", (c->round_trip_ns + 1) / 2);
	manifest_put_u64(j, "round_trip_ns", c->round_trip_ns);
	json_time(j, "measured", t->wall_ns - (int64_t)(t->boottime_ns - c->boottime_ns));
	json_text(
		j, "method",
		"the collector's clock minus this host's, by four timestamps on the stream of orders (RFC 5905, "
		"section 8), of the exchanges of the last 10 min the one with the shortest round trip; the true "
		"offset is within bound_ns of offset_ns");
	json_close(j, '}');
}

static void put_time(struct json *j, const char *key, const struct manifest_time *t)
{
	OPEN(j, key, '{');
	json_time(j, "time", t->wall_ns);
	json_i64(j, "realtime_ns", t->wall_ns);
	manifest_put_u64(j, "monotonic_ns", t->monotonic_ns);
	manifest_put_u64(j, "boottime_ns", t->boottime_ns);
	json_i64(j, "utc_offset_s", t->utc_offset_s);
	if (t->clock_known) {
		OPEN(j, "adjtimex", '{');
		json_bool(j, "synchronised", t->synchronised);
		json_i64(j, "offset_ns", t->offset_ns);
		json_i64(j, "frequency_ppb", t->frequency_ppb);
		manifest_put_u64(j, "esterror_ns", t->error_ns);
		manifest_put_u64(j, "maxerror_ns", t->error_max_ns);
		json_close(j, '}');
	}
	put_collector_clock(j, t);
	json_close(j, '}');
}

static void put_data(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len > 0)
		manifest_put_text(j, key, b->data, b->len, SIZE_MAX);
}

static void put_person(struct json *j, const char *key, const struct identity *who,
		       const struct seal_hash *certificate)
{
	char name[IDENTITY_SPIFFE_MAX];

	json_open(j, key, key == NULL ? 0 : strlen(key), '{');
	json_text(j, "name", identity_spiffe(who, name));
	json_text(j, "certificate_serial", who->serial);
	manifest_put_hex(j, "certificate_sha256", certificate->b, sizeof(certificate->b));
	json_close(j, '}');
}

static void put_order(struct json *j, const struct order_checked *o)
{
	OPEN(j, "order", '{');
	manifest_put_hex(j, "sha256", o->hash.b, sizeof(o->hash.b));
	json_time(j, "made", o->order->made_ns);
	json_time(j, "expires", o->order->expires_ns);
	put_person(j, "requester", &o->requester, &o->requester_certificate);
	OPEN(j, "approvers", '[');
	for (size_t i = 0; i < o->n_approvers; i++)
		put_person(j, NULL, &o->approvers[i], &o->approver_certificates[i]);
	json_close(j, ']');
	if (o->order->limits != NULL)
		manifest_put_message(j, "limits", &o->order->limits->base);
	/* Every member of the oneof is a pointer to its message. */
	if (o->order->detail_case != EXHIBIT__V1__ORDER__DETAIL__NOT_SET)
		manifest_put_message(j, "parameters", &o->order->memory->base);
	json_close(j, '}');
}

static void put_hash(struct json *j, const char *key, bool known, const struct seal_hash *h)
{
	if (known)
		manifest_put_hex(j, key, h->b, sizeof(h->b));
	else
		json_none(j, key);
}

static void put_text(struct json *j, const char *key, const char *text)
{
	if (text != NULL && *text != '\0')
		manifest_put_text(j, key, text, strlen(text), SIZE_MAX);
}

static void put_host(struct json *j, const struct manifest *m)
{
	const struct manifest_host *h = m->host;

	OPEN(j, "host", '{');
	put_text(j, "id", h->host_id);
	put_text(j, "name", h->host_name);
	put_text(j, "machine_id", h->machine_id);
	put_text(j, "product_uuid", h->product_uuid);
	manifest_put_hex(j, "boot_id", h->boot_id, 16);
	put_text(j, "kernel", h->kernel);
	put_text(j, "architecture", h->machine);
	put_hash(j, "btf_sha256", m->tool->btf_known, &m->tool->btf);
	json_close(j, '}');
}

static void put_target(struct json *j, const struct manifest *m)
{
	const Exhibit__V1__Order *o = m->order->order;

	OPEN(j, "target", '{');
	put_data(j, "container_id", &o->container_id);
	if (o->process != NULL) {
		OPEN(j, "process", '{');
		json_u64(j, "pid", o->process->pid);
		if (o->process->boot_id.len > 0) {
			manifest_put_hex(j, "boot_id", o->process->boot_id.data,
					 o->process->boot_id.len);
			manifest_put_u64(j, "start_ns", o->process->start_ns);
			manifest_put_u64(j, "exec_id", o->process->exec_id);
		}
		json_close(j, '}');
	}
	json_close(j, '}');
}

static void put_tool(struct json *j, const struct manifest_tool *t)
{
	OPEN(j, "tool", '{');
	json_text(j, "name", "exhibit-agent");
	put_text(j, "version", t->version);
	put_text(j, "commit", t->commit);
	put_hash(j, "sha256", t->binary_known, &t->binary);
	OPEN(j, "bpf", '[');
	for (size_t i = 0; i < t->n_objects; i++) {
		json_open(j, NULL, 0, '{');
		json_text(j, "name", t->objects[i].name);
		manifest_put_hex(j, "sha256", t->objects[i].hash.b, SEAL_HASH_LEN);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_close(j, '}');
}

static void put_method(struct json *j, const struct manifest *m, const struct measure *max)
{
	OPEN(j, "method", '{');
	for (size_t i = 0; i < m->n_notes; i++) {
		const struct note *n = &m->notes[i];

		if (n->number)
			manifest_put_u64(j, n->key, n->value);
		else
			manifest_put_text(j, n->key, n->text, n->len, max->note_bytes);
	}
	json_close(j, '}');
}

/* An item that did not end has no hash: it stands among the unfinished, since what arrived of it is only
 * known to the collector. */
static void put_items(struct json *j, const struct manifest *m, bool ended)
{
	OPEN(j, ended ? "items" : "unfinished_items", '[');
	for (size_t k = 0; k < m->n_items; k++) {
		const struct item *i = &m->items[k];

		if (i->ended != ended)
			continue;
		json_open(j, NULL, 0, '{');
		json_text(j, "name", i->name);
		json_text(j, "format", i->format);
		json_time(j, "started", i->began_ns);
		if (ended) {
			json_time(j, "ended", i->ended_ns);
			manifest_put_u64(j, "bytes", i->bytes);
			manifest_put_hex(j, "sha256", i->hash.b, sizeof(i->hash.b));
		}
		if (i->status != NULL)
			manifest_put_text(j, "status", i->status, strlen(i->status), SIZE_MAX);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_warnings(struct json *j, const struct manifest *m, const struct measure *max)
{
	manifest_put_u64(j, "gaps", m->lacking);
	manifest_put_u64(j, "warnings_total", m->warned);
	OPEN(j, "warnings", '[');
	for (size_t i = 0; i < m->n_warnings && i < max->warnings; i++) {
		json_open(j, NULL, 0, '{');
		manifest_put_text(j, "text", m->warnings[i].text, strlen(m->warnings[i].text),
				  SIZE_MAX);
		json_bool(j, "lacking", m->warnings[i].lacking);
		json_close(j, '}');
	}
	json_close(j, ']');
}

static void put_footprint(struct json *j, const struct manifest *m)
{
	if (!m->ended) {
		json_none(j, "footprint");
		return;
	}
	OPEN(j, "footprint", '{');
	manifest_put_u64(j, "rss_bytes", m->end.rss_bytes);
	manifest_put_u64(j, "agent_rss_bytes", m->agent_rss_bytes);
	manifest_put_u64(j, "cpu_ns", m->end.cpu_ns);
	manifest_put_u64(j, "read_bytes", m->end.read_bytes);
	manifest_put_u64(j, "written_bytes", m->end.written_bytes);
	json_close(j, '}');
}

static void put_all(struct json *j, const struct manifest *m, const struct seal_hash *previous,
		    const struct measure *max)
{
	const Exhibit__V1__Order *o = m->order->order;

	json_open(j, NULL, 0, '{');
	json_u64(j, "version", 1);
	manifest_put_hex(j, "exhibit_id", m->exhibit_id, MANIFEST_ID_LEN);
	manifest_put_hex(j, "order_id", m->order->id, ORDER_ID_LEN);
	put_text(j, "tenant", m->host->tenant);
	json_text(j, "kind", order_kind_name(o->kind));
	put_data(j, "case_id", &o->case_id);
	put_data(j, "reason", &o->reason);
	json_bool(j, "complete", manifest_complete(m));
	put_text(j, "failure", m->failure);
	put_order(j, m->order);
	put_host(j, m);
	put_target(j, m);
	put_tool(j, m->tool);
	put_time(j, "started", &m->started);
	put_time(j, "ended", &m->closed);
	put_method(j, m, max);
	put_items(j, m, true);
	put_items(j, m, false);
	put_warnings(j, m, max);
	put_footprint(j, m);
	put_hash(j, "previous_manifest_sha256", previous != NULL, previous);
	json_close(j, '}');
	json_line(j);
}

int manifest_make(const struct manifest *m, const struct seal_hash *previous, char **ret,
		  size_t *ret_len, struct error *e)
{
	struct measure max = { .warnings = MANIFEST_WARNINGS_MAX, .note_bytes = OUTPUT_NOTE_MAX };

	for (;; max.warnings /= 2, max.note_bytes /= 2) {
		char *text = NULL;
		size_t len = 0;
		FILE *out = open_memstream(&text, &len);
		struct json j = json_init(out);

		if (out == NULL)
			return error_set(e, -ENOMEM, "cannot write a manifest: out of memory");
		put_all(&j, m, previous, &max);
		int failed = ferror(out);

		if (fclose(out) == 0 && !failed && !j.bad && len <= MANIFEST_MAX) {
			*ret = text;
			*ret_len = len;
			return 0;
		}
		free(text);
		if (failed || j.bad || max.note_bytes == 0)
			return error_set(e, -ENOMEM, "cannot write a manifest: out of memory");
	}
}
