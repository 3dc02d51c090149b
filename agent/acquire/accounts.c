/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/accounts.h"

#include <string.h>

#define FIELDS_MAX 9

/* Returns how many; a line with more is none of ours. */
static size_t split(struct reader line, struct account_field ret[static FIELDS_MAX])
{
	size_t n = 0;

	for (;;) {
		const uint8_t *colon = line.left > 0 ? memchr(line.at, ':', line.left) : NULL;
		size_t len = colon != NULL ? (size_t)(colon - line.at) : line.left;

		if (n == FIELDS_MAX)
			return 0;
		ret[n].len = len;
		ret[n++].at = reader_bytes(&line, len);
		if (colon == NULL)
			return n;
		reader_skip(&line, 1);
	}
}

static bool has_dots(const struct account_field *path)
{
	for (size_t i = 0; i + 3 <= path->len; i++)
		if (memcmp(path->at + i, "/..", 3) == 0 &&
		    (i + 3 == path->len || path->at[i + 3] == '/'))
			return true;
	return false;
}

bool account_home(struct reader line, struct account_field *ret)
{
	struct account_field fields[FIELDS_MAX];

	if (split(line, fields) != 7)
		return false;
	*ret = fields[5];
	while (ret->len > 1 && ret->at[ret->len - 1] == '/')
		ret->len--;
	return ret->len > 1 && ret->at[0] == '/' && memchr(ret->at, '\0', ret->len) == NULL &&
	       !has_dots(ret);
}

static void take_password(struct account_field password, struct account_policy *ret)
{
	bool locked = false;

	while (password.len > 0 && (password.at[0] == '!' || password.at[0] == '*')) {
		locked = true;
		password.at++;
		password.len--;
	}
	ret->password = locked ? "locked" : password.len == 0 ? "none" : "hash";
	ret->locked_hash = locked && password.len > 0;
	if (password.len < 3 || password.at[0] != '$')
		return;
	const uint8_t *end = memchr(password.at + 1, '$', password.len - 1);

	if (end == NULL || end - password.at > 16)
		return;
	ret->scheme.at = password.at + 1;
	ret->scheme.len = (size_t)(end - password.at) - 1;
}

bool account_policy(struct reader line, struct account_policy *ret)
{
	struct account_field fields[FIELDS_MAX];

	*ret = (struct account_policy){ 0 };
	if (split(line, fields) != FIELDS_MAX || fields[0].len == 0)
		return false;
	ret->user = fields[0];
	take_password(fields[1], ret);
	ret->last_change = fields[2];
	ret->minimum = fields[3];
	ret->maximum = fields[4];
	ret->warning = fields[5];
	ret->inactive = fields[6];
	ret->expires = fields[7];
	return true;
}
