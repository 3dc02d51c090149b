/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders_tool.h"

#include <fcntl.h>
#include <openssl/evp.h>

#include "commit.h"

#include "agent/hooks_objects.h"
#include "proto/base/files.h"
#include "proto/base/version.h"

static bool hash_file(const char *path, struct seal_hash *ret)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	AUTO(free_ptr) uint8_t *buf = malloc(KiB(256));
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = fd >= 0 && buf != NULL && md != NULL &&
		  EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
	ssize_t n = 0;

	while (ok && (n = read(fd, buf, KiB(256))) > 0)
		ok = EVP_DigestUpdate(md, buf, (size_t)n) == 1;
	ok = ok && n == 0 && EVP_DigestFinal_ex(md, ret->b, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok;
}

static void read_uuid(char ret[static ORDERS_UUID_MAX])
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len;

	ret[0] = '\0';
	if (files_read("/sys/class/dmi/id/product_uuid", ORDERS_UUID_MAX - 1, &text, &len, NULL) <
	    0)
		return;
	(void)snprintf(ret, ORDERS_UUID_MAX, "%.*s", (int)strcspn((const char *)text, "\n"),
		       (const char *)text);
}

void orders_tool_read(struct manifest_tool *ret, char ret_uuid[static ORDERS_UUID_MAX])
{
	const struct hooks_object *object;

	*ret = (struct manifest_tool){ .version = VERSION, .commit = BUILD_COMMIT };
	ret->binary_known = hash_file("/proc/self/exe", &ret->binary);
	ret->btf_known = hash_file("/sys/kernel/btf/vmlinux", &ret->btf);
	read_uuid(ret_uuid);
	for (size_t i = 0; (object = hooks_object_at(i)) != NULL; i++) {
		struct manifest_object *to = &ret->objects[ret->n_objects];
		size_t len;
		const void *bytes = object->bytes(&len);

		if (ret->n_objects == ARRAY_LEN(ret->objects) ||
		    seal_sha256(bytes, len, &to->hash) < 0)
			return;
		to->name = object->name;
		ret->n_objects++;
	}
}
