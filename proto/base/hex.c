/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/hex.h"

bool hex_parse(const char *text, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++, text += 2) {
		int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);

		if (low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
