/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/host_root.h"

#include <stdio.h>

const char *host_root(const struct acquire_request *r, char buf[static HOST_ROOT_MAX])
{
	int n = snprintf(buf, HOST_ROOT_MAX, "%s/1/root", r->proc);

	if (n >= HOST_ROOT_MAX || access(buf, X_OK) < 0)
		buf[0] = '\0';
	return buf;
}

int host_root_note(const struct acquire_request *r, struct output *o, struct error *e)
{
	char root[HOST_ROOT_MAX];

	if (host_root(r, root)[0] != '\0')
		return 0;
	return output_note(
		o, "host_root",
		"the agent's own: the first process may not be looked at here, so the host's files, "
		"devices and network are those that the agent itself sees",
		e);
}
