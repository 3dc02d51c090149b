/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/acquire/proc_text.h"
#include "proto/base/files.h"

static const struct {
	const char *name, *protocol;
	enum core_socket_form form;
} files[] = {
	{ "net/tcp", "tcp", SOCKET_FORM_INET },         { "net/tcp6", "tcp6", SOCKET_FORM_INET6 },
	{ "net/udp", "udp", SOCKET_FORM_INET },         { "net/udp6", "udp6", SOCKET_FORM_INET6 },
	{ "net/udplite", "udplite", SOCKET_FORM_INET }, { "net/raw", "raw", SOCKET_FORM_INET },
	{ "net/raw6", "raw6", SOCKET_FORM_INET6 },      { "net/icmp", "icmp", SOCKET_FORM_INET },
	{ "net/icmp6", "icmp6", SOCKET_FORM_INET6 },    { "net/unix", "unix", SOCKET_FORM_UNIX },
};

/* n words of 32 bits as the kernel holds them, printed as numbers of this machine. */
static void parse_words(struct reader *r, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *digits = reader_bytes(r, 8);
		struct reader word = reader_init(digits, digits != NULL ? 8 : 0);
		uint32_t value = (uint32_t)proc_number(&word, 16);

		r->bad = r->bad || word.bad || word.left > 0;
		memcpy(out + 4 * i, &value, 4);
	}
}

/* "0100007F:1F90" */
static void parse_address(struct reader *r, bool six, char ret[static CORE_SOCKET_ADDRESS_MAX])
{
	char text[INET6_ADDRSTRLEN] = "";
	uint8_t raw[16];

	parse_words(r, raw, six ? 4 : 1);
	proc_expect(r, ':');
	uint64_t port = proc_number(r, 16);

	if (r->bad || port > UINT16_MAX ||
	    inet_ntop(six ? AF_INET6 : AF_INET, raw, text, sizeof(text)) == NULL) {
		r->bad = true;
		return;
	}
	(void)snprintf(ret, CORE_SOCKET_ADDRESS_MAX, six ? "[%s]:%u" : "%s:%u", text,
		       (unsigned int)port);
	proc_blanks(r);
}

static void skip_words(struct reader *r, size_t n)
{
	const uint8_t *word;

	for (size_t i = 0; i < n; i++)
		if (proc_word(r, &word) == 0)
			r->bad = true;
}

/* "sl: local remote st tx:rx tr:when retransmit uid timeout inode ..." */
static void parse_inet(struct reader *r, bool six, struct core_socket *ret)
{
	skip_words(r, 1);
	parse_address(r, six, ret->local);
	parse_address(r, six, ret->remote);
	uint64_t state = proc_number(r, 16);

	proc_blanks(r);
	skip_words(r, 5);
	ret->inode = proc_number(r, 10);
	ret->state = (uint8_t)state;
	r->bad = r->bad || state > UINT8_MAX;
}

/* "num: refs protocol flags type state inode path" */
static void parse_unix(struct reader *r, struct core_socket *ret)
{
	skip_words(r, 5);
	uint64_t state = proc_number(r, 16);

	proc_blanks(r);
	ret->inode = proc_number(r, 10);
	proc_blanks(r);
	ret->state = (uint8_t)state;
	r->bad = r->bad || state > UINT8_MAX;
	ret->path_len = r->left;
	ret->path = r->left > 0 ? reader_bytes(r, r->left) : NULL;
}

bool core_socket_parse(enum core_socket_form form, const char *line, size_t len,
		       struct core_socket *ret)
{
	struct reader r = reader_init(line, len);
	struct core_socket s = { 0 };

	proc_blanks(&r);
	if (form == SOCKET_FORM_UNIX)
		parse_unix(&r, &s);
	else
		parse_inet(&r, form == SOCKET_FORM_INET6, &s);
	*ret = s;
	return !r.bad;
}

static int add(struct core_sockets *s, const struct core_socket *one, struct error *e)
{
	if (s->n == s->room) {
		size_t room = s->room == 0 ? 1024 : 2 * s->room;
		struct core_socket *all =
			room <= CORE_SOCKETS_MAX ? realloc(s->all, room * sizeof(*all)) : NULL;

		if (all == NULL)
			return error_set(e, -ENOMEM, "cannot list more than %zu sockets", s->n);
		s->all = all;
		s->room = room;
	}
	s->all[s->n++] = *one;
	return 0;
}

static int read_file(struct core_sockets *s, int dir, size_t which, struct error *e)
{
	uint8_t *text = NULL;
	size_t len = 0;
	int result = 0;

	if (files_read_at(dir, files[which].name, CORE_SOCKET_TEXT_MAX, &text, &len, NULL) < 0)
		return 0;
	s->texts[s->n_texts++] = (char *)text;
	struct reader r = reader_init(text, len);

	(void)proc_line(&r);
	while (r.left > 0 && result == 0) {
		struct reader line = proc_line(&r);
		struct core_socket one;

		if (!core_socket_parse(files[which].form, (const char *)line.at, line.left, &one))
			continue;
		one.protocol = files[which].protocol;
		result = add(s, &one, e);
	}
	return result;
}

static int by_inode(const void *a, const void *b)
{
	const struct core_socket *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

int core_sockets_read(int dir, struct core_sockets *ret, struct error *e)
{
	struct core_sockets s = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++)
		r = read_file(&s, dir, i, e);
	if (r < 0) {
		core_sockets_release(&s);
		return r;
	}
	if (s.n > 0)
		qsort(s.all, s.n, sizeof(*s.all), by_inode);
	*ret = s;
	return 0;
}

void core_sockets_release(struct core_sockets *s)
{
	free(s->all);
	for (size_t i = 0; i < s->n_texts; i++)
		free(s->texts[i]);
	*s = (struct core_sockets){ 0 };
}

const struct core_socket *core_sockets_find(const struct core_sockets *s, uint64_t inode)
{
	struct core_socket key = { .inode = inode };

	/* 0: a socket that nobody holds any more. */
	if (inode == 0 || s->n == 0)
		return NULL;
	return bsearch(&key, s->all, s->n, sizeof(*s->all), by_inode);
}

const char *core_socket_state(const struct core_socket *s)
{
	static const char *const tcp[] = { NULL,         "ESTABLISHED", "SYN_SENT",  "SYN_RECV",
					   "FIN_WAIT1",  "FIN_WAIT2",   "TIME_WAIT", "CLOSE",
					   "CLOSE_WAIT", "LAST_ACK",    "LISTEN",    "CLOSING" };

	return strncmp(s->protocol, "tcp", 3) == 0 && s->state < ARRAY_LEN(tcp) ? tcp[s->state] :
										  NULL;
}
