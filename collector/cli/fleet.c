/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/actions.h"

const char *fleet_problem_name(enum fleet_problem p)
{
	static const char *const names[FLEET_PROBLEMS] = {
		[FLEET_NO_AGENT] = "no agent",
		[FLEET_NEVER_SEEN] = "never seen",
		[FLEET_AWAY] = "disconnected",
		[FLEET_BEHIND] = "behind",
		[FLEET_LOST] = "losses",
		[FLEET_CONFLICT] = "conflicts",
		[FLEET_CLASS_MISSING] = "classes missing",
		[FLEET_TWICE] = "several agents",
		[FLEET_OLD] = "old version",
		[FLEET_UNLISTED] = "not in the inventory",
	};

	return names[p];
}

static struct fleet_host *grow(struct fleet *f)
{
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 256;
		struct fleet_host *hosts = reallocarray(f->hosts, cap, sizeof(*hosts));

		if (!hosts)
			return NULL;
		f->hosts = hosts;
		f->cap = cap;
	}
	f->hosts[f->n] = (struct fleet_host){ 0 };
	return &f->hosts[f->n++];
}

int fleet_add(struct fleet *f, const Exhibit__V1__HostRow *row)
{
	size_t len = exhibit__v1__host_row__get_packed_size(row);
	AUTO(free_ptr) uint8_t *packed = malloc(len + 1);
	struct fleet_host *h = packed ? grow(f) : NULL;

	if (!h)
		return -ENOMEM;
	(void)exhibit__v1__host_row__pack(row, packed);
	h->row = exhibit__v1__host_row__unpack(NULL, len, packed);
	if (!h->row) {
		f->n--;
		return -ENOMEM;
	}
	fleet_version(f, &row->version);
	return 0;
}

/* Numbers between dots; what follows them ("-3-gabcdef") does not count. */
static int compare_versions(const char *a, const char *b)
{
	for (;;) {
		unsigned long x = strtoul(a, (char **)&a, 10), y = strtoul(b, (char **)&b, 10);

		if (x != y)
			return x > y ? 1 : -1;
		if (*a != '.' && *b != '.')
			return 0;
		a += *a == '.';
		b += *b == '.';
	}
}

static void version_text(const ProtobufCBinaryData *version, char ret[static 64])
{
	size_t len = version->len < 63 ? version->len : 63;

	if (len)
		memcpy(ret, version->data, len);
	ret[len] = '\0';
}

void fleet_version(struct fleet *f, const ProtobufCBinaryData *version)
{
	char text[64];

	version_text(version, text);
	if (text[0] >= '0' && text[0] <= '9' && compare_versions(text, f->version) > 0)
		memcpy(f->version, text, sizeof(text));
}

static bool same_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static struct fleet_host *find(struct fleet *f, const ProtobufCBinaryData *id)
{
	for (size_t i = 0; i < f->n; i++) {
		size_t k = (f->at + i) % f->n;

		if (!same_bytes(&f->hosts[k].row->host_id, id))
			continue;
		f->at = k;
		return &f->hosts[k];
	}
	return NULL;
}

static void copy_bytes(char *to, size_t size, const ProtobufCBinaryData *from)
{
	size_t len = from->len < size - 1 ? from->len : size - 1;

	if (len)
		memcpy(to, from->data, len);
	to[len] = '\0';
}

static void add_class(struct fleet_host *h, const Exhibit__V1__CoverageRow *row)
{
	static const char *const states[] = { "unknown", "attached", "failed", "partial" };
	struct fleet_class *c = &h->missing[h->n_missing];

	if (row->state == EXHIBIT__V1__COVERAGE_STATE__COVERAGE_ATTACHED)
		return;
	h->n_missing++;
	(void)snprintf(c->name, sizeof(c->name), "%s", class_name((uint32_t)row->class_));
	(void)snprintf(c->state, sizeof(c->state), "%s",
		       (size_t)row->state < ARRAY_LEN(states) ? states[row->state] : states[0]);
	copy_bytes(c->reason, sizeof(c->reason), &row->reason);
}

int fleet_coverage(struct fleet *f, const Exhibit__V1__HostCoverage *c)
{
	size_t n = c->coverage ? c->coverage->n_rows : 1;
	struct fleet_host *h = find(f, &c->host_id);
	static uint8_t why[] = "the host has not told what it can see";
	Exhibit__V1__CoverageRow none = EXHIBIT__V1__COVERAGE_ROW__INIT;

	if (!h || h->missing)
		return 0;
	h->missing = calloc(n ? n : 1, sizeof(*h->missing));
	if (!h->missing)
		return -ENOMEM;
	none.reason = (ProtobufCBinaryData){ sizeof(why) - 1, why };
	for (size_t i = 0; i < n; i++)
		add_class(h, c->coverage ? c->coverage->rows[i] : &none);
	if (!c->coverage)
		(void)snprintf(h->missing->name, sizeof(h->missing->name), "all");
	return 0;
}

static bool is_loss(const struct fleet_host *h, const Exhibit__V1__Incomplete *m)
{
	if (m->has_count_case == EXHIBIT__V1__INCOMPLETE__HAS_COUNT_COUNT || m->class_)
		return true;
	/* That it is away or behind is named with times too. */
	return m->from_ns && m->to_ns && h->row->connected && h->row->lag_ns <= FLEET_BEHIND_NS;
}

void fleet_losses(struct fleet *f, const Exhibit__V1__Completeness *c)
{
	for (size_t i = 0; i < c->n_missing; i++) {
		const Exhibit__V1__Incomplete *m = c->missing[i];
		struct fleet_host *h = find(f, &m->host_id);

		if (h && !h->loss && is_loss(h, m))
			h->loss = strndup((const char *)m->reason.data, m->reason.len);
	}
}

void fleet_release(struct fleet *f)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->hosts[i].row)
			exhibit__v1__host_row__free_unpacked(f->hosts[i].row, NULL);
		free(f->hosts[i].loss);
		free(f->hosts[i].missing);
	}
	free(f->hosts);
	*f = (struct fleet){ 0 };
}

/* ---- the inventory ------------------------------------------------------------------------------------- */

/* A row under one of the words that it answers to. */
struct key {
	const char *word;
	size_t len; /* of it: all, or the first label */
	size_t row;
};

static int by_word(const void *x, const void *y)
{
	const struct key *a = x, *b = y;
	size_t n = a->len < b->len ? a->len : b->len;
	int r = strncasecmp(a->word, b->word, n);

	return r ? r : (a->len > b->len) - (a->len < b->len);
}

struct matcher {
	const struct inventory *v;
	struct key *ids, *names, *labels;
	size_t n_ids, n_names;
	size_t *agents; /* of each row */
};

static void matcher_release(struct matcher *m)
{
	free(m->ids);
	free(m->names);
	free(m->labels);
	free(m->agents);
}

static int matcher_init(struct matcher *m, const struct inventory *v)
{
	*m = (struct matcher){ .v = v,
			       .ids = calloc(v->n + 1, sizeof(struct key)),
			       .names = calloc(v->n + 1, sizeof(struct key)),
			       .labels = calloc(v->n + 1, sizeof(struct key)),
			       .agents = calloc(v->n + 1, sizeof(size_t)) };
	if (!m->ids || !m->names || !m->labels || !m->agents)
		return -ENOMEM;
	for (size_t i = 0; i < v->n; i++) {
		const struct inventory_host *h = &v->hosts[i];

		if (h->id[0]) {
			m->ids[m->n_ids++] = (struct key){ h->id, strlen(h->id), i };
			continue;
		}
		m->names[m->n_names] = (struct key){ h->name, strlen(h->name), i };
		m->labels[m->n_names++] = (struct key){ h->name, strcspn(h->name, "."), i };
	}
	qsort(m->ids, m->n_ids, sizeof(struct key), by_word);
	qsort(m->names, m->n_names, sizeof(struct key), by_word);
	qsort(m->labels, m->n_names, sizeof(struct key), by_word);
	return 0;
}

static const struct key *look(const struct key *keys, size_t n, const void *word, size_t len)
{
	struct key wanted = { word, len, 0 };

	return n && len ? bsearch(&wanted, keys, n, sizeof(*keys), by_word) : NULL;
}

static const struct key *by_label(const struct matcher *m, const char *name, size_t len)
{
	const char *dot = memchr(name, '.', len);
	size_t label = dot ? (size_t)(dot - name) : len;
	const struct key *k = look(m->labels, m->n_names, name, label);
	bool alone = k && (k == m->labels || by_word(k - 1, k) != 0) &&
		     (k + 1 == m->labels + m->n_names || by_word(k, k + 1) != 0);

	/* One of the two must be without dots: two long names that differ are two hosts. */
	return alone && (dot != NULL) != (strchr(m->v->hosts[k->row].name, '.') != NULL) ? k : NULL;
}

int fleet_match(struct fleet *f, const struct inventory *v)
{
	AUTO(matcher_release) struct matcher m;
	size_t n = f->n;

	if (matcher_init(&m, v) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const Exhibit__V1__HostRow *row = f->hosts[i].row;
		const char *name = (const char *)row->host_name.data;
		const struct key *k = look(m.ids, m.n_ids, row->host_id.data, row->host_id.len);

		if (!k)
			k = look(m.names, m.n_names, name, row->host_name.len);
		if (!k && row->host_name.len)
			k = by_label(&m, name, row->host_name.len);
		if (!k)
			k = look(m.names, m.n_names, row->host_id.data, row->host_id.len);
		if (k) {
			f->hosts[i].listed = &v->hosts[k->row];
			m.agents[k->row]++;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (f->hosts[i].listed && m.agents[f->hosts[i].listed - v->hosts] > 1)
			f->hosts[i].problems |= 1U << FLEET_TWICE;
	for (size_t i = 0; i < v->n; i++) {
		struct fleet_host *h = m.agents[i] ? NULL : grow(f);

		if (!m.agents[i] && !h)
			return -ENOMEM;
		if (h)
			h->listed = &v->hosts[i];
	}
	return 0;
}

/* ---- the judgement ------------------------------------------------------------------------------------- */

static unsigned int judge(const struct fleet *f, const struct fleet_host *h, bool listed)
{
	const Exhibit__V1__HostRow *row = h->row;
	bool seen = row && row->last_seen_ns;
	char version[64] = "";

	if (!row)
		return 1U << FLEET_NO_AGENT;
	version_text(&row->version, version);
	return h->problems | (unsigned int)!seen << FLEET_NEVER_SEEN |
	       (unsigned int)(seen && !row->connected) << FLEET_AWAY |
	       (unsigned int)(seen && row->connected && row->lag_ns > FLEET_BEHIND_NS)
		       << FLEET_BEHIND |
	       (unsigned int)(h->loss != NULL) << FLEET_LOST |
	       (unsigned int)(row->conflicts > 0) << FLEET_CONFLICT |
	       (unsigned int)(seen && h->n_missing > 0) << FLEET_CLASS_MISSING |
	       (unsigned int)(version[0] && compare_versions(version, f->version) < 0)
		       << FLEET_OLD |
	       (unsigned int)(listed && !h->listed) << FLEET_UNLISTED;
}

static int by_name(const struct fleet_host *a, const struct fleet_host *b)
{
	static const ProtobufCBinaryData nothing = { 0, NULL };
	const ProtobufCBinaryData *x = a->row ? &a->row->host_name : &nothing;
	const ProtobufCBinaryData *y = b->row ? &b->row->host_name : &nothing;
	size_t n = x->len < y->len ? x->len : y->len;
	int r;

	if (!a->row && !b->row)
		return strcasecmp(a->listed->name, b->listed->name);
	r = n ? memcmp(x->data, y->data, n) : 0;
	return r ? r : (x->len > y->len) - (x->len < y->len);
}

static int worst_first(const void *x, const void *y)
{
	const struct fleet_host *a = x, *b = y;
	int first = a->problems ? __builtin_ctz(a->problems) : FLEET_PROBLEMS;
	int second = b->problems ? __builtin_ctz(b->problems) : FLEET_PROBLEMS;

	return first != second ? first - second : by_name(a, b);
}

void fleet_judge(struct fleet *f, bool listed)
{
	for (size_t i = 0; i < f->n; i++) {
		struct fleet_host *h = &f->hosts[i];

		h->problems = judge(f, h, listed);
		f->well += h->problems == 0;
		for (unsigned int p = 0; p < FLEET_PROBLEMS; p++)
			f->counts[p] += h->problems >> p & 1;
	}
	if (f->n)
		qsort(f->hosts, f->n, sizeof(*f->hosts), worst_first);
}
