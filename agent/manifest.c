/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/manifest.h"

#include <errno.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#include "agent/manifest_json.h"
#include "proto/base/clock.h"

#define FACTS_BYTES_MAX MiB(2) /* of notes and warnings in memory */

struct item {
	bool begun, ended;
	char name[OUTPUT_NAME_MAX + 1], format[33];
	uint64_t bytes;
	struct seal_hash hash;
	char *status; /* NULL: whole */
};

struct note {
	char *key;
	bool number;
	uint64_t value;
	uint8_t *text;
	size_t len;
};

struct warning {
	bool lacking;
	char *text;
};

struct manifest {
	const struct order_checked *order;
	uint8_t exhibit_id[MANIFEST_ID_LEN];
	const struct manifest_tool *tool;
	const struct manifest_host *host;
	struct manifest_time started, closed;
	size_t n_items; /* highest number */
	struct item items[OUTPUT_ITEMS_MAX];
	size_t n_notes, n_warnings, facts_bytes;
	struct note notes[OUTPUT_NOTES_MAX];
	struct warning warnings[MANIFEST_WARNINGS_MAX];
	uint64_t warned, lacking;
	bool ended;
	struct control_end end; /* its sentence: failure */
	char failure[CONTROL_TEXT_MAX + 1];
};

/* ---- time -------------------------------------------------------------------------------------- */

struct manifest_time manifest_now(void)
{
	struct manifest_time t = { .wall_ns = clock_wall_ns(),
				   .monotonic_ns = clock_monotonic_ns(),
				   .boottime_ns = clock_boottime_ns() };
	struct timex x = { 0 };
	time_t s = (time_t)(t.wall_ns / (int64_t)NSEC_PER_SEC);
	struct tm local;
	int state = adjtimex(&x);
	long unit = (x.status & STA_NANO) != 0 ? 1 : 1000;

	if (state >= 0) {
		t.clock_known = true;
		t.synchronised = state != TIME_ERROR && (x.status & STA_UNSYNC) == 0;
		t.offset_ns = x.offset * unit;
		t.frequency_ppb = x.freq * 1000 / 65536;
		t.error_ns = (uint64_t)x.esterror * 1000;
		t.error_max_ns = (uint64_t)x.maxerror * 1000;
	}
	if (localtime_r(&s, &local) != NULL)
		t.utc_offset_s = local.tm_gmtoff;
	return t;
}

/* ---- facts ------------------------------------------------------------------------------------- */

int manifest_new(const struct order_checked *order,
		 const uint8_t exhibit_id[static MANIFEST_ID_LEN], const struct manifest_tool *tool,
		 const struct manifest_host *host, const struct manifest_time *started,
		 struct manifest **ret, struct error *e)
{
	struct manifest *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return error_set(e, -ENOMEM, "cannot begin a manifest: out of memory");
	m->order = order;
	m->tool = tool;
	m->host = host;
	m->started = *started;
	memcpy(m->exhibit_id, exhibit_id, MANIFEST_ID_LEN);
	*ret = m;
	return 0;
}

void manifest_free(struct manifest *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->n_items; i++)
		free(m->items[i].status);
	for (size_t i = 0; i < m->n_notes; i++) {
		free(m->notes[i].key);
		free(m->notes[i].text);
	}
	for (size_t i = 0; i < m->n_warnings; i++)
		free(m->warnings[i].text);
	free(m);
}

static char *copy_text(struct control_bytes b)
{
	char *text = malloc(b.len + 1);

	if (text == NULL)
		return NULL;
	if (b.len > 0)
		memcpy(text, b.data, b.len);
	text[b.len] = '\0';
	return text;
}

/* Names are unique, as they become names of files. */
static int take_item(struct manifest *m, const struct control_message *c)
{
	const struct control_item *from = &c->u.item;
	struct item *i = &m->items[from->item - 1];

	if (from->item != m->n_items + 1 || from->format.len >= sizeof(i->format))
		return -EBADMSG;
	for (size_t k = 0; k < m->n_items; k++)
		if (strlen(m->items[k].name) == from->name.len &&
		    memcmp(m->items[k].name, from->name.data, from->name.len) == 0)
			return -EBADMSG;
	memcpy(i->name, from->name.data, from->name.len);
	memcpy(i->format, from->format.data, from->format.len);
	i->begun = true;
	m->n_items++;
	return 0;
}

static int take_item_end(struct manifest *m, const struct control_message *c)
{
	const struct control_item_end *from = &c->u.item_end;
	struct item *i = &m->items[from->item - 1];

	if (!i->begun || i->ended)
		return -EBADMSG;
	i->ended = true;
	i->bytes = from->bytes;
	i->hash = from->hash;
	if (from->status.len > 0)
		i->status = copy_text(from->status);
	m->lacking += from->status.len > 0;
	return 0;
}

static bool room_for(struct manifest *m, size_t bytes)
{
	if (m->facts_bytes + bytes > FACTS_BYTES_MAX)
		return false;
	m->facts_bytes += bytes;
	return true;
}

static struct note *find_note(struct manifest *m, struct control_bytes key)
{
	for (size_t i = 0; i < m->n_notes; i++)
		if (strlen(m->notes[i].key) == key.len &&
		    memcmp(m->notes[i].key, key.data, key.len) == 0)
			return &m->notes[i];
	return NULL;
}

/* "_base64" is how the bytes of a note are told that are not text. */
static bool key_good(struct control_bytes key)
{
	static const char taken[] = "_base64";
	size_t n = sizeof(taken) - 1;

	return key.len < n || memcmp(key.data + key.len - n, taken, n) != 0;
}

static int take_note(struct manifest *m, const struct control_message *c)
{
	const struct control_note *from = &c->u.note;
	struct note *n = find_note(m, from->key);

	if (!key_good(from->key))
		return -EBADMSG;
	if (n == NULL) {
		if (m->n_notes == OUTPUT_NOTES_MAX)
			return -EBADMSG;
		n = &m->notes[m->n_notes];
		n->key = copy_text(from->key);
		if (n->key == NULL)
			return -ENOMEM;
		m->n_notes++;
	}
	if (!room_for(m, from->text.len))
		return -EBADMSG;
	free(n->text);
	n->text = (uint8_t *)copy_text(from->text);
	n->len = n->text == NULL ? 0 : from->text.len;
	n->number = from->number;
	n->value = from->value;
	return 0;
}

static int take_warning(struct manifest *m, const struct control_message *c)
{
	const struct control_warning *from = &c->u.warning;

	m->warned++;
	m->lacking += from->lacking;
	if (m->n_warnings == MANIFEST_WARNINGS_MAX || !room_for(m, from->text.len))
		return 0;
	struct warning *w = &m->warnings[m->n_warnings];

	w->lacking = from->lacking;
	w->text = copy_text(from->text);
	m->n_warnings += w->text != NULL;
	return 0;
}

static int take_end(struct manifest *m, const struct control_message *c)
{
	m->end = c->u.end;
	m->ended = true;
	if (m->end.code != 0 && m->end.sentence.len > 0)
		memcpy(m->failure, m->end.sentence.data, m->end.sentence.len);
	else if (m->end.code != 0)
		(void)snprintf(m->failure, sizeof(m->failure), "the acquisition failed: %s",
			       strerror((int)m->end.code));
	m->end.sentence = (struct control_bytes){ 0 };
	return 0;
}

static int take_progress(struct manifest *m, const struct control_message *c)
{
	(void)m;
	(void)c;
	return 0;
}

static int (*const take[CONTROL_KINDS])(struct manifest *m, const struct control_message *c) = {
	[CONTROL_ITEM] = take_item,         [CONTROL_ITEM_END] = take_item_end,
	[CONTROL_NOTE] = take_note,         [CONTROL_WARNING] = take_warning,
	[CONTROL_PROGRESS] = take_progress, [CONTROL_END] = take_end,
};

int manifest_take(struct manifest *m, const struct control_message *c)
{
	return m->ended || take[c->kind] == NULL ? -EBADMSG : take[c->kind](m, c);
}

bool manifest_ended(const struct manifest *m)
{
	return m->ended;
}

const char *manifest_failure(const struct manifest *m)
{
	return m->failure;
}

uint64_t manifest_bytes(const struct manifest *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->n_items; i++)
		sum += m->items[i].bytes;
	return sum;
}

void manifest_close(struct manifest *m, const char *failure, const struct manifest_time *ended)
{
	m->closed = *ended;
	if (failure != NULL)
		(void)snprintf(m->failure, sizeof(m->failure), "%s", failure);
}

bool manifest_complete(const struct manifest *m)
{
	bool open = false;

	for (size_t i = 0; i < m->n_items; i++)
		open |= !m->items[i].ended;
	return m->failure[0] == '\0' && m->ended && !open && m->lacking == 0;
}

/* ---- JSON -------------------------------------------------------------------------------------- */

/* What may be left out so that it fits. */
struct measure {
	size_t warnings, note_bytes;
};

#define OPEN(j, key, bracket) json_open((j), (key), strlen(key), (bracket))

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
	json_close(j, '}');
}

static void put_data(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len > 0)
		manifest_put_text(j, key, b->data, b->len, SIZE_MAX);
}

static void put_person(struct json *j, const char *key, const struct identity *who)
{
	char name[IDENTITY_SPIFFE_MAX];

	json_open(j, key, key == NULL ? 0 : strlen(key), '{');
	json_text(j, "name", identity_spiffe(who, name));
	json_text(j, "certificate_serial", who->serial);
	json_close(j, '}');
}

static void put_order(struct json *j, const struct order_checked *o)
{
	OPEN(j, "order", '{');
	manifest_put_hex(j, "sha256", o->hash.b, sizeof(o->hash.b));
	json_time(j, "made", o->order->made_ns);
	json_time(j, "expires", o->order->expires_ns);
	put_person(j, "requester", &o->requester);
	OPEN(j, "approvers", '[');
	for (size_t i = 0; i < o->n_approvers; i++)
		put_person(j, NULL, &o->approvers[i]);
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
		if (ended) {
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
