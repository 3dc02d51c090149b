/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/s3_sign.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/s3_xml.h"
#include "tests/unit/rows.h"

#define NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The examples of "Signature Calculations for the Authorization Header", Amazon S3 API reference. */
static const struct s3_credentials amazon = { "AKIAIOSFODNN7EXAMPLE",
					      "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
					      "us-east-1" };
#define WHEN 1369353600 /* 20130524T000000Z */

static const struct example {
	const char *name;
	struct s3_call call;
	const char *path, *query, *headers, *signature;
} examples[] = {
	{ "GET object",
	  { .method = "GET",
	    .path = "/test.txt",
	    .n_headers = 1,
	    .headers = { { "range", "bytes=0-9" } },
	    .payload_sha256 = NOTHING },
	  "/test.txt",
	  "",
	  "host;range;x-amz-content-sha256;x-amz-date",
	  "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41" },
	{ "PUT object",
	  { .method = "PUT",
	    .path = "/test$file.text",
	    .n_headers = 2,
	    .headers = { { "x-amz-storage-class", "REDUCED_REDUNDANCY" },
			 { "date", "Fri, 24 May 2013 00:00:00 GMT" } },
	    .payload_sha256 = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072" },
	  "/test%24file.text",
	  "",
	  "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	  "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd" },
	{ "GET bucket lifecycle",
	  { .method = "GET",
	    .path = "/",
	    .n_params = 1,
	    .params = { { "lifecycle", "" } },
	    .payload_sha256 = NOTHING },
	  "/",
	  "lifecycle=",
	  "host;x-amz-content-sha256;x-amz-date",
	  "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543" },
	{ "list objects, unsorted",
	  { .method = "GET",
	    .path = "/",
	    .n_params = 2,
	    .params = { { "prefix", "J" }, { "max-keys", "2" } },
	    .payload_sha256 = NOTHING },
	  "/",
	  "max-keys=2&prefix=J",
	  "host;x-amz-content-sha256;x-amz-date",
	  "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7" },
};

static void signs_as_amazon_says(void **state)
{
	const struct example *row = *state;
	struct s3_call call = row->call;
	struct s3_signed s;
	char want[1024];

	call.host = "examplebucket.s3.amazonaws.com";
	assert_int_equal(s3_sign(&amazon, &call, WHEN, &s, NULL), 0);
	assert_string_equal(s.path, row->path);
	assert_string_equal(s.query, row->query);
	assert_string_equal(s.date, "20130524T000000Z");
	(void)snprintf(want, sizeof(want),
		       "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/"
		       "aws4_request,SignedHeaders=%s,Signature=%s",
		       row->headers, row->signature);
	assert_string_equal(s.authorization, want);
}

static void encodes_what_must_be(void **state)
{
	struct s3_call call = { .method = "GET",
				.host = "h",
				.path = "/b/a b+c/\xc3\xa9~",
				.n_params = 1,
				.params = { { "versionId", "a/b+c=&?" } },
				.payload_sha256 = NOTHING };
	struct s3_signed s;

	(void)state;
	assert_int_equal(s3_sign(&amazon, &call, WHEN, &s, NULL), 0);
	assert_string_equal(s.path, "/b/a%20b%2Bc/%C3%A9~");
	assert_string_equal(s.query, "versionId=a%2Fb%2Bc%3D%26%3F");
}

static void too_long_is_said(void **state)
{
	char path[8000];
	struct s3_call call = {
		.method = "GET", .host = "h", .path = path, .payload_sha256 = NOTHING
	};
	struct s3_signed s;
	struct error e = { 0 };

	(void)state;
	memset(path, '$', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(s3_sign(&amazon, &call, WHEN, &s, &e), -EMSGSIZE);
	assert_string_equal(e.text, "cannot sign a request to S3: too long");
}

static const struct xml {
	const char *name, *xml, *want; /* NULL: nothing */
} xmls[] = {
	{ "empty", "", NULL },
	{ "another element", "<A>x</A>", NULL },
	{ "no end", "<Code>x", NULL },
	{ "too long", "<Code>12345678901234567890123</Code>", NULL },
	{ "an element inside", "<Code>a<b/></Code>", NULL },
	{ "an entity that is none", "<Code>&nbsp;</Code>", NULL },
	{ "cut entity", "<Code>&am</Code>", NULL },
	{ "text", "<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "NoSuchKey" },
	{ "entities", "<Code>&amp;&lt;&gt;&quot;&apos;</Code>", "&<>\"'" },
	{ "nothing in it", "<Code></Code>", "" },
	{ "the first", "<Code>a</Code><Code>b</Code>", "a" },
};

static void reads_xml(void **state)
{
	const struct xml *row = *state;
	char out[20] = "?";
	bool got = s3_xml_text(row->xml, strlen(row->xml), "Code", out, sizeof(out));

	assert_int_equal(got, row->want != NULL);
	if (row->want)
		assert_string_equal(out, row->want);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, reads_xml, xmls);
	ADD_TEST(&t, too_long_is_said);
	ADD_TEST(&t, encodes_what_must_be);
	ADD_ROWS(&t, signs_as_amazon_says, examples);
	return tests_run(&t, "s3_sign");
}
