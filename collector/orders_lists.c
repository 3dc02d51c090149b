/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"

static int text_of(const struct batch_name *tenant, char out[static IDENTITY_PART_MAX + 1])
{
	if (tenant->len > IDENTITY_PART_MAX)
		return -EINVAL;
	memcpy(out, tenant->b, tenant->len);
	out[tenant->len] = '\0';
	return 0;
}

int orders_list_of(struct orders *o, const struct batch_name *tenant, struct tenant_list **ret,
		   struct error *e)
{
	char name[IDENTITY_PART_MAX + 1];
	struct tenant_list *l;
	int r;

	for (l = o->lists; l; l = l->next)
		if (batch_name_equal(&l->tenant, tenant)) {
			*ret = l;
			return 0;
		}
	if (text_of(tenant, name) < 0)
		return error_set(e, -EINVAL, "the tenant's name is too long");
	l = calloc(1, sizeof(*l));
	if (!l)
		return error_set(e, -ENOMEM, "cannot keep revocations: %m");
	r = revocations_new(name, &l->revocations, e);
	if (r < 0) {
		free(l);
		return r;
	}
	l->tenant = *tenant;
	l->next = o->lists;
	(void)pthread_rwlock_wrlock(&o->revoked);
	o->lists = l;
	(void)pthread_rwlock_unlock(&o->revoked);
	*ret = l;
	return 0;
}

bool orders_revoked(struct orders *o, const struct identity *who)
{
	size_t len = strlen(who->tenant);
	bool found = false;

	(void)pthread_rwlock_rdlock(&o->revoked);
	for (const struct tenant_list *l = o->lists; l && !found; l = l->next)
		found = l->tenant.len == len && memcmp(l->tenant.b, who->tenant, len) == 0 &&
			revocations_has(l->revocations, who->serial);
	(void)pthread_rwlock_unlock(&o->revoked);
	return found;
}

void orders_free_lists(struct orders *o)
{
	while (o->lists) {
		struct tenant_list *next = o->lists->next;

		revocations_free(o->lists->revocations);
		free(o->lists->bytes);
		free(o->lists);
		o->lists = next;
	}
}

static int keep(struct orders *o, struct tenant_list *l, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, len);
	(void)pthread_rwlock_wrlock(&o->revoked);
	free(l->bytes);
	l->bytes = copy;
	l->len = len;
	(void)pthread_rwlock_unlock(&o->revoked);
	return 0;
}

uint8_t *orders_list_copy(struct orders *o, const struct batch_name *tenant, size_t *ret_len)
{
	uint8_t *copy = NULL;

	(void)pthread_rwlock_rdlock(&o->revoked);
	for (const struct tenant_list *l = o->lists; l && !copy; l = l->next)
		if (batch_name_equal(&l->tenant, tenant) && l->bytes &&
		    (copy = malloc(l->len + 1))) {
			memcpy(copy, l->bytes, l->len);
			*ret_len = l->len;
		}
	(void)pthread_rwlock_unlock(&o->revoked);
	return copy;
}

struct load {
	struct orders *orders;
	struct error *e;
};

static int load_one(void *ctx, const struct batch_name *tenant, const uint8_t *data, size_t len)
{
	struct load *load = ctx;
	struct error why = { 0 };
	struct tenant_list *l;
	int r = orders_list_of(load->orders, tenant, &l, load->e);

	if (r < 0)
		return r;
	r = revocations_take(l->revocations, load->orders->c.authorities, data, len, &why);
	/* An authority that was replaced signs new lists; the old one's certificates count no more. */
	if (r < 0) {
		log_failure(LOG_LEVEL_WARN, "a stored revocation list is left aside", &why);
		return 0;
	}
	return keep(load->orders, l, data, len);
}

int orders_load_lists(struct orders *o, struct error *e)
{
	struct load load = { o, e };

	return orders_store_lists(o->store, load_one, &load, e);
}

void orders_send_list(struct peer *p, const struct tenant_list *list)
{
	Exhibit__V1__OrdersReply reply = EXHIBIT__V1__ORDERS_REPLY__INIT;
	uint64_t number = revocations_number(list->revocations);

	if (!list->bytes || !p->greeted || p->list_number >= number)
		return;
	reply.revocations =
		exhibit__v1__signed_revocation_list__unpack(NULL, list->len, list->bytes);
	if (!reply.revocations)
		return;
	reply.kind_case = EXHIBIT__V1__ORDERS_REPLY__KIND_REVOCATIONS;
	peer_send(p, &reply.base);
	p->list_number = number;
	exhibit__v1__signed_revocation_list__free_unpacked(reply.revocations, NULL);
}

static int take(struct orders *o, struct tenant_list *l, const void *data, size_t len,
		struct error *e)
{
	int r;

	(void)pthread_rwlock_rdlock(&o->trust);
	(void)pthread_rwlock_wrlock(&o->revoked);
	r = revocations_take(l->revocations, o->c.authorities, data, len, e);
	(void)pthread_rwlock_unlock(&o->revoked);
	(void)pthread_rwlock_unlock(&o->trust);
	return r;
}

/* Back to the list that is stored. */
static void forget(struct orders *o, struct tenant_list *l)
{
	char name[IDENTITY_PART_MAX + 1];
	struct revocations *fresh = NULL, *old;

	if (text_of(&l->tenant, name) < 0 || revocations_new(name, &fresh, NULL) < 0)
		return;
	(void)pthread_rwlock_wrlock(&o->revoked);
	old = l->revocations;
	l->revocations = fresh;
	(void)pthread_rwlock_unlock(&o->revoked);
	revocations_free(old);
	if (l->bytes && take(o, l, l->bytes, l->len, NULL) < 0)
		log_warn("the stored revocation list cannot be taken again");
}

int orders_publish(struct orders *o, const struct peer *p, const void *data, size_t len,
		   uint64_t *ret_number, struct error *e)
{
	char subject[IDENTITY_SPIFFE_MAX];
	struct seal_hash hash;
	struct tenant_list *l;
	int r = orders_list_of(o, &p->tenant, &l, e);

	if (r == 0)
		r = take(o, l, data, len, e);
	/* Handed in again, or late: whoever asks is told what is here. */
	if (r == -EALREADY) {
		*ret_number = revocations_number(l->revocations);
		return 0;
	}
	if (r < 0)
		return r;
	r = seal_sha256(data, len, &hash);
	if (r == 0)
		r = orders_leaf_list(o, &p->tenant, identity_spiffe(&p->who, subject), &hash, len,
				     revocations_number(l->revocations), e);
	if (r == 0)
		r = orders_store_put_list(o->store, &p->tenant, data, len, e);
	if (r == 0 && keep(o, l, data, len) < 0)
		r = error_set(e, -ENOMEM, "cannot keep a revocation list: %m");
	if (r < 0) {
		/* Not durable: whoever publishes it again is not to be told that it is here. */
		forget(o, l);
		return r;
	}
	*ret_number = revocations_number(l->revocations);
	log_info("a revocation list is published", KV_U64("number", *ret_number),
		 KV_STR("by", p->who.name));
	for (struct peer *host = o->peers; host; host = host->next)
		if (host->greeted && batch_name_equal(&host->tenant, &p->tenant))
			orders_send_list(host, l);
	if (o->c.on_revoked)
		o->c.on_revoked(o->c.on_revoked_ctx);
	return 0;
}
