/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator can set: one table feeds flags, YAML, help and the man page. */
#ifndef COLLECTOR_CONFIG_H
#define COLLECTOR_CONFIG_H

#include "proto/base/options.h"

#define COLLECTOR_CONFIG_FILE "/etc/exhibit/collector.yaml"

struct collector_config {
	char *listen;
	char *tls_cert, *tls_key, *tls_fleet_ca, *tls_order_ca, *deny_file;
	char *store_dir;
	uint64_t segment_bytes, segment_age_ms, reserve_bytes, retain_bytes, retain_ms;
	char *ledger_key, *ledger_cert;
	char *enrol_listen, *enrol_authority;
	char *hosts_dir;
	struct option_list orders_approvals;
	uint64_t orders_per_minute, orders_per_host;
	char *vault_dir;
	uint64_t vault_reserve_bytes, vault_exhibit_bytes, vault_retain_ms, vault_abandon_ms,
		vault_uploads;
	bool vault_immutable;
	char *s3_endpoint, *s3_bucket, *s3_region, *s3_prefix, *s3_access_key_file, *s3_ca_file,
		*s3_lock_mode;
	uint64_t s3_retain_days, s3_age_ms, s3_leaves;
	bool s3_segments;
	uint64_t ingest_workers, query_workers, memory_bytes;
	uint64_t stop_timeout_ms;
	char *ready_file;
	char *log_level;
	bool log_json;
};

extern const struct option_table collector_options;

#endif
