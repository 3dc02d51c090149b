/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/rebuilt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/row.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/ledger_cert.h"

#define FIRST_LINE "exhibit rebuilt 1\n"
#define FILE_MAX 256
#define LOST_FILE "lost"
#define LOST_MAX MiB(4)

struct knower {
	struct batch_name tenant, host;
	uint64_t leaves; /* of the checkpoint that it knows beyond the archive; 0: none */
	bool contradicts; /* it holds one that nothing explains */
};

struct rebuilt {
	char *dir;
	struct ledger *ledger;
	bool rebuilt;
	uint64_t leaf, from;
	struct note_key before; /* who signed before; name "": nobody else */
	pthread_mutex_t lock;
	struct knower *at;
	size_t n;
};

/* ---- files -------------------------------------------------------------------------------------------------- */

static int path_of(const char *dir, const char *name, char path[static 4200], struct error *e)
{
	return snprintf(path, 4200, "%s/%s", dir, name) < 4200 ?
		       0 :
		       error_set(e, -ENAMETOOLONG, "the folder '%.100s...' is too long", dir);
}

int rebuilt_write(const char *dir, uint64_t leaf, uint64_t leaves, struct error *e)
{
	char path[4200], text[FILE_MAX];
	int n = snprintf(text, sizeof(text), FIRST_LINE "%" PRIu64 " %" PRIu64 "\n", leaf, leaves);
	int r = path_of(dir, REBUILT_FILE, path, e);

	return r == 0 ? files_replace(path, text, (size_t)n, 0644, e) : r;
}

/* Digits and what ends them. */
static bool take_number(char **at, char end, uint64_t *ret)
{
	char *stop;

	if (**at < '0' || **at > '9')
		return false;
	errno = 0;
	*ret = strtoull(*at, &stop, 10);
	if (errno != 0 || *stop != end)
		return false;
	*at = stop + 1;
	return true;
}

static int load_leaf(struct rebuilt *b, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	char path[4200];
	size_t len;
	int r = path_of(b->dir, REBUILT_FILE, path, e);

	if (r == 0)
		r = files_read(path, FILE_MAX, &text, &len, e);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	char *at = (char *)text + strlen(FIRST_LINE);

	if (len < strlen(FIRST_LINE) || memcmp(text, FIRST_LINE, strlen(FIRST_LINE)) != 0 ||
	    !take_number(&at, ' ', &b->leaf) || !take_number(&at, '\n', &b->from) ||
	    at != (char *)text + len)
		return error_set(e, -EBADMSG, "'%s' is damaged", path);
	b->rebuilt = true;
	ledger_set_rebuild(b->ledger, (int64_t)b->leaf);
	return 0;
}

static int load_before(struct rebuilt *b, struct error *e)
{
	AUTO(free_ptr) uint8_t *der = NULL;
	char path[4200];
	size_t len;
	int r = path_of(b->dir, REBUILT_CERTIFICATE, path, e);

	if (r < 0 || access(path, F_OK) < 0)
		return r;
	r = ledger_cert_load(path, &der, &len, e);
	return r == 0 ? ledger_cert_check(der, len, NULL, 0, &b->before, e) : r;
}

static struct knower *find_knower(struct rebuilt *b, const struct batch_name *tenant,
				  const struct batch_name *host)
{
	for (size_t i = 0; i < b->n; i++)
		if (batch_name_equal(&b->at[i].host, host) &&
		    batch_name_equal(&b->at[i].tenant, tenant))
			return &b->at[i];
	return NULL;
}

/* Found, or made. NULL: too many, or out of memory. */
static struct knower *knower_of(struct rebuilt *b, const struct batch_name *tenant,
				const struct batch_name *host)
{
	struct knower *more = find_knower(b, tenant, host);

	if (more || b->n == REBUILT_HOSTS_MAX)
		return more;
	more = reallocarray(b->at, b->n + 1, sizeof(*more));
	if (!more)
		return NULL;
	b->at = more;
	more[b->n] = (struct knower){ .tenant = *tenant, .host = *host };
	return &more[b->n++];
}

static bool take_name(const char *text, struct batch_name *ret)
{
	size_t len = strlen(text);

	if (len == 0 || len > BATCH_NAME_MAX)
		return false;
	ret->len = (uint8_t)len;
	memcpy(ret->b, text, len);
	return true;
}

/* A line that is not whole was being written when the collector ended: its leaf is made again. */
static int load_lost(struct rebuilt *b, struct error *e)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	char path[4200], *save = NULL;
	size_t len;
	int r = path_of(b->dir, LOST_FILE, path, e);

	if (r == 0)
		r = files_read(path, LOST_MAX, &text, &len, e);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (char *line = strtok_r((char *)text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		struct batch_name t, h;
		struct knower *k;
		char *tenant = line, *host;
		uint64_t leaves;

		if (!take_number(&tenant, ' ', &leaves))
			continue;
		host = strchr(tenant, ' ');
		if (!host)
			continue;
		*host++ = '\0';
		if (!take_name(tenant, &t) || !take_name(host, &h))
			continue;
		k = knower_of(b, &t, &h);
		if (k && leaves > k->leaves)
			k->leaves = leaves;
	}
	return 0;
}

int rebuilt_open(const char *dir, struct ledger *l, struct rebuilt **ret, struct error *e)
{
	struct rebuilt *b = calloc(1, sizeof(*b));
	struct error why = { 0 };
	int r = 0;

	if (!b || !(b->dir = strdup(dir))) {
		free(b);
		return error_set(e, -ENOMEM, "cannot look at what hosts know: %m");
	}
	b->ledger = l;
	(void)pthread_mutex_init(&b->lock, NULL);
	r = load_leaf(b, &why);
	if (r == 0)
		r = load_before(b, &why);
	if (r == 0)
		r = load_lost(b, &why);
	if (r < 0) {
		if (e)
			*e = why;
		rebuilt_close(b);
		return r;
	}
	*ret = b;
	return 0;
}

void rebuilt_close(struct rebuilt *b)
{
	if (!b)
		return;
	(void)pthread_mutex_destroy(&b->lock);
	free(b->at);
	free(b->dir);
	free(b);
}

/* ---- what a host holds -------------------------------------------------------------------------------------- */

enum held { HELD_FOLLOWS, HELD_BEYOND, HELD_CONTRADICTS };

/* ret_lost: it may be of what was lost: signed by the key of before, where that was another one. */
static int open_note(const struct rebuilt *b, const void *note, size_t len, struct checkpoint *ret,
		     bool *ret_lost)
{
	bool other = b->before.name[0] != '\0';
	int r = checkpoint_open(ledger_key(b->ledger), note, len, ret, NULL);

	*ret_lost = b->rebuilt && !other;
	if (r != -ENOKEY || !other)
		return r;
	*ret_lost = b->rebuilt;
	return checkpoint_open(&b->before, note, len, ret, NULL);
}

static enum held judge(struct rebuilt *b, const struct checkpoint *c, bool lost)
{
	struct seal_hash root;
	int r = c->size == 0 ? 1 : ledger_root(b->ledger, c->size, &root, NULL);

	/* What cannot be read says nothing of the host. */
	if (r == 1 || (r < 0 && r != -ERANGE) ||
	    (r == 0 && memcmp(&root, &c->root, sizeof(root)) == 0))
		return HELD_FOLLOWS;
	return lost && c->size > b->from ? HELD_BEYOND : HELD_CONTRADICTS;
}

static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)data };
}

static int add_leaf(struct rebuilt *b, const struct knower *k, const void *note, size_t len,
		    const char *text, struct error *e)
{
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	const Exhibit__V1__LedgerEntry *list[1] = { &entry };
	struct seal_hash hash;

	if (seal_sha256(note, len, &hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash a checkpoint");
	entry.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD;
	entry.tenant = borrowed(k->tenant.b, k->tenant.len);
	entry.host_id = borrowed(k->host.b, k->host.len);
	entry.object = borrowed(hash.b, SEAL_HASH_LEN);
	entry.size = k->leaves;
	entry.text = borrowed(text, strlen(text));
	return ledger_append(b->ledger, list, 1, NULL, e);
}

static int note_lost(const struct rebuilt *b, const struct knower *k, struct error *e)
{
	char path[4200], line[640];
	int n = snprintf(line, sizeof(line), "%" PRIu64 " %.*s %.*s\n", k->leaves, k->tenant.len,
			 (const char *)k->tenant.b, k->host.len, (const char *)k->host.b);
	int r = path_of(b->dir, LOST_FILE, path, e);

	if (r < 0)
		return r;
	AUTO(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0 || files_write_all(fd, line, (size_t)n, e) < 0 || fdatasync(fd) < 0)
		return error_set(e, -EIO, "cannot write '%s': %m", path);
	return 0;
}

/* Once for each host and checkpoint: a leaf, a line, a line of the log. Under the lock. */
static void say_lost(struct rebuilt *b, struct knower *k, uint64_t leaves, const void *note,
		     size_t len)
{
	char text[512];
	struct error e = { 0 };

	if (leaves <= k->leaves)
		return;
	k->leaves = leaves;
	(void)snprintf(text, sizeof(text),
		       "checkpoint of %" PRIu64 " leaves known to host %.*s is newer than the "
		       "archive's %" PRIu64 ": leaves %" PRIu64 " to %" PRIu64 " were lost",
		       leaves, k->host.len > 100 ? 100 : k->host.len, (const char *)k->host.b,
		       b->from, b->from, leaves - 1);
	log_error(
		"ALARM: what a host knows of the ledger was lost with the collector that was rebuilt",
		KV_STR("what", text));
	if (add_leaf(b, k, note, len, text, &e) < 0 || note_lost(b, k, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "what was lost cannot be noted", &e);
}

void rebuilt_held(void *rebuilt, const struct batch_name *tenant, const struct batch_name *host,
		  const void *note, size_t len)
{
	struct rebuilt *b = rebuilt;
	struct checkpoint c;
	struct knower *k;
	enum held held;
	bool lost;

	if (len == 0 || open_note(b, note, len, &c, &lost) < 0)
		return; /* of a ledger that is not ours: the host judges that */
	held = judge(b, &c, lost);
	(void)pthread_mutex_lock(&b->lock);
	k = held == HELD_FOLLOWS ? find_knower(b, tenant, host) : knower_of(b, tenant, host);
	if (k) {
		k->contradicts = held == HELD_CONTRADICTS;
		if (held == HELD_BEYOND)
			say_lost(b, k, c.size, note, len);
	}
	(void)pthread_mutex_unlock(&b->lock);
}

/* ---- status ------------------------------------------------------------------------------------------------- */

bool rebuilt_status(struct rebuilt *b, Exhibit__V1__StatusRebuilt *m)
{
	uint64_t most = 0;

	(void)pthread_mutex_lock(&b->lock);
	m->hosts = calloc(b->n + 1, sizeof(*m->hosts));
	for (size_t i = 0; m->hosts && i < b->n; i++) {
		const struct knower *k = &b->at[i];
		ProtobufCBinaryData *to = &m->hosts[m->n_hosts];

		if (k->leaves == 0 && !k->contradicts)
			continue;
		most = k->leaves > most ? k->leaves : most;
		m->contradictions += k->contradicts;
		to->data = malloc(k->host.len);
		to->len = to->data ? k->host.len : 0;
		if (to->data)
			memcpy(to->data, k->host.b, to->len);
		m->n_hosts++;
	}
	(void)pthread_mutex_unlock(&b->lock);
	m->from_leaves = b->from;
	m->leaf = b->leaf;
	m->lost_leaves = most > b->from ? most - b->from : 0;
	return b->rebuilt || m->n_hosts > 0;
}

void rebuilt_status_release(Exhibit__V1__StatusRebuilt *m)
{
	for (size_t i = 0; m->hosts && i < m->n_hosts; i++)
		free(m->hosts[i].data);
	free(m->hosts);
	m->hosts = NULL;
	m->n_hosts = 0;
}
