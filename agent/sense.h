/* SPDX-License-Identifier: Apache-2.0 */
/* The privileged process: opens the parts in the order of the data (hooks, drain, seal, journal), runs
 * until told to stop, closes them so that the last event is sealed. It never has a network socket. */
#ifndef AGENT_SENSE_H
#define AGENT_SENSE_H

#include "agent/config.h"

/* argv: for the uplink that it has started. Returns 0 after SIGTERM or SIGINT. */
MUST_CHECK int sense_run(const struct agent_config *config, char **argv, struct error *e);
/* Attach every hook, print the coverage table to standard output, detach. */
MUST_CHECK int sense_probe(const struct agent_config *config, struct error *e);

#endif
