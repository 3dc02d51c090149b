/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/person.h"

#include <errno.h>

#include "collector/cli/config.h"

int person_signer(const struct args *a, struct order_signer **ret, struct error *e)
{
	struct cli_config config;
	int r = cli_config_load(a->config, &config, e);

	if (r < 0)
		return r;
	if (config.signing_key && config.signing_key[0] && config.signing_cert &&
	    config.signing_cert[0]) {
		r = order_signer_open(config.signing_key, config.signing_cert, ret, e);
	} else {
		r = error_set(e, -EINVAL,
			      "orders are signed, and the configuration names no key for it");
		error_hint(e, "name signing-key and signing-cert, which 'exhibit authority issue' "
			      "made; see exhibit(1)");
	}
	options_release(&cli_options, &config);
	return r;
}
