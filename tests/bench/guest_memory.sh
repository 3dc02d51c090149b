#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Process 1 of the guest that memory.py measures in: physical memory by us, by dd and, where it is there, by AVML, in
# turn and to the same disk; a core in one pass and in two; then an order for memory through agent and collector.
# /out/times holds lines of "WHAT MICROSECONDS BYTES".
PATH=/x/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root B=/x EXHIBIT_RUN_QUIET=1
export PATH HOME B EXHIBIT_RUN_QUIET
cli=(--config /x/run/exhibit.yaml)
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
ln -s /proc/self/fd /dev/fd
ip link set lo up
hostname guest
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id

say() { echo "$(cut -d ' ' -f 1 /proc/uptime) guest: $*" >/dev/console; }

# WHAT FILE COMMAND...: FILE is what it writes.
timed() {
	local what=$1 file=$2 begin end
	shift 2
	begin=${EPOCHREALTIME/./}
	"$@" >>/out/said 2>&1 || { say "$what failed"; return 1; }
	sync
	end=${EPOCHREALTIME/./}
	echo "$what $((end - begin)) $(stat -c %s "$file")" >>/out/times
}

# The direct map's largest piece in kcore: where it begins and how long it is.
largest_piece() {
	local kind offset virtual physical size rest parts
	parts=$(od -A n -t u2 -j 56 -N 2 /proc/kcore)
	od -A n -v -w56 -t x8 -j 64 -N $((56 * parts)) /proc/kcore |
		while read -r kind offset virtual physical size rest; do
			[[ ${kind:8} == 00000001 && $physical != ffffffffffffffff && $virtual < ffffffff80000000 ]] || continue # not the alias of the text
			echo "$((16#$size)) $((16#$offset))"
		done | sort -n | tail -n 1
}

images() {
	local size offset
	read -r size offset < <(largest_piece)
	for round in 1 2 3; do # the median counts
		timed image /out/image/memory.lime driver_acquire memory /out/image
		rm -r /out/image
		timed dd /out/dd dd if=/proc/kcore of=/out/dd bs=1M iflag=skip_bytes,count_bytes skip="$offset" count="$size"
		rm /out/dd
		[[ ! -e /x/bin/avml ]] || timed avml /out/avml avml acquire --source /proc/kcore /out/avml
		rm -f /out/avml
		say "round $round"
	done
}

# PASSES SPOOL: the spool decides how many there are.
cores() {
	for round in 1 2 3; do # the median counts
		driver_acquire core /out/core pid="$odd" spool-bytes="$2" 2>>/out/said
		sed -n 's/.*"core\.\(passes\|copy_ns\)","value":\([0-9]*\).*/\1 \2/p' /out/core/notes.jsonl | tr '\n' ' '
		echo "asked $1"
		rm -r /out/core
	done >>/out/cores
}

two_passes() {
	mkdir /run/odd
	driver_odd /run/odd touch 24 16 >/out/odd &
	odd=$!
	until grep -q ready /out/odd; do sleep 0.1; done
	cores 1 $((28 << 20))
	cores 2 $((256 << 20))
	kill "$odd"
	say "cores"
}

order() {
	bash /deploy/run/run.sh >/out/run.log 2>&1 &
	run=$!
	for _ in $(seq 400); do
		! grep -q 'tracing this host' /x/run/agent.log 2>/dev/null || break
		sleep 0.25
	done
	timed order /out/said timeout 500 exhibit grab memory "${cli[@]}" --host guest --case BENCH --reason "how fast" --wait --json
	kill -TERM "$run"
	wait "$run"
}

images
two_passes
order
cp /x/run/*.log /out/ 2>/dev/null
dmesg >/out/dmesg
echo end >/out/end
rm -rf /x/run
tar -c -C /out . >/dev/vdb
sync
poweroff -f
