#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the guest: what `make run` does, a workload, the CLI's answers. All of it lies in /out and
# goes to the second disk as a tar archive. Each wait has its limit.
PATH=/x/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root B=/x EXHIBIT_RUN_QUIET=1
export PATH HOME B EXHIBIT_RUN_QUIET
cli="--config /x/run/exhibit.yaml"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
hostname guest
cat /proc/sys/kernel/random/uuid | tr -d - >/etc/machine-id

now() { cut -d . -f 1 /proc/uptime; }

wait_for() { # SECONDS COMMAND...
	until=$(($(now) + $1))
	shift
	while [ "$(now)" -lt $until ]; do
		"$@" && return 0
		sleep 0.25
	done
	echo "waited too long for: $*" >/dev/console
	return 1
}

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) guest: $*" >/dev/console; }

tracing() { grep -q 'tracing this host' /x/run/agent.log 2>/dev/null; }

stored() { # the last of each kind: both lanes, and fanotify
	exhibit events $cli --json --limit 0 >/out/events 2>/out/events.log
	grep -q '"udp_flow".*/usr/bin/workload' /out/events &&
		grep -q '"exit".*/usr/bin/workload' /out/events &&
		grep -q '"unlink".*/data/second' /out/events
}

main() {
	workload wait >/out/existing &
	exhibit-agent --probe --state.dir /x/probe >/out/probe 2>/out/probe.log
	echo $? >/out/probe.status
	say "probe done"
	bash /deploy/run/run.sh >/out/run.log 2>&1 &
	run=$!
	wait_for 60 tracing || return 1
	say "tracing"
	mkdir /data
	workload run /data >/out/done || return 1
	wait_for 40 stored
	say "stored"
	exhibit coverage $cli --json >/out/coverage
	exhibit events $cli --json --action gap --limit 0 >/out/gaps 2>/dev/null
	kill -TERM $run
	wait $run
	echo $? >/out/run.status
	bpftool -j prog show >/out/left
	say "stopped"
}

main
cp /x/run/*.log /out/
dmesg >/out/dmesg
echo end >/out/end
sync
tar -c -C /out . >/dev/vdb
sync
poweroff -f
