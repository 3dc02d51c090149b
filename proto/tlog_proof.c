/* SPDX-License-Identifier: Apache-2.0 */
/* The half of tlog.h that is a text file: index, hashes, checkpoint. */
#include "proto/tlog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/base64.h"

#define FIRST_LINE "c2sp.org/tlog-proof@v1\n"
#define INDEX_WORD "index "

int tlog_proof_format(const struct tlog_proof *p, char *buf, size_t size, size_t *ret_len)
{
	char hash[BASE64_LEN(SEAL_HASH_LEN) + 1];
	int n = snprintf(buf, size, FIRST_LINE INDEX_WORD "%" PRIu64 "\n", p->index);
	size_t at = (size_t)n;

	for (size_t i = 0; n >= 0 && at < size && i < p->n; i++) {
		(void)base64_encode(p->hashes[i].b, SEAL_HASH_LEN, hash);
		n = snprintf(buf + at, size - at, "%s\n", hash);
		at += (size_t)n;
	}
	if (n < 0 || at >= size || size - at <= p->checkpoint_len + 1)
		return -E2BIG;
	buf[at++] = '\n';
	memcpy(buf + at, p->checkpoint, p->checkpoint_len);
	at += p->checkpoint_len;
	buf[at] = '\0';
	*ret_len = at;
	return 0;
}

/* The line at *at, without its end; NULL: there is none. */
static const char *take_line(const char **at, const char *end, size_t *ret_len)
{
	const char *line = *at;
	const char *stop = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;

	if (!stop)
		return NULL;
	*ret_len = (size_t)(stop - line);
	*at = stop + 1;
	return line;
}

/* Decimal without leading zeros. */
static bool parse_index(const char *text, size_t len, uint64_t *ret)
{
	*ret = 0;
	if (len == 0 || len > 19 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*ret = *ret * 10 + (uint64_t)(text[i] - '0');
	}
	return true;
}

static int parse_hashes(const char **at, const char *end, struct tlog_proof *ret)
{
	for (;;) {
		size_t len, got;
		const char *line = take_line(at, end, &len);

		if (!line || ret->n == TLOG_PROOF_MAX)
			return -EBADMSG;
		if (len == 0)
			return 0;
		if (base64_decode(line, len, ret->hashes[ret->n].b, SEAL_HASH_LEN, &got) < 0 ||
		    got != SEAL_HASH_LEN)
			return -EBADMSG;
		ret->n++;
	}
}

int tlog_proof_parse(const char *text, size_t len, struct tlog_proof *ret, struct error *e)
{
	const char *at = text, *end = text + len, *line;
	size_t n;

	*ret = (struct tlog_proof){ 0 };
	line = take_line(&at, end, &n);
	if (!line || n + 1 != strlen(FIRST_LINE) || memcmp(line, FIRST_LINE, n) != 0)
		return error_set(e, -EBADMSG,
				 "the proof does not begin with 'c2sp.org/tlog-proof@v1'");
	line = take_line(&at, end, &n);
	if (!line || n < strlen(INDEX_WORD) || memcmp(line, INDEX_WORD, strlen(INDEX_WORD)) != 0 ||
	    !parse_index(line + strlen(INDEX_WORD), n - strlen(INDEX_WORD), &ret->index))
		return error_set(e, -EBADMSG, "the proof's second line is not 'index N'");
	if (parse_hashes(&at, end, ret) < 0)
		return error_set(e, -EBADMSG, "the proof's hashes are not lines of base64");
	ret->checkpoint = at;
	ret->checkpoint_len = (size_t)(end - at);
	return 0;
}
