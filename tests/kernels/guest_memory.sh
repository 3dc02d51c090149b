#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the guest whose memory is acquired: plants what an examiner should find, says what is there in
# the words of its own /proc, takes the image. All of it lies in /out and goes to the second disk.
PATH=/x/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
export PATH HOME
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
hostname guest

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) guest: $*" >/dev/console; }

# What this guest says of itself, for test_memory.py to compare.
tell() {
	for process in /proc/[0-9]*; do
		echo "${process#/proc/} $(cat "$process/comm" 2>/dev/null)"
	done >/out/processes
	grep -H '^PPid:' /proc/[0-9]*/status 2>/dev/null | sed 's|/proc/||; s|/status:PPid:||' >/out/parents
	cut -d ' ' -f 1 /proc/modules | sort >/out/modules
	ip -o addr >/out/addresses
	ip -o link >/out/links
	cat /proc/iomem >/out/iomem
	cat /proc/kallsyms >/out/kallsyms
	cat /proc/consoles >/out/consoles
	cat /proc/self/mountinfo >/out/mountinfo
	cat /sys/kernel/tracing/set_event >/out/tracepoints
	cat /sys/kernel/tracing/enabled_functions >/out/functions
	grep btime /proc/stat >/out/btime
	stat -c '%i %s %n' /data/ready >/out/ready
	for process in /proc/[0-9]*; do
		case $(cat "$process/comm" 2>/dev/null) in
		planted | bash | traced)
			name=$(cat "$process/comm")
			cat "$process/status" >"/out/status.$name"
			cat "$process/maps" >"/out/maps.$name"
			;;
		esac
	done
}

# A tracepoint and a function that are watched: nobody calls them, all the same they are hooked.
hook() {
	echo 1 >/sys/kernel/tracing/events/sched/sched_process_hang/enable
	[ -e /sys/kernel/tracing/set_ftrace_filter ] || return 0
	echo __x64_sys_sethostname >/sys/kernel/tracing/set_ftrace_filter
	echo function >/sys/kernel/tracing/current_tracer
}

main() {
	mkdir /data && mount -t tmpfs planted-mount /data
	PLANTED_ENV=planted-value planted /data/ready planted-argument >/out/planted &
	mkfifo /run/typed
	HISTFILE=/dev/null bash --norc -i </run/typed >/dev/null 2>&1 &
	exec 9>/run/typed
	echo 'echo planted-history' >&9
	for _ in $(seq 100); do
		[ ! -e /data/ready ] || break
		sleep 0.1
	done
	sleep 1
	hook
	tell
	# A host as if it had no kcore.
	! grep -q hide_kcore /proc/cmdline || mount --bind /dev/null /proc/kcore
	say "acquiring"
	driver_acquire memory /out/memory 2>/out/memory.log
	echo $? >/out/memory.status
	say "acquired"
}

main
dmesg >/out/dmesg
echo end >/out/end
sync
tar -c -C /out . >/dev/vdb
sync
poweroff -f
