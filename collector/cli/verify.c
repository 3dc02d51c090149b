/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit verify FILE|DIR: whether a bundle (or what 'exhibit fetch' wrote) is whole and unchanged, with no network and
 * no daemon. Exit status 0 intact, 1 damaged, 2 error. */
#include "collector/cli/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collector/cli/outcome.h"
#include "proto/authorities_x509.h"
#include "proto/base/files.h"
#include "proto/json.h"

enum { EXIT_INTACT = 0, EXIT_DAMAGED = 1 };

#define SENTENCE_MAX 1024

static void print_fault(const struct verify *v, const char *object, uint64_t from, uint64_t to,
			const char *sentence)
{
	const struct screen s = { .out = stdout };
	struct json j = json_init(stdout);

	if (!v->args->json) {
		(void)screen_cell(&s, (const uint8_t *)object, strlen(object), SIZE_MAX, false,
				  COLOR_NONE);
		if (to > 0)
			(void)printf(": bytes %" PRIu64 " to %" PRIu64, from, to);
		(void)fputs(": ", stdout);
		(void)screen_cell(&s, (const uint8_t *)sentence, strlen(sentence), SIZE_MAX, false,
				  COLOR_NONE);
		(void)fputc('\n', stdout);
		return;
	}
	json_open(&j, NULL, 0, '{');
	json_bytes(&j, "object", object, strlen(object));
	if (to > 0) {
		json_u64(&j, "from", from);
		json_u64(&j, "to", to);
	}
	json_bytes(&j, "fault", sentence, strlen(sentence));
	json_close(&j, '}');
	json_line(&j);
}

void verify_fault(struct verify *v, const char *object, uint64_t from, uint64_t to, const char *fmt,
		  ...)
{
	struct bundle_file *f = bundle_files_find(&v->files, object);
	char sentence[SENTENCE_MAX];
	va_list args;

	v->faults++;
	if (f && f->faulty)
		return;
	if (f)
		f->faulty = true;
	va_start(args, fmt);
	(void)vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	print_fault(v, object, from, to, sentence);
}

void verify_explain(struct verify *v, const char *fmt, ...)
{
	const struct screen s = { .out = stderr };
	char sentence[SENTENCE_MAX];
	va_list args;

	if (!v->args->explain)
		return;
	va_start(args, fmt);
	(void)vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	(void)fputs("checked: ", stderr);
	(void)screen_cell(&s, (const uint8_t *)sentence, strlen(sentence), SIZE_MAX, false,
			  COLOR_NONE);
	(void)fputc('\n', stderr);
}

static void tar_fault(void *ctx, const char *name, uint64_t from, uint64_t to, const char *why)
{
	verify_fault(ctx, name, from, to, "%s", why);
}

/* The authority's file is read by its name: one from the bundle gets a name without a place. ret: NULL when it is
 * none. */
static int load_bundled(const struct verify *v, struct authorities **ret, struct error *e)
{
	AUTO(close_fd) int fd = memfd_create("authority", MFD_CLOEXEC);
	char path[40];
	int r;

	*ret = NULL;
	if (fd < 0)
		return error_set(e, -errno, "cannot read the authority: %m");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = files_write_all(fd, v->bundle.authority.data, v->bundle.authority.len, e);
	if (r == 0 && (lseek(fd, 0, SEEK_SET) < 0 || authorities_load(NULL, path, ret, NULL) < 0))
		*ret = NULL;
	return r;
}

static bool holds(const struct authorities *a, X509 *cert)
{
	X509 *own;

	for (size_t i = 0; (own = authorities_certificate(a, IDENTITY_ORDER, i)) != NULL; i++)
		if (X509_cmp(own, cert) == 0)
			return true;
	return false;
}

/* With one that is trusted, the bundle's is for others: still it must be the same. */
static int load_authority(struct verify *v, struct error *e)
{
	AUTO(authorities_free_ptr) struct authorities *bundled = NULL;
	X509 *cert = NULL;
	bool same;
	int r = load_bundled(v, &bundled, e);

	if (r < 0 || !v->args->authority) {
		v->order = TAKE(bundled); /* none: verify_ledger names it */
		return r;
	}
	v->trusted = true;
	r = authorities_load(NULL, v->args->authority, &v->order, e);
	if (r < 0)
		return r;
	same = bundled != NULL;
	for (size_t i = 0; same && (cert = authorities_certificate(bundled, IDENTITY_ORDER, i));
	     i++)
		same = holds(v->order, cert);
	if (!same)
		verify_fault(v, "keys/order-ca.crt", 0, v->bundle.authority.len,
			     "it is not the authority that you trust");
	return 0;
}

static int check_bundle(struct verify *v, struct error *e)
{
	int r = load_authority(v, e);

	if (r == 0)
		r = verify_ledger(v, e);
	if (r == 0)
		r = verify_exhibits(v, e);
	if (r == 0)
		r = verify_items(v, e);
	if (r == 0)
		r = verify_orders(v, e);
	if (r == 0)
		r = verify_derived(v, e);
	return r == 0 ? verify_sums(v, e) : r;
}

/* What 'exhibit fetch' wrote: hashes alone, since the host's key is not there. */
static int check_folder(struct verify *v, struct error *e)
{
	(void)fprintf(
		stderr,
		"a fetched exhibit, not a bundle: its hashes are checked against manifest.json; "
		"who signed that, 'exhibit export' brings\n");
	return verify_sums(v, e);
}

static int run(struct verify *v, struct error *e)
{
	bool bundle;
	int r;

	if (!v->args->object || !v->args->object[0]) {
		(void)error_set(e, -EINVAL, "no file is given");
		error_hint(e, "exhibit verify FILE-OR-FOLDER");
		return -EINVAL;
	}
	r = bundle_files_read(v->args->object, &v->files, tar_fault, v, e);
	if (r < 0)
		return r;
	bundle = v->files.tar || bundle_files_find(&v->files, "ledger/checkpoint") ||
		 bundle_files_find(&v->files, "custody.jsonl");
	if (v->files.n == 0) {
		(void)error_set(e, -EINVAL, "'%s' is no bundle: it holds no file of one",
				v->args->object);
		error_hint(e, "'exhibit export CASE --out FILE' makes one");
		return -EINVAL;
	}
	r = verify_load(v, e);
	if (r == 0)
		r = bundle ? check_bundle(v, e) : check_folder(v, e);
	return r;
}

static void say_trust(const struct verify *v)
{
	struct seal_hash hash;

	if (v->trusted || v->bundle.authority.len == 0 ||
	    seal_sha256(v->bundle.authority.data, v->bundle.authority.len, &hash) < 0)
		return;
	(void)fputs("trusting the order authority in the bundle, SHA-256 of its file ", stderr);
	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)fprintf(stderr, "%02x", hash.b[i]);
	(void)fputs("; compare it, or name yours with --authority\n", stderr);
}

int verb_verify(const struct args *a)
{
	struct verify v = { .args = a, .files = { .fd = -1 } };
	struct error e = { 0 };
	int r = run(&v, &e);
	uint64_t faults = v.faults;

	if (r == 0)
		say_trust(&v);
	bundle_release(&v.bundle);
	bundle_files_release(&v.files);
	authorities_free(v.order);
	if (r < 0)
		return outcome_failure(&e);
	if (fflush(stdout) != 0)
		return EXIT_ERROR;
	(void)fprintf(stderr, faults == 0 ? "intact: '%s'\n" : "damaged: '%s'\n", a->object);
	return faults == 0 ? EXIT_INTACT : EXIT_DAMAGED;
}
