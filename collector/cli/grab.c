/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit grab */
#include <errno.h>
#include <string.h>

#include "collector/cli/config.h"
#include "collector/cli/grab_live.h"
#include "collector/cli/grab_order.h"
#include "collector/cli/host_ids.h"
#include "collector/cli/order_watch.h"
#include "collector/cli/person.h"
#include "collector/cli/session.h"
#include "proto/base/clock.h"

#define SUBMIT_PATH "/exhibit.v1.Orders/Submit"

static int find_hosts(const struct args *a, struct host_ids *ret, struct error *e)
{
	if (a->n_hosts)
		return host_ids_find(a, ret, e);
	(void)error_set(e, -EINVAL, "--host is needed: whose evidence it is");
	error_hint(e, "'exhibit hosts' lists them");
	return -EINVAL;
}

/* ---- the order ------------------------------------------------------------------------------------------- */

static int make(const struct args *a, struct order_signer *signer, const struct host_ids *hosts,
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
	if (a->grab.to_stdout)
		return grab_live_run(w, SUBMIT_PATH, order, e);
	w->quiet = !a->grab.wait;
	r = order_watch_run(w, SUBMIT_PATH, order,
			    a->grab.wait ? ORDER_WATCH_OVER : ORDER_WATCH_MADE, e);
	if (r == 0 && w->made && (!a->grab.wait || session_interrupted()))
		say_made(w);
	return r;
}

static int run(const struct args *a, struct order_watch *w, struct error *e)
{
	Exhibit__V1__SignedOrder order = EXHIBIT__V1__SIGNED_ORDER__INIT;
	Exhibit__V1__OrderSignature signature = EXHIBIT__V1__ORDER_SIGNATURE__INIT;
	AUTO(order_signer_free_ptr) struct order_signer *signer = NULL;
	AUTO(host_ids_release) struct host_ids hosts = { 0 };
	int r = person_signer(a, &signer, e);

	if (r == 0)
		r = find_hosts(a, &hosts, e);
	if (r == 0 && a->grab.to_stdout)
		r = grab_live_check(a, hosts.n, e);
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
	if (a->grab.to_stdout)
		return order_watch_code(&w);
	code = order_watch_show(&w);
	/* Made is all that was asked for. */
	return !a->grab.wait && code == EXIT_INCOMPLETE ? EXIT_FOUND : code;
}
