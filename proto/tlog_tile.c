/* SPDX-License-Identifier: Apache-2.0 */
/* The half of tlog.h that knows where hashes lie: names and places of tiles. */
#include "proto/tlog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *tlog_tile_path(int level, uint64_t index, unsigned int width,
			   char buf[static TLOG_TILE_PATH_MAX])
{
	char number[40] = "";
	char part[24];
	size_t at = sizeof(number) - 1;

	/* From the last three digits on, to the front. */
	for (bool last = true; last || index > 0; last = false, index /= 1000) {
		int n = snprintf(part, sizeof(part), last ? "%03" PRIu64 : "x%03" PRIu64 "/",
				 index % 1000);

		at -= (size_t)n;
		memcpy(number + at, part, (size_t)n);
	}
	if (level == TLOG_ENTRIES)
		(void)snprintf(buf, TLOG_TILE_PATH_MAX, "tile/entries/%s", number + at);
	else
		(void)snprintf(buf, TLOG_TILE_PATH_MAX, "tile/%d/%s", level, number + at);
	if (width < TLOG_TILE_WIDTH) {
		size_t len = strlen(buf);

		(void)snprintf(buf + len, TLOG_TILE_PATH_MAX - len, ".p/%u", width);
	}
	return buf;
}

static bool take_word(const char **at, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*at, word, len) != 0)
		return false;
	*at += len;
	return true;
}

/* Up to max digits. */
static bool take_number(const char **at, size_t max, uint64_t *ret)
{
	size_t n = strspn(*at, "0123456789");

	if (n == 0 || n > max)
		return false;
	*ret = 0;
	for (size_t i = 0; i < n; i++)
		*ret = *ret * 10 + (uint64_t)((*at)[i] - '0');
	*at += n;
	return true;
}

static bool take_index(const char **at, uint64_t *ret)
{
	uint64_t part;

	*ret = 0;
	for (size_t parts = 0; take_word(at, "x"); parts++) {
		if (parts == 5 || !take_number(at, 3, &part) || !take_word(at, "/"))
			return false;
		*ret = (*ret + part) * 1000;
	}
	if (!take_number(at, 3, &part))
		return false;
	*ret += part;
	return true;
}

int tlog_tile_parse(const char *path, int *ret_level, uint64_t *ret_index, unsigned int *ret_width)
{
	char again[TLOG_TILE_PATH_MAX];
	const char *at = path;
	uint64_t level, index, width = TLOG_TILE_WIDTH;
	bool entries;

	if (!take_word(&at, "tile/"))
		return -EINVAL;
	entries = take_word(&at, "entries/");
	if (!entries && (!take_number(&at, 1, &level) || !take_word(&at, "/")))
		return -EINVAL;
	if (!take_index(&at, &index) || (take_word(&at, ".p/") && !take_number(&at, 3, &width)) ||
	    *at != '\0')
		return -EINVAL;
	if ((!entries && level >= TLOG_TILE_LEVELS) || width == 0 || width > TLOG_TILE_WIDTH)
		return -EINVAL;
	*ret_level = entries ? TLOG_ENTRIES : (int)level;
	*ret_index = index;
	*ret_width = (unsigned int)width;
	return strcmp(tlog_tile_path(*ret_level, index, *ret_width, again), path) == 0 ? 0 :
											 -EINVAL;
}

unsigned int tlog_tile_width(int level, uint64_t index, uint64_t size)
{
	uint64_t all = size >> (TLOG_TILE_HEIGHT * (level == TLOG_ENTRIES ? 0 : level));
	uint64_t full = all / TLOG_TILE_WIDTH;

	if (index < full)
		return TLOG_TILE_WIDTH;
	return index == full ? (unsigned int)(all % TLOG_TILE_WIDTH) : 0;
}

struct tlog_place tlog_place(unsigned int level, uint64_t index)
{
	unsigned int within = level % TLOG_TILE_HEIGHT;

	return (struct tlog_place){
		.level = (int)(level / TLOG_TILE_HEIGHT),
		.tile = index >> (TLOG_TILE_HEIGHT - within),
		.first = (unsigned int)((index << within) % TLOG_TILE_WIDTH),
		.n = 1U << within,
	};
}
