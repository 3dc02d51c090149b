/* SPDX-License-Identifier: Apache-2.0 */
/* The orders of which something may still happen, and what happens to them. */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"

#define S(word) EXHIBIT__V1__ORDER_STATE__ORDER_##word
#define BIT(word) (1U << (S(word)))
/* What was sent may have begun on a host that is away now: its word is awaited for so long after the order's
 * end. */
#define LATE_NS (15 * 60 * (int64_t)NSEC_PER_SEC)
/* A host that is back says first what it could not say: only then is an order sent to it again. */
#define SETTLE_NS (5 * (int64_t)NSEC_PER_SEC)
#define REASON_MAX 1000

/* What a host may say, and after what: a late or repeated word changes nothing. */
static const struct {
	Exhibit__V1__OrderState state;
	unsigned int after;
} host_says[] = {
	{ S(REFUSED), BIT(SENT) },
	{ S(STARTED), BIT(SENT) },
	{ S(PROGRESS), BIT(SENT) | BIT(STARTED) | BIT(PROGRESS) },
	{ S(DONE), BIT(SENT) | BIT(STARTED) | BIT(PROGRESS) },
	{ S(FAILED), BIT(SENT) | BIT(STARTED) | BIT(PROGRESS) },
};

static bool all_over(const struct open_order *x)
{
	for (size_t i = 0; i < x->n_targets; i++)
		if (!orders_is_over(x->targets[i].state))
			return false;
	return true;
}

/* ---- in memory ------------------------------------------------------------------------------------------ */

static void order_free(struct open_order *x)
{
	if (!x)
		return;
	exhibit__v1__order__free_unpacked(x->order, NULL);
	free(x->signed_order);
	free(x);
}

static void order_free_ptr(struct open_order **x)
{
	order_free(*x);
}

void orders_free_open(struct orders *o)
{
	while (o->open) {
		struct open_order *next = o->open->next;

		order_free(o->open);
		o->open = next;
	}
	o->n_open = 0;
}

struct open_order *orders_find_open(struct orders *o, const struct batch_name *tenant,
				    const uint8_t id[static ORDER_ID_LEN])
{
	for (struct open_order *x = o->open; x; x = x->next)
		if (batch_name_equal(&x->tenant, tenant) &&
		    memcmp(x->order->order_id.data, id, ORDER_ID_LEN) == 0)
			return x;
	return NULL;
}

static void set_targets(struct open_order *x)
{
	x->n_targets = x->order->n_hosts;
	for (size_t i = 0; i < x->n_targets; i++) {
		struct target *t = &x->targets[i];

		t->state = S(MADE);
		t->host.len = (uint8_t)x->order->hosts[i].len;
		memcpy(t->host.b, x->order->hosts[i].data, t->host.len);
	}
}

/* From bytes that were checked when they came. */
static int order_from(const struct batch_name *tenant, const uint8_t *data, size_t len,
		      struct open_order **ret, struct error *e)
{
	AUTO(order_free_ptr) struct open_order *x = calloc(1, sizeof(*x));
	Exhibit__V1__SignedOrder *s = exhibit__v1__signed_order__unpack(NULL, len, data);
	int r = s ? 0 : error_set(e, -EBADMSG, "a stored order cannot be read");

	if (x)
		x->signed_order = malloc(len + 1);
	if (r == 0 && (!x || !x->signed_order))
		r = error_set(e, -ENOMEM, "cannot keep an order: %m");
	if (r == 0)
		r = order_parse(s->order.data, s->order.len, &x->order, e);
	if (r == 0)
		r = seal_sha256(s->order.data, s->order.len, &x->hash);
	if (r == 0) {
		x->tenant = *tenant;
		x->n_approvals = s->n_approvals;
		memcpy(x->signed_order, data, len);
		x->len = len;
		set_targets(x);
		*ret = TAKE(x);
	}
	if (s)
		exhibit__v1__signed_order__free_unpacked(s, NULL);
	return r;
}

static void keep_open(struct orders *o, struct open_order *x)
{
	x->next = o->open;
	o->open = x;
	o->n_open++;
}

/* What is over leaves memory; whoever watches it is done. */
static void close_over(struct orders *o, struct open_order *x)
{
	if (!all_over(x))
		return;
	for (struct peer *p = o->peers; p; p = p->next)
		if (p->watching == x->seq)
			peer_end(p, RPC_OK, NULL);
	for (struct open_order **at = &o->open; *at; at = &(*at)->next)
		if (*at == x) {
			*at = x->next;
			o->n_open--;
			order_free(x);
			return;
		}
}

/* ---- steps ---------------------------------------------------------------------------------------------- */

static void tell_watchers(struct orders *o, const struct open_order *x,
			  Exhibit__V1__OrderStep *step)
{
	Exhibit__V1__OrderAnswer answer = EXHIBIT__V1__ORDER_ANSWER__INIT;

	answer.kind_case = EXHIBIT__V1__ORDER_ANSWER__KIND_STEP;
	answer.step = step;
	for (struct peer *p = o->peers; p; p = p->next) {
		/* Progress is worth nothing to whoever lags. */
		if (p->watching != x->seq || (step->state == S(PROGRESS) && p->n_out > 0))
			continue;
		peer_send(p, &answer.base);
	}
}

static uint8_t *pack_step(const Exhibit__V1__OrderStep *step, size_t *ret_len, struct error *e)
{
	uint8_t *data;

	*ret_len = exhibit__v1__order_step__get_packed_size(step);
	data = malloc(*ret_len + 1);
	if (data)
		(void)exhibit__v1__order_step__pack(step, data);
	else
		(void)error_set(e, -ENOMEM, "cannot keep a step of an order: %m");
	return data;
}

static Exhibit__V1__OrderStep step_of(const struct orders *o, const struct open_order *x,
				      Exhibit__V1__OrderState state)
{
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;

	step.order_id = x->order->order_id;
	step.kind = x->order->kind;
	step.case_id = x->order->case_id;
	step.state = state;
	step.wall_ns = o->c.now();
	return step;
}

/* A step of one host, from its own mouth or ours: leaf, store, memory, watchers. t NULL: of the order. */
static int take_step(struct orders *o, struct open_order *x, struct target *t,
		     Exhibit__V1__OrderStep *step, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len;
	int r;

	if (step->state == S(PROGRESS)) {
		t->state = S(PROGRESS);
		tell_watchers(o, x, step);
		return 0;
	}
	data = pack_step(step, &len, e);
	r = data ? orders_leaf_step(o, &x->tenant, &x->hash, step, e) : -ENOMEM;
	if (r == 0) {
		Exhibit__V1__OrderState before = t->state;

		t->state = step->state;
		r = orders_store_step(o->store, x->seq, t->host.b, t->host.len, step->state, data,
				      len, !all_over(x), e);
		if (r < 0)
			t->state = before;
	}
	if (r == 0)
		tell_watchers(o, x, step);
	return r;
}

static void our_step(struct orders *o, struct open_order *x, struct target *t,
		     Exhibit__V1__OrderState state, const char *reason)
{
	Exhibit__V1__OrderStep step = step_of(o, x, state);
	struct error e = { 0 };

	step.host_id = orders_name_bytes(&t->host);
	step.reason = orders_bytes(reason, strlen(reason));
	if (take_step(o, x, t, &step, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "a step of an order cannot be stored", &e);
}

/* ---- begin, approve, refuse ----------------------------------------------------------------------------- */

struct same {
	const uint8_t *hash;
	int64_t seq;
	bool same;
};

static int compare(void *ctx, const struct orders_row *row)
{
	struct same *s = ctx;
	Exhibit__V1__SignedOrder *m =
		exhibit__v1__signed_order__unpack(NULL, row->len, row->signed_order);
	struct seal_hash hash;

	if (!m)
		return -EBADMSG;
	s->seq = row->seq;
	s->same = seal_sha256(m->order.data, m->order.len, &hash) == 0 &&
		  memcmp(hash.b, s->hash, sizeof(hash.b)) == 0;
	exhibit__v1__signed_order__free_unpacked(m, NULL);
	return 0;
}

/* Handed in again, after a broken connection, it is the same order; another one may not take its name. */
static int find_same(struct orders *o, const struct peer *p, const struct order_checked *checked,
		     int64_t *ret_seq, struct error *e)
{
	struct orders_which w = { .tenant = &p->tenant, .id = checked->id };
	struct same same = { .hash = checked->hash.b };
	int r = orders_store_each(o->store, &w, compare, &same, e);

	if (r < 0 || same.seq == 0)
		return r;
	*ret_seq = same.seq;
	return same.same ? 1 : error_set(e, -EEXIST, "another order with this id is here already");
}

static int store_new(struct orders *o, const struct peer *p, struct open_order *x, struct error *e)
{
	struct orders_row row = {
		.tenant = p->tenant, .signed_order = x->signed_order, .len = x->len, .open = true
	};
	Exhibit__V1__OrderStep step = step_of(o, x, S(MADE));
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len;

	memcpy(row.id, x->order->order_id.data, ORDER_ID_LEN);
	step.actor = x->order->requester;
	step.reason = x->order->reason;
	data = pack_step(&step, &len, e);
	return data ? orders_store_put(o->store, &row, x->order->case_id.data,
				       x->order->case_id.len, data, len, &x->seq, e) :
		      -ENOMEM;
}

int orders_begin(struct orders *o, const struct peer *p, const void *data, size_t len,
		 const struct order_checked *checked, int64_t *ret_seq, struct error *e)
{
	AUTO(order_free_ptr) struct open_order *x = NULL;
	char subject[IDENTITY_SPIFFE_MAX];
	int r = find_same(o, p, checked, ret_seq, e);

	if (r != 0)
		return r < 0 ? r : 0;
	r = order_from(&p->tenant, data, len, &x, e);
	if (r == 0)
		r = orders_leaf_order(o, EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER, &p->tenant,
				      identity_spiffe(&checked->requester, subject), &x->hash, len,
				      x->order, e);
	if (r == 0)
		r = store_new(o, p, x, e);
	if (r < 0)
		return r;
	*ret_seq = x->seq;
	log_info("an order is made", KV_STR("kind", order_kind_name(x->order->kind)),
		 KV_STR("by", p->who.name),
		 KV_BYTES("case", x->order->case_id.data, x->order->case_id.len));
	keep_open(o, x);
	orders_dispatch(o, TAKE(x));
	return 0;
}

static int store_refused(struct orders *o, const struct peer *p, const uint8_t *data, size_t len,
			 const struct open_order *x, const char *why, struct error *e)
{
	struct orders_row row = { .tenant = p->tenant, .signed_order = data, .len = len };
	Exhibit__V1__OrderStep step = step_of(o, x, S(REFUSED));
	AUTO(free_ptr) uint8_t *packed = NULL;
	char actor[IDENTITY_SPIFFE_MAX];
	size_t packed_len = 0;
	int64_t seq;
	int r;

	memcpy(row.id, x->order->order_id.data, ORDER_ID_LEN);
	/* Who brought it: whether the name in it is right is not known. */
	(void)identity_spiffe(&p->who, actor);
	step.actor = orders_bytes(actor, strlen(actor));
	step.reason = orders_bytes(why, strlen(why));
	packed = pack_step(&step, &packed_len, e);
	r = packed ? orders_leaf_step(o, &p->tenant, &x->hash, &step, e) : -ENOMEM;
	if (r == 0)
		r = orders_store_put(o->store, &row, x->order->case_id.data, x->order->case_id.len,
				     packed, packed_len, &seq, e);
	return r == -EEXIST ? 0 : r;
}

void orders_refused(struct orders *o, const struct peer *p, const void *data, size_t len,
		    const struct error *why)
{
	AUTO(order_free_ptr) struct open_order *x = NULL;
	struct error e = { 0 };
	char text[REASON_MAX + 1];

	/* What is no order leaves a line in the log, which the caller writes. */
	if (order_from(&p->tenant, data, len, &x, NULL) < 0)
		return;
	(void)snprintf(text, sizeof(text), "%s", why->text);
	if (store_refused(o, p, data, len, x, text, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "a refused order cannot be stored", &e);
}

uint8_t *orders_with_approval(const struct open_order *x,
			      const Exhibit__V1__OrderSignature *approval, size_t *ret_len,
			      struct error *e)
{
	Exhibit__V1__SignedOrder *s =
		exhibit__v1__signed_order__unpack(NULL, x->len, x->signed_order);
	Exhibit__V1__OrderSignature *more[ORDER_APPROVALS_MAX], **had;
	uint8_t *data = NULL;
	size_t n;

	if (!s || s->n_approvals >= ORDER_APPROVALS_MAX) {
		(void)error_set(e, s ? -EPERM : -EBADMSG, "the order takes no further approval");
		if (s)
			exhibit__v1__signed_order__free_unpacked(s, NULL);
		return NULL;
	}
	n = s->n_approvals;
	had = s->approvals;
	for (size_t i = 0; i < n; i++)
		more[i] = had[i];
	memcpy(&more[n], &approval, sizeof(more[n])); /* read only */
	s->approvals = more;
	s->n_approvals = n + 1;
	*ret_len = exhibit__v1__signed_order__get_packed_size(s);
	if (*ret_len <= ORDER_SIGNED_MAX)
		data = malloc(*ret_len + 1);
	if (data)
		(void)exhibit__v1__signed_order__pack(s, data);
	else
		(void)error_set(e, -ENOSPC, "the order has no room for another approval");
	s->approvals = had;
	s->n_approvals = n;
	exhibit__v1__signed_order__free_unpacked(s, NULL);
	return data;
}

int orders_approved(struct orders *o, struct open_order *x, const uint8_t *data, size_t len,
		    const struct identity *who, struct error *e)
{
	Exhibit__V1__OrderStep step = step_of(o, x, S(APPROVED));
	AUTO(free_ptr) uint8_t *packed = NULL;
	uint8_t *copy = malloc(len + 1);
	char name[IDENTITY_SPIFFE_MAX];
	size_t packed_len = 0;
	int r;

	(void)identity_spiffe(who, name);
	step.actor = orders_bytes(name, strlen(name));
	packed = copy ? pack_step(&step, &packed_len, e) : NULL;
	r = packed ? orders_leaf_order(o, EXHIBIT__V1__LEDGER_KIND__LEDGER_APPROVAL, &x->tenant,
				       name, &x->hash, x->len, x->order, e) :
		     error_set(e, -ENOMEM, "cannot keep an approval: %m");
	if (r == 0)
		r = orders_store_approve(o->store, x->seq, data, len, packed, packed_len, e);
	if (r < 0) {
		free(copy);
		return r;
	}
	memcpy(copy, data, len);
	free(x->signed_order);
	x->signed_order = copy;
	x->len = len;
	x->n_approvals++;
	log_info("an order is approved", KV_STR("by", who->name));
	tell_watchers(o, x, &step);
	orders_dispatch(o, x);
	return 0;
}

/* ---- hosts ---------------------------------------------------------------------------------------------- */

static struct target *target_of(struct open_order *x, const struct batch_name *host)
{
	for (size_t i = 0; i < x->n_targets; i++)
		if (batch_name_equal(&x->targets[i].host, host))
			return &x->targets[i];
	return NULL;
}

static bool may_follow(Exhibit__V1__OrderState state, Exhibit__V1__OrderState before)
{
	for (size_t i = 0; i < ARRAY_LEN(host_says); i++)
		if (host_says[i].state == state)
			return (host_says[i].after & (1U << before)) != 0;
	return false;
}

static bool may_say(Exhibit__V1__OrderState state)
{
	for (size_t i = 0; i < ARRAY_LEN(host_says); i++)
		if (host_says[i].state == state)
			return true;
	return false;
}

static int check_host_step(const Exhibit__V1__OrderStep *step, struct error *e)
{
	if (step->order_id.len != ORDER_ID_LEN || !may_say(step->state) ||
	    step->reason.len > REASON_MAX ||
	    (step->exhibit_id.len != 0 && step->exhibit_id.len != 16) ||
	    (step->manifest_sha256.len != 0 && step->manifest_sha256.len != SEAL_HASH_LEN))
		return error_set(e, -EBADMSG, "a step of an order is malformed");
	return 0;
}

int orders_host_step(struct orders *o, const struct peer *p, const Exhibit__V1__OrderStep *said,
		     struct error *e)
{
	struct open_order *x;
	struct target *t;
	char actor[IDENTITY_SPIFFE_MAX];
	int r = check_host_step(said, e);

	if (r < 0)
		return r;
	x = orders_find_open(o, &p->tenant, said->order_id.data);
	t = x ? target_of(x, &p->host) : NULL;
	/* Over, or never this host's: neither is worth a stream, hosts repeat what they are not sure of. */
	if (!t || !may_follow(said->state, t->state)) {
		log_debug("a host's step changes nothing", KV_STR("host", p->who.name),
			  KV_STR("state", order_state_name(said->state)));
		return 0;
	}
	Exhibit__V1__OrderStep step = step_of(o, x, said->state);

	/* Who it is and what it is about is ours to say. */
	step.host_id = orders_name_bytes(&p->host);
	(void)identity_spiffe(&p->who, actor);
	step.actor = orders_bytes(actor, strlen(actor));
	step.reason = said->reason;
	step.bytes_done = said->bytes_done;
	step.bytes_total = said->bytes_total;
	step.exhibit_id = said->exhibit_id;
	step.manifest_sha256 = said->manifest_sha256;
	if (said->wall_ns > 0)
		step.wall_ns = said->wall_ns;
	r = take_step(o, x, t, &step, e);
	if (r == 0)
		close_over(o, x);
	return r;
}

/* ---- where it goes -------------------------------------------------------------------------------------- */

static bool send_to(struct peer *host, const struct open_order *x)
{
	Exhibit__V1__OrdersReply reply = EXHIBIT__V1__ORDERS_REPLY__INIT;

	reply.order = exhibit__v1__signed_order__unpack(NULL, x->len, x->signed_order);
	if (!reply.order)
		return false;
	reply.kind_case = EXHIBIT__V1__ORDERS_REPLY__KIND_ORDER;
	peer_send(host, &reply.base);
	exhibit__v1__signed_order__free_unpacked(reply.order, NULL);
	return !host->ended;
}

/* It is not known whether the host got it: after a restart of ours, or on a new stream of the host's. */
static bool send_again(const struct target *t, const struct peer *host, int64_t now)
{
	return t->state == S(SENT) && t->sent_ns < host->greeted_ns &&
	       now - host->greeted_ns >= SETTLE_NS;
}

static void dispatch_to(struct orders *o, struct open_order *x, struct target *t, int64_t now)
{
	struct peer *host = orders_agent_of(o, &x->tenant, &t->host);
	bool first = t->state == S(MADE) || t->state == S(WAITING);

	if (!host && t->state == S(MADE)) {
		our_step(o, x, t, S(WAITING), "the host is away");
		return;
	}
	if (!host || (!first && !send_again(t, host, now)))
		return;
	/* Stored before it is sent: an upload that follows at once must find it. */
	if (first)
		our_step(o, x, t, S(SENT), "");
	if (t->state == S(SENT) && send_to(host, x))
		t->sent_ns = now;
}

static bool has_expired(const struct open_order *x, const struct target *t, int64_t now)
{
	if (t->state == S(MADE) || t->state == S(WAITING))
		return now > x->order->expires_ns;
	return t->state == S(SENT) && now > x->order->expires_ns + LATE_NS;
}

void orders_dispatch(struct orders *o, struct open_order *x)
{
	int64_t now = o->c.now();
	bool ready = x->n_approvals >= o->c.approvals[x->order->kind] &&
		     now >= x->order->not_before_ns;

	for (size_t i = 0; i < x->n_targets; i++) {
		struct target *t = &x->targets[i];

		if (orders_is_over(t->state))
			continue;
		if (has_expired(x, t, now))
			our_step(o, x, t, S(EXPIRED),
				 t->state == S(SENT) ? "the host never said what became of it" :
				 ready               ? "the host did not return in time" :
						       "its approvals did not come in time");
		else if (ready)
			dispatch_to(o, x, t, now);
	}
	close_over(o, x);
}

void orders_state_tick(struct orders *o)
{
	struct open_order *next;

	for (struct open_order *x = o->open; x; x = next) {
		next = x->next;
		orders_dispatch(o, x);
	}
}

/* ---- a start -------------------------------------------------------------------------------------------- */

struct load {
	struct orders *orders;
	struct error *e;
};

static int load_order(void *ctx, const struct orders_row *row)
{
	struct load *load = ctx;
	struct open_order *x = NULL;
	struct error why = { 0 };

	if (order_from(&row->tenant, row->signed_order, row->len, &x, &why) < 0) {
		log_failure(LOG_LEVEL_ERROR, "a stored order is left aside", &why);
		return 0;
	}
	x->seq = row->seq;
	keep_open(load->orders, x);
	return 0;
}

static int load_step(void *ctx, const uint8_t *data, size_t len)
{
	struct open_order *x = ctx;
	Exhibit__V1__OrderStep *step = exhibit__v1__order_step__unpack(NULL, len, data);

	if (!step)
		return -EBADMSG;
	for (size_t i = 0; i < x->n_targets; i++)
		if (step->host_id.len == x->targets[i].host.len && step->host_id.len > 0 &&
		    memcmp(step->host_id.data, x->targets[i].host.b, step->host_id.len) == 0)
			x->targets[i].state = step->state;
	exhibit__v1__order_step__free_unpacked(step, NULL);
	return 0;
}

int orders_load_open(struct orders *o, struct error *e)
{
	struct load load = { o, e };
	struct orders_which w = { .open = true };
	int r = orders_store_each(o->store, &w, load_order, &load, e);

	for (struct open_order *x = o->open; r == 0 && x; x = x->next)
		r = orders_store_steps(o->store, x->seq, load_step, x, e);
	return r;
}
