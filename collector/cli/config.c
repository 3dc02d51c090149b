/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#define AT(member) offsetof(struct cli_config, member)

static const struct option rows[] = {
	{ "collector", OPT_STRING, AT(collector), 1, 512, "127.0.0.1:7443",
	  "the collector's address", "ADDRESS" },
	{ "tls.cert", OPT_STRING, AT(cert), 1, PATH_MAX, NULL, "certificate of the caller",
	  "FILE" },
	{ "tls.key", OPT_STRING, AT(key), 1, PATH_MAX, NULL, "its key", "FILE" },
	{ "tls.order-ca", OPT_STRING, AT(order_ca), 1, PATH_MAX, NULL,
	  "the authority that issued the collector's certificate", "FILE" },
	{ "tls.server-name", OPT_STRING, AT(server_name), 1, 255, NULL,
	  "the name in the collector's certificate, when it is not in its address", "NAME" },
	{ "signing-key", OPT_STRING, AT(signing_key), 1, PATH_MAX, NULL,
	  "the caller's key for signing orders: a PEM file, or pkcs11:token=...;object=...",
	  "KEY" },
	{ "signing-cert", OPT_STRING, AT(signing_cert), 1, PATH_MAX, NULL,
	  "its certificate, by the order authority", "FILE" },
};

const struct option_table cli_options = {
	.program = "exhibit",
	.summary = "ask the collector what happened on the hosts",
	.rows = rows,
	.n_rows = ARRAY_LEN(rows),
};

static int check(const struct cli_config *c, const char *path, struct error *e)
{
	const struct {
		const char *name, *value;
	} needed[] = { { "tls.cert", c->cert },
		       { "tls.key", c->key },
		       { "tls.order-ca", c->order_ca } };

	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (!needed[i].value || !needed[i].value[0])
			return error_set(e, -EINVAL, "%s: %s is missing", path, needed[i].name);
	return 0;
}

int cli_config_load(const char *path, struct cli_config *ret, struct error *e)
{
	const char *home = getenv("HOME"), *named = getenv("EXHIBIT_CONFIG");
	char fallback[PATH_MAX];
	int r;

	(void)snprintf(fallback, sizeof(fallback), "%s/.config/exhibit/config.yaml",
		       home ? home : "");
	if (!path)
		path = named && named[0] ? named : fallback;
	r = options_init(&cli_options, ret, e);
	if (r < 0)
		return r;
	r = options_load(&cli_options, path, ret, e);
	if (r == -ENOENT)
		error_hint(
			e,
			"name the file with --config or $EXHIBIT_CONFIG; exhibit(1) shows what stands in it");
	if (r == 0)
		r = check(ret, path, e);
	if (r < 0)
		options_release(&cli_options, ret);
	return r;
}
