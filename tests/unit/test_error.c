/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/error.h"

static void null_is_accepted_everywhere(void **state)
{
	(void)state;
	assert_int_equal(error_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_wrap(NULL, -EPERM, "x"), -EPERM);
	error_hint(NULL, "x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null_is_accepted_everywhere),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
