/* SPDX-License-Identifier: Apache-2.0 */
/* Where the collector is and who asks. */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include "proto/base/options.h"

struct cli_config {
	char *collector, *cert, *key, *order_ca, *server_name;
	char *signing_key, *signing_cert; /* for orders; may be empty */
};

extern const struct option_table cli_options;

/* path: as given by --config, or NULL: $EXHIBIT_CONFIG, else ~/.config/exhibit/config.yaml. Release with
 * options_release(&cli_options, ret). */
MUST_CHECK int cli_config_load(const char *path, struct cli_config *ret, struct error *e);

#endif
