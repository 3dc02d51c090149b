/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/process.h"

#include <string.h>
#include <sys/queue.h>

#include "agent/process_text.h"

/* Which texts an entry holds; the names in facts lead into them. */
enum { TEXT_EXECUTABLE, TEXT_DIRECTORY, TEXT_CGROUP, TEXT_ARGS, TEXT_PARENT_EXECUTABLE, TEXTS };

struct entry {
	struct process p; /* first: what callers hold leads to the entry */
	struct entry *next_key, *next_pid; /* hash chains */
	TAILQ_ENTRY(entry) age;
	bool is_latest; /* of its pid: only that one is found by pid */
	struct process_text *text[TEXTS];
	uint8_t name[REC_COMM_LEN], parent_name[REC_COMM_LEN];
};

TAILQ_HEAD(age_list, entry);

struct process_table {
	struct process_config config;
	struct age_list live; /* longest unused first */
	struct age_list exited; /* longest exited first */
	size_t buckets; /* power of two */
	struct entry **by_key, **by_pid;
	struct process_stats stats;
};

bool image_equal(const struct rec_image *a, const struct rec_image *b)
{
	return a->pid == b->pid && a->start_ns == b->start_ns && a->exec_id == b->exec_id;
}

/* Which of two images of one pid is the later one. */
static bool image_later(const struct rec_image *a, const struct rec_image *b)
{
	return a->start_ns != b->start_ns ? a->start_ns > b->start_ns : a->exec_id > b->exec_id;
}

/* Keys are chosen by the kernel, at most nudged by local users, and chains are bounded by
 * entries_max; a mixer suffices (splitmix64's finalizer). */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static struct entry **key_bucket(const struct process_table *t, const struct rec_image *k)
{
	return &t->by_key[mix(k->start_ns ^ (uint64_t)k->pid << 40 ^ k->exec_id) & (t->buckets - 1)];
}

static struct entry **pid_bucket(const struct process_table *t, uint32_t pid)
{
	return &t->by_pid[mix(pid) & (t->buckets - 1)];
}

static size_t bucket_count(size_t entries)
{
	size_t n = 16;

	while (n < entries)
		n *= 2;
	return n;
}

struct process_table *process_table_new(const struct process_config *c)
{
	struct process_table *t;

	if (c->entries_max < 16 || c->bytes_max < KiB(64))
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->config = *c;
	TAILQ_INIT(&t->live);
	TAILQ_INIT(&t->exited);
	t->buckets = bucket_count(c->entries_max);
	t->by_key = calloc(t->buckets, sizeof(*t->by_key));
	t->by_pid = calloc(t->buckets, sizeof(*t->by_pid));
	if (!t->by_key || !t->by_pid) {
		process_table_free(t);
		return NULL;
	}
	return t;
}

static struct age_list *list_of(struct process_table *t, const struct entry *x)
{
	return x->p.exited_ns ? &t->exited : &t->live;
}

static void unlink_key(struct process_table *t, struct entry *x)
{
	struct entry **at = key_bucket(t, &x->p.facts.key);

	while (*at != x)
		at = &(*at)->next_key;
	*at = x->next_key;
}

static void unlink_pid(struct process_table *t, struct entry *x)
{
	struct entry **at = pid_bucket(t, x->p.facts.key.pid);

	if (!x->is_latest)
		return;
	while (*at != x)
		at = &(*at)->next_pid;
	*at = x->next_pid;
	x->is_latest = false;
}

static void link_pid(struct process_table *t, struct entry *x)
{
	struct entry **at = pid_bucket(t, x->p.facts.key.pid);

	x->next_pid = *at;
	*at = x;
	x->is_latest = true;
}

static struct entry *latest_of(const struct process_table *t, uint32_t pid)
{
	struct entry *x = *pid_bucket(t, pid);

	while (x && x->p.facts.key.pid != pid)
		x = x->next_pid;
	return x;
}

static void drop_texts(struct process_table *t, struct entry *x)
{
	for (size_t i = 0; i < TEXTS; i++) {
		t->stats.bytes -= process_text_drop(x->text[i]);
		x->text[i] = NULL;
	}
}

static void drop_entry(struct process_table *t, struct entry *x)
{
	TAILQ_REMOVE(list_of(t, x), x, age);
	unlink_key(t, x);
	unlink_pid(t, x);
	drop_texts(t, x);
	t->stats.entries--;
	t->stats.exited -= x->p.exited_ns != 0;
	t->stats.bytes -= sizeof(*x);
	free(x);
}

void process_table_free(struct process_table *t)
{
	struct entry *x;

	if (!t)
		return;
	while ((x = TAILQ_FIRST(&t->exited)) || (x = TAILQ_FIRST(&t->live)))
		drop_entry(t, x);
	free(t->by_key);
	free(t->by_pid);
	free(t);
}

static void mark_exited(struct process_table *t, struct entry *x, uint64_t now_ns)
{
	if (x->p.exited_ns)
		return;
	TAILQ_REMOVE(&t->live, x, age);
	x->p.exited_ns = now_ns ? now_ns : 1;
	TAILQ_INSERT_TAIL(&t->exited, x, age);
	t->stats.exited++;
}

static struct entry *find(const struct process_table *t, const struct rec_image *key)
{
	struct entry *x = *key_bucket(t, key);

	while (x && !image_equal(&x->p.facts.key, key))
		x = x->next_key;
	return x;
}

/* Evict until the table keeps its bounds, but never x, which the caller is about to hand out. */
static void keep_bounds(struct process_table *t, const struct entry *x)
{
	while (t->stats.entries > t->config.entries_max || t->stats.bytes > t->config.bytes_max) {
		struct entry *victim = TAILQ_FIRST(&t->exited);

		if (victim == x)
			victim = victim ? TAILQ_NEXT(victim, age) : NULL;
		if (!victim)
			victim = TAILQ_FIRST(&t->live);
		if (victim == x)
			victim = victim ? TAILQ_NEXT(victim, age) : NULL;
		if (!victim)
			return;
		if (victim->p.exited_ns)
			t->stats.evicted_exited++;
		else
			t->stats.evicted_live++;
		drop_entry(t, victim);
	}
}

/* Of one pid only the latest image runs. A process that executes itself over and over leaves many
 * images behind, so the older ones must not be walked through. */
static void replace_older(struct process_table *t, struct entry *x, uint64_t now_ns)
{
	struct entry *latest = latest_of(t, x->p.facts.key.pid);

	if (latest == x)
		return;
	if (latest && image_later(&latest->p.facts.key, &x->p.facts.key)) {
		mark_exited(t, x, now_ns);
		return;
	}
	if (latest) {
		mark_exited(t, latest, now_ns);
		unlink_pid(t, latest);
	}
	link_pid(t, x);
}

static struct entry *add_entry(struct process_table *t, const struct rec_image *key)
{
	struct entry *x = calloc(1, sizeof(*x));
	struct entry **by_key;

	if (!x) {
		t->stats.failed++;
		return NULL;
	}
	x->p.facts.key = *key;
	by_key = key_bucket(t, key);
	x->next_key = *by_key;
	*by_key = x;
	TAILQ_INSERT_TAIL(&t->live, x, age);
	t->stats.entries++;
	t->stats.bytes += sizeof(*x);
	return x;
}

static struct bytes take_name(uint8_t to[static REC_COMM_LEN], struct bytes from)
{
	size_t len = from.len < REC_COMM_LEN ? from.len : REC_COMM_LEN;

	if (!len)
		return (struct bytes){ 0 };
	memmove(to, from.at, len);
	return (struct bytes){ .at = to, .len = len };
}

/* Put text (whose reference is taken over) in slot i. */
static struct bytes set_text(struct process_table *t, struct entry *x, int i,
			     struct process_text *text)
{
	struct process_text *old = x->text[i];

	x->text[i] = text;
	t->stats.bytes -= process_text_drop(old);
	return process_text_bytes(text);
}

static struct bytes copy_text(struct process_table *t, struct entry *x, int i, struct bytes from,
			      size_t max)
{
	struct process_text *text = NULL;

	if (from.len) {
		text = process_text_new(from.at, from.len < max ? from.len : max);
		if (!text)
			t->stats.failed++;
	}
	t->stats.bytes += process_text_size(text);
	return set_text(t, x, i, text);
}

static struct bytes share_text(struct process_table *t, struct entry *x, int i,
			       const struct entry *of, int j)
{
	return set_text(t, x, i, process_text_share(of->text[j]));
}

/* Name and executable of the parent are kept here, since the parent may be forgotten earlier. */
static void join_parent(struct process_table *t, struct entry *x)
{
	const struct entry *parent;

	if (x->text[TEXT_PARENT_EXECUTABLE] || !x->p.facts.parent.pid)
		return;
	parent = find(t, &x->p.facts.parent);
	if (!parent || parent == x)
		return;
	x->p.parent_name = take_name(x->parent_name, parent->p.facts.name);
	x->p.parent_executable = share_text(t, x, TEXT_PARENT_EXECUTABLE, parent, TEXT_EXECUTABLE);
}

static void take_facts(struct process_table *t, struct entry *x, const struct image_facts *f,
		       enum process_source source)
{
	struct image_facts *to = &x->p.facts;

	*to = *f;
	x->p.source = source;
	x->p.parent_name = (struct bytes){ 0 };
	x->p.parent_executable = set_text(t, x, TEXT_PARENT_EXECUTABLE, NULL);
	to->name = take_name(x->name, f->name);
	to->executable = copy_text(t, x, TEXT_EXECUTABLE, f->executable, REC_PATH_MAX);
	to->working_directory = copy_text(t, x, TEXT_DIRECTORY, f->working_directory, REC_PATH_MAX);
	to->cgroup_name = copy_text(t, x, TEXT_CGROUP, f->cgroup_name, REC_NAME_MAX);
	to->args = copy_text(t, x, TEXT_ARGS, f->args, REC_ARGS_MAX);
}

static struct entry *entry_for(struct process_table *t, const struct rec_image *key,
			       enum process_source source, bool *ret_write)
{
	struct entry *x = find(t, key);

	*ret_write = !x || source >= x->p.source;
	return x ? x : add_entry(t, key);
}

static const struct process *settled(struct process_table *t, struct entry *x, uint64_t now_ns)
{
	join_parent(t, x);
	replace_older(t, x, now_ns);
	keep_bounds(t, x);
	return &x->p;
}

const struct process *process_put(struct process_table *t, const struct image_facts *facts,
				  enum process_source source, uint64_t now_ns)
{
	bool write;
	struct entry *x = entry_for(t, &facts->key, source, &write);

	if (!x)
		return NULL;
	if (write)
		take_facts(t, x, facts, source);
	return settled(t, x, now_ns);
}

const struct process *process_fork(struct process_table *t, const struct image_facts *child,
				   const struct rec_image *caller, uint64_t now_ns)
{
	bool write;
	struct entry *x = entry_for(t, &child->key, PROCESS_FORK, &write);
	const struct entry *from;

	if (!x)
		return NULL;
	if (!write)
		return settled(t, x, now_ns);
	from = find(t, caller);
	take_facts(t, x, child, from ? PROCESS_FORK : PROCESS_ACTOR);
	if (from && from != x) {
		const struct image_facts *f = &from->p.facts;
		struct image_facts *to = &x->p.facts;

		to->executable = share_text(t, x, TEXT_EXECUTABLE, from, TEXT_EXECUTABLE);
		to->working_directory = share_text(t, x, TEXT_DIRECTORY, from, TEXT_DIRECTORY);
		to->args = share_text(t, x, TEXT_ARGS, from, TEXT_ARGS);
		if (f->cgroup_id == to->cgroup_id)
			to->cgroup_name = share_text(t, x, TEXT_CGROUP, from, TEXT_CGROUP);
		to->args_bytes = f->args_bytes;
		to->cap_effective = f->cap_effective;
		to->inode = f->inode;
		to->device = f->device;
		to->flags |= f->flags;
	}
	return settled(t, x, now_ns);
}

static void update_id(uint32_t *to, uint32_t from)
{
	if (from)
		*to = from;
}

void process_update(struct process_table *t, const struct image_facts *now)
{
	struct entry *x = find(t, &now->key);
	struct image_facts *f;

	if (!x)
		return;
	f = &x->p.facts;
	f->uid = now->uid;
	f->gid = now->gid;
	update_id(&f->mnt_ns, now->mnt_ns);
	update_id(&f->pid_ns, now->pid_ns);
	update_id(&f->net_ns, now->net_ns);
	update_id(&f->user_ns, now->user_ns);
	if (now->cgroup_id &&
	    (now->cgroup_id != f->cgroup_id || now->cgroup_v1_id != f->cgroup_v1_id)) {
		f->cgroup_id = now->cgroup_id;
		f->cgroup_v1_id = now->cgroup_v1_id;
		f->cgroup_name = set_text(t, x, TEXT_CGROUP, NULL);
	}
	if (now->name.len)
		f->name = take_name(x->name, now->name);
}

void process_exit(struct process_table *t, const struct rec_image *key, uint64_t now_ns)
{
	struct entry *x = find(t, key);

	if (x)
		mark_exited(t, x, now_ns);
}

static const struct process *used(struct process_table *t, struct entry *x)
{
	if (!x)
		return NULL;
	if (!x->p.exited_ns && TAILQ_NEXT(x, age)) {
		TAILQ_REMOVE(&t->live, x, age);
		TAILQ_INSERT_TAIL(&t->live, x, age);
	}
	join_parent(t, x);
	return &x->p;
}

const struct process *process_find(struct process_table *t, const struct rec_image *key)
{
	return used(t, find(t, key));
}

const struct process *process_of_pid(struct process_table *t, uint32_t pid)
{
	return used(t, latest_of(t, pid));
}

void process_expire(struct process_table *t, uint64_t now_ns)
{
	struct entry *x;

	while ((x = TAILQ_FIRST(&t->exited)) && x->p.exited_ns + PROCESS_EXITED_NS < now_ns)
		drop_entry(t, x);
}

void process_stats(const struct process_table *t, struct process_stats *ret)
{
	*ret = t->stats;
}
