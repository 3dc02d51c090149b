#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the initramfs: drivers, then over to the disk.
PATH=/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for m in virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
	[ ! -e /modules/$m.ko ] || insmod /modules/$m.ko
done
for _ in $(seq 100); do
	[ ! -b /dev/vda ] || break
	sleep 0.1
done
mount -t ext4 /dev/vda /disk || poweroff -f
umount /proc /sys
mount --move /dev /disk/dev
exec switch_root /disk /guest.sh
