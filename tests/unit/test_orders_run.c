/* SPDX-License-Identifier: Apache-2.0 */
/* The orders thread with this test as its link, its launcher and its acquirer, which may be hostile. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "agent/acquire/acquire.h"
#include "agent/acquire/control.h"
#include "agent/launch_message.h"
#include "agent/orders.h"
#include "proto/actions.h"
#include "proto/base/clock.h"
#include "service.pb-c.h"
#include "tests/unit/orders.h"
#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

#define WAIT_MS 20000
#define TEXT(s) ((struct control_bytes){ .data = (const uint8_t *)(s), .len = sizeof(s) - 1 })

static struct pki pki;
static const uint8_t boot_id[16];

struct world {
	struct sealing sealing;
	struct mailbox mail;
	struct orders *orders;
	int launcher[2]; /* [0]: the thread's */
	struct order_kit kit;
	uint32_t token;
	int control; /* the acquirer's end */
	uint8_t exhibit_id[16];
	struct queue *events;
	const char *approvals; /* NULL: none are demanded */
};

struct said {
	uint32_t action, state;
	char actor[IDENTITY_SPIFFE_MAX];
	bool requester;
	uint8_t certificate[SEAL_HASH_LEN];
	int64_t signed_ns;
};

/* On the orders thread. */
static bool say(void *ctx, const struct event_order *o, uint32_t action, uint32_t error)
{
	struct said *s = calloc(1, sizeof(*s));

	(void)error;
	assert_non_null(s);
	s->action = action;
	s->state = o->state;
	(void)snprintf(s->actor, sizeof(s->actor), "%.*s", (int)o->actor.len,
		       (const char *)o->actor.at);
	s->requester = o->requester.len > 0;
	if (o->certificate_sha256.len == SEAL_HASH_LEN)
		memcpy(s->certificate, o->certificate_sha256.at, SEAL_HASH_LEN);
	s->signed_ns = o->signed_ns;
	if (!queue_push(ctx, s))
		free(s);
	return true;
}

static void start(struct world *w)
{
	char dir[128], key[128];
	struct option_list none = { 0 }, approvals = { 0 };
	struct error e = { 0 };
	struct orders_config c = {
		.dir = dir,
		.domain = FIXTURE_DOMAIN,
		.host = { .tenant = FIXTURE_TENANT, .host_id = ORDERS_HOST, .boot_id = boot_id },
		.clock_skew_ms = 1000,
		.mail = &w->mail,
		.control = w->launcher[0],
		.say = say,
		.ctx = w->events
	};

	if (w->approvals != NULL)
		approvals.item[approvals.n++] = (char *)(uintptr_t)w->approvals;

	(void)snprintf(dir, sizeof(dir), "%s/orders", w->sealing.dir);
	(void)snprintf(key, sizeof(key), "%s/seal.pem", w->sealing.dir);
	assert_int_equal(orders_policy_parse(&none, &none, &approvals, &c.policy, &e), 0);
	assert_int_equal(seal_key_load(key, &c.key, &e), 0);
	assert_int_equal(authorities_load(pki_path(&pki, "fleet", ".crt"),
					  pki_path(&pki, "order", ".crt"), &c.authorities, &e),
			 0);
	if (orders_start(&c, &w->orders, &e) < 0)
		fail_msg("%s", e.text);
}

static void put_mail(struct world *w, enum link_kind kind, const void *body, size_t len)
{
	assert_true(queue_push(w->mail.in, mail_new(kind, body, len, -1)));
}

static void put_link(struct world *w)
{
	struct mail *m = mail_new(LINK_KINDS, NULL, 0, -1);

	m->new_link = true;
	assert_true(queue_push(w->mail.in, m));
}

/* The next mail of a kind for the uplink. */
static struct mail *expect_mail(struct world *w, enum link_kind kind)
{
	struct mail *m;

	while ((m = queue_pop(w->mail.out, WAIT_MS)) != NULL && m->kind != kind)
		mail_free(m);
	if (m == NULL)
		fail_msg("no mail of kind %d came", (int)kind);
	return m;
}

/* The next step; its reason must hold this. */
static void expect_step(struct world *w, Exhibit__V1__OrderState state, const char *reason)
{
	struct mail *m = expect_mail(w, LINK_STEP);
	Exhibit__V1__OrderStep *s = exhibit__v1__order_step__unpack(NULL, m->len, m->body);
	char text[1024];

	(void)snprintf(text, sizeof(text), "%.*s", (int)s->reason.len, (char *)s->reason.data);
	if (s->state != state || strstr(text, reason) == NULL)
		fail_msg("state %d: %s", (int)s->state, text);
	exhibit__v1__order_step__free_unpacked(s, NULL);
	mail_free(m);
}

static void expect_word(struct world *w, enum launch_word word, int fds[static LAUNCH_FDS_MAX])
{
	struct pollfd p = { .fd = w->launcher[1], .events = POLLIN };
	struct launch_message m;
	size_t n;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(launch_message_receive(w->launcher[1], &m, fds, &n), 1);
	assert_int_equal(m.word, word);
	if (word == LAUNCH_WORD_ACQUIRE) {
		assert_int_equal(n, 2);
		w->token = m.token;
	} else {
		assert_int_equal(m.token, w->token);
	}
}

static void begin_link(struct world *w, const char *approvals)
{
	int64_t now = clock_wall_ns();

	*w = (struct world){ .control = -1, .approvals = approvals, .events = queue_new(1024) };
	assert_non_null(w->events);
	sealing_begin(&w->sealing);
	assert_int_equal(mailbox_init(&w->mail, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, w->launcher), 0);
	start(w);
	put_link(w);
	mail_free(expect_mail(w, LINK_HELD));
	orders_init(&w->kit);
	orders_kind(&w->kit, EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY);
	w->kit.o.made_ns = now;
	w->kit.o.expires_ns = now + 3600 * (int64_t)NSEC_PER_SEC;
}

static void begin(struct world *w)
{
	size_t len;

	begin_link(w, NULL);
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &w->kit, "now", NULL, &len);

	put_mail(w, LINK_ORDER, data, len);
}

/* The order runs; the test is its acquirer. */
static void begin_acquiring(struct world *w)
{
	static uint8_t buf[CONTROL_MESSAGE_MAX];
	int fds[LAUNCH_FDS_MAX];
	struct control_message m;

	begin(w);
	expect_step(w, EXHIBIT__V1__ORDER_STATE__ORDER_STARTED, "");
	expect_word(w, LAUNCH_WORD_ACQUIRE, fds);
	w->control = fds[0];
	(void)close(fds[1]);
	struct mail *start_mail = expect_mail(w, LINK_UPLOAD);
	Exhibit__V1__UploadStart *s =
		exhibit__v1__upload_start__unpack(NULL, start_mail->len, start_mail->body);

	memcpy(w->exhibit_id, s->exhibit_id.data, 16);
	exhibit__v1__upload_start__free_unpacked(s, NULL);
	mail_free(start_mail);
	assert_int_equal(control_receive(w->control, buf, &m), 1);
	assert_int_equal(m.kind, CONTROL_REQUEST);
}

/* The manifest that goes to the uplink must hold this; then its receipt comes. */
static void expect_manifest(struct world *w, const char *want)
{
	struct mail *m = expect_mail(w, LINK_MANIFEST);
	Exhibit__V1__SignedManifest *s =
		exhibit__v1__signed_manifest__unpack(NULL, m->len - 16, m->body + 16);
	Exhibit__V1__Receipt receipt = EXHIBIT__V1__RECEIPT__INIT;
	struct seal_hash hash;
	uint8_t body[16 + 128];

	assert_memory_equal(m->body, w->exhibit_id, 16);
	assert_int_equal(seal_verify(w->sealing.verifier, MANIFEST_DOMAIN, s->manifest.data,
				     s->manifest.len, s->signature.data, s->signature.len),
			 0);
	if (memmem(s->manifest.data, s->manifest.len, want, strlen(want)) == NULL)
		fail_msg("%.*s", (int)s->manifest.len, (char *)s->manifest.data);
	assert_int_equal(seal_sha256(s->manifest.data, s->manifest.len, &hash), 0);
	receipt.manifest_sha256 = (ProtobufCBinaryData){ sizeof(hash), hash.b };
	memcpy(body, w->exhibit_id, 16);
	put_mail(w, LINK_RECEIPT, body, 16 + exhibit__v1__receipt__pack(&receipt, body + 16));
	exhibit__v1__signed_manifest__free_unpacked(s, NULL);
	mail_free(m);
}

static void end(struct world *w)
{
	close_fd(&w->control);
	(void)close(w->launcher[1]);
	orders_stop(w->orders);
	(void)close(w->launcher[0]);
	mailbox_release(&w->mail);
	sealing_end(&w->sealing);
	for (struct said *s; (s = queue_pop(w->events, 0)) != NULL;)
		free(s);
	queue_free(w->events);
}

static void speak(struct world *w, const struct control_message *m)
{
	assert_int_equal(control_send(w->control, m), 0);
}

static void a_good_acquirer_is_done(void **state)
{
	struct world w;

	(void)state;
	begin_acquiring(&w);
	speak(&w, &(struct control_message){
			  .kind = CONTROL_ITEM,
			  .u.item = { .item = 1, .name = TEXT("a"), .format = TEXT("raw") } });
	speak(&w,
	      &(struct control_message){ .kind = CONTROL_ITEM_END, .u.item_end = { .item = 1 } });
	speak(&w, &(struct control_message){ .kind = CONTROL_END });
	orders_ended(w.orders, w.token, 0);
	expect_manifest(&w, "\"complete\":true");
	expect_step(&w, EXHIBIT__V1__ORDER_STATE__ORDER_DONE, "");
	end(&w);
}

static void garbage(struct world *w)
{
	assert_int_equal(send(w->control, "x", 1, 0), 1);
}

static void a_request(struct world *w)
{
	speak(w, &(struct control_message){ .kind = CONTROL_REQUEST });
}

static void an_end_without_beginning(struct world *w)
{
	speak(w,
	      &(struct control_message){ .kind = CONTROL_ITEM_END, .u.item_end = { .item = 9 } });
}

static void more_after_the_end(struct world *w)
{
	speak(w, &(struct control_message){ .kind = CONTROL_END });
	speak(w, &(struct control_message){ .kind = CONTROL_END });
}

static const struct hostile {
	const char *name;
	void (*act)(struct world *w);
} hostile_rows[] = {
	{ "garbage", garbage },
	{ "a request", a_request },
	{ "an item that did not begin", an_end_without_beginning },
	{ "more after its end", more_after_the_end },
};

static void a_hostile_acquirer_is_ended(void **state)
{
	const struct hostile *row = *state;
	int fds[LAUNCH_FDS_MAX];
	struct world w;

	begin_acquiring(&w);
	row->act(&w);
	expect_word(&w, LAUNCH_WORD_KILL, fds);
	orders_ended(w.orders, w.token, SIGKILL);
	expect_manifest(&w, "\"complete\":false,\"failure\":\"the acquirer broke the rules");
	expect_step(&w, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, "broke the rules");
	end(&w);
}

static void who_ends_without_a_word_failed(void **state)
{
	struct world w;

	(void)state;
	begin_acquiring(&w);
	close_fd(&w.control);
	w.control = -1;
	orders_ended(w.orders, w.token, 3 << 8);
	expect_manifest(&w, "the acquirer ended with status 3 and without a word");
	expect_step(&w, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED, "status 3");
	end(&w);
}

/* An agent that ends while it acquires says so after its next start. */
static void a_stop_is_told_at_the_next_start(void **state)
{
	struct world w;

	(void)state;
	begin_acquiring(&w);
	speak(&w, &(struct control_message){ .kind = CONTROL_PROGRESS, .u.progress = { 5, 9 } });
	/* The launcher is gone: nobody reports the acquirer's end. */
	(void)close(w.launcher[1]);
	orders_stop(w.orders);
	(void)close(w.launcher[0]);
	mailbox_release(&w.mail);
	assert_int_equal(mailbox_init(&w.mail, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, w.launcher), 0);
	start(&w);
	put_link(&w);
	expect_manifest(&w, "the agent ended while the acquisition ran");
	end(&w);
}

static void others_receipts_mean_nothing(void **state)
{
	struct world w;
	uint8_t body[17] = { 0 };

	(void)state;
	begin_acquiring(&w);
	put_mail(&w, LINK_RECEIPT, body, sizeof(body));
	put_mail(&w, LINK_RECEIPT, body, 3);
	put_mail(&w, LINK_UPLOAD_FAILED, body, sizeof(body));
	speak(&w, &(struct control_message){ .kind = CONTROL_END });
	orders_ended(w.orders, w.token + 1, 0);
	orders_ended(w.orders, w.token, 0);
	expect_manifest(&w, "\"complete\":true");
	expect_step(&w, EXHIBIT__V1__ORDER_STATE__ORDER_DONE, "");
	end(&w);
}

/* ---- who signed ----------------------------------------------------------------------------------- */

#define STATE(word) EXHIBIT__V1__ORDER_STATE__ORDER_##word

/* The next event about an order; actor: NULL: the host's own step. */
static void expect_event(struct world *w, Exhibit__V1__OrderState state, const char *actor)
{
	AUTO(free_ptr) struct said *s = queue_pop(w->events, WAIT_MS);
	static const uint8_t none[SEAL_HASH_LEN];
	char name[IDENTITY_SPIFFE_MAX] = "";

	assert_non_null(s);
	if (actor != NULL)
		(void)snprintf(name, sizeof(name), "spiffe://%s/%s/responder/%s", FIXTURE_DOMAIN,
			       FIXTURE_TENANT, actor);
	assert_int_equal(s->action, ACTION_ORDER);
	assert_int_equal(s->state, state);
	assert_string_equal(s->actor, name);
	assert_true(s->requester);
	assert_int_equal(memcmp(s->certificate, none, sizeof(none)) != 0, actor != NULL);
	assert_true(s->signed_ns == (state == STATE(MADE) ? w->kit.o.made_ns : 0));
}

static void put_order(struct world *w, const char *const *approvers)
{
	size_t len;
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &w->kit, "now", approvers, &len);

	put_mail(w, LINK_ORDER, data, len);
}

/* What nobody entitled signed is refused, and that is all that is told of it. */
static void of_a_false_order_no_signature_is_told(void **state)
{
	static const char *const bob[] = { "bob", NULL };
	struct world w;
	size_t len;

	(void)state;
	begin_link(&w, NULL);
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &w.kit, "now", bob, &len);

	data[len - 1] ^= 1; /* bob's signature */
	put_mail(&w, LINK_ORDER, data, len);
	expect_step(&w, STATE(REFUSED), "signature is false");
	for (uint32_t i = 0; i < 2; i++) {
		AUTO(free_ptr) struct said *s = queue_pop(w.events, WAIT_MS);

		assert_non_null(s);
		assert_int_equal(s->action, i == 0 ? ACTION_TAMPER : ACTION_ORDER);
		assert_int_equal(s->state, STATE(REFUSED));
		assert_string_equal(s->actor, "");
		assert_false(s->requester);
	}
	assert_null(queue_pop(w.events, 0));
	end(&w);
}

/* Each signature once, before what becomes of the order; an approval that comes later with the order sent again. */
static void signatures_are_told_once(void **state)
{
	static const char *const bob[] = { "bob", NULL }, *const both[] = { "bob", "carl", NULL };
	int fds[LAUNCH_FDS_MAX];
	struct world w;

	(void)state;
	begin_link(&w, "all=2");
	put_order(&w, NULL);
	expect_event(&w, STATE(MADE), "ann");
	expect_event(&w, STATE(REFUSED), NULL);
	put_order(&w, bob);
	expect_event(&w, STATE(APPROVED), "bob");
	expect_event(&w, STATE(REFUSED), NULL);
	put_order(&w, both);
	expect_event(&w, STATE(APPROVED), "carl");
	expect_event(&w, STATE(STARTED), NULL);
	put_order(&w, both);
	expect_word(&w, LAUNCH_WORD_ACQUIRE, fds);
	w.control = fds[0];
	(void)close(fds[1]);
	assert_null(queue_pop(w.events, 0));
	end(&w);
}

/* Progress is told to whoever watches as often as it is made; now and then it lasts: an event, and marked so. */
static void progress_lasts_now_and_then(void **state)
{
	size_t lasting = 0, passing = 0;
	struct world w;

	(void)state;
	begin_acquiring(&w);
	expect_event(&w, STATE(MADE), "ann");
	expect_event(&w, STATE(STARTED), NULL);
	for (uint64_t bytes = 1; lasting == 0; bytes++) {
		speak(&w, &(struct control_message){ .kind = CONTROL_PROGRESS,
						     .u.progress = { bytes, 1000000 } });
		struct mail *m = queue_pop(w.mail.out, 100);
		Exhibit__V1__OrderStep *s;

		if (m == NULL || m->kind != LINK_STEP) {
			mail_free(m);
			continue;
		}
		s = exhibit__v1__order_step__unpack(NULL, m->len, m->body);
		assert_int_equal(s->state, STATE(PROGRESS));
		lasting += s->lasting != 0;
		passing += s->lasting == 0;
		exhibit__v1__order_step__free_unpacked(s, NULL);
		mail_free(m);
		assert_true(bytes < 1000);
	}
	assert_int_equal(passing, 1);
	expect_event(&w, STATE(PROGRESS), NULL);
	assert_null(queue_pop(w.events, 0));
	end(&w);
}

/* What was said on a stream that ended may not have arrived: all of it is said again, in its order. */
static void a_new_stream_hears_what_lasts_again(void **state)
{
	struct world w;

	(void)state;
	begin_acquiring(&w);
	speak(&w, &(struct control_message){ .kind = CONTROL_END });
	orders_ended(w.orders, w.token, 0);
	expect_manifest(&w, "\"complete\":true");
	expect_step(&w, STATE(DONE), "");
	/* Twice: the stream that heard it again may have broken too. */
	for (size_t i = 0; i < 2; i++) {
		put_mail(&w, LINK_ORDERS, NULL, 0);
		expect_step(&w, STATE(STARTED), "");
		expect_step(&w, STATE(DONE), "");
		expect_step(&w, STATE(DONE), ""); /* the newest of each order, however old */
	}
	for (size_t i = 0; i < 2; i++) {
		put_mail(&w, LINK_ORDERS, NULL, 0);
		expect_step(&w, STATE(DONE), "");
	}
	end(&w);
}

int main(void)
{
	static const char *const approvers[] = { "bob", "carl" };
	static struct tests t;
	int failed;

	ADD_ROWS(&t, a_hostile_acquirer_is_ended, hostile_rows);
	ADD_TEST(&t, who_ends_without_a_word_failed);
	ADD_TEST(&t, others_receipts_mean_nothing);
	ADD_TEST(&t, a_stop_is_told_at_the_next_start);
	ADD_TEST(&t, a_good_acquirer_is_done);
	ADD_TEST(&t, of_a_false_order_no_signature_is_told);
	ADD_TEST(&t, signatures_are_told_once);
	ADD_TEST(&t, progress_lasts_now_and_then);
	ADD_TEST(&t, a_new_stream_hears_what_lasts_again);
	pki_make(&pki);
	orders_person_at(&pki, "order", "ann", "now", "acquirer",
			 clock_wall_ns() / (int64_t)NSEC_PER_SEC, 3600);
	for (size_t i = 0; i < 2; i++)
		orders_person_at(&pki, "order", approvers[i], approvers[i], "approver",
				 clock_wall_ns() / (int64_t)NSEC_PER_SEC, 3600);
	failed = tests_run(&t, "orders_run");
	pki_remove(&pki);
	return failed;
}
