#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of a guest whose kernel is too old for the programs that see packets: what `make run` starts, and two
# orders for the host's packets, one of them for what was before.
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

grab() { # NAME WORDS...
	name=$1
	shift
	exhibit grab packets $cli --host guest --case CASE-1 --reason "what is on the wire" --wait --json "$@" \
		>"/out/$name.json" 2>"/out/$name.err"
	echo $? >"/out/$name.status"
	say "$name"
}

# A packet socket of an acquirer's.
capturing() { [ "$(wc -l </proc/net/packet)" -gt 1 ]; }

main() {
	bash /deploy/run/run.sh >/out/run.log 2>&1 &
	run=$!
	wait_for 90 tracing || return 1
	say "tracing"
	grab all --seconds 15s &
	wait_for 60 capturing || return 1
	sleep 1
	ping -c 20 -i 0.1 127.0.0.1 >/out/ping
	wait $!
	grab past --seconds 1s --before 5s
	id=$(sed -n 's/.*done, exhibit \([0-9a-f]*\),.*/\1/p' /out/all.err)
	exhibit fetch "$id" $cli --out /out/exhibit >/out/fetch.json 2>/out/fetch.log
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
