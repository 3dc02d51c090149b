/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit exhibits, exhibit hold. */
#include <errno.h>
#include <string.h>

#include "collector/cli/session.h"
#include "collector/cli/vault_call.h"

static ProtobufCBinaryData text_of(const char *text)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ text ? strlen(text) : 0, (uint8_t *)(uintptr_t)text };
}

static bool is_host(const struct args *a, const Exhibit__V1__ExhibitInfo *info)
{
	for (size_t i = 0; i < a->n_hosts; i++) {
		const ProtobufCBinaryData *n = &a->hosts[i];

		if ((n->len == info->host_id.len &&
		     memcmp(n->data, info->host_id.data, n->len) == 0) ||
		    (n->len == info->host_name.len &&
		     memcmp(n->data, info->host_name.data, n->len) == 0))
			return true;
	}
	return a->n_hosts == 0;
}

static bool in_time(const struct args *a, const Exhibit__V1__ExhibitInfo *info)
{
	return (!a->since_ns || info->began_ns >= a->since_ns) &&
	       (!a->until_ns || info->began_ns < a->until_ns);
}

/* What the flags leave; the newest --limit of it. */
static void narrow(const struct args *a, struct exhibit_list *l)
{
	size_t kept = 0, skip;

	for (size_t i = 0; i < l->n; i++)
		if (is_host(a, l->at[i]) && in_time(a, l->at[i]))
			l->at[kept++] = l->at[i];
		else
			exhibit__v1__exhibit_info__free_unpacked(l->at[i], NULL);
	l->n = kept;
	if (!a->limit || kept <= a->limit)
		return;
	skip = kept - a->limit;
	for (size_t i = 0; i < skip; i++)
		exhibit__v1__exhibit_info__free_unpacked(l->at[i], NULL);
	memmove(l->at, l->at + skip, (kept - skip) * sizeof(*l->at));
	l->n = kept - skip;
	(void)fprintf(stderr, "cut by --limit: older exhibits match\n");
}

int verb_exhibits(const struct args *a)
{
	Exhibit__V1__ExhibitsQuery q = EXHIBIT__V1__EXHIBITS_QUERY__INIT;
	AUTO(exhibit_list_release) struct exhibit_list l = { 0 };
	struct outcome o = { 0 };
	struct error e = { 0 };
	int r;

	q.case_id = text_of(a->case_id);
	r = a->object ? exhibit_find(a, a->object, &l, &e) :
			exhibit_list_ask(a, VAULT_PATH_EXHIBITS, &q, &l, &e);
	if (r < 0)
		return outcome_failure(&e);
	narrow(a, &l);
	exhibit_list_show(a, &l, &o);
	return outcome_exit(&o);
}

static int check_hold(const struct args *a, struct error *e)
{
	if (!a->object == !a->case_id) {
		(void)error_set(e, -EINVAL, "either an exhibit or a case is held");
		error_hint(e, "give an exhibit's id, or --case");
		return -EINVAL;
	}
	if (a->reason && a->reason[0])
		return 0;
	(void)error_set(e, -EINVAL, "a hold takes a reason");
	error_hint(e, "give --reason; it stands in the ledger");
	return -EINVAL;
}

/* The collector keeps them whatever S3 says. */
static void say_pending(const struct exhibit_list *l, struct outcome *o)
{
	char id[VAULT_ID_TEXT];
	struct error e = { 0 };

	for (size_t i = 0; i < l->n; i++) {
		const Exhibit__V1__ExhibitInfo *info = l->at[i];

		if (!info->hold_pending)
			continue;
		(void)error_set(
			&e, -EAGAIN,
			"the legal hold of exhibit %s is %s by the collector, S3 does not "
			"follow yet: %.*s; it is tried again",
			vault_id_text(info->exhibit_id.data, id), info->hold ? "kept" : "released",
			info->hold_failure.len ? (int)info->hold_failure.len : 13,
			info->hold_failure.len ? (char *)info->hold_failure.data : "no answer yet");
		(void)outcome_failure(&e);
		o->incomplete = true;
	}
}

int verb_hold(const struct args *a)
{
	Exhibit__V1__HoldRequest q = EXHIBIT__V1__HOLD_REQUEST__INIT;
	AUTO(exhibit_list_release) struct exhibit_list one = { 0 }, l = { 0 };
	struct outcome o = { 0 };
	struct error e = { 0 };
	int r = check_hold(a, &e);

	if (r == 0 && a->object)
		r = exhibit_find(a, a->object, &one, &e);
	if (r == 0) {
		if (one.n)
			q.exhibit_id = one.at[0]->exhibit_id;
		q.case_id = text_of(a->case_id);
		q.hold = !a->release;
		q.reason = text_of(a->reason);
		r = exhibit_list_ask(a, VAULT_PATH_HOLD, &q, &l, &e);
	}
	if (r < 0)
		return outcome_failure(&e);
	exhibit_list_show(a, &l, &o);
	say_pending(&l, &o);
	return outcome_exit(&o);
}
