/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/manifest.h"

#include <errno.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#include "agent/manifest_internal.h"
#include "proto/base/clock.h"

#define FACTS_BYTES_MAX MiB(2) /* of notes and warnings in memory */

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
static int take_item(struct manifest *m, const struct control_message *c, int64_t wall_ns)
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
	i->began_ns = wall_ns;
	m->n_items++;
	return 0;
}

static int take_item_end(struct manifest *m, const struct control_message *c, int64_t wall_ns)
{
	const struct control_item_end *from = &c->u.item_end;
	struct item *i = &m->items[from->item - 1];

	if (!i->begun || i->ended)
		return -EBADMSG;
	i->ended = true;
	i->ended_ns = wall_ns;
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

static int take_note(struct manifest *m, const struct control_message *c, int64_t wall_ns)
{
	const struct control_note *from = &c->u.note;
	struct note *n = find_note(m, from->key);

	(void)wall_ns;
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

static int take_warning(struct manifest *m, const struct control_message *c, int64_t wall_ns)
{
	const struct control_warning *from = &c->u.warning;

	(void)wall_ns;
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

static int take_end(struct manifest *m, const struct control_message *c, int64_t wall_ns)
{
	(void)wall_ns;
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

static int take_progress(struct manifest *m, const struct control_message *c, int64_t wall_ns)
{
	(void)m, (void)c, (void)wall_ns;
	return 0;
}

static int (*const take[CONTROL_KINDS])(struct manifest *m, const struct control_message *c,
					int64_t wall_ns) = {
	[CONTROL_ITEM] = take_item,         [CONTROL_ITEM_END] = take_item_end,
	[CONTROL_NOTE] = take_note,         [CONTROL_WARNING] = take_warning,
	[CONTROL_PROGRESS] = take_progress, [CONTROL_END] = take_end,
};

int manifest_take(struct manifest *m, const struct control_message *c, int64_t wall_ns)
{
	return m->ended || take[c->kind] == NULL ? -EBADMSG : take[c->kind](m, c, wall_ns);
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

void manifest_close(struct manifest *m, const char *failure, const struct manifest_time *ended,
		    uint64_t agent_rss_bytes)
{
	m->agent_rss_bytes = agent_rss_bytes;
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
