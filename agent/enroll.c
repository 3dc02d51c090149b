/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/enroll.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/enroll_facts.h"
#include "agent/introduction.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/certs_key.h"
#include "proto/enrol.h"
#include "proto/openssl_util.h"
#include "proto/rpc_client.h"
#include "proto/rpc_guard.h"

#define CALL_MS 30000
#define TRIES 5
#define ASIDE_MAX 16
#define CONNECT_MS 10000
#define REPLY_MAX KiB(1024)
#define FACTS_FILE "enrolled"

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

static int facts_path(const struct agent_config *c, char buf[static PATH_MAX], struct error *e)
{
	return snprintf(buf, PATH_MAX, "%s/" FACTS_FILE, c->state_dir) < PATH_MAX ?
		       0 :
		       error_set(e, -ENAMETOOLONG, "state.dir is too long");
}

/* ---- the call ---------------------------------------------------------------------------------------- */

struct call {
	atomic_bool closed;
	enum rpc_status status;
	char text[ERROR_TEXT_MAX];
	uint8_t *data;
	size_t len;
};

static void on_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct call *k = ctx;

	rpc_stream_want_read(s, true);
	free(k->data);
	k->data = data;
	k->len = len;
}

static void on_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct call *k = ctx;

	(void)s;
	k->status = status;
	(void)snprintf(k->text, sizeof(k->text), "%s", text);
	atomic_store(&k->closed, true);
}

static const struct rpc_stream_ops ops = { .on_message = on_message, .on_closed = on_closed };

static int ask(struct rpc_client *client, uint8_t *request, size_t len, struct call *k,
	       struct error *e)
{
	struct rpc_stream *s = NULL;
	int r, sent;

	atomic_store(&k->closed, false);
	r = rpc_client_open(
		client,
		&(struct rpc_call){
			.path = ENROL_PATH, .ops = &ops, .ctx = k, .deadline_ms = CALL_MS },
		&s, e);

	if (r < 0)
		return r;
	sent = rpc_stream_send_copy(s, request, len);
	if (sent < 0)
		rpc_stream_cancel(s);
	rpc_stream_close_send(s);
	rpc_stream_want_read(s, true);
	while (!atomic_load(&k->closed))
		(void)nanosleep(&(struct timespec){ .tv_nsec = 10 * NSEC_PER_MSEC }, NULL);
	rpc_stream_unref(s);
	if (sent < 0)
		return error_set(e, sent, "cannot send the request for an identity: %s",
				 strerror(-sent));
	if (k->status == RPC_PERMISSION_DENIED)
		return error_set(e, -EACCES, "the collector does not enrol this host: %s", k->text);
	r = rpc_client_explain(client, k->status, k->text, e);
	if (r < 0)
		return r == -EACCES ? (e->code = -ECONNREFUSED) : r;
	return k->data != NULL ? 0 : error_set(e, -EPROTO, "the collector answered nothing");
}

/* Of the address that we share with others: the collector says so, or cuts the connection. */
static bool asked_too_often(const struct call *k)
{
	return k->status == RPC_RESOURCE_EXHAUSTED ||
	       (k->status == RPC_UNAVAILABLE &&
		(strstr(k->text, "Socket closed") != NULL ||
		 strstr(k->text, "cannot enrol hosts now") != NULL));
}

/* The collector is one that the order authority signed, or nothing is said to it. */
static int call(const struct agent_config *c, uint8_t *request, size_t len, struct call *k,
		struct error *e)
{
	AUTO(rpc_loop_free_ptr) struct rpc_loop *loop = NULL;
	struct rpc_client *client = NULL;
	int r = rpc_loop_new(1, &loop, e);

	if (r == 0)
		r = rpc_loop_start(loop, e);
	if (r == 0)
		r = rpc_client_new(loop,
				   &(struct rpc_client_config){
					   .address = c->enrol_address,
					   .server_name = *c->collector_server_name != '\0' ?
								  c->collector_server_name :
								  NULL,
					   .order_ca_file = c->tls_order_ca,
					   .connect_timeout_ms = CONNECT_MS },
				   &client, e);
	for (int i = 0; r == 0; i++) {
		r = ask(client, request, len, k, e);
		if (r == 0 || i == TRIES || !asked_too_often(k))
			break;
		/* Many start at once: each after a time of its own. */
		(void)nanosleep(&(struct timespec){ .tv_sec = 1 + i,
						    .tv_nsec = getpid() % 1000 * 1000000L },
				NULL);
		r = 0;
	}
	rpc_client_free(client);
	return r;
}

/* ---- keys and request -------------------------------------------------------------------------------- */

static int tls_key(const char *path, EVP_PKEY **ret, struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = exists(path) ? BIO_new_file(path, "r") : NULL;
	bool made = bio == NULL && !exists(path);
	EVP_PKEY *key = made        ? EVP_EC_gen("P-256") :
			bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") :
				      NULL;
	int r = 0;

	if (key == NULL)
		return error_set(e, -EIO, "cannot %s the key '%s': %s", made ? "make" : "read",
				 path, openssl_reason());
	if (made)
		r = certs_write_key(key, path, e);
	if (r < 0)
		EVP_PKEY_free(key);
	else
		*ret = key;
	return r;
}

static ProtobufCBinaryData text_of(const char *text)
{
	return (ProtobufCBinaryData){ strlen(text), (uint8_t *)(uintptr_t)text };
}

struct papers {
	EVP_PKEY *tls;
	struct seal_key *seal;
	uint8_t sealing[SEAL_PUBLIC_LEN];
	struct enroll_facts facts;
};

static void papers_release(struct papers *p)
{
	EVP_PKEY_free(p->tls);
	seal_key_free(p->seal);
}

static int make_keys(const struct agent_config *c, struct papers *p, struct error *e)
{
	int r = tls_key(c->tls_key, &p->tls, e);

	if (r == 0)
		r = certs_sealing_key(c->seal_key, p->sealing, e);
	if (r == 0)
		r = seal_key_load(c->seal_key, &p->seal, e);
	enroll_facts_read("", &p->facts);
	return r < 0 ? error_wrap(e, r, "cannot make this host's keys") : 0;
}

static int make_request(const struct agent_config *c, const struct papers *p, uint8_t **ret,
			size_t *ret_len, struct error *e)
{
	Exhibit__V1__EnrollRequest m = EXHIBIT__V1__ENROLL_REQUEST__INIT;
	AUTO(free_ptr) uint8_t *text = NULL;
	AUTO(free_ptr) uint8_t *boot = NULL;
	uint8_t token[ENROL_TOKEN_LEN], sealing[SEAL_PUBLIC_LEN];
	char host[ENROL_TEXT_MAX + 1] = "";
	size_t len, boot_len = 0;
	int r = files_read(c->enrol_token_file, KiB(1), &text, &len, e);

	if (r == 0)
		r = enrol_token_parse((const char *)text, len, token, e);
	if (r < 0)
		return error_wrap(e, r, "cannot use enrol.token-file '%s'", c->enrol_token_file);
	if (files_read("/proc/sys/kernel/random/boot_id", 64, &boot, &boot_len, NULL) == 0)
		m.boot_id = (ProtobufCBinaryData){ strcspn((char *)boot, "\n"), boot };
	(void)gethostname(host, sizeof(host) - 1);
	memcpy(sealing, p->sealing, sizeof(sealing));
	m.version = 1;
	m.token = (ProtobufCBinaryData){ sizeof(token), token };
	m.sealing_key = (ProtobufCBinaryData){ sizeof(sealing), sealing };
	m.machine_id = text_of(p->facts.machine_id);
	m.dmi_uuid = text_of(p->facts.dmi_uuid);
	m.cloud_instance = text_of(p->facts.cloud_instance);
	m.host_name = text_of(host);
	m.tenant = text_of(c->enrol_tenant);
	r = enrol_sign(&m, p->tls, p->seal, e);
	if (r == 0) {
		*ret = malloc(exhibit__v1__enroll_request__get_packed_size(&m) + 1);
		if (*ret != NULL)
			*ret_len = exhibit__v1__enroll_request__pack(&m, *ret);
		else
			r = error_set(e, -ENOMEM, "cannot enrol: %m");
	}
	free(m.csr.data);
	free(m.sealing_signature.data);
	explicit_bzero(token, sizeof(token));
	return r;
}

/* ---- what is kept ------------------------------------------------------------------------------------ */

/* Everything fits together, or nothing of it becomes an identity. */
static int check_identity(const struct agent_config *c, const struct papers *p, const char *cert,
			  const uint8_t *record, size_t len, struct error *e)
{
	AUTO(authorities_free_ptr) struct authorities *a = NULL;
	struct batch_name tenant = { 0 }, host = { 0 };
	struct identity_pair pair;
	int64_t now = clock_wall_ns() / (int64_t)NSEC_PER_SEC;
	int r = authorities_load(c->tls_fleet_ca, c->tls_order_ca, &a, e);

	if (r == 0)
		r = identity_load_pair(cert, c->tls_key, a, now, &pair, e);
	if (r == -EAGAIN || r == -EKEYEXPIRED)
		error_hint(
			e,
			"set this host's clock, then enrol again: the token is still good for it");
	if (r < 0)
		return r;
	if (pair.id.kind != IDENTITY_HOST) {
		r = error_set(e, -EINVAL, "the certificate is not a host's");
	} else {
		tenant.len = (uint8_t)strlen(pair.id.tenant);
		memcpy(tenant.b, pair.id.tenant, tenant.len);
		host.len = (uint8_t)strlen(pair.id.name);
		memcpy(host.b, pair.id.name, host.len);
		r = introduction_check(record, len, &tenant, &host, p->sealing, e);
	}
	if (r == 0)
		log_info("this host is enrolled", KV_STR("host", pair.id.name),
			 KV_STR("tenant", pair.id.tenant));
	identity_pair_release(&pair);
	return r;
}

static int keep_record(const struct agent_config *c, const Exhibit__V1__SignedHostRecord *m,
		       uint8_t **ret, size_t *ret_len, struct error *e)
{
	uint8_t *packed = malloc(exhibit__v1__signed_host_record__get_packed_size(m) + 1);

	if (packed == NULL)
		return error_set(e, -ENOMEM, "cannot keep the host record: %m");
	*ret = packed;
	*ret_len = exhibit__v1__signed_host_record__pack(m, packed);
	return files_replace(c->host_record, packed, *ret_len, 0644, e);
}

static int keep_facts(const struct agent_config *c, const struct papers *p, struct error *e)
{
	char path[PATH_MAX], text[ENROLL_FACTS_TEXT];
	int r = facts_path(c, path, e);

	if (r == 0)
		r = files_mkdirs(c->state_dir, 0700, e);
	return r < 0 ? r : files_replace(path, text, enroll_facts_format(&p->facts, text), 0600, e);
}

static int keep(const struct agent_config *c, const struct papers *p,
		const Exhibit__V1__EnrollReply *m, struct error *e)
{
	AUTO(free_ptr) uint8_t *record = NULL;
	char cert[PATH_MAX];
	size_t len = 0;
	int r = 0;

	if (m->host_record == NULL || m->certificate.len == 0 || m->fleet_authority.len == 0)
		return error_set(e, -EPROTO, "the collector's answer lacks something");
	if (snprintf(cert, sizeof(cert), "%s.new", c->tls_cert) >= (int)sizeof(cert))
		return error_set(e, -ENAMETOOLONG, "tls.cert is too long");
	/* One that was put there at installation is what was pinned: it stays. */
	if (!exists(c->tls_fleet_ca))
		r = files_replace(c->tls_fleet_ca, m->fleet_authority.data, m->fleet_authority.len,
				  0644, e);
	if (r == 0)
		r = keep_record(c, m->host_record, &record, &len, e);
	if (r == 0)
		r = keep_facts(c, p, e);
	if (r == 0)
		r = files_replace(cert, m->certificate.data, m->certificate.len, 0644, e);
	if (r == 0)
		r = check_identity(c, p, cert, record, len, e);
	if (r == 0)
		r = files_replace(c->tls_cert, m->certificate.data, m->certificate.len, 0644, e);
	(void)unlink(cert);
	return r < 0 ? error_wrap(e, r, "cannot keep the identity that the collector gave") : 0;
}

/* ---- enrolling --------------------------------------------------------------------------------------- */

static int check_config(const struct agent_config *c, struct error *e)
{
	if (exists(c->tls_cert)) {
		(void)error_set(e, -EEXIST, "this host has an identity already: '%s'", c->tls_cert);
		error_hint(e, "move it away to enrol as another host");
		return -EEXIST;
	}
	if (*c->enrol_address == '\0' || *c->enrol_token_file == '\0')
		return error_set(e, -EINVAL, "%s is needed to enrol",
				 *c->enrol_address == '\0' ? "enrol.address (--collector)" :
							     "enrol.token-file (--token-file)");
	return 0;
}

static int enrol(const struct agent_config *c, struct error *e)
{
	AUTO(papers_release) struct papers p = { 0 };
	AUTO(free_ptr) uint8_t *request = NULL;
	Exhibit__V1__EnrollReply *reply;
	struct call k = { 0 };
	size_t len = 0;
	int r = check_config(c, e);

	if (r == 0)
		r = make_keys(c, &p, e);
	if (r == 0)
		r = make_request(c, &p, &request, &len, e);
	if (r == 0)
		r = call(c, request, len, &k, e);
	if (r < 0) {
		free(k.data);
		return r;
	}
	reply = k.len <= REPLY_MAX ? exhibit__v1__enroll_reply__unpack(NULL, k.len, k.data) : NULL;
	free(k.data);
	if (reply == NULL)
		return error_set(e, -EPROTO, "the collector's answer cannot be read");
	r = keep(c, &p, reply, e);
	exhibit__v1__enroll_reply__free_unpacked(reply, NULL);
	if (r == 0 && unlink(c->enrol_token_file) < 0)
		log_warn("the token's file cannot be removed", KV_STR("file", c->enrol_token_file));
	return r;
}

/* gRPC must not be in the process that forks later (rpc_loop.h). */
static int enrol_apart(const struct agent_config *c, struct error *e)
{
	struct error why = { 0 };
	int fds[2], status = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set(e, -errno, "cannot start to enrol: %m");
	pid = fork();
	if (pid < 0) {
		(void)error_set(e, -errno, "cannot start to enrol: %m");
		(void)close(fds[0]);
		(void)close(fds[1]);
		return e != NULL ? e->code : -EAGAIN;
	}
	if (pid == 0) {
		int r = enrol(c, &why);

		_exit(r < 0 && write(fds[1], &why, sizeof(why)) < 0 ? 1 : r < 0);
	}
	(void)close(fds[1]);
	ssize_t n = read(fds[0], &why, sizeof(why));

	(void)close(fds[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status == 0)
		return 0;
	if (n != (ssize_t)sizeof(why))
		return error_set(e, -EPIPE, "the process that enrols ended before it was done");
	if (e != NULL)
		*e = why;
	return error_wrap(e, why.code, "cannot enrol this host");
}

/* ---- a copy of another machine ----------------------------------------------------------------------- */

static const char *moved_from(const struct agent_config *c)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	struct enroll_facts held, now;
	struct error why = { 0 };
	char path[PATH_MAX];
	size_t len;
	int r = exists(c->tls_cert) ? facts_path(c, path, &why) : -ENOENT;

	if (r == 0)
		r = files_read(path, ENROLL_FACTS_TEXT, &text, &len, &why);
	if (r == -ENOENT)
		return NULL; /* made by `certs host`, which knows no machine */
	if (r == 0 && !enroll_facts_parse((const char *)text, len, &held))
		r = error_set(&why, -EBADMSG,
			      "'%s' is damaged; enrol again if this may be another machine", path);
	if (r < 0) {
		log_failure(LOG_LEVEL_WARN,
			    "nobody can tell whether this machine is a copy of an enrolled host",
			    &why);
		return NULL;
	}
	enroll_facts_read("", &now);
	return enroll_facts_differ(&held, &now);
}

/* A copy of a copy has what its original set aside. */
static int set_aside(const char *path, struct error *e)
{
	char other[PATH_MAX];

	for (int i = 1; i <= ASIDE_MAX; i++) {
		if (snprintf(other, sizeof(other), "%s.of-original-%d", path, i) >=
		    (int)sizeof(other))
			return error_set(e, -ENAMETOOLONG, "the path '%.200s' is too long", path);
		if (exists(other))
			continue;
		if (rename(path, other) == 0 || errno == ENOENT)
			return 0;
		(void)error_set(e, -errno, "cannot set '%s' aside: %m", path);
		return -EIO;
	}
	(void)error_set(e, -EEXIST, "cannot set '%s' aside: %d others are there", path, ASIDE_MAX);
	error_hint(e, "remove what earlier copies left there, *.of-original-N");
	return -EIO;
}

static int remove_durably(const char *path, struct error *e)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot remove '%s': %m", path);
	(void)snprintf(dir, sizeof(dir), "%.*s", slash != NULL ? (int)(slash - path + 1) : 1,
		       slash != NULL ? path : ".");
	return files_sync_dir(dir, e);
}

/* The certificate last: until it is gone each start comes here again, and no new identity begins with the
 * original's keys or journal. */
static int forget(const struct agent_config *c, struct error *e)
{
	const char *const keys[] = { c->tls_key, c->seal_key, c->host_record, c->tls_cert };
	static const char *const state[] = { "journal", "orders" };
	char path[PATH_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(state); i++) {
		if (snprintf(path, sizeof(path), "%s/%s", c->state_dir, state[i]) >=
		    (int)sizeof(path))
			return error_set(e, -ENAMETOOLONG, "state.dir is too long");
		r = set_aside(path, e);
	}
	if (r == 0)
		r = files_sync_dir(c->state_dir, e);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(keys); i++)
		r = remove_durably(keys[i], e);
	return r;
}

int enroll_at_start(const struct agent_config *c, struct error *e)
{
	bool token = *c->enrol_token_file != '\0' && exists(c->enrol_token_file);
	const char *what = moved_from(c);

	if (what != NULL && !token) {
		(void)error_set(e, -ESTALE,
				"this host's identity '%s' was made on another machine: %s is "
				"another",
				c->tls_cert, what);
		error_hint(e,
			   "this is a copy: put a token into enrol.token-file, and it enrols as a "
			   "host of its own");
		return -ESTALE;
	}
	if (what != NULL) {
		log_warn("ALARM this machine is a copy of an enrolled host and enrols anew",
			 KV_STR("differs", what));
		int r = forget(c, e);

		if (r < 0)
			return r;
	}
	return token && !exists(c->tls_cert) ? enrol_apart(c, e) : 0;
}

/* ---- the verb ---------------------------------------------------------------------------------------- */

#define ARGS_MAX 128

/* The verb's own words for options of the agent. */
static const struct {
	const char *word, *option;
} words[] = {
	{ "--collector", "--enrol.address" },
	{ "--order-authority", "--tls.order-ca" },
	{ "--token-file", "--enrol.token-file" },
};

static char *in_full(char *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		size_t n = strlen(words[i].word);
		char *full;

		if (strncmp(arg, words[i].word, n) != 0 || (arg[n] != '\0' && arg[n] != '='))
			continue;
		return asprintf(&full, "%s%s", words[i].option, arg + n) < 0 ? NULL : full;
	}
	return strdup(arg);
}

static enum enroll_exit exit_of(int r)
{
	return r == 0                                                ? ENROLL_DONE :
	       r == -EACCES                                          ? ENROLL_REFUSED :
	       r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EDQUOT ? ENROLL_UNREACHABLE :
								       ENROLL_FAILED;
}

static int run_verb(int argc, char **argv, struct error *e)
{
	struct agent_config c = { 0 };
	enum log_level level = LOG_LEVEL_INFO;
	bool done = false;
	int r = options_main(&agent_options, argc, argv, AGENT_CONFIG_FILE, &c, &done, e);

	if (r == 0 && !done)
		r = log_level_parse(c.log_level, &level, e);
	if (r == 0 && !done) {
		log_init("exhibit-agent", level, c.log_json);
		r = enrol(&c, e);
	}
	options_release(&agent_options, &c);
	return r;
}

int enroll_main(int argc, char **argv)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	char *full[ARGS_MAX + 1] = { 0 };
	struct error e = { 0 };
	int r = argc <= ARGS_MAX ? rpc_guard_scrub_environment(&e) :
				   error_set(&e, -E2BIG, "there are too many arguments");

	for (int i = 0; r == 0 && i < argc; i++) {
		full[i] = in_full(argv[i]);
		if (full[i] == NULL)
			r = error_set(&e, -ENOMEM, "cannot read the arguments: %m");
	}
	if (r == 0)
		r = run_verb(argc, full, &e);
	for (int i = 0; i < argc && i < ARGS_MAX; i++)
		free(full[i]);
	if (r < 0)
		(void)fprintf(stderr, "exhibit-agent enroll: %s\n",
			      error_format(&e, sentence, sizeof(sentence)));
	return (int)exit_of(r);
}
