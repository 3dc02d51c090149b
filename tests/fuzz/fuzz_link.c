/* SPDX-License-Identifier: Apache-2.0 */
/* What a taken-over uplink may write to sense: each message is one that the link's table lets through. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/link.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct link *l;
	struct link_message m;
	int fds[2], r;

	if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		return 0;
	if (link_new(fds[0], LINK_SENSE, &l, NULL) < 0)
		abort();
	if (write(fds[1], data, size) < 0)
		abort();
	(void)close(fds[1]);
	while ((r = link_receive(l, &m)) > 0)
		if (!(m.kind <= LINK_STATE ||
		      (m.kind >= LINK_ORDERS && m.kind <= LINK_UPLOAD_FAILED)) ||
		    m.lane > 2 || m.len > size || (m.len > 0 && m.body == NULL))
			abort();
	if (link_take_fd(l) != -1)
		abort();
	if (r == 0)
		abort(); /* the other end is closed: it must say so */
	link_free(l);
	return 0;
}
