/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/host_ids.h"

#include <errno.h>
#include <string.h>

#include "collector/cli/session.h"

#define HOSTS_PATH "/exhibit.v1.Query/Hosts"

void host_ids_release(struct host_ids *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->id[i]);
	h->n = 0;
}

static bool same(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

struct lookup {
	const struct args *args;
	struct host_ids *hosts;
	unsigned int found[ARGS_HOSTS_MAX]; /* how many have this id or name */
};

static bool known(const struct host_ids *h, const ProtobufCBinaryData *id)
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

int host_ids_find(const struct args *a, struct host_ids *ret, struct error *e)
{
	struct lookup l = { .args = a, .hosts = ret };
	int r = ask_hosts(&l, e);

	return r == 0 ? check_found(&l, e) : r;
}
