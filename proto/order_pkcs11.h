/* SPDX-License-Identifier: Apache-2.0 */
/* Keys on tokens, named by a PKCS#11 URI (RFC 7512): "pkcs11:token=ann;object=orders;type=private".
 * Through libp11's engine for OpenSSL (Debian: libengine-pkcs11-openssl), which is loaded only then. The
 * token's module is the one that the URI's module-path names, else $PKCS11_MODULE_PATH, else p11-kit's. The
 * PIN comes from the URI's pin-source (a file) or pin-value, else from the terminal. */
#ifndef PROTO_ORDER_PKCS11_H
#define PROTO_ORDER_PKCS11_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#include <openssl/evp.h>

bool order_pkcs11_is(const char *key); /* begins with "pkcs11:" */
/* One thread. */
MUST_CHECK int order_pkcs11_load(const char *uri, EVP_PKEY **ret, struct error *e);
/* The public half alone; no PIN is asked for unless the token hides it. */
MUST_CHECK int order_pkcs11_public(const char *uri, EVP_PKEY **ret, struct error *e);

#endif
