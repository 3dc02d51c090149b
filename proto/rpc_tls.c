/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_tls.h"

#include "proto/base/clock.h"

#include <errno.h>
#include <pthread.h>

struct rpc_tls {
	char *cert, *key, *fleet_ca, *order_ca, *deny;
	pthread_mutex_t lock;
	struct rpc_trust *current;
	uint64_t served_generation; /* what core's server was given last */
};

/* ---- one state of the files -------------------------------------------------------------------- */

void rpc_trust_unref(struct rpc_trust *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	identity_pair_release(&t->pair);
	rpc_deny_free(t->deny);
	authorities_free(t->authorities);
	free(t);
}

static void unref_trust(struct rpc_trust **t)
{
	rpc_trust_unref(*t);
}

/* Without the fleet's certificates a host cannot check who issued its own. */
static const struct authorities *issuers(const struct rpc_tls *t, const struct rpc_trust *trust)
{
	return t->fleet_ca != NULL ? trust->authorities : NULL;
}

static int load(const struct rpc_tls *t, struct rpc_trust **ret, struct error *e)
{
	AUTO(unref_trust) struct rpc_trust *trust = calloc(1, sizeof(*trust));
	int r;

	if (trust == NULL)
		return error_set(e, -ENOMEM, "cannot load the certificates: %m");
	atomic_init(&trust->refs, 1);
	r = authorities_load(t->fleet_ca, t->order_ca, &trust->authorities, e);
	if (r >= 0)
		r = rpc_deny_load(t->deny, &trust->deny, e);
	if (r >= 0 && t->cert != NULL)
		r = identity_load_pair(t->cert, t->key, issuers(t, trust),
				       clock_wall_ns() / (int64_t)NSEC_PER_SEC, &trust->pair, e);
	if (r < 0)
		return r;
	*ret = TAKE(trust);
	return 0;
}

int rpc_tls_reload(struct rpc_tls *t, struct error *e)
{
	struct rpc_trust *fresh = NULL, *old;
	int r = load(t, &fresh, e);

	if (r < 0)
		return r;
	pthread_mutex_lock(&t->lock);
	old = t->current;
	fresh->generation = old != NULL ? old->generation + 1 : 1;
	t->current = fresh;
	pthread_mutex_unlock(&t->lock);
	rpc_trust_unref(old);
	return 0;
}

struct rpc_trust *rpc_tls_current(struct rpc_tls *t)
{
	struct rpc_trust *trust;

	pthread_mutex_lock(&t->lock);
	trust = t->current;
	atomic_fetch_add(&trust->refs, 1);
	pthread_mutex_unlock(&t->lock);
	return trust;
}

/* ---- the holder -------------------------------------------------------------------------------- */

static bool copy_path(char **ret, const char *path)
{
	*ret = path != NULL ? strdup(path) : NULL;
	return path == NULL || *ret != NULL;
}

static bool copy_paths(struct rpc_tls *t, const struct rpc_tls_files *files)
{
	return copy_path(&t->cert, files->cert) && copy_path(&t->key, files->key) &&
	       copy_path(&t->fleet_ca, files->fleet_ca) &&
	       copy_path(&t->order_ca, files->order_ca) && copy_path(&t->deny, files->deny);
}

int rpc_tls_new(const struct rpc_tls_files *files, struct rpc_tls **ret, struct error *e)
{
	struct rpc_tls *t;
	int r;

	if ((files->cert == NULL) != (files->key == NULL))
		return error_set(e, -EINVAL, "a certificate file and a key file are needed");
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return error_set(e, -ENOMEM, "cannot load the certificates: %m");
	(void)pthread_mutex_init(&t->lock, NULL);
	r = copy_paths(t, files) ? rpc_tls_reload(t, e) :
				   error_set(e, -ENOMEM, "cannot load the certificates: %m");
	if (r < 0) {
		rpc_tls_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void rpc_tls_free(struct rpc_tls *t)
{
	if (t == NULL)
		return;
	rpc_trust_unref(t->current);
	(void)pthread_mutex_destroy(&t->lock);
	free(t->cert);
	free(t->key);
	free(t->fleet_ca);
	free(t->order_ca);
	free(t->deny);
	free(t);
}

/* ---- core's credentials ------------------------------------------------------------------------ */

/* Core asks before each handshake. It keeps what it had unless it is told of something new. */
static grpc_ssl_certificate_config_reload_status fetch(void *ctx,
						       grpc_ssl_server_certificate_config **ret)
{
	struct rpc_tls *t = ctx;
	grpc_ssl_certificate_config_reload_status status =
		GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
	grpc_ssl_pem_key_cert_pair pair;

	pthread_mutex_lock(&t->lock);
	if (t->served_generation != t->current->generation) {
		pair.private_key = t->current->pair.key_pem;
		pair.cert_chain = t->current->pair.cert_pem;
		*ret = grpc_ssl_server_certificate_config_create(
			authorities_pem(t->current->authorities), &pair, 1);
		status = *ret != NULL ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW :
					GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
		if (*ret != NULL)
			t->served_generation = t->current->generation;
	}
	pthread_mutex_unlock(&t->lock);
	return status;
}

grpc_server_credentials *rpc_tls_server_credentials(struct rpc_tls *t, bool anonymous)
{
	grpc_ssl_client_certificate_request_type ask =
		anonymous ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE :
			    GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
	grpc_ssl_server_credentials_options *options =
		grpc_ssl_server_credentials_create_options_using_config_fetcher(ask, fetch, t);

	return options != NULL ? grpc_ssl_server_credentials_create_with_options(options) : NULL;
}

grpc_channel_credentials *rpc_tls_channel_credentials(struct rpc_tls *t,
						      int (*verify)(const char *target,
								    const char *pem, void *ctx),
						      void *ctx, void (*destroy)(void *ctx))
{
	AUTO(unref_trust) struct rpc_trust *trust = rpc_tls_current(t);
	grpc_ssl_pem_key_cert_pair pair = { trust->pair.key_pem, trust->pair.cert_pem };
	grpc_ssl_verify_peer_options options = {
		.verify_peer_callback = verify,
		.verify_peer_callback_userdata = ctx,
		.verify_peer_destruct = destroy,
	};
	grpc_channel_credentials *credentials = grpc_ssl_credentials_create_ex(
		authorities_order_pem(trust->authorities), pair.private_key != NULL ? &pair : NULL,
		&options, NULL);

	if (credentials == NULL)
		destroy(ctx);
	return credentials;
}
