/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit grab */
#include <errno.h>
#include <string.h>

#include "collector/cli/config.h"
#include "collector/cli/grab_order.h"
#include "collector/cli/order_watch.h"
#include "collector/cli/person.h"
#include "collector/cli/session.h"
#include "proto/base/clock.h"

#define SUBMIT_PATH "/exhibit.v1.Orders/Submit"
#define HOSTS_PATH "/exhibit.v1.Query/Hosts"

static void hosts_release(struct grab_hosts *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->id[i]);
	h->n = 0;
}

/* ---- which hosts --------------------------------------------------------------------------------------- */

static bool same(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

struct lookup {
	const struct args *args;
	struct grab_hosts *hosts;
	unsigned int found[ARGS_HOSTS_MAX]; /* how many have this id or name */
};

static bool known(const struct grab_hosts *h, const ProtobufCBinaryData *id)
{
	for (size_t i = 0; i < h->n; i++)
		if (strlen(h->id[i]) == id->len && memcmp(h->id[i], id->data, id->len) == 0)
			return true;
	return false;
}

static int take_host(struct lookup *l, const Exhibit__V1__HostRow *row, struct error *e)
{
	bool asked = false;

	for (size_t i = 0; i < l->args->n_hosts; i++)
		if (same(&l->args->hosts[i], &row->host_id) ||
		    same(&l->args->hosts[i], &row->host_name)) {
			l->found[i]++;
			asked = true;
		}
	if (!asked || known(l->hosts, &row->host_id))
		return 0;
	if (l->hosts->n == ARGS_HOSTS_MAX)
		return error_set(e, -EINVAL, "more than %d hosts have these names", ARGS_HOSTS_MAX);
	l->hosts->id[l->hosts->n] = strndup((const char *)row->host_id.data, row->host_id.len);
	if (!l->hosts->id[l->hosts->n])
		return error_set(e, -ENOMEM, "cannot look up a host: %m");
	l->hosts->n++;
	return 0;
}

/* Each --host is one host: evidence is not taken from whoever else has the same name. */
static int check_found(const struct lookup *l, struct error *e)
{
	for (size_t i = 0; i < l->args->n_hosts; i++) {
		const ProtobufCBinaryData *name = &l->args->hosts[i];

		if (l->found[i] == 1)
			continue;
		(void)error_set(e, -ENOENT,
				l->found[i] ? "several hosts are called '%.*s'" :
					      "there is no host '%.*s'",
				(int)name->len, (const char *)name->data);
		error_hint(e, l->found[i] ? "give its id; 'exhibit hosts' shows it" :
					    "'exhibit hosts' lists them");
		return -ENOENT;
	}
	return 0;
}

static int ask_hosts(struct lookup *l, struct error *e)
{
	Exhibit__V1__HostsRequest q = EXHIBIT__V1__HOSTS_REQUEST__INIT;
	AUTO(session_free_ptr) struct session *s = NULL;
	int r = session_open(l->args, HOSTS_PATH, &q, &s, e);

	while (r >= 0) {
		AUTO(free_ptr) uint8_t *data = NULL;
		Exhibit__V1__HostsReply *m;
		size_t len;

		r = session_next(s, &data, &len, e);
		if (r <= 0)
			return r;
		m = exhibit__v1__hosts_reply__unpack(NULL, len, data);
		if (!m)
			return error_set(e, -EBADMSG, "the collector's answer cannot be read");
		if (m->kind_case == EXHIBIT__V1__HOSTS_REPLY__KIND_HOST)
			r = take_host(l, m->host, e);
		exhibit__v1__hosts_reply__free_unpacked(m, NULL);
	}
	return r;
}

static int find_hosts(const struct args *a, struct grab_hosts *ret, struct error *e)
{
	struct lookup l = { .args = a, .hosts = ret };
	int r;

	if (a->n_hosts == 0) {
		(void)error_set(e, -EINVAL, "--host is needed: whose evidence it is");
		error_hint(e, "'exhibit hosts' lists them");
		return -EINVAL;
	}
	r = ask_hosts(&l, e);
	return r == 0 ? check_found(&l, e) : r;
}

/* ---- the order ------------------------------------------------------------------------------------------- */

static int make(const struct args *a, struct order_signer *signer, const struct grab_hosts *hosts,
		Exhibit__V1__SignedOrder *ret, Exhibit__V1__OrderSignature *signature,
		struct error *e)
{
	int r = grab_order(a, hosts, order_signer_identity(signer), clock_wall_ns(),
			   &ret->order.data, &ret->order.len, e);

	if (r == 0)
		r = order_sign(signer, ORDER_DOMAIN, ret->order.data, ret->order.len, signature, e);
	ret->requester = signature;
	return r;
}

static void say_made(const struct order_watch *w)
{
	char id[ORDER_ID_TEXT];

	(void)order_id_text(&w->order->order_id, id);
	(void)fprintf(stderr,
		      "order %s is made; 'exhibit orders %.8s --follow' shows what becomes of it\n",
		      id, id);
}

static int submit(const struct args *a, const Exhibit__V1__SignedOrder *order,
		  struct order_watch *w, struct error *e)
{
	Exhibit__V1__Order *parsed = NULL;
	int r = order_parse(order->order.data, order->order.len, &parsed, e);

	if (r < 0)
		return r;
	order_watch_begin(w, a, parsed);
	w->quiet = !a->grab.wait;
	r = order_watch_run(w, SUBMIT_PATH, order, !a->grab.wait, e);
	if (r == 0 && w->made && (!a->grab.wait || session_interrupted()))
		say_made(w);
	return r;
}

static int run(const struct args *a, struct order_watch *w, struct error *e)
{
	Exhibit__V1__SignedOrder order = EXHIBIT__V1__SIGNED_ORDER__INIT;
	Exhibit__V1__OrderSignature signature = EXHIBIT__V1__ORDER_SIGNATURE__INIT;
	AUTO(order_signer_free_ptr) struct order_signer *signer = NULL;
	AUTO(hosts_release) struct grab_hosts hosts = { 0 };
	int r = person_signer(a, &signer, e);

	if (r == 0)
		r = find_hosts(a, &hosts, e);
	if (r == 0)
		r = make(a, signer, &hosts, &order, &signature, e);
	if (r == 0)
		r = submit(a, &order, w, e);
	free(order.order.data);
	order_signature_release(&signature);
	return r;
}

int verb_grab(const struct args *a)
{
	AUTO(order_watch_release) struct order_watch w = { 0 };
	struct error e = { 0 };
	int code;

	if (run(a, &w, &e) < 0)
		return outcome_failure(&e);
	code = order_watch_show(&w);
	/* Made is all that was asked for. */
	return !a->grab.wait && code == EXIT_INCOMPLETE ? EXIT_FOUND : code;
}
