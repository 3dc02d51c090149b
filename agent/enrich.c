/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/enrich.h"

#include "proto/actions.h"

static const struct rec_image nobody;

static uint64_t fold(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

static uint64_t version_of(const struct process *p)
{
	const struct image_facts *f = &p->facts;
	uint64_t h = fold((uint64_t)f->uid << 32 | f->gid, f->cgroup_id);

	h = fold(h, f->cgroup_v1_id);
	h = fold(h, (uint64_t)f->mnt_ns << 32 | f->pid_ns);
	h = fold(h, (uint64_t)f->net_ns << 32 | f->user_ns);
	h = fold(h, p->source);
	for (size_t i = 0; i < f->name.len; i++)
		h = fold(h, f->name.at[i]);
	return h;
}

static const struct process *look(struct enricher *en, const struct rec_image *image)
{
	return image->start_ns ? process_find(en->table, image) :
				 process_of_pid(en->table, image->pid);
}

static const struct process *ask_more(struct enricher *en, const struct rec_image *image)
{
	const struct process *p;

	if (!en->more || en->asking)
		return NULL;
	en->asking = true;
	en->more(en->ctx);
	en->asking = false;
	p = look(en, image);
	en->from_more += p != NULL;
	return p;
}

/* A /proc parent is a pid only: the image is what the table has for it. */
static struct rec_image parent_image(struct enricher *en, uint32_t pid)
{
	const struct process *p = pid ? process_of_pid(en->table, pid) : NULL;

	return p ? p->facts.key : nobody;
}

/* What the record says of ids is the kernel's word at that time, and wins over /proc. */
static void take_actor(struct image_facts *facts, const struct image_facts *actor)
{
	facts->parent = actor->parent.pid ? actor->parent : facts->parent;
	facts->uid = actor->uid;
	facts->gid = actor->gid;
	facts->mnt_ns = actor->mnt_ns ? actor->mnt_ns : facts->mnt_ns;
	facts->pid_ns = actor->pid_ns ? actor->pid_ns : facts->pid_ns;
	facts->user_ns = actor->user_ns ? actor->user_ns : facts->user_ns;
	facts->cgroup_id = actor->cgroup_id;
	facts->cgroup_v1_id = actor->cgroup_v1_id;
}

static const struct process *ask_proc(struct enricher *en, const struct rec_image *image,
				      const struct image_facts *actor, uint64_t now_ns)
{
	const struct process *current = process_of_pid(en->table, image->pid);
	struct image_facts facts;

	/* /proc tells of the image that the process runs now: useless when we know a later one. */
	if (!en->read_proc || (current && current->facts.key.start_ns == image->start_ns &&
			       current->facts.key.exec_id > image->exec_id))
		return NULL;
	if (!en->read_proc(en->ctx, image, &facts))
		return NULL;
	facts.parent = parent_image(en, facts.parent.pid);
	if (actor)
		take_actor(&facts, actor);
	en->from_proc++;
	return process_put(en->table, &facts, PROCESS_PROCFS, now_ns);
}

/* actor: what the event's own record says of image, or NULL. */
static const struct process *resolve(struct enricher *en, const struct rec_image *image,
				     const struct image_facts *actor, uint64_t now_ns)
{
	const struct image_facts key_only = { .key = *image };
	const struct process *p;

	if (!image->pid)
		return NULL;
	p = look(en, image);
	if (p)
		return p;
	en->misses++;
	p = ask_more(en, image);
	if (!p)
		p = ask_proc(en, image, actor, now_ns);
	if (p)
		return p;
	en->unknown++;
	/* Kept, so that the next event of the same image does not ask everybody again. */
	return process_put(en->table, actor ? actor : &key_only, PROCESS_ACTOR, now_ns);
}

static void set(const struct enricher *en, struct enriched *ret, const struct process *p)
{
	ret->process = p;
	ret->version = p ? version_of(p) : 0;
	/* Names that came late are said, though the process was described without. */
	if (p && en->cgroups)
		ret->version = fold(ret->version, cgroups_version(en->cgroups));
}

/* The main thread's name is the process'; other threads have their own. */
static void follow(struct enricher *en, const struct decoded *d)
{
	struct image_facts now = d->facts;

	if (d->by_owner || !now.key.pid)
		return;
	if (d->event.thread_id != now.key.pid)
		now.name = (struct bytes){ 0 };
	process_update(en->table, &now);
}

static const struct process *learn_fork(struct enricher *en, const struct decoded *d,
					uint64_t now_ns)
{
	(void)resolve(en, &d->caller, NULL, now_ns);
	return process_fork(en->table, &d->facts, &d->caller, now_ns);
}

/* The container that its runtime names as the process's; NULL: none. */
static struct container *container_of(struct enricher *en, const struct image_facts *f,
				      uint64_t now_ns)
{
	const struct cgroup_ask ask = { .id = f->cgroup_id, .v1_id = f->cgroup_v1_id };

	return cgroups_find(en->cgroups, &ask, now_ns).container;
}

/* Where the one who started this process runs. Asked of the parent that it was born to: who lost it belongs to a
 * subreaper, the container's shim perhaps, and was not sent into the container by that. */
static bool from_outside(struct enricher *en, const struct decoded *d, const struct container *in,
			 uint64_t now_ns, bool *ret_prepares)
{
	const struct process *before = process_find(en->table, &d->event.u.exec.replaced);
	struct rec_image key = before && before->source == PROCESS_FORK ? before->facts.parent :
									  d->facts.parent;
	const struct process *parent = key.pid ? look(en, &key) : NULL;

	if (!parent && key.pid)
		parent = ask_proc(en, &key, NULL, now_ns);
	if (!parent || !parent->facts.cgroup_id)
		return false;
	/* The runtime itself, on its way in: it has not left its mount namespace yet. */
	*ret_prepares = parent->facts.mnt_ns == d->facts.mnt_ns;
	return container_of(en, &parent->facts, now_ns) != in;
}

/* What is started from outside into a container that runs, as `kubectl exec` does. */
static void mark_session(struct enricher *en, struct decoded *d, uint64_t now_ns)
{
	struct container *in = en->cgroups ? container_of(en, &d->facts, now_ns) : NULL;
	const struct process *before;
	bool prepares = false, session;

	if (!in)
		return;
	before = process_find(en->table, &d->event.u.exec.replaced);
	if (before && before->source >= PROCESS_STOCK && before->facts.mnt_ns == d->facts.mnt_ns &&
	    container_of(en, &before->facts, now_ns) == in) {
		session = before->facts.flags & EVENT_EXEC_SESSION;
	} else {
		session = from_outside(en, d, in, now_ns, &prepares);
		if (session && prepares)
			return;
		if (in->born && !in->begun) {
			in->begun = true;
			session = false;
		}
	}
	if (!session)
		return;
	d->event.flags |= EVENT_EXEC_SESSION;
	d->facts.flags |= EVENT_EXEC_SESSION;
}

/* The critical ring is in order, so asking for more of it while one of its records is being handled
 * could tell nothing; and its reader must not be entered twice. */
static void handle_record(struct enricher *en, struct decoded *d, uint64_t now_ns,
			  struct enriched *ret)
{
	const struct process *p;

	switch (d->event.action) {
	case ACTION_EXEC:
		mark_session(en, d, now_ns);
		p = process_put(en->table, &d->facts, PROCESS_EXEC, now_ns);
		break;
	case ACTION_PROCESS:
		p = process_put(en->table, &d->facts, PROCESS_STOCK, now_ns);
		break;
	case ACTION_FORK:
		p = learn_fork(en, d, now_ns);
		break;
	default:
		follow(en, d);
		p = resolve(en, &d->event.image, &d->facts, now_ns);
		break;
	}
	set(en, ret, p);
	if (d->event.action == ACTION_EXIT)
		process_exit(en->table, &d->event.image, now_ns);
}

void enrich_record(struct enricher *en, struct decoded *d, uint64_t now_ns, struct enriched *ret)
{
	bool asking = en->asking;

	en->asking = asking || d->ring == REC_RING_CRITICAL;
	handle_record(en, d, now_ns, ret);
	en->asking = asking;
}

void enrich_event(struct enricher *en, struct event *ev, uint64_t now_ns, struct enriched *ret)
{
	const struct process *p = resolve(en, &ev->image, NULL, now_ns);

	if (p)
		ev->image = p->facts.key;
	set(en, ret, p);
}

/* systemd's names have '_' where a uid has '-'. */
static struct bytes plain_uid(struct bytes uid, uint8_t buf[static WORKLOAD_UID_LEN])
{
	for (size_t i = 0; i < uid.len && i < WORKLOAD_UID_LEN; i++)
		buf[i] = uid.at[i] == '_' ? '-' : uid.at[i];
	return (struct bytes){ .at = uid.len ? buf : NULL, .len = uid.len };
}

/* buf: where a pod's uid is made of the path's. */
static void describe_container(const struct cgroup *g, uint8_t buf[static WORKLOAD_UID_LEN],
			       struct description *ret)
{
	const struct container *k = g->container;

	if (k) {
		ret->container_name = k->name;
		ret->image_name = k->image;
		ret->pod_name = k->pod_name;
		ret->pod_namespace = k->pod_namespace;
		ret->pod_uid = k->pod_uid;
		ret->runtime = k->runtime;
	}
	if (!ret->pod_uid.len)
		ret->pod_uid = plain_uid(g->workload.pod_uid, buf);
}

void enrich_describe(struct enricher *en, const struct enriched *who, uint64_t now_ns,
		     struct description *ret)
{
	const struct process *p = who->process;
	struct cgroup_ask ask;

	*ret = (struct description){
		.facts = &p->facts,
		.parent_name = p->parent_name,
		.parent_executable = p->parent_executable,
		.cgroup_id = p->facts.cgroup_id ? p->facts.cgroup_id : p->facts.cgroup_v1_id,
	};
	if (en->users) {
		users_refresh(en->users, now_ns);
		ret->user_name = users_name(en->users, p->facts.uid);
	}
	ask = (struct cgroup_ask){
		.id = p->facts.cgroup_id,
		.v1_id = p->facts.cgroup_v1_id,
		.pid = p->exited_ns ? 0 : p->facts.key.pid,
		.name = p->facts.cgroup_name,
	};
	if (en->cgroups) {
		struct cgroup g = cgroups_find(en->cgroups, &ask, now_ns);

		ret->cgroup_id = g.id;
		ret->cgroup_path = g.path;
		ret->container_id = g.workload.container_id;
		ret->unit = g.workload.unit;
		ret->session = g.workload.session;
		describe_container(&g, en->pod_uid, ret);
	}
}
