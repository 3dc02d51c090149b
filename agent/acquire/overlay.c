/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/overlay.h"

#include <string.h>

#define MERGED "/merged"
#define DIFF "/diff"

/* The next of the options, which it skips together with the comma; in a value a comma is an octal escape. */
static struct bytes next_option(struct reader *r)
{
	const uint8_t *end = r->left > 0 ? memchr(r->at, ',', r->left) : NULL;
	size_t len = end != NULL ? (size_t)(end - r->at) : r->left;
	struct bytes b = { .at = reader_bytes(r, len), .len = len };

	reader_skip(r, end != NULL ? 1 : 0);
	return b;
}

/* Behind the name, which stands at its beginning. */
static bool value_of(struct bytes option, const char *name, struct reader *ret)
{
	size_t len = strlen(name);

	if (option.len < len || memcmp(option.at, name, len) != 0)
		return false;
	*ret = reader_init(option.at + len, option.len - len);
	return true;
}

static bool is_octal(uint8_t c)
{
	return c >= '0' && c <= '7';
}

/* One byte of a value, mountinfo's octal escapes undone. */
static uint8_t next_byte(struct reader *r)
{
	uint8_t c = reader_u8(r);

	if (c != '\\' || r->left < 3 || !is_octal(r->at[0]) || !is_octal(r->at[1]) ||
	    !is_octal(r->at[2]))
		return c;
	const uint8_t *digits = reader_bytes(r, 3);

	return (uint8_t)((digits[0] - '0') << 6 | (digits[1] - '0') << 3 | (digits[2] - '0'));
}

/* Up to the end, or a ':' that nothing marks; with it: *ret_more. "": too long, or a NUL in it. */
static void copy_path(struct reader *r, bool given, bool list, char ret[static PATH_MAX],
		      bool *ret_more)
{
	size_t n = 0;
	bool bad = false;

	*ret_more = false;
	while (r->left > 0) {
		uint8_t c = next_byte(r);

		if (list && c == ':') {
			*ret_more = true;
			break;
		}
		if (given && c == '\\' && r->left > 0)
			c = next_byte(r);
		bad = bad || c == '\0' || n + 1 >= PATH_MAX;
		if (!bad)
			ret[n++] = (char)c;
	}
	ret[bad ? 0 : n] = '\0';
}

bool overlay_upper(struct bytes options, bool given, char ret[static PATH_MAX])
{
	struct reader r = reader_init(options.at, options.len), value;
	bool more;

	while (r.left > 0) {
		if (!value_of(next_option(&r), "upperdir=", &value))
			continue;
		copy_path(&value, given, false, ret, &more);
		return ret[0] != '\0';
	}
	return false;
}

struct overlay_lowers overlay_lowers(struct bytes options)
{
	return (struct overlay_lowers){ .options = reader_init(options.at, options.len) };
}

/* The layers behind "::" hold data only. */
static bool next_in_list(struct overlay_lowers *l, char ret[static PATH_MAX])
{
	bool more;

	if (l->value.left == 0 || l->value.at[0] == ':') {
		l->value = (struct reader){ 0 };
		return false;
	}
	copy_path(&l->value, true, true, ret, &more);
	return true;
}

bool overlay_lowers_next(struct overlay_lowers *l, char ret[static PATH_MAX])
{
	for (;;) {
		struct reader value;
		bool more;

		if (next_in_list(l, ret))
			return true;
		if (l->options.left == 0)
			return false;
		struct bytes option = next_option(&l->options);

		if (value_of(option, "lowerdir=", &value)) {
			l->value = value;
		} else if (value_of(option, "lowerdir+=", &value)) {
			copy_path(&value, false, false, ret, &more);
			return true;
		}
	}
}

bool overlay_beside(const char *point, const char *upper)
{
	size_t point_len = strlen(point), upper_len = strlen(upper);

	if (point_len <= strlen(MERGED) || upper_len <= strlen(DIFF) ||
	    strcmp(point + point_len - strlen(MERGED), MERGED) != 0 ||
	    strcmp(upper + upper_len - strlen(DIFF), DIFF) != 0)
		return false;
	point_len -= strlen(MERGED);
	upper_len -= strlen(DIFF);
	const char *folder = memrchr(point, '/', point_len);

	if (upper[0] == '/')
		return point_len == upper_len && memcmp(point, upper, upper_len) == 0;
	return folder != NULL && point_len - (size_t)(folder + 1 - point) == upper_len &&
	       memcmp(folder + 1, upper, upper_len) == 0;
}

bool overlay_has_component(const char *path, struct bytes name)
{
	while (*path != '\0') {
		path += strspn(path, "/");
		size_t len = strcspn(path, "/");

		if (len == name.len && memcmp(path, name.at, len) == 0)
			return true;
		path += len;
	}
	return false;
}

void overlay_folder_above(const char *base, char ret[static PATH_MAX])
{
	size_t len = strnlen(base, PATH_MAX - 1);

	for (int i = 0; i < 2 && len > 0; i++) {
		const char *slash = memrchr(base, '/', len);

		len = slash != NULL ? (size_t)(slash - base) : 0;
	}
	memcpy(ret, base, len);
	ret[len] = '\0';
}
