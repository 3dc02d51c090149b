/* SPDX-License-Identifier: Apache-2.0 */
/* Orders and revocation lists as they arrive, from a collector that may be stolen. Parts of the corpus are
 * signed by an authority whose key nobody has any more, so that the search begins behind the signatures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/order.h"
#include "tests/fuzz/fuzz.h"

static const char authority_pem[] =
	"-----BEGIN CERTIFICATE-----\n"
	"MIIBhjCCAS2gAwIBAgIQZTw1VeRKnofwO7b6zfmnlzAKBggqhkjOPQQDAjAiMRAw\n"
	"DgYDVQQKDAdFeGhpYml0MQ4wDAYDVQQDDAVvcmRlcjAeFw0yNzAxMTUwNzU1MDBa\n"
	"Fw0zNzAxMTIwODAwMDBaMCIxEDAOBgNVBAoMB0V4aGliaXQxDjAMBgNVBAMMBW9y\n"
	"ZGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmmm44Fiv672QqC22yyZXv8gL\n"
	"dB3QPpZPXsZ5je/4ukbj6W7lGOcgDa9+A46o3ohORv+z3l7WbnXAN8tEQiW9VaNF\n"
	"MEMwEgYDVR0TAQH/BAgwBgEB/wIBADAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0OBBYE\n"
	"FFqiblE7tb7wT4/5LVkS7+kR9XH1MAoGCCqGSM49BAMCA0cAMEQCIGolxrK5OqEn\n"
	"VJC77OMSBQHBQKA2Puo8Tjq8mXv1WiVdAiB29ZGgkzkLFlA1/SQo0m1uGveHDmjJ\n"
	"S4kE3farRr4pZg==\n"
	"-----END CERTIFICATE-----\n";

static struct authorities *authority(void)
{
	struct authorities *a = NULL;
	char path[64];
	int fd = memfd_create("authority", MFD_CLOEXEC);

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (write(fd, authority_pem, sizeof(authority_pem) - 1) !=
		    (ssize_t)sizeof(authority_pem) - 1 ||
	    authorities_load(NULL, path, &a, NULL) != 0)
		abort();
	(void)close(fd);
	return a;
}

static void shape(const uint8_t *data, size_t size)
{
	Exhibit__V1__Order *o = NULL;

	if (order_parse(data, size, &o, NULL) != 0)
		return;
	if (order_kind_name(o->kind) == NULL || o->n_hosts < 1 || o->n_hosts > ORDER_HOSTS_MAX ||
	    o->order_id.len != ORDER_ID_LEN || (int)o->detail_case != (int)o->kind + 19)
		abort();
	exhibit__v1__order__free_unpacked(o, NULL);
}

/* Whatever counts is the one order that ann signed. */
static void whole(const struct authorities *a, const uint8_t *data, size_t size)
{
	const struct order_context c = { .authorities = a,
					 .domain = "example.org",
					 .tenant = "acme",
					 .host_id = "h-1",
					 .now_ns = 1800000060 * (int64_t)NSEC_PER_SEC };
	struct order_checked o;

	if (order_check(&c, data, size, &o, NULL) != 0) {
		if (o.order != NULL)
			abort();
		return;
	}
	if (strcmp(o.requester.name, "ann") != 0 || o.order->process->pid != 42 ||
	    o.n_approvers > 1)
		abort();
	order_checked_release(&o);
}

static void list(const struct authorities *a, const uint8_t *data, size_t size)
{
	struct revocations *r = NULL;

	if (revocations_new("acme", &r, NULL) != 0)
		return;
	if (revocations_take(r, a, data, size, NULL) == 0 &&
	    (revocations_number(r) != 3 || !revocations_has(r, "abc")))
		abort();
	revocations_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct authorities *a;

	if (a == NULL)
		a = authority();
	shape(data, size);
	whole(a, data, size);
	list(a, data, size);
	return 0;
}
