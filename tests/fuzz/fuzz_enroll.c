/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody without an identity may send: an EnrollRequest, or a token as text. */
#include <stdlib.h>

#include "proto/enrol.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t token[ENROL_TOKEN_LEN];
	struct enrol_checked c;
	struct error e;

	if (enrol_token_parse((const char *)data, size, token, &e) == 0 &&
	    size < 2 * ENROL_TOKEN_LEN)
		abort();
	if (enrol_open(data, size, &c, &e) < 0)
		return 0;
	if (c.m->token.len != ENROL_TOKEN_LEN || c.m->sealing_key.len != SEAL_PUBLIC_LEN ||
	    c.m->host_name.len > ENROL_TEXT_MAX || c.tls == NULL)
		abort();
	enrol_checked_release(&c);
	return 0;
}
