/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit completion */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/help.h"
#include "collector/cli/outcome.h"

int verb_completion(const struct args *a)
{
	struct error e = { 0 };

	if (!a->object || strcmp(a->object, "bash") != 0) {
		(void)error_set(&e, -EINVAL, "completion is written for bash only");
		error_hint(&e, ". <(exhibit completion bash)");
		return outcome_failure(&e);
	}
	help_completion();
	return fflush(stdout) ? EXIT_ERROR : EXIT_FOUND;
}
