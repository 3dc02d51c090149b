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
