#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job on this machine: authorities and certificates, a collector, an agent, live events.
# `make run` calls it; everything it makes lies under $B/run and is kept between runs.
# EXHIBIT_RUN_QUIET=1: no live events (tests ask by themselves). Ends on Ctrl-C, SIGTERM or SIGHUP.
set -u
umask 022

build=${B:-build}
mkdir -p "$build/run" || exit 1
run=$(cd "$build/run" && pwd)
bin=$(cd "$build/bin" && pwd) || exit 1
certs=$run/certs
host_id=$(cat /etc/machine-id 2>/dev/null)
case $host_id in
'' | uninitialized) host_id=$(hostname) ;; # as images have it before their first boot, and containers for ever
esac
user_name=$(id -un)
renew_every=1800 # seconds
uplink_uid=64815 # nobody's: of the range that systemd keeps for dynamic users

say() { printf 'run: %s\n' "$*"; }
die() {
	printf 'run: %s\n' "$*" >&2
	exit 2
}

[ "$(id -u)" = 0 ] || die "tracing a host takes root: run 'sudo make run'"
exec 9>"$run/lock"
flock -n 9 || die "another 'make run' has '$run' open; end it first, or run from another clone"

# Each verb keeps what is still good for a third of its life, and says what it made.
make_certs() {
	"$bin/exhibit-collector" certs init --dir "$certs" &&
		"$bin/exhibit-collector" certs collector --dir "$certs" --name collector \
			--san localhost,127.0.0.1 &&
		"$bin/exhibit-collector" certs host --dir "$certs" --tenant default --id "$host_id" &&
		"$bin/exhibit" authority issue --dir "$certs" --tenant default \
			--name "$user_name" --roles viewer,acquirer,approver --hours 12
}

write_configuration() {
	cat >"$run/collector.yaml" <<YAML
listen: 127.0.0.1:$port
ready-file: $run/port
tls:
  cert: $certs/collector-collector.crt
  key: $certs/collector-collector.key
  fleet-ca: $certs/fleet-ca.crt
  order-ca: $certs/order-ca.crt
store:
  dir: $run/store
  ledger-key: $certs/ledger.key
hosts:
  dir: $certs
vault:
  immutable: false
YAML
	cat >"$run/agent.yaml" <<YAML
collector:
  address: 127.0.0.1:$port
tls:
  cert: $certs/host-$host_id.crt
  key: $certs/host-$host_id.key
  fleet-ca: $certs/fleet-ca.crt
  order-ca: $certs/order-ca.crt
seal:
  key: $certs/host-$host_id.seal.key
  host-record: $certs/host-$host_id.record
state:
  dir: $run/agent
sense:
  own-dirs: [$run]
uplink:
  user: "$uplink_uid"
YAML
	cat >"$run/exhibit.yaml" <<YAML
collector: 127.0.0.1:$port
tls:
  cert: $certs/responder-$user_name.crt
  key: $certs/responder-$user_name.key
  order-ca: $certs/order-ca.crt
signing-key: $certs/responder-$user_name.sign.key
signing-cert: $certs/responder-$user_name.sign.crt
YAML
}

collector=0 agent=0 tail=0 stopping=0

# Becomes a daemon that ends when this script does, even by SIGKILL: else it would hold the store, the port and
# its programs in the kernel, and the next `make run` could not start.
bound() {
	exec setpriv --pdeathsig TERM "$@" 9>&-
}

start_collector() {
	rm -f "$run/port"
	bound "$bin/exhibit-collector" --config "$run/collector.yaml" 2>>"$run/collector.log" &
	collector=$!
}

# The first start takes any free port; from then on it is ours.
wait_for_port() {
	for _ in $(seq 200); do
		[ -s "$run/port" ] && break
		kill -0 "$collector" 2>/dev/null || break
		sleep 0.05
	done
	[ -s "$run/port" ] || {
		tail -n 3 "$run/collector.log" >&2
		return 1
	}
	port=$(cat "$run/port")
}

start_agent() {
	bound "$bin/exhibit-agent" --config "$run/agent.yaml" 2>>"$run/agent.log" &
	agent=$!
}

start_tail() {
	[ -n "${EXHIBIT_RUN_QUIET:-}" ] && return
	bound "$bin/exhibit" tail --config "$run/exhibit.yaml" &
	tail=$!
}

stop() {
	stopping=1
}

end() {
	[ "$1" -gt 0 ] && kill -TERM "$1" 2>/dev/null && wait "$1" 2>/dev/null
}

# HUP: the terminal was closed. The daemons take it for reload, so it is for the script to end them.
trap stop INT TERM HUP
trap '' PIPE

port=0
[ -s "$run/port.kept" ] && port=$(cat "$run/port.kept")
make_certs >>"$run/certs.log" 2>&1 || {
	tail -n 3 "$run/certs.log" >&2
	die "cannot make certificates in '$certs'"
}
write_configuration
start_collector
if ! wait_for_port; then
	# Somebody else has our port by now.
	port=0
	write_configuration
	start_collector
	wait_for_port || die "the collector does not start; see '$run/collector.log'"
fi
echo "$port" >"$run/port.kept"
write_configuration
start_agent

say "collector on 127.0.0.1:$port, agent tracing this host, logs in $run/*.log"
say "query from a second terminal:"
for words in 'hosts' 'events --since 5m' 'events --action exec' 'tree --pid 1 --host '"$(hostname)" 'coverage' 'status'; do
	printf '  %s\n' "$bin/exhibit $words --config $run/exhibit.yaml"
done
say "live events follow; Ctrl-C ends"
start_tail
renewed=$SECONDS

while [ "$stopping" = 0 ]; do
	sleep 1 9>&- &
	wait -n $! 2>/dev/null
	[ "$stopping" = 0 ] || break
	kill -0 "$collector" 2>/dev/null || {
		say "the collector died and is started again" >&2
		start_collector
		wait_for_port || say "the collector does not start; see '$run/collector.log'" >&2
	}
	kill -0 "$agent" 2>/dev/null || {
		say "the agent died and is started again" >&2
		start_agent
	}
	[ "$tail" = 0 ] || kill -0 "$tail" 2>/dev/null || start_tail
	if [ $((SECONDS - renewed)) -ge $renew_every ]; then
		renewed=$SECONDS
		make_certs >>"$run/certs.log" 2>&1 || say "cannot renew certificates; see '$run/certs.log'" >&2
		kill -HUP "$collector" "$agent" 2>/dev/null
	fi
done

say "stopping"
end "$tail"
end "$agent"
end "$collector"
exit 0
