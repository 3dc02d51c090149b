#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the guest whose disk has sectors that cannot be read: device-mapper lays two error targets over the
# second disk, the driver images what comes out. The disk is written over with the results at the end.
PATH=/x/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) guest: $*" >/dev/console; }

main() {
	[ ! -e /x/modules/dm-mod.ko ] || insmod /x/modules/dm-mod.ko
	dd if=/dev/urandom of=/dev/vdb bs=1M count=16 conv=fsync
	dd if=/dev/vdb of=/out/source.raw bs=1M count=16
	# start length target: in sectors of 512 bytes; eight in the middle, one at an odd place, one at the end.
	dmsetup create bad --noudevsync <<-'TABLE'
		0 8192 linear /dev/vdb 0
		8192 8 error
		8200 16385 linear /dev/vdb 8200
		24585 1 error
		24586 8181 linear /dev/vdb 24586
		32767 1 error
	TABLE
	dmsetup table bad >/out/table
	dmsetup mknodes --noudevsync
	say "imaging"
	driver_acquire disk /out/disk device=/dev/mapper/bad 2>/out/disk.log
	echo $? >/out/disk.status
	dmsetup remove --noudevsync bad
}

main >/out/said 2>&1
dmesg >/out/dmesg
echo end >/out/end
sync
tar -c -C /out . >/dev/vdb
sync
poweroff -f
