/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of /etc/passwd and /etc/shadow (passwd(5), shadow(5)). Pure: hostile text to fields that lead into it. */
#ifndef ACQUIRE_ACCOUNTS_H
#define ACQUIRE_ACCOUNTS_H

#include "proto/base/reader.h"

struct account_field {
	const uint8_t *at;
	size_t len;
};

/* The home directory of a line of passwd: absolute, longer than "/", without NUL or a ".." component. */
bool account_home(struct reader line, struct account_field *ret);

/* What a line of shadow says of a password, without the password's hash. */
struct account_policy {
	struct account_field user;
	const char *password; /* "none": a login needs none; "locked", "hash" */
	struct account_field scheme; /* of hash: "y" of "$y$..."; absent: DES or unknown */
	bool locked_hash; /* there is a hash behind the lock */
	struct account_field last_change, minimum, maximum, warning, inactive,
		expires; /* days, as text */
};
bool account_policy(struct reader line, struct account_policy *ret);

#endif
