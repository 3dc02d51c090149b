/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc_raw.h"

#include "proto/base/files.h"
#include "proto/rpc_core.h"
#include "tests/unit/rows.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

/* ---- through core ------------------------------------------------------------------------------ */

static char *slurp(const char *path)
{
	uint8_t *data;
	size_t len;

	assert_int_equal(files_read(path, 65536, &data, &len, NULL), 0);
	return (char *)data;
}

static grpc_channel *raw_channel(struct world *w, const char *name)
{
	AUTO(free_ptr) char *key = slurp(pki_path(&w->pki, name, ".key"));
	AUTO(free_ptr) char *cert = slurp(pki_path(&w->pki, name, ".crt"));
	AUTO(free_ptr) char *roots = slurp(pki_path(&w->pki, "order", ".crt"));
	grpc_ssl_pem_key_cert_pair pair = { key, cert };
	grpc_channel_credentials *credentials =
		grpc_ssl_credentials_create_ex(roots, &pair, NULL, NULL);
	struct rpc_args args = { 0 };
	grpc_channel_args core_args;
	grpc_channel *channel;

	rpc_args_int(&args, GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
	core_args = (grpc_channel_args){ args.n, args.arg };
	channel = grpc_channel_create(w->address, credentials, &core_args);
	grpc_channel_credentials_release(credentials);
	assert_non_null(channel);
	return channel;
}

struct raw_result {
	grpc_status_code status;
	grpc_slice text;
	grpc_metadata_array first, last;
};

static void run_call(grpc_call *call, grpc_completion_queue *queue, struct raw_result *r)
{
	grpc_op ops[4] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },
			   { .op = GRPC_OP_RECV_INITIAL_METADATA },
			   { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT },
			   { .op = GRPC_OP_RECV_STATUS_ON_CLIENT } };

	ops[1].data.recv_initial_metadata.recv_initial_metadata = &r->first;
	ops[3].data.recv_status_on_client.trailing_metadata = &r->last;
	ops[3].data.recv_status_on_client.status = &r->status;
	ops[3].data.recv_status_on_client.status_details = &r->text;
	assert_int_equal(grpc_call_start_batch(call, ops, 4, call, NULL), GRPC_CALL_OK);
	assert_int_equal(grpc_completion_queue_pluck(queue, call,
						     gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
				 .type,
			 GRPC_OP_COMPLETE);
}

enum rpc_status raw_call(struct world *w, const char *name, const char *path,
			 char ret_text[static RAW_TEXT_MAX])
{
	grpc_completion_queue *queue = grpc_completion_queue_create_for_pluck(NULL);
	grpc_channel *channel = raw_channel(w, name);
	gpr_timespec limit = gpr_time_add(gpr_now(GPR_CLOCK_REALTIME),
					  gpr_time_from_seconds(WAIT_S, GPR_TIMESPAN));
	grpc_slice method = grpc_slice_from_copied_string(path);
	grpc_call *call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue,
						   method, NULL, limit, NULL);
	struct raw_result r = { .text = grpc_empty_slice() };

	grpc_metadata_array_init(&r.first);
	grpc_metadata_array_init(&r.last);
	grpc_slice_unref(method);
	run_call(call, queue, &r);
	(void)snprintf(ret_text, RAW_TEXT_MAX, "%.*s", (int)GRPC_SLICE_LENGTH(r.text),
		       (const char *)GRPC_SLICE_START_PTR(r.text));
	grpc_slice_unref(r.text);
	grpc_metadata_array_destroy(&r.first);
	grpc_metadata_array_destroy(&r.last);
	grpc_call_unref(call);
	grpc_channel_destroy(channel);
	grpc_completion_queue_shutdown(queue);
	while (grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
		       .type != GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(queue);
	return (enum rpc_status)r.status;
}

/* ---- below core -------------------------------------------------------------------------------- */

int raw_connect(struct world *w)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(w->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { .tv_sec = WAIT_S };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		close_fd(&fd);
		return -1;
	}
	return fd;
}

static SSL_CTX *raw_context(struct world *w, const char *name, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	assert_non_null(ctx);
	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
	if (name != NULL) {
		assert_int_equal(SSL_CTX_use_certificate_file(ctx, pki_path(&w->pki, name, ".crt"),
							      SSL_FILETYPE_PEM),
				 1);
		assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, pki_path(&w->pki, name, ".key"),
							     SSL_FILETYPE_PEM),
				 1);
	}
	return ctx;
}

/* TLS 1.3 lets the client end its handshake before the server has looked at the certificate: only what the
 * server sends then says that it is content. */
bool raw_handshake(struct world *w, const char *name, int version)
{
	static const uint8_t alpn[] = { 2, 'h', '2' };
	SSL_CTX *ctx = raw_context(w, name, version);
	sighandler_t old = signal(SIGPIPE, SIG_IGN); /* OpenSSL writes with write(2) */
	SSL *ssl = SSL_new(ctx);
	int fd = raw_connect(w);
	uint8_t frame[9];
	bool good;

	assert_non_null(ssl);
	assert_true(fd >= 0);
	assert_int_equal(SSL_set_alpn_protos(ssl, alpn, sizeof(alpn)), 0);
	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	good = SSL_connect(ssl) == 1 &&
	       SSL_write(ssl, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) == 24 &&
	       SSL_read(ssl, frame, sizeof(frame)) > 0;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	(void)close(fd);
	(void)signal(SIGPIPE, old);
	return good;
}

bool raw_server_shows(struct world *w, const char *name)
{
	SSL_CTX *ctx = raw_context(w, "host", TLS1_3_VERSION);
	SSL *ssl = SSL_new(ctx);
	int fd = raw_connect(w);
	BIO *bio = BIO_new_file(pki_path(&w->pki, name, ".crt"), "r");
	X509 *want = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	X509 *got;
	bool same;

	assert_non_null(want);
	assert_true(fd >= 0);
	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	assert_int_equal(SSL_connect(ssl), 1);
	got = SSL_get1_peer_certificate(ssl);
	assert_non_null(got);
	same = X509_cmp(want, got) == 0;
	X509_free(got);
	X509_free(want);
	(void)BIO_free(bio);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	(void)close(fd);
	return same;
}
