/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/socket_table.h"

#include <string.h>

#include "agent/acquire/proc_text.h"

static uint64_t number_below(struct reader *r, unsigned int base, uint64_t max)
{
	uint64_t v = proc_number(r, base);

	r->bad |= v > max;
	return v;
}

/* Words of 32 bits, each printed as this machine's number. Returns how many bytes. */
static uint8_t address(struct reader *r, uint8_t ret[static 16])
{
	uint8_t len = 0;

	while (len < 16 && r->left >= 8 && r->at[0] != ':') {
		struct reader word = reader_sub(r, 8);
		uint32_t v = (uint32_t)proc_number(&word, 16);

		r->bad |= word.bad || word.left > 0;
		memcpy(ret + len, &v, sizeof(v));
		len += 4;
	}
	return len;
}

static void skip_words(struct reader *r, size_t n)
{
	const uint8_t *at;

	while (n-- > 0)
		r->bad |= proc_word(r, &at) == 0;
}

/* "  sl: LOCAL:PORT REMOTE:PORT ST TX:RX TR:WHEN RETRANSMITS UID TIMEOUT INODE ..." */
bool socket_row_internet(struct reader line, struct socket_row *ret)
{
	*ret = (struct socket_row){ 0 };
	proc_blanks(&line);
	(void)proc_number(&line, 10);
	proc_expect(&line, ':');
	proc_blanks(&line);
	ret->ip_len = address(&line, ret->local_ip);
	proc_expect(&line, ':');
	ret->local_port = (uint16_t)number_below(&line, 16, UINT16_MAX);
	proc_blanks(&line);
	line.bad |= address(&line, ret->remote_ip) != ret->ip_len;
	proc_expect(&line, ':');
	ret->remote_port = (uint16_t)number_below(&line, 16, UINT16_MAX);
	proc_blanks(&line);
	ret->state = (uint32_t)number_below(&line, 16, UINT8_MAX);
	proc_blanks(&line);
	skip_words(&line, 3);
	ret->uid = (uint32_t)number_below(&line, 10, UINT32_MAX);
	proc_blanks(&line);
	skip_words(&line, 1);
	ret->inode = proc_number(&line, 10);
	return !line.bad && (ret->ip_len == 4 || ret->ip_len == 16);
}

/* "NUM: REFS PROTOCOL FLAGS TYPE STATE INODE PATH"; the path is the rest, blanks and all. */
bool socket_row_unix(struct reader line, struct socket_row *ret)
{
	*ret = (struct socket_row){ 0 };
	(void)proc_number(&line, 16);
	proc_expect(&line, ':');
	proc_blanks(&line);
	skip_words(&line, 3);
	ret->type = (uint32_t)number_below(&line, 16, UINT16_MAX);
	proc_blanks(&line);
	ret->state = (uint32_t)number_below(&line, 16, UINT8_MAX);
	proc_blanks(&line);
	ret->inode = proc_number(&line, 10);
	if (line.bad)
		return false;
	if (line.left > 1 && line.at[0] == ' ') {
		ret->path = line.at + 1;
		ret->path_len = line.left - 1;
	}
	return line.left == 0 || line.at[0] == ' ';
}

const char *socket_state_name(uint32_t state)
{
	static const char *const names[] = {
		"unknown",    "established", "syn-sent",         "syn-received", "fin-wait-1",
		"fin-wait-2", "time-wait",   "closed",           "close-wait",   "last-ack",
		"listening",  "closing",     "new-syn-received",
	};

	return names[state < ARRAY_LEN(names) ? state : 0];
}
