/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of an exhibit: who ordered what and why, of which host, with which tool and method, when and
 * by which clock, which items with which hashes, what is lacking. JSON, at most MANIFEST_MAX bytes, signed
 * with the host's sealing key. Members: agent/README.md "Manifest". One thread.
 *
 * Facts from an acquirer are bounded here, since an acquirer that read hostile memory may say anything. */
#ifndef AGENT_MANIFEST_H
#define AGENT_MANIFEST_H

#include "agent/acquire/control.h"
#include "agent/clock_offset.h"
#include "proto/order.h"
#include "proto/seal.h"

#define MANIFEST_MAX MiB(1)
#define MANIFEST_DOMAIN "exhibit/manifest/v1"
#define MANIFEST_WARNINGS_MAX 1000 /* that stand in it; all are counted */
#define MANIFEST_ID_LEN 16

/* A moment by all clocks. */
struct manifest_time {
	int64_t wall_ns;
	uint64_t monotonic_ns, boottime_ns;
	bool clock_known, synchronised; /* adjtimex */
	int64_t offset_ns, frequency_ppb;
	uint64_t error_ns, error_max_ns; /* estimated, and bound */
	int64_t utc_offset_s;
	bool collector_known;
	struct clock_offset collector;
};
struct manifest_time manifest_now(void); /* without the collector's */

/* What does not change from one manifest to the next. Texts borrowed. */
struct manifest_tool {
	const char *version, *commit; /* of the source it was built from */
	struct seal_hash binary; /* of this program's file */
	bool binary_known, btf_known;
	struct seal_hash btf; /* of the kernel's types */
	size_t n_objects;
	struct manifest_object {
		const char *name;
		struct seal_hash hash;
	} objects[32]; /* BPF */
};

struct manifest_host {
	const char *tenant, *host_id, *host_name, *machine_id, *kernel, *machine, *product_uuid;
	const uint8_t *boot_id; /* 16 bytes */
};

struct manifest;

/* order: borrowed for the manifest's life, as are tool and host. */
MUST_CHECK int manifest_new(const struct order_checked *order,
			    const uint8_t exhibit_id[static MANIFEST_ID_LEN],
			    const struct manifest_tool *tool, const struct manifest_host *host,
			    const struct manifest_time *started, struct manifest **ret,
			    struct error *e);
void manifest_free(struct manifest *m); /* NULL allowed */

/* Take one message of an acquirer. -EBADMSG: out of order (an item begun twice, ended without being begun,
 * something after the end). */
MUST_CHECK int manifest_take(struct manifest *m, const struct control_message *c, int64_t wall_ns);
bool manifest_ended(const struct manifest *m); /* CONTROL_END came */
/* What the acquirer said of its own failure; "" when it did not fail. */
const char *manifest_failure(const struct manifest *m);
uint64_t manifest_bytes(const struct manifest *m); /* of the items that ended */
/* Nothing more comes. failure: why it is not whole; NULL: the acquirer's word counts. */
void manifest_close(struct manifest *m, const char *failure, const struct manifest_time *ended,
		    uint64_t agent_rss_bytes);
/* Whether it will say "complete": true. After manifest_close. */
bool manifest_complete(const struct manifest *m);
/* previous: hash of this host's last manifest, NULL: none. ret: malloc'ed. When it would be too long it
 * has fewer warnings and shorter notes, and says so. */
MUST_CHECK int manifest_make(const struct manifest *m, const struct seal_hash *previous, char **ret,
			     size_t *ret_len, struct error *e);

#endif
