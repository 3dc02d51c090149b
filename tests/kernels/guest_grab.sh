#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the guest that is grabbed: what `make run` starts, an order for its physical memory, the exhibit
# fetched, exported and verified there. What came out lies in /out and goes to the second disk.
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

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) guest: $*" >/dev/console; }

wait_for() { # SECONDS COMMAND...
	until=$(($(now) + $1))
	shift
	while [ "$(now)" -lt $until ]; do
		"$@" && return 0
		sleep 0.25
	done
	say "waited too long for: $*"
	return 1
}

tracing() { grep -q 'tracing this host' /x/run/agent.log 2>/dev/null; }

main() {
	PLANTED_ENV=planted-value planted /run/ready planted-argument >/out/planted &
	bash /deploy/run/run.sh >/out/run.log 2>&1 &
	run=$!
	wait_for 90 tracing || return 1
	say "tracing"
	timeout 400 exhibit grab memory $cli --host guest --case CASE-1 --reason "what is in memory" --wait --json \
		>/out/grab.json 2>/out/grab.log
	echo $? >/out/grab.status
	say "grabbed"
	id=$(exhibit exhibits $cli --json | sed 's/.*"exhibit":{"id":"\([0-9a-f]*\)".*/\1/' | head -n 1)
	exhibit fetch "$id" $cli --out /out/exhibit >/out/fetch.json 2>/out/fetch.log
	echo $? >/out/fetch.status
	say "fetched"
	kill -TERM $run
	wait $run
	say "stopped"
}

main
cp /x/run/*.log /out/
rm -rf /x/run
dmesg >/out/dmesg
echo end >/out/end
sync
tar -c -C /out . >/dev/vdb
sync
poweroff -f
