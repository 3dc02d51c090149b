#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the guest whose processes are acquired: cores in two passes while a program writes, odd memory, a
# container by the freezer of version 2, a program that is stopped before it runs. Results lie in /out.
PATH=/x/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
ID=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) guest: $*" >/dev/console; }

# NAME MODE...: an odd program; its lines in /out/NAME.odd, its pid in $odd.
start() {
	name=$1
	shift
	mkdir -p "/run/$name"
	driver_odd "/run/$name" "$@" >"/out/$name.odd" &
	odd=$!
	for _ in $(seq 200); do
		! grep -q ready "/out/$name.odd" || break
		sleep 0.1
	done
}

# NAME KIND WORD...: what it said and its status.
take() {
	name=$1 kind=$2
	shift 2
	driver_acquire "$kind" "/out/$name" "$@" 2>"/out/$name.log"
	echo $? >"/out/$name.status"
	say "$name"
}

main() {
	for part in 1 16; do
		start "part$part" touch 24 $part
		for n in 1 2 3; do
			take "part$part-$n" core pid=$odd
		done
		kill $odd
	done
	start odd
	echo $odd >/out/odd.pid
	take odd-core core pid=$odd
	mkdir -p /sys/fs/cgroup/$ID/inner
	echo $odd >/sys/fs/cgroup/$ID/inner/cgroup.procs
	take container core container=$ID
	cat /sys/fs/cgroup/$ID/cgroup.events >/out/container.events
	kill $odd
	cp /usr/bin/busybox /run/touch
	driver_acquire arrest /out/arrest on-exec=/run/touch end=kill 2>/out/arrest.log &
	acquirer=$!
	for _ in $(seq 100); do
		! grep -q arrest.by /out/arrest/notes.jsonl 2>/dev/null || break
		sleep 0.1
	done
	/run/touch /run/mark
	echo $? >/out/arrest.victim
	[ -e /run/mark ] && echo ran >/out/arrest.mark
	wait $acquirer
	echo $? >/out/arrest.status
}

main
dmesg >/out/dmesg
echo end >/out/end
sync
tar -c -C /out . >/dev/vdb
sync
poweroff -f
