/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/session.h"

#include <errno.h>
#include <inttypes.h>
#include <protobuf-c/protobuf-c.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/args.h"
#include "collector/cli/config.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "proto/rpc_client.h"
#include "proto/rpc_guard.h"

#define CONNECT_MS 10000
#define LOOK_MS 200 /* how often Ctrl-C is looked for */

struct message {
	size_t len;
	uint8_t *data;
};

struct session {
	struct rpc_loop *loop;
	struct rpc_client *client;
	struct rpc_stream *stream;
	struct queue *messages; /* closed at the end */
	/* Written before the queue is closed, read after. */
	enum rpc_status status;
	char text[ERROR_TEXT_MAX];
	bool progress, shown; /* shown: a line that must be wiped */
	uint64_t asked_ns; /* monotonic */
};

/* The only thing a signal handler may touch. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
	(void)signal_number;
	/* A second one ends the program whatever it does. */
	interrupted = 1;
	(void)signal(SIGINT, SIG_DFL);
}

bool session_interrupted(void)
{
	return interrupted != 0;
}

void session_go_on(void)
{
	interrupted = 0;
}

/* ---- on the rpc thread --------------------------------------------------------------------------------- */

static void on_message(struct rpc_stream *stream, uint8_t *data, size_t len, void *ctx)
{
	struct session *s = ctx;
	struct message *m = malloc(sizeof(*m));

	/* One at a time: the next is read when this one has been shown. */
	rpc_stream_want_read(stream, false);
	if (m)
		*m = (struct message){ len, data };
	if (m && queue_try_push(s->messages, m))
		return;
	free(m);
	free(data);
	rpc_stream_cancel(stream);
}

static void on_closed(struct rpc_stream *stream, enum rpc_status status, const char *text,
		      void *ctx)
{
	struct session *s = ctx;
	size_t len = strnlen(text, sizeof(s->text) - 1);

	(void)stream;
	s->status = status;
	memcpy(s->text, text, len);
	s->text[len] = '\0';
	queue_close(s->messages);
}

static const struct rpc_stream_ops ops = {
	.on_message = on_message,
	.on_closed = on_closed,
};

/* ---- on the main thread ----------------------------------------------------------------------------------- */

static int connect_to(struct session *s, const struct cli_config *config, struct error *e)
{
	struct rpc_client_config c = {
		.address = config->collector,
		.cert_file = config->cert,
		.key_file = config->key,
		.order_ca_file = config->order_ca,
		.server_name = config->server_name && config->server_name[0] ? config->server_name :
									       NULL,
		.connect_timeout_ms = CONNECT_MS,
	};
	int r = rpc_guard_scrub_environment(e);

	/* What goes wrong is said once, by us, in one sentence: not by the library's log as well. */
	log_init("exhibit", LOG_LEVEL_ERROR, false);

	if (r == 0)
		r = rpc_loop_new(1, &s->loop, e);
	if (r == 0)
		r = rpc_client_new(s->loop, &c, &s->client, e);
	return r == 0 ? rpc_loop_start(s->loop, e) : r;
}

static int ask(struct session *s, const char *path, const ProtobufCMessage *question,
	       struct error *e)
{
	struct rpc_call call = { .path = path, .ops = &ops, .ctx = s };
	size_t len = protobuf_c_message_get_packed_size(question);
	uint8_t *data = malloc(len + 1);
	int r;

	if (!data)
		return error_set(e, -ENOMEM, "cannot ask: out of memory");
	(void)protobuf_c_message_pack(question, data);
	r = rpc_client_open(s->client, &call, &s->stream, e);
	if (r == 0) {
		r = rpc_stream_send(s->stream, data, len);
		if (r == 0)
			data = NULL;
		/* A stream that failed already says why when it is closed. */
		if (r == -EPIPE)
			r = 0;
		if (r < 0)
			(void)error_set(e, r, "cannot send the question: %m");
	}
	free(data);
	if (r < 0)
		return r;
	rpc_stream_close_send(s->stream);
	rpc_stream_want_read(s->stream, true);
	return 0;
}

static int open_with(const struct args *a, const char *path, const void *question,
		     struct session *s, struct error *e)
{
	struct cli_config config;
	int r = cli_config_load(a->config, &config, e);

	if (r < 0)
		return r;
	s->messages = queue_new(4);
	r = s->messages ? connect_to(s, &config, e) :
			  error_set(e, -ENOMEM, "cannot ask: out of memory");
	options_release(&cli_options, &config);
	return r < 0 ? r : ask(s, path, question, e);
}

int session_open(const struct args *a, const char *path, const void *question, struct session **ret,
		 struct error *e)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	AUTO(session_free_ptr) struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(e, -ENOMEM, "cannot ask: out of memory");
	r = open_with(a, path, question, s, e);
	if (r < 0)
		return r;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	s->asked_ns = clock_monotonic_ns();
	*ret = TAKE(s);
	return 0;
}

void session_show_progress(struct session *s)
{
	s->progress = isatty(STDERR_FILENO) == 1;
}

static void show_progress(struct session *s)
{
	uint64_t waited_s = (clock_monotonic_ns() - s->asked_ns) / NSEC_PER_SEC;

	if (!s->progress || waited_s < 1)
		return;
	(void)fprintf(stderr, "\rsearching, %" PRIu64 " s", waited_s);
	s->shown = true;
}

static void wipe_progress(struct session *s)
{
	if (s->shown)
		(void)fputs("\r\033[K", stderr);
	s->shown = false;
}

/* The collector's own sentences about the question need nothing around them. */
static int explain(struct session *s, struct error *e)
{
	static const struct {
		enum rpc_status status;
		int code;
	} ours[] = {
		{ RPC_INVALID_ARGUMENT, -EINVAL },
		{ RPC_NOT_FOUND, -ENOENT },
		{ RPC_RESOURCE_EXHAUSTED, -E2BIG },
	};

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		if (s->status == ours[i].status && s->text[0])
			return error_set(e, ours[i].code, "%s", s->text);
	return rpc_client_explain(s->client, s->status, s->text, e);
}

int session_look(struct session *s, uint8_t **ret_data, size_t *ret_len, struct error *e)
{
	struct message *m = queue_pop(s->messages, LOOK_MS);

	if (m || session_interrupted() || queue_closed(s->messages))
		wipe_progress(s);
	else
		show_progress(s);
	if (m) {
		*ret_data = m->data;
		*ret_len = m->len;
		free(m);
		rpc_stream_want_read(s->stream, true);
		return 1;
	}
	if (session_interrupted())
		return 0;
	if (queue_closed(s->messages) && queue_len(s->messages) == 0)
		return explain(s, e);
	return SESSION_NOTHING;
}

int session_next(struct session *s, uint8_t **ret_data, size_t *ret_len, struct error *e)
{
	int r;

	while ((r = session_look(s, ret_data, ret_len, e)) == SESSION_NOTHING)
		;
	return r;
}

void session_free(struct session *s)
{
	struct message *m;

	if (!s)
		return;
	rpc_stream_unref(s->stream);
	rpc_client_free(s->client);
	rpc_loop_free(s->loop);
	while (s->messages && (m = queue_pop(s->messages, 0))) {
		free(m->data);
		free(m);
	}
	queue_free(s->messages);
	free(s);
}
