/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of who is revoked: which are taken, and what then counts no more. */
#include "tests/unit/orders.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <string.h>

#include "proto/certs.h"

#define S(s) ((int64_t)(s) * (int64_t)NSEC_PER_SEC)

static struct pki pki;
static struct authorities *authorities;

static struct order_context context(void)
{
	return (struct order_context){ .authorities = authorities,
				       .domain = FIXTURE_DOMAIN,
				       .tenant = FIXTURE_TENANT,
				       .host_id = ORDERS_HOST,
				       .now_ns = S(ORDERS_NOW + 60) };
}

static void take(struct revocations *r, const char *authority, const char *tenant, uint64_t number,
		 const char *serial, int want)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	AUTO(free_ptr) uint8_t *list = NULL;
	struct error e = { 0 };
	size_t len = 0;

	if (certs_authority_load(pki_path(&pki, authority, ""), &a, &e) < 0 ||
	    certs_revocations(a, tenant, number, &serial, serial != NULL, 1, &list, &len, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(revocations_take(r, authorities, list, len, &e), want);
}

static void the_revoked_are_refused(void **state)
{
	struct order_context c = context();
	struct order_checked got;
	struct revocations *r = NULL;
	struct error e = { 0 };
	static const char *const bobs[] = { "bob", NULL };
	struct order_kit t;
	size_t len;

	(void)state;
	orders_init(&t);
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &t, "ann", bobs, &len);

	assert_int_equal(order_check(&c, data, len, &got, NULL), 0);
	char ann[IDENTITY_SERIAL_MAX + 1], bob[IDENTITY_SERIAL_MAX + 1];

	(void)snprintf(ann, sizeof(ann), "%s", got.requester.serial);
	(void)snprintf(bob, sizeof(bob), "%s", got.approvers[0].serial);
	order_checked_release(&got);
	assert_int_equal(revocations_new(FIXTURE_TENANT, &r, NULL), 0);
	c.revocations = r;
	take(r, "order", FIXTURE_TENANT, 5, "abc", 0);
	assert_int_equal(order_check(&c, data, len, &got, NULL), 0);
	order_checked_release(&got);
	take(r, "order", FIXTURE_TENANT, 6, ann, 0);
	assert_int_equal(order_check(&c, data, len, &got, &e), -EACCES);
	assert_non_null(strstr(e.text, "revoked"));
	take(r, "order", FIXTURE_TENANT, 7, bob, 0);
	assert_int_equal(order_check(&c, data, len, &got, &e), -EACCES);
	assert_non_null(strstr(e.text, "approver's certificate is refused"));
	/* Nothing that is older, forged or another tenant's brings ann or bob back. */
	take(r, "order", FIXTURE_TENANT, 7, "abc", -EALREADY);
	take(r, "order", FIXTURE_TENANT, 6, "abc", -EALREADY);
	take(r, "fleet", FIXTURE_TENANT, 8, "abc", -EBADMSG);
	take(r, "other", FIXTURE_TENANT, 8, "abc", -EBADMSG);
	take(r, "order", "evil", 8, "abc", -EBADMSG);
	take(r, "order", FIXTURE_TENANT, 8, "ABC", -EBADMSG);
	take(r, "order", FIXTURE_TENANT, 8, "0abc", -EBADMSG);
	take(r, "order", FIXTURE_TENANT, 0, "abc", -EBADMSG);
	assert_int_equal(revocations_number(r), 7);
	assert_int_equal(order_check(&c, data, len, &got, NULL), -EACCES);
	take(r, "order", FIXTURE_TENANT, UINT64_MAX, NULL, 0);
	assert_int_equal(order_check(&c, data, len, &got, NULL), 0);
	order_checked_release(&got);
	revocations_free(r);
}

static void an_altered_list_is_refused(void **state)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	const char *const serials[] = { "b", "a", "c" };
	struct revocations *r = NULL;
	uint8_t *list = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(certs_authority_load(pki_path(&pki, "order", ""), &a, NULL), 0);
	assert_int_equal(certs_revocations(a, FIXTURE_TENANT, 1, serials, 3, 1, &list, &len, NULL),
			 0);
	assert_int_equal(revocations_new(FIXTURE_TENANT, &r, NULL), 0);
	for (size_t i = 0; i < len; i++) {
		list[i] ^= 0x04;
		assert_int_equal(revocations_take(r, authorities, list, len, NULL), -EBADMSG);
		list[i] ^= 0x04;
	}
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(revocations_take(r, authorities, list, cut, NULL), -EBADMSG);
	assert_int_equal(revocations_number(r), 0);
	assert_int_equal(revocations_take(r, authorities, list, len, NULL), 0);
	for (size_t i = 0; i < 3; i++)
		assert_true(revocations_has(r, serials[i]));
	assert_false(revocations_has(r, "d"));
	free(list);
	revocations_free(r);
}

int main(void)
{
	static struct tests t;
	struct error e = { 0 };
	int failed;

	pki_make(&pki);
	orders_person(&pki, "ann", "acquirer");
	orders_person(&pki, "bob", "approver");
	if (authorities_load(pki_path(&pki, "fleet", ".crt"), pki_path(&pki, "order", ".crt"),
			     &authorities, &e) < 0)
		return 1;
	ADD_TEST(&t, the_revoked_are_refused);
	ADD_TEST(&t, an_altered_list_is_refused);
	failed = tests_run(&t, "revocations");
	authorities_free(authorities);
	pki_remove(&pki);
	return failed;
}
