/* SPDX-License-Identifier: Apache-2.0 */
/* Objects read back, listed, held. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collector/s3_internal.h"
#include "collector/s3_xml.h"
#include "proto/openssl_util.h"

#define PIECE KiB(256)
#define LISTING_MAX MiB(8) /* of one answer: 1,000 versions at most */
#define LISTINGS_MAX 100000 /* answers of one listing */

/* ---- legal hold ------------------------------------------------------------------------------------------ */

int s3_held(struct s3 *s, const char *key, const char *version, bool *ret, struct error *e)
{
	struct s3_call c = s3_call_of(s, "GET", key);
	char status[16] = "";
	int r;

	s3_add_param(&c, "legal-hold", "");
	s3_add_param(&c, "versionId", version);
	r = s3_run(s, &c, NULL, e);
	*ret = r == 0 &&
	       s3_xml_text(s->reply.body, s->reply.len, "Status", status, sizeof(status)) &&
	       strcmp(status, "ON") == 0;
	/* One that never had a hold has none to read. */
	if (r == 0 || r == -ENOENT)
		return 0;
	return r == -EAGAIN || r == -EACCES ?
		       r :
		       error_wrap(e, -ENOTSUP, "the legal hold cannot be read back");
}

static int read_hold(struct s3 *s, const char *key, const char *version, bool hold, struct error *e)
{
	bool held = false;
	int r = s3_held(s, key, version, &held, e);

	if (r == 0 && held != hold)
		r = error_set(e, -ENOTSUP, "S3 does not keep the legal hold of /%s/%s: it is %s",
			      s->bucket, key, held ? "on" : "off");
	return r;
}

int s3_hold(struct s3 *s, const char *key, const char *version, bool hold, struct error *e)
{
	struct s3_call c = s3_call_of(s, "PUT", key);
	char xml[256];
	int r;

	(void)snprintf(xml, sizeof(xml),
		       "<LegalHold xmlns=\"" S3_XMLNS "\"><Status>%s</Status></LegalHold>",
		       hold ? "ON" : "OFF");
	s3_add_param(&c, "legal-hold", "");
	s3_add_param(&c, "versionId", version);
	r = s3_put_small(s, &c, xml, e);
	if (r == -EBADMSG || r == -ENOENT)
		r = error_wrap(e, -ENOTSUP, "the legal hold cannot be set");
	return r < 0 ? r : read_hold(s, key, version, hold, e);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static int hash_fd(int fd, char out[static 65], struct error *e)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();
	AUTO(free_ptr) uint8_t *buffer = malloc(PIECE);
	uint8_t digest[EVP_MAX_MD_SIZE];
	off_t at = 0;
	ssize_t n;

	if (md == NULL || buffer == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash what S3 sent: out of memory");
	while ((n = pread(fd, buffer, PIECE, at)) > 0) {
		if (EVP_DigestUpdate(md, buffer, (size_t)n) != 1)
			return error_set(e, -ENOMEM, "cannot hash what S3 sent: %s",
					 openssl_reason());
		at += n;
	}
	if (n < 0 || EVP_DigestFinal_ex(md, digest, NULL) != 1)
		return error_set(e, -EIO, "cannot hash what S3 sent: %m");
	s3_hex(digest, 32, out);
	return 0;
}

int s3_get(struct s3 *s, const char *key, const char *version, int fd, uint64_t max,
	   const char *sha256, char *ret_sha256, struct error *e)
{
	struct s3_call c = s3_call_of(s, "GET", key);
	char got[65];
	int r;

	if (version != NULL)
		s3_add_param(&c, "versionId", version);
	if (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return error_set(e, -errno, "cannot take what S3 sends: %m");
	r = s3_run_into(s, &c, NULL, fd, max, e);
	if (r == 0)
		r = hash_fd(fd, got, e);
	if (r < 0)
		return r;
	if (sha256 != NULL && strcmp(sha256, got) != 0)
		return error_set(e, -EBADMSG,
				 "'%s' is damaged in the bucket: its SHA-256 is %s instead of %s",
				 key, got, sha256);
	if (ret_sha256 != NULL)
		memcpy(ret_sha256, got, sizeof(got));
	return 0;
}

/* ---- listing ---------------------------------------------------------------------------------------------- */

struct listing {
	int (*fn)(void *ctx, const struct s3_version *v, struct error *e);
	void *ctx;
	char key_marker[S3_KEY_MAX + 1], version_marker[S3_WORD_MAX];
	bool more;
	bool encoded; /* names are percent-encoded, as asked for */
};

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	       c >= 'A' && c <= 'F' ? c - 'A' + 10 :
	       c >= 'a' && c <= 'f' ? c - 'a' + 10 :
				      -1;
}

/* A name as the answer spells it, in place. false: it is none of ours. */
static bool take_name(const char *xml, size_t len, const char *tag, bool encoded, char *out,
		      size_t size)
{
	size_t n = 0;

	if (!s3_xml_text(xml, len, tag, out, size))
		return false;
	for (const char *at = out; encoded && *at != '\0'; n++) {
		bool escape = at[0] == '%' && digit(at[1]) >= 0 && digit(at[2]) >= 0;

		out[n] = escape ? (char)(digit(at[1]) * 16 + digit(at[2])) : *at;
		at += escape ? 3 : 1;
		if (out[n] == '\0')
			return false;
	}
	if (encoded)
		out[n] = '\0';
	return true;
}

static int each_version(const struct listing *l, const char *xml, size_t len, struct error *e)
{
	static const char open[] = "<Version>", close[] = "</Version>";
	AUTO(free_ptr) struct s3_version *v = calloc(1, sizeof(*v));
	const char *at = xml, *end = xml + len;
	char size[32];

	if (v == NULL)
		return error_set(e, -ENOMEM, "cannot list a bucket: out of memory");
	while ((at = memmem(at, (size_t)(end - at), open, sizeof(open) - 1)) != NULL) {
		const char *stop = memmem(at, (size_t)(end - at), close, sizeof(close) - 1);
		size_t n = stop != NULL ? (size_t)(stop - at) : 0;
		int r;

		if (stop == NULL ||
		    !s3_xml_text(at, n, "VersionId", v->version, sizeof(v->version)) ||
		    !s3_xml_text(at, n, "Size", size, sizeof(size)))
			return error_set(e, -EBADMSG, "S3's list of versions cannot be read");
		at = stop;
		/* Somebody else's, who gives names that we cannot spell. */
		if (!take_name(stop - n, n, "Key", l->encoded, v->key, sizeof(v->key)))
			continue;
		v->size = strtoull(size, NULL, 10);
		r = l->fn(l->ctx, v, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_listing(struct listing *l, const char *xml, size_t len, struct error *e)
{
	static const char body[] = "<ListVersionsResult";
	char truncated[16] = "", key[S3_KEY_MAX + 1] = "", version[S3_WORD_MAX] = "";

	if (memmem(xml, len, body, sizeof(body) - 1) == NULL)
		return error_set(e, -EBADMSG, "S3 does not list versions");
	l->more = s3_xml_text(xml, len, "IsTruncated", truncated, sizeof(truncated)) &&
		  strcmp(truncated, "true") == 0;
	l->encoded = s3_xml_text(xml, len, "EncodingType", truncated, sizeof(truncated)) &&
		     strcmp(truncated, "url") == 0;
	if (l->more && !take_name(xml, len, "NextKeyMarker", l->encoded, key, sizeof(key)))
		return error_set(e, -EBADMSG, "S3's list of versions ends without saying where");
	if (l->more && !s3_xml_text(xml, len, "NextVersionIdMarker", version, sizeof(version)))
		version[0] = '\0'; /* it goes on with the next key */
	/* A server that does not move on would be asked for ever. */
	if (l->more && strcmp(key, l->key_marker) == 0 && strcmp(version, l->version_marker) == 0)
		return error_set(e, -EBADMSG, "S3's list of versions does not move on from '%s'",
				 key);
	memcpy(l->key_marker, key, sizeof(key));
	memcpy(l->version_marker, version, sizeof(version));
	return each_version(l, xml, len, e);
}

static int list_some(struct s3 *s, const char *prefix, struct listing *l, struct error *e)
{
	struct s3_call c = s3_call_of(s, "GET", NULL);
	AUTO(close_fd) int fd = memfd_create("s3-list", MFD_CLOEXEC);
	AUTO(free_ptr) char *xml = NULL;
	off_t size;
	int r;

	if (fd < 0)
		return error_set(e, -errno, "cannot list a bucket: %m");
	s3_add_param(&c, "versions", "");
	s3_add_param(&c, "prefix", prefix);
	/* Names that XML cannot hold would end the list. */
	s3_add_param(&c, "encoding-type", "url");
	if (l->key_marker[0] != '\0')
		s3_add_param(&c, "key-marker", l->key_marker);
	if (l->version_marker[0] != '\0')
		s3_add_param(&c, "version-id-marker", l->version_marker);
	r = s3_run_into(s, &c, NULL, fd, LISTING_MAX, e);
	if (r < 0)
		return r;
	size = lseek(fd, 0, SEEK_END);
	xml = malloc((size_t)size + 1);
	if (size < 0 || xml == NULL)
		return error_set(e, -ENOMEM, "cannot list a bucket: %m");
	if (pread(fd, xml, (size_t)size, 0) != size)
		return error_set(e, -EIO, "cannot list a bucket: %m");
	return take_listing(l, xml, (size_t)size, e);
}

int s3_list(struct s3 *s, const char *prefix,
	    int (*fn)(void *ctx, const struct s3_version *v, struct error *e), void *ctx,
	    struct error *e)
{
	AUTO(free_ptr) struct listing *l = calloc(1, sizeof(*l));
	int r;

	if (l == NULL)
		return error_set(e, -ENOMEM, "cannot list a bucket: out of memory");
	l->fn = fn;
	l->ctx = ctx;
	for (unsigned int i = 0; i < LISTINGS_MAX; i++) {
		r = list_some(s, prefix, l, e);
		if (r < 0 || !l->more)
			return r;
	}
	return error_set(e, -E2BIG, "the bucket holds more below '%s' than is listed", prefix);
}
