/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts held against an inventory: who matches whom, which problems are named, what comes first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collector/cli/fleet.h"

static ProtobufCBinaryData bytes(const char *s)
{
	return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

/* id, name, version, lag in seconds; lag below 0: away. */
static void add(struct fleet *f, const char *id, const char *name, const char *version, int lag)
{
	Exhibit__V1__HostRow row = EXHIBIT__V1__HOST_ROW__INIT;

	row.host_id = bytes(id);
	row.host_name = bytes(name);
	row.version = bytes(version);
	row.connected = lag >= 0;
	row.last_seen_ns = 1;
	row.has_lag_case = EXHIBIT__V1__HOST_ROW__HAS_LAG_LAG_NS;
	row.lag_ns = lag < 0 ? 0 : (uint64_t)lag * (uint64_t)NSEC_PER_SEC;
	assert_int_equal(fleet_add(f, &row), 0);
}

static struct inventory inventory(const char *text)
{
	struct inventory v;
	struct error e = { 0 };

	assert_int_equal(inventory_parse("f", (uint8_t *)strdup(text), strlen(text), &v, &e), 0);
	return v;
}

/* "NAME=bits " in the order of rows; bits as letters of the problems. */
static void expect(const struct fleet *f, const char *want)
{
	static const char letters[] = "NEABLCMTOU";
	char all[512] = "";
	size_t at = 0;

	for (size_t i = 0; i < f->n; i++) {
		const struct fleet_host *h = &f->hosts[i];

		at += (size_t)snprintf(
			all + at, sizeof(all) - at, "%.*s=", h->row ? (int)h->row->host_id.len : 64,
			h->row ? (const char *)h->row->host_id.data : h->listed->name);
		for (unsigned int p = 0; p < FLEET_PROBLEMS; p++)
			if (h->problems >> p & 1)
				at += (size_t)snprintf(all + at, sizeof(all) - at, "%c",
						       letters[p]);
		at += (size_t)snprintf(all + at, sizeof(all) - at, " ");
	}
	assert_string_equal(all, want);
}

static void each_problem(void **state)
{
	struct inventory v = inventory("host,id\nweb-1,\nWEB-2,\nweb-3,\nx,id4\ngone,\nweb-7,\n");
	struct fleet f = { 0 };
	Exhibit__V1__Incomplete loss = EXHIBIT__V1__INCOMPLETE__INIT, *losses[] = { &loss };
	Exhibit__V1__Completeness c = EXHIBIT__V1__COMPLETENESS__INIT;
	Exhibit__V1__HostCoverage cover = EXHIBIT__V1__HOST_COVERAGE__INIT;
	Exhibit__V1__Coverage coverage = EXHIBIT__V1__COVERAGE__INIT;
	Exhibit__V1__CoverageRow good = EXHIBIT__V1__COVERAGE_ROW__INIT, bad = good;
	Exhibit__V1__CoverageRow *rows[] = { &good, &bad };
	ProtobufCBinaryData newest = bytes("0.10.0");

	(void)state;
	add(&f, "id1", "web-1", "0.10.0-3-gabc", 0);
	add(&f, "id2", "web-2", "0.9.9", 61);
	add(&f, "id3", "web-3", "0.10.0", -1);
	add(&f, "id4", "other", "0.10.0", 60);
	add(&f, "id5", "stranger", "", 0);
	add(&f, "id7", "web-7", "0.10", 0);
	fleet_version(&f, &newest);
	good.state = EXHIBIT__V1__COVERAGE_STATE__COVERAGE_ATTACHED;
	bad.state = EXHIBIT__V1__COVERAGE_STATE__COVERAGE_PARTIAL;
	bad.class_ = EXHIBIT__V1__CLASS__CLASS_TCP;
	bad.reason = bytes("no BTF");
	coverage.rows = rows;
	coverage.n_rows = 2;
	cover.host_id = bytes("id7");
	cover.coverage = &coverage;
	assert_int_equal(fleet_coverage(&f, &cover), 0);
	loss.host_id = bytes("id4");
	loss.reason = bytes("3 lost");
	loss.class_ = EXHIBIT__V1__CLASS__CLASS_EXEC;
	c.missing = losses;
	c.n_missing = 1;
	fleet_losses(&f, &c);
	assert_int_equal(fleet_match(&f, &v), 0);
	fleet_judge(&f, true);
	expect(&f, "gone=N id3=A id2=BO id4=L id7=M id5=U id1= ");
	assert_int_equal(f.well, 1);
	assert_int_equal(f.counts[FLEET_OLD], 1);
	assert_string_equal(f.hosts[4].missing[0].state, "partial");
	assert_string_equal(f.hosts[4].missing[0].reason, "no BTF");
	fleet_release(&f);
	inventory_release(&v);
}

static void names(void **state)
{
	struct inventory v = inventory("name,id\nweb-1.example.com,\nweb-2.a,\nweb-2.b,\ndb,\n"
				       "twin,\nidonly,zz\n");
	struct fleet f = { 0 };

	(void)state;
	add(&f, "a", "web-1", "1", 0); /* short, one row has it */
	add(&f, "b", "web-2", "1", 0); /* short, two have it */
	add(&f, "c", "db.example.com", "1", 0); /* long, the row is short */
	add(&f, "d", "twin", "1", 0);
	add(&f, "e", "TWIN", "1", 0);
	add(&f, "f", "idonly", "1", 0); /* the row wants another id */
	assert_int_equal(fleet_match(&f, &v), 0);
	fleet_judge(&f, true);
	expect(&f, "idonly=N web-2.a=N web-2.b=N e=T d=T f=U b=U c= a= ");
	fleet_release(&f);
	inventory_release(&v);
}

static void long_names_differ(void **state)
{
	struct inventory v = inventory("host\nweb.a.org\n");
	struct fleet f = { 0 };

	(void)state;
	add(&f, "a", "web.b.org", "1", 0);
	assert_int_equal(fleet_match(&f, &v), 0);
	fleet_judge(&f, true);
	expect(&f, "web.a.org=N a=U ");
	fleet_release(&f);
	inventory_release(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_problem),
		cmocka_unit_test(names),
		cmocka_unit_test(long_names_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
