/* SPDX-License-Identifier: Apache-2.0 */
/* An EventsQuery's bytes -> compiled filter, asked of an empty row and of its own bytes. */
#include "collector/filter.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Exhibit__V1__EventsQuery *q = exhibit__v1__events_query__unpack(NULL, size, data);
	Exhibit__V1__BatchContext context = EXHIBIT__V1__BATCH_CONTEXT__INIT;
	Exhibit__V1__Event event = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Process process = EXHIBIT__V1__PROCESS__INIT;
	struct arena *a = arena_new(MiB(1), 0);
	struct filter *f;

	if (!a)
		abort();
	if (q && filter_compile(q->terms, q->n_terms, &f, NULL) == 0) {
		struct subject s = { &context, &event, &process, a, .failed = false };
		bool match = filter_match(f, &s);

		/* Without conditions everything matches. */
		if (q->n_terms == 0 && !match)
			abort();
		(void)filter_may_match(f, data, size);
		filter_free(f);
	}
	if (q)
		exhibit__v1__events_query__free_unpacked(q, NULL);
	arena_free(a);
	return 0;
}
