#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A real S3 server that enforces Object Lock: one monitor, one OSD in memory, radosgw, all in a folder of
# their own on loopback. radosgw.sh DIR PORT: runs until its standard input ends; writes DIR/ready when S3
# answers. User "exhibit", access key "AKEXHIBIT", secret "secret-of-exhibit".
# Debian: ceph-mon ceph-osd radosgw ceph-common.
set -eu
dir=$1 port=$2 mon_port=$(($2 + 1))
mkdir -p "$dir/mon" "$dir/osd" "$dir/run"
fsid=$(cat /proc/sys/kernel/random/uuid) osd=$(cat /proc/sys/kernel/random/uuid)
export CEPH_CONF=$dir/ceph.conf CEPH_ARGS=
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$mon_port
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms client mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon allow pool delete = true
mon max pg per osd = 2000
# A monitor leaves by itself on a disk of which less than this many per cent are free; its own data is small.
mon data avail crit = 0
osd objectstore = memstore
memstore device bytes = 2147483648
run dir = $dir/run
log file = $dir/\$name.log
admin socket = $dir/run/\$name.asok
ms bind ipv4 = true
public addr = 127.0.0.1
cluster addr = 127.0.0.1
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $dir/rgw
[mon]
mon data = $dir/mon
[osd]
osd data = $dir/osd
CONF
mkdir -p "$dir/rgw"
pids=()
# Only what was started here is ended; an OSD without its monitor does not hear SIGTERM.
trap 'kill -9 "${pids[@]}" 2>/dev/null; wait' EXIT
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$dir/monmap" >/dev/null
ceph-mon --mkfs -i a --monmap "$dir/monmap" >/dev/null
ceph-mon -f -i a </dev/null >/dev/null 2>&1 &
pids+=($!)
timeout 120 ceph osd new "$osd" 0 </dev/null >/dev/null
ceph-osd --mkfs -i 0 --osd-uuid "$osd" >/dev/null 2>&1
ceph-osd -f -i 0 </dev/null >/dev/null 2>&1 &
pids+=($!)
timeout 120 radosgw-admin user create --uid exhibit --display-name exhibit --access-key AKEXHIBIT \
	--secret-key secret-of-exhibit >/dev/null 2>&1
radosgw -f -n client.rgw.a </dev/null >/dev/null 2>&1 &
pids+=($!)
for _ in $(seq 600); do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
		touch "$dir/ready"
		break
	fi
	sleep 0.2
done
cat >/dev/null
