/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/enrol.h"

#include <errno.h>
#include <limits.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "collector/enrol_store.h"
#include "proto/authorities.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "proto/certs_key.h"
#include "proto/rpc_stream.h"

#define WAITING_MAX 256 /* requests */
#define TICK_MS 1000
#define HOST_DAYS 30
#define HOST_ID_LEN 16
#define FIRST_MESSAGE_MS 10000

struct enrol {
	struct enrol_config c;
	char dir[PATH_MAX], base[PATH_MAX], fleet_ca[PATH_MAX], cert[PATH_MAX];
	struct enrol_store *store;
	struct queue *in;
	pthread_t thread;
	bool started, complained;
	atomic_bool stop;
	pthread_mutex_t lock; /* of what follows */
	struct certs_authority *authority;
	char domain[IDENTITY_PART_MAX + 1];
	uint8_t *fleet_pem;
	size_t fleet_len;
};

struct request {
	struct rpc_stream *stream; /* a reference */
	uint8_t *data;
	size_t len;
};

static void request_free(struct request *q)
{
	rpc_stream_unref(q->stream);
	free(q->data);
	free(q);
}

static ProtobufCBinaryData bytes_of(const void *data, size_t len)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)data };
}

/* ---- the ledger -------------------------------------------------------------------------------------- */

static int append(void *ctx, const struct enrol_note *note, struct error *e)
{
	const struct enrol *n = ctx;
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;

	entry.version = 1;
	entry.kind = note->enrolled ? EXHIBIT__V1__LEDGER_KIND__LEDGER_ENROLMENT :
				      EXHIBIT__V1__LEDGER_KIND__LEDGER_TOKEN;
	entry.wall_ns = note->wall_ns;
	entry.tenant = bytes_of(note->tenant.b, note->tenant.len);
	entry.host_id = bytes_of(note->host.b, note->host.len);
	entry.subject = bytes_of(note->subject, strlen(note->subject));
	if (note->enrolled)
		entry.object = bytes_of(note->object.b, sizeof(note->object.b));
	entry.text = bytes_of(note->text, strlen(note->text));
	return n->c.leaf != NULL ? n->c.leaf(n->c.ledger_ctx, &entry, e) : 0;
}

static int pay(struct enrol *n, struct error *e)
{
	return enrol_store_owed(n->store, append, n, e);
}

/* What `exhibit-collector tokens` did meanwhile. */
static void tick(struct enrol *n)
{
	struct error e = { 0 };
	int r = pay(n, &e);

	if (r < 0 && !n->complained)
		log_failure(LOG_LEVEL_ERROR, "what became of enrolment tokens has no leaf yet", &e);
	n->complained = r < 0;
}

/* ---- one request ------------------------------------------------------------------------------------- */

struct answer {
	char *cert; /* PEM */
	uint8_t record[CERTS_HOST_RECORD_MAX];
	size_t record_len;
	uint8_t *packed; /* EnrollReply */
	size_t len;
};

static void answer_release(struct answer *a)
{
	free(a->cert);
	free(a->packed);
}

static int make_name(struct enrol *n, const struct enrol_token *t, struct identity *ret,
		     struct error *e)
{
	uint8_t random[HOST_ID_LEN];

	*ret = (struct identity){ .kind = IDENTITY_HOST };
	if (RAND_bytes(random, sizeof(random)) != 1)
		return error_set(e, -EIO, "cannot make a host id");
	(void)snprintf(ret->domain, sizeof(ret->domain), "%s", n->domain);
	(void)snprintf(ret->tenant, sizeof(ret->tenant), "%.*s", (int)t->tenant.len,
		       (const char *)t->tenant.b);
	for (size_t i = 0; i < sizeof(random); i++)
		(void)snprintf(ret->name + 2 * i, 3, "%02x", random[i]);
	return 0;
}

static int pack(struct enrol *n, const struct enrol_token *t, struct answer *a, struct error *e)
{
	Exhibit__V1__EnrollReply reply = EXHIBIT__V1__ENROLL_REPLY__INIT;
	AUTO(free_ptr) uint8_t *list = NULL;
	size_t list_len = 0;
	int r = -ENOMEM;

	if (n->c.revocations != NULL)
		list = n->c.revocations(n->c.ctx, &t->tenant, &list_len);
	reply.certificate = bytes_of(a->cert, strlen(a->cert));
	reply.fleet_authority = bytes_of(n->fleet_pem, n->fleet_len);
	reply.host_record = exhibit__v1__signed_host_record__unpack(NULL, a->record_len, a->record);
	if (list != NULL)
		reply.revocations =
			exhibit__v1__signed_revocation_list__unpack(NULL, list_len, list);
	if (reply.host_record != NULL && (list == NULL || reply.revocations != NULL)) {
		a->packed = malloc(exhibit__v1__enroll_reply__get_packed_size(&reply) + 1);
		if (a->packed != NULL) {
			a->len = exhibit__v1__enroll_reply__pack(&reply, a->packed);
			r = 0;
		}
	}
	if (reply.host_record != NULL)
		exhibit__v1__signed_host_record__free_unpacked(reply.host_record, NULL);
	if (reply.revocations != NULL)
		exhibit__v1__signed_revocation_list__free_unpacked(reply.revocations, NULL);
	return r < 0 ? error_set(e, r, "cannot answer: out of memory") : 0;
}

static int issue(struct enrol *n, const struct enrol_checked *c, const struct enrol_token *t,
		 struct identity *ret_id, struct answer *ret, struct error *e)
{
	struct certs_leaf leaf = { .seconds = HOST_DAYS * 86400U };
	char name[ENROL_TEXT_MAX + 1];
	int64_t now = n->c.now();
	int r;

	(void)snprintf(name, sizeof(name), "%.*s", (int)c->m->host_name.len,
		       (const char *)c->m->host_name.data);
	(void)pthread_mutex_lock(&n->lock);
	r = make_name(n, t, &leaf.id, e);
	if (r == 0)
		r = certs_issue_pem(n->authority, &leaf, c->tls, now / (int64_t)NSEC_PER_SEC,
				    &ret->cert, e);
	if (r == 0)
		r = certs_host_record_pack(n->authority, &leaf.id, name, c->m->sealing_key.data,
					   now, ret->record, &ret->record_len, e);
	if (r == 0)
		r = pack(n, t, ret, e);
	(void)pthread_mutex_unlock(&n->lock);
	*ret_id = leaf.id;
	return r;
}

static struct batch_name name_of(const void *data, size_t len)
{
	struct batch_name name = { 0 };

	name.len = (uint8_t)(len < BATCH_NAME_MAX ? len : BATCH_NAME_MAX);
	if (name.len > 0)
		memcpy(name.b, data, name.len);
	return name;
}

/* The use is burnt, its leaf durable and the host known before the answer leaves. */
static int grant(struct enrol *n, struct enrol_checked *c, const struct enrol_token *t,
		 const char *remote, struct answer *a, struct error *e)
{
	struct enrol_use u = { .id = t->id,
			       .now_ns = n->c.now(),
			       .tenant = t->tenant,
			       .keys = &c->keys,
			       .evidence = &c->evidence,
			       .remote = remote };
	AUTO(free_ptr) uint8_t *said = NULL;
	ProtobufCBinaryData token = c->m->token;
	struct identity id;
	int r = issue(n, c, t, &id, a, e);

	if (r < 0)
		return r;
	c->m->token = (ProtobufCBinaryData){ 0 };
	said = malloc(exhibit__v1__enroll_request__get_packed_size(c->m) + 1);
	if (said != NULL)
		u.request_len = exhibit__v1__enroll_request__pack(c->m, said);
	c->m->token = token;
	if (said == NULL)
		return error_set(e, -ENOMEM, "cannot keep what the host says: %m");
	u.request = said;
	u.reply = a->packed;
	u.reply_len = a->len;
	u.host = name_of(id.name, strlen(id.name));
	r = enrol_store_use(n->store, &u, e);
	if (r == 0)
		log_info("a host is enrolled", KV_STR("host", id.name), KV_STR("tenant", id.tenant),
			 KV_BYTES("name", c->m->host_name.data, c->m->host_name.len),
			 KV_U64("token", (uint64_t)t->id), KV_STR("from", remote));
	if (r == 0 && n->c.enrolled != NULL)
		n->c.enrolled(n->c.ctx, a->record, a->record_len);
	return r;
}

static int decide(struct enrol *n, struct enrol_checked *c, const char *remote, struct answer *a,
		  struct error *e)
{
	struct batch_name tenant = name_of(c->m->tenant.data, c->m->tenant.len);
	struct batch_name instance = name_of(c->m->cloud_instance.data, c->m->cloud_instance.len);
	struct enrol_token t;
	struct seal_hash hash;
	int r = seal_sha256(c->m->token.data, c->m->token.len, &hash);

	if (r < 0)
		return error_set(e, r, "cannot hash a token: %m");
	r = enrol_store_find(n->store, &hash, &c->keys, &tenant, &instance, n->c.now(), &t,
			     &a->packed, &a->len, e);
	if (r == 0 && a->packed == NULL)
		r = grant(n, c, &t, remote, a, e);
	if (r == -EACCES && t.id != 0 &&
	    enrol_store_refused(n->store, &t, n->c.now(), e->text, NULL) < 0)
		log_warn("a refused enrolment could not be noted");
	return r;
}

static int answer(struct enrol *n, const struct request *q, struct answer *a, struct error *e)
{
	struct enrol_checked c;
	int r = enrol_open(q->data, q->len, &c, e);

	if (r < 0)
		return r;
	r = decide(n, &c, rpc_stream_remote(q->stream), a, e);
	enrol_checked_release(&c);
	if (r == 0)
		r = pay(n, e);
	return r;
}

static enum rpc_status status_of(int code)
{
	return code == -EACCES  ? RPC_PERMISSION_DENIED :
	       code == -EBADMSG ? RPC_INVALID_ARGUMENT :
				  RPC_UNAVAILABLE;
}

static void take(struct enrol *n, struct request *q)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct answer a = { 0 };
	struct error e = { 0 };
	int r = answer(n, q, &a, &e);

	if (r == 0 && rpc_stream_send(q->stream, a.packed, a.len) == 0)
		a.packed = NULL;
	if (r < 0)
		log_warn("an enrolment is refused", KV_STR("why", e.text),
			 KV_STR("from", rpc_stream_remote(q->stream)));
	/* What failed here is ours: whoever has no identity yet need not know how this machine is made. */
	if (r < 0 && status_of(r) == RPC_UNAVAILABLE)
		rpc_stream_finish(q->stream, RPC_UNAVAILABLE,
				  "the collector cannot enrol hosts now; its log says why");
	else
		rpc_stream_finish(q->stream, r < 0 ? status_of(r) : RPC_OK,
				  r < 0 ? error_format(&e, sentence, sizeof(sentence)) : "");
	answer_release(&a);
}

static void *run(void *arg)
{
	struct enrol *n = arg;

	while (!atomic_load(&n->stop)) {
		struct request *q = queue_pop(n->in, TICK_MS);

		if (q != NULL) {
			take(n, q);
			request_free(q);
		} else {
			tick(n);
		}
	}
	return NULL;
}

/* ---- streams ----------------------------------------------------------------------------------------- */

static void on_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct enrol *n = ctx;
	struct request *q = calloc(1, sizeof(*q));

	rpc_stream_want_read(s, false);
	if (q != NULL) {
		*q = (struct request){ rpc_stream_ref(s), data, len };
		if (len <= ENROL_REQUEST_MAX && queue_try_push(n->in, q))
			return;
		request_free(q);
	} else {
		free(data);
	}
	rpc_stream_finish(s, RPC_RESOURCE_EXHAUSTED,
			  len > ENROL_REQUEST_MAX ? "the enrolment request is too long" :
						    "too many hosts enrol at once; try again");
}

/* The answer is made by the thread, which finishes the call. */
static void on_read_end(struct rpc_stream *s, void *ctx)
{
	(void)s;
	(void)ctx;
}

static void on_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	(void)s;
	(void)status;
	(void)text;
	(void)ctx;
}

static const struct rpc_stream_ops stream_ops = {
	.on_message = on_message,
	.on_read_end = on_read_end,
	.on_closed = on_closed,
};

static void on_open(struct rpc_stream *s, void *ctx)
{
	rpc_stream_serve(s, &stream_ops, ctx);
	rpc_stream_want_read(s, true);
}

struct rpc_method enrol_method(struct enrol *n)
{
	return (struct rpc_method){ .path = ENROL_PATH,
				    .allow = RPC_ALLOW_ANYBODY,
				    .on_open = on_open,
				    .ctx = n,
				    .first_message_ms = FIRST_MESSAGE_MS };
}

/* ---- its beginning and end --------------------------------------------------------------------------- */

static int read_domain(const struct enrol *n, char ret[static IDENTITY_PART_MAX + 1],
		       struct error *e)
{
	AUTO(free_ptr) uint8_t *pem = NULL;
	struct identity id;
	size_t len;
	int r = files_read(n->cert, AUTHORITIES_FILE_MAX, &pem, &len, e);

	if (r == 0)
		r = identity_from_leaf((const char *)pem, len, NULL,
				       n->c.now() / (int64_t)NSEC_PER_SEC, &id, e);
	if (r == 0)
		memcpy(ret, id.domain, sizeof(id.domain));
	return r;
}

int enrol_reload(struct enrol *n, struct error *e)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	AUTO(free_ptr) uint8_t *pem = NULL;
	char domain[IDENTITY_PART_MAX + 1];
	size_t len;
	int r = certs_authority_load(n->base, &a, e);

	if (r == 0)
		r = files_read(n->fleet_ca, AUTHORITIES_FILE_MAX, &pem, &len, e);
	if (r == 0)
		r = read_domain(n, domain, e);
	if (r < 0)
		return error_wrap(e, r, "cannot enrol hosts");
	(void)pthread_mutex_lock(&n->lock);
	certs_authority_free(n->authority);
	free(n->fleet_pem);
	n->authority = TAKE(a);
	n->fleet_pem = TAKE(pem);
	n->fleet_len = len;
	memcpy(n->domain, domain, sizeof(domain));
	(void)pthread_mutex_unlock(&n->lock);
	return 0;
}

static bool copy_path(char ret[static PATH_MAX], const char *path)
{
	return snprintf(ret, PATH_MAX, "%s", path) < PATH_MAX;
}

static void enrol_free_ptr(struct enrol **n)
{
	enrol_free(*n);
}

int enrol_start(const struct enrol_config *c, struct enrol **ret, struct error *e)
{
	AUTO(enrol_free_ptr) struct enrol *n = calloc(1, sizeof(*n));
	int r;

	if (n == NULL)
		return error_set(e, -ENOMEM, "cannot enrol hosts: %m");
	n->c = *c;
	(void)pthread_mutex_init(&n->lock, NULL);
	n->in = queue_new(WAITING_MAX);
	if (n->in == NULL)
		return error_set(e, -ENOMEM, "cannot enrol hosts: %m");
	if (!copy_path(n->dir, c->dir) || !copy_path(n->base, c->authority) ||
	    !copy_path(n->fleet_ca, c->fleet_ca) || !copy_path(n->cert, c->collector_cert))
		return error_set(e, -ENAMETOOLONG, "cannot enrol hosts: a path is too long");
	r = enrol_reload(n, e);
	if (r == 0)
		r = enrol_store_open(n->dir, &n->store, e);
	if (r < 0)
		return r;
	r = -pthread_create(&n->thread, NULL, run, n);
	if (r < 0)
		return error_set(e, r, "cannot start the thread that enrols hosts: %m");
	(void)pthread_setname_np(n->thread, "enrol");
	n->started = true;
	*ret = TAKE(n);
	return 0;
}

void enrol_free(struct enrol *n)
{
	struct request *q;

	if (n == NULL)
		return;
	atomic_store(&n->stop, true);
	if (n->in != NULL)
		queue_close(n->in);
	if (n->started)
		(void)pthread_join(n->thread, NULL);
	while (n->in != NULL && (q = queue_pop(n->in, 0)) != NULL)
		request_free(q);
	queue_free(n->in);
	enrol_store_close(n->store);
	certs_authority_free(n->authority);
	free(n->fleet_pem);
	(void)pthread_mutex_destroy(&n->lock);
	free(n);
}
