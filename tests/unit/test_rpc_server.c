/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets in, and what happens to those who do not. */
#include "tests/unit/rows.h"
#include "tests/unit/rpc_raw.h"
#include "tests/unit/rpc_world.h"

#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/rpc_guard.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define CALLS_PER_SECOND 40

static struct world world;

static void configure(struct rpc_server_config *config, struct world *w)
{
	config->deny_file = pki_path(&w->pki, "deny", "");
	assert_int_equal(files_replace(config->deny_file, "# nobody\n", 9, 0644, NULL), 0);
	config->calls_per_second = CALLS_PER_SECOND;
	config->streams_per_connection = 1000;
}

static void issue_all(const struct pki *p)
{
	pki_issue(p, "other", IDENTITY_HOST, "h1", "stranger", 3600);
	pki_issue(p, "fleet", IDENTITY_HOST, "h1", "expired", -60);
	pki_issue(p, "fleet", IDENTITY_HOST, "h1", "server-only", 3600);
	pki_alter(p, "fleet", "server-only", NID_ext_key_usage, "serverAuth");
	pki_issue(p, "fleet", IDENTITY_RESPONDER, "eve", "fleet-responder", 3600);
	pki_issue(p, "order", IDENTITY_HOST, "h1", "order-host", 3600);
	pki_issue(p, "fleet", IDENTITY_HOST, "h1", "two-names", 3600);
	pki_alter(p, "fleet", "two-names", NID_subject_alt_name,
		  "URI:spiffe://example.org/acme/host/h1,URI:spiffe://example.org/acme/host/h2");
	pki_issue(p, "fleet", IDENTITY_HOST, "h1", "no-name", 3600);
	pki_alter(p, "fleet", "no-name", NID_subject_alt_name, "DNS:h1");
	pki_issue(p, "fleet", IDENTITY_HOST, "h1", "odd-name", 3600);
	pki_alter(p, "fleet", "odd-name", NID_subject_alt_name,
		  "URI:spiffe://example.org/acme/root/h1");
	pki_issue(p, "order", IDENTITY_RESPONDER, "ann", "responder", 3600);
	pki_issue(p, "fleet", IDENTITY_HOST, "busy", "busy", 3600);
	pki_issue(p, "fleet", IDENTITY_HOST, "denied", "denied", 3600);
}

static struct rpc_server_stats stats_now(void)
{
	struct rpc_server_stats stats;

	rpc_server_stats(world.server, &stats);
	return stats;
}

static void write_deny(const char *text)
{
	struct error e = { 0 };

	assert_int_equal(
		files_replace(pki_path(&world.pki, "deny", ""), text, strlen(text), 0644, NULL), 0);
	if (rpc_server_reload(world.server, &e) < 0)
		fail_msg("%s", e.text);
}

/* ---- refused in the handshake, or at the first call -------------------------------------------- */

static const struct refusal_row {
	const char *name;
	const char *cert, *path;
	enum rpc_status want;
	const char *text; /* part of what the caller is told */
} refusal_rows[] = {
	{ "fleet may not make responders", "fleet-responder", "/test.T/Echo", RPC_UNAUTHENTICATED,
	  "the fleet authority may not issue a certificate for a responder" },
	{ "order authority may not make hosts", "order-host", "/test.T/Echo", RPC_UNAUTHENTICATED,
	  "the order authority may not issue a certificate for a host" },
	{ "two names", "two-names", "/test.T/Echo", RPC_UNAUTHENTICATED, "names 2 URIs" },
	{ "no name", "no-name", "/test.T/Echo", RPC_UNAUTHENTICATED, "names 0 URIs" },
	{ "name of no kind", "odd-name", "/test.T/Echo", RPC_UNAUTHENTICATED,
	  "is not a name of the form" },
	{ "responder where hosts belong", "responder", "/test.T/Sink", RPC_PERMISSION_DENIED,
	  "a responder may not call /test.T/Sink" },
	{ "another authority", "stranger", "/test.T/Echo", RPC_UNAVAILABLE, "" },
	{ "expired", "expired", "/test.T/Echo", RPC_UNAVAILABLE, "" },
	{ "server's certificate as a client", "server-only", "/test.T/Echo", RPC_UNAVAILABLE, "" },
	{ "no such method", "host", "/test.T/None", RPC_UNIMPLEMENTED, "there is no method" },
	{ "path longer than any", "host",
	  "/a/0123456789012345678901234567890123456789012345678901234567890123456789"
	  "0123456789012345678901234567890123456789012345678901234567890123456789",
	  RPC_UNIMPLEMENTED, "there is no method" },
	{ "host is let in", "host", "/test.T/Echo", RPC_OK, "" },
	{ "responder is let in", "responder", "/test.T/Echo", RPC_OK, "" },
};

static void caller_is_told(void **state)
{
	const struct refusal_row *row = *state;
	char text[RAW_TEXT_MAX];

	assert_string_equal(rpc_status_name(raw_call(&world, row->cert, row->path, text)),
			    rpc_status_name(row->want));
	if (strstr(text, row->text) == NULL)
		fail_msg("'%s' is not in '%s'", row->text, text);
}

static const struct handshake_row {
	const char *name;
	const char *cert; /* NULL: none */
	int version;
	bool want;
} handshake_rows[] = {
	{ "TLS 1.2", "host", TLS1_2_VERSION, false },
	{ "no certificate", NULL, TLS1_3_VERSION, false },
	{ "another authority", "stranger", TLS1_3_VERSION, false },
	{ "expired", "expired", TLS1_3_VERSION, false },
	{ "TLS 1.3 and a good certificate", "host", TLS1_3_VERSION, true },
};

static void handshake(void **state)
{
	const struct handshake_row *row = *state;
	uint64_t before = stats_now().handshakes_failed;

	assert_int_equal(raw_handshake(&world, row->cert, row->version), row->want);
	if (row->want)
		assert_int_equal(stats_now().handshakes_failed, before);
	else
		assert_true(stats_now().handshakes_failed > before);
}

static void plain_text_is_cut(void **state)
{
	uint64_t before = rpc_guard_handshake_failures(RPC_HANDSHAKE_WRONG_VERSION);
	int fd = raw_connect(&world);
	char byte;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27), 27);
	while (read(fd, &byte, 1) > 0)
		;
	(void)close(fd);
	assert_true(rpc_guard_handshake_failures(RPC_HANDSHAKE_WRONG_VERSION) > before);
}

static void certificate_that_expires_ends_new_calls(void **state)
{
	struct rpc_client *client;
	struct caller c = { 0 };

	(void)state;
	pki_issue(&world.pki, "fleet", IDENTITY_HOST, "h1", "brief", 2);
	client = world_client(&world, "brief");
	caller_open(&c, client, "/test.T/Echo", true, 0);
	caller_send(&c, "x", 1);
	caller_wait_messages(&c, 1);
	(void)sleep(3);
	caller_release(&c);
	caller_open(&c, client, "/test.T/Echo", true, 0);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_UNAUTHENTICATED);
	assert_non_null(strstr(c.text, "the certificate expired"));
	c.client = client;
	caller_release(&c);
}

/* ---- denied ------------------------------------------------------------------------------------ */

static const struct deny_row {
	const char *name;
	const char *before, *after; /* the serial or the id in the deny list */
	bool by_serial;
} deny_rows[] = {
	{ "by serial", "serial ", "\n", true },
	{ "by serial with zeros and a remark", "  serial 00", " # stolen\r\n", true },
	{ "by host id", "host ", "\n", false },
};

static void denied_is_cancelled_and_refused(void **state)
{
	const struct deny_row *row = *state;
	struct caller live = { 0 }, other = { 0 };
	char text[RAW_TEXT_MAX], list[128];
	struct identity id;

	pki_identity(&world.pki, "denied", &id);
	(void)snprintf(list, sizeof(list), "%s%s%s", row->before,
		       row->by_serial ? id.serial : id.name, row->after);
	caller_connect(&live, &world, "denied", "/test.T/Echo");
	caller_connect(&other, &world, "host", "/test.T/Echo");
	caller_send(&live, "x", 1);
	caller_wait_messages(&live, 1);
	caller_send(&other, "x", 1);
	caller_wait_messages(&other, 1);
	write_deny(list);
	caller_wait_closed(&live);
	assert_int_equal(raw_call(&world, "denied", "/test.T/Echo", text), RPC_PERMISSION_DENIED);
	assert_non_null(strstr(text, "deny list"));
	caller_send(&other, "y", 1);
	caller_wait_messages(&other, 2);
	caller_release(&live);
	caller_release(&other);
	write_deny("");
	assert_int_equal(raw_call(&world, "denied", "/test.T/Echo", text), RPC_OK);
}

static void unreadable_deny_list_keeps_the_old_one(void **state)
{
	static const char bad[] = "serial xyz\n";
	char text[RAW_TEXT_MAX];
	struct error e = { 0 };

	(void)state;
	write_deny("host denied\n");
	assert_int_equal(
		files_replace(pki_path(&world.pki, "deny", ""), bad, strlen(bad), 0644, NULL), 0);
	assert_true(rpc_server_reload(world.server, &e) < 0);
	assert_non_null(strstr(e.text, "deny:1: not an entry of a deny list"));
	assert_int_equal(raw_call(&world, "denied", "/test.T/Echo", text), RPC_PERMISSION_DENIED);
	write_deny("");
}

/* ---- too many calls ---------------------------------------------------------------------------- */

static void too_many_calls_cut_the_connection(void **state)
{
	struct rpc_client *busy = world_client(&world, "busy");
	struct caller honest = { 0 };
	uint64_t until = clock_monotonic_ns() + WAIT_S * NSEC_PER_SEC;

	(void)state;
	caller_connect(&honest, &world, "host", "/test.T/Echo");
	while (stats_now().cut_rate == 0) {
		struct caller c[CALLS_PER_SECOND] = { 0 };

		assert_true(clock_monotonic_ns() < until);
		for (size_t i = 0; i < ARRAY_LEN(c); i++)
			caller_open(&c[i], busy, "/test.T/Echo", false, WAIT_S * 1000);
		for (size_t i = 0; i < ARRAY_LEN(c); i++)
			caller_release(&c[i]);
	}
	caller_send(&honest, "x", 1);
	caller_wait_messages(&honest, 1);
	caller_release(&honest);
	rpc_client_free(busy);
}

/* ---- reload, second server, drain -------------------------------------------------------------- */

static void mismatched_key_keeps_the_old_pair(void **state)
{
	char text[RAW_TEXT_MAX];
	struct error e = { 0 };
	AUTO(free_ptr) uint8_t *key = NULL;
	AUTO(free_ptr) uint8_t *other = NULL;
	size_t key_len, other_len;

	(void)state;
	assert_int_equal(files_read(pki_path(&world.pki, "collector", ".key"), 4096, &key, &key_len,
				    NULL),
			 0);
	assert_int_equal(files_read(pki_path(&world.pki, "host", ".key"), 4096, &other, &other_len,
				    NULL),
			 0);
	assert_int_equal(files_replace(pki_path(&world.pki, "collector", ".key"), other, other_len,
				       0600, NULL),
			 0);
	assert_int_equal(rpc_server_reload(world.server, &e), -EINVAL);
	assert_non_null(strstr(e.text, "does not belong to the certificate"));
	assert_int_equal(raw_call(&world, "host", "/test.T/Echo", text), RPC_OK);
	assert_int_equal(files_replace(pki_path(&world.pki, "collector", ".key"), key, key_len,
				       0600, NULL),
			 0);
}

static void new_certificate_is_shown_and_old_streams_live(void **state)
{
	struct caller old = { 0 }, fresh = { 0 };

	(void)state;
	caller_connect(&old, &world, "host", "/test.T/Echo");
	caller_send(&old, "x", 1);
	caller_wait_messages(&old, 1);
	assert_true(raw_server_shows(&world, "collector"));
	pki_issue(&world.pki, "order", IDENTITY_COLLECTOR, "c2", "collector", 3600);
	assert_false(raw_server_shows(&world, "collector"));
	write_deny("");
	assert_true(raw_server_shows(&world, "collector"));
	caller_connect(&fresh, &world, "host", "/test.T/Echo");
	caller_send(&fresh, "y", 1);
	caller_wait_messages(&fresh, 1);
	caller_send(&old, "z", 1);
	caller_wait_messages(&old, 2);
	caller_release(&old);
	caller_release(&fresh);
}

static void replaced_identity_serves_new_calls(void **state)
{
	struct rpc_client *client;
	struct caller old = { 0 }, fresh = { 0 };
	struct error e = { 0 };

	(void)state;
	pki_issue(&world.pki, "fleet", IDENTITY_HOST, "r1", "renewed", 3600);
	client = world_client(&world, "renewed");
	caller_open(&old, client, "/test.T/Echo", true, 0);
	caller_send(&old, "x", 1);
	caller_wait_messages(&old, 1);
	pki_issue(&world.pki, "fleet", IDENTITY_HOST, "r1", "renewed", 3600);
	if (rpc_client_replace_identity(client, &e) < 0)
		fail_msg("%s", e.text);
	caller_open(&fresh, client, "/test.T/Echo", true, 0);
	caller_send(&fresh, "y", 1);
	caller_wait_messages(&fresh, 1);
	caller_send(&old, "z", 1);
	caller_wait_messages(&old, 2);
	caller_release(&old);
	caller_release(&fresh);
	rpc_client_free(client);
}

static void second_server_cannot_have_the_port(void **state)
{
	const struct rpc_server_config config = {
		.address = world.address,
		.cert_file = pki_path(&world.pki, "collector", ".crt"),
		.key_file = pki_path(&world.pki, "collector", ".key"),
		.fleet_ca_file = pki_path(&world.pki, "fleet", ".crt"),
		.order_ca_file = pki_path(&world.pki, "order", ".crt"),
	};
	struct rpc_server *second = NULL;
	struct error e = { 0 };
	uint16_t port;

	(void)state;
	assert_int_equal(rpc_server_new(world.loop, &config, &second, &e), 0);
	assert_int_equal(rpc_server_start(second, &port, &e), -EADDRINUSE);
	assert_non_null(strstr(e.text, world.address));
	rpc_server_free(second);
}

static void collector_with_a_wrong_name_is_refused(void **state)
{
	struct rpc_client_config config = {
		.address = world.address,
		.cert_file = pki_path(&world.pki, "host", ".crt"),
		.key_file = pki_path(&world.pki, "host", ".key"),
		.order_ca_file = pki_path(&world.pki, "order", ".crt"),
		.connect_timeout_ms = 10000,
	};
	struct rpc_client *client = NULL;
	struct caller c = { 0 };
	struct error e = { 0 };
	const char *domain = *state;

	if (domain[0] == '.')
		config.domain = domain + 1;
	else
		config.server_name = domain;
	assert_int_equal(rpc_client_new(world.loop, &config, &client, &e), 0);
	caller_open(&c, client, "/test.T/Echo", false, WAIT_S * 1000);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_UNAVAILABLE);
	assert_true(rpc_client_explain(client, c.status, c.text, &e) < 0);
	assert_non_null(strstr(e.text, world.address));
	c.client = client;
	caller_release(&c);
}

static void drain_ends_live_streams(void **state)
{
	struct caller c = { 0 };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Echo");
	caller_send(&c, "x", 1);
	caller_wait_messages(&c, 1);
	rpc_server_drain(world.server, 200);
	caller_wait_closed(&c);
	assert_int_not_equal(c.status, RPC_OK);
	rpc_server_drain(world.server, 200);
	caller_release(&c);
}

/* ---- health ------------------------------------------------------------------------------------ */

enum { HEALTH_SERVING = 1, HEALTH_NOT_SERVING = 2, HEALTH_UNKNOWN = 3 };

static void hold(struct rpc_server_config *config, struct world *w)
{
	(void)w;
	config->hold = true;
}

static void ask_health(struct caller *c, struct world *w, const char *method, const char *service)
{
	uint8_t question[64] = { 0x0a, (uint8_t)strlen(service) };

	memcpy(question + 2, service, strlen(service));
	caller_connect(c, w, "host", method);
	caller_send(c, question, 2 + strlen(service));
}

static void assert_health(struct caller *c, unsigned int n, int want)
{
	caller_wait_messages(c, n);
	assert_int_equal(c->last_len, 2);
	assert_int_equal(c->last[0], 0x08);
	assert_int_equal(c->last[1], want);
}

static void check_health(struct world *w, const char *service, int want)
{
	struct caller c = { 0 };

	ask_health(&c, w, "/grpc.health.v1.Health/Check", service);
	assert_health(&c, 1, want);
	caller_wait_closed(&c);
	caller_release(&c);
}

static void held_server_answers_health_alone(void **state)
{
	struct caller watch = { 0 };
	struct world w;
	char text[RAW_TEXT_MAX];

	(void)state;
	world_start(&w, hold);
	check_health(&w, "", HEALTH_NOT_SERVING);
	check_health(&w, "test.T", HEALTH_NOT_SERVING);
	assert_int_equal(raw_call(&w, "host", "/test.T/Echo", text), RPC_UNAVAILABLE);
	assert_non_null(strstr(text, "starting"));
	assert_int_equal(raw_call(&w, "host", "/later.T/Echo", text), RPC_UNAVAILABLE);
	ask_health(&watch, &w, "/grpc.health.v1.Health/Watch", "test.T");
	assert_health(&watch, 1, HEALTH_NOT_SERVING);
	rpc_server_open(w.server);
	assert_health(&watch, 2, HEALTH_SERVING);
	check_health(&w, "test.T", HEALTH_SERVING);
	assert_int_equal(raw_call(&w, "host", "/test.T/Echo", text), RPC_OK);
	assert_int_equal(raw_call(&w, "host", "/later.T/Echo", text), RPC_UNIMPLEMENTED);
	caller_release(&watch);
	world_stop(&w);
}

static void *drain(void *server)
{
	rpc_server_drain(server, WAIT_S * 1000);
	return NULL;
}

/* As long as one call is open. */
static void draining_server_says_so(void **state)
{
	struct caller live = { 0 }, watch = { 0 }, unknown = { 0 };
	struct world w;
	char text[RAW_TEXT_MAX];
	pthread_t thread;

	(void)state;
	world_start(&w, NULL);
	caller_connect(&live, &w, "host", "/test.T/Echo");
	caller_send(&live, "x", 1);
	caller_wait_messages(&live, 1);
	ask_health(&watch, &w, "/grpc.health.v1.Health/Watch", "");
	assert_health(&watch, 1, HEALTH_SERVING);
	ask_health(&unknown, &w, "/grpc.health.v1.Health/Watch", "none.T");
	assert_health(&unknown, 1, HEALTH_UNKNOWN);
	assert_int_equal(pthread_create(&thread, NULL, drain, w.server), 0);
	assert_health(&watch, 2, HEALTH_NOT_SERVING);
	assert_health(&unknown, 2, HEALTH_UNKNOWN);
	check_health(&w, "test.T", HEALTH_NOT_SERVING);
	assert_int_equal(raw_call(&w, "host", "/test.T/Echo", text), RPC_UNAVAILABLE);
	assert_non_null(strstr(text, "stopping"));
	caller_send(&live, "y", 1);
	caller_wait_messages(&live, 2);
	rpc_stream_close_send(live.stream);
	caller_wait_closed(&live);
	assert_int_equal(live.status, RPC_OK);
	caller_wait_closed(&watch);
	assert_int_equal(pthread_join(thread, NULL), 0);
	caller_release(&live);
	caller_release(&watch);
	caller_release(&unknown);
	world_stop(&w);
}

int main(void)
{
	static struct tests t;
	int failed;

	ADD_ROWS(&t, caller_is_told, refusal_rows);
	ADD_ROWS(&t, handshake, handshake_rows);
	ADD_TEST(&t, plain_text_is_cut);
	ADD_TEST(&t, certificate_that_expires_ends_new_calls);
	ADD_ROWS(&t, denied_is_cancelled_and_refused, deny_rows);
	ADD_TEST(&t, unreadable_deny_list_keeps_the_old_one);
	ADD_TEST(&t, too_many_calls_cut_the_connection);
	ADD_TEST(&t, mismatched_key_keeps_the_old_pair);
	ADD_TEST(&t, new_certificate_is_shown_and_old_streams_live);
	ADD_TEST(&t, replaced_identity_serves_new_calls);
	ADD_TEST(&t, second_server_cannot_have_the_port);
	tests_add(&t, "collector of another domain is refused",
		  collector_with_a_wrong_name_is_refused, ".elsewhere");
	tests_add(&t, "collector without the name dialled is refused",
		  collector_with_a_wrong_name_is_refused, "c9");
	ADD_TEST(&t, held_server_answers_health_alone);
	ADD_TEST(&t, draining_server_says_so);
	ADD_TEST(&t, drain_ends_live_streams);
	world_start(&world, configure);
	issue_all(&world.pki);
	failed = tests_run(&t, "rpc_server");
	world_stop(&world);
	return failed;
}
