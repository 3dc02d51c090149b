/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator can set: one table feeds flags, YAML, help and the man page. */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include "proto/base/options.h"

#define AGENT_CONFIG_FILE "/etc/exhibit/agent.yaml"

struct agent_config {
	char *state_dir;
	char *collector_address, *collector_server_name;
	char *tls_cert, *tls_key, *tls_fleet_ca, *tls_order_ca;
	char *seal_key, *host_record;
	char *enrol_address, *enrol_token_file, *enrol_tenant;
	uint64_t journal_max_bytes;
	char *journal_policy;
	uint64_t critical_ring_bytes, bulk_ring_bytes;
	struct option_list own_dirs;
	bool fanotify, network, files;
	struct option_list runtimes;
	char *host_prefix, *cgroup_root;
	uint64_t recorder_bytes, recorder_snap;
	char *uplink_user;
	uint64_t upload_rate;
	struct option_list orders_allow, orders_deny, orders_approvals;
	uint64_t orders_max_bytes, orders_max_ms, orders_rate, orders_concurrent;
	uint64_t orders_per_hour, orders_per_hour_caller, orders_spool, orders_freeze_max_ms;
	uint64_t orders_clock_skew_ms;
	uint64_t stop_timeout_ms;
	char *log_level;
	bool log_json;
	bool probe;
};

extern const struct option_table agent_options;

#endif
