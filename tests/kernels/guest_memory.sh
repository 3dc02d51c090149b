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
ip link set lo up
hostname guest

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) guest: $*" >/dev/console; }

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
	cut -d ' ' -f 1 /proc/modules | sort >/out/modules
	for process in /proc/[0-9]*; do
		echo "${process#/proc/} $(cat "$process/comm" 2>/dev/null)"
	done >/out/processes
	cp /proc/iomem /out/iomem
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
