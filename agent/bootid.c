/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/bootid.h"

#include <errno.h>

#include "proto/base/files.h"

#define TEXT_LEN 36

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool is_dash(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

int bootid_parse(const char *text, size_t len, uint8_t ret_id[static BOOTID_LEN])
{
	uint8_t id[BOOTID_LEN] = { 0 };
	size_t digits = 0;

	if (len == TEXT_LEN + 1 && text[TEXT_LEN] == '\n')
		len--;
	if (len != TEXT_LEN)
		return -EINVAL;
	for (size_t i = 0; i < TEXT_LEN; i++) {
		int value = hex_value(text[i]);

		if (is_dash(i) ? text[i] != '-' : value < 0)
			return -EINVAL;
		if (is_dash(i))
			continue;
		id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | value);
		digits++;
	}
	memcpy(ret_id, id, sizeof(id));
	return 0;
}

int bootid_read(uint8_t ret_id[static BOOTID_LEN], struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len;
	int r = files_read(BOOTID_FILE, 128, &text, &len, e);

	if (r < 0)
		return r;
	if (bootid_parse((const char *)text, len, ret_id) < 0)
		return error_set(e, -EINVAL, "'%s' holds no boot id", BOOTID_FILE);
	return 0;
}
