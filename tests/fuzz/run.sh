#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh replay BINARY...: each target over its corpus, once.
# run.sh fuzz BINARY...: each for SECONDS_EACH from its corpus, one on each CPU; what is found goes to
# FOUND/NAME. The closing lines name every target that failed.
set -u
corpora=$(dirname "$0")/corpus

# one MODE BINARY: its output stands together, since others run beside it
one() {
	local mode=$1 binary=$2 target name log status
	target=$(basename "$binary")
	name=${target#fuzz_}
	if [ "$mode" = replay ]; then
		timeout --kill-after=5 120 "$binary" "$corpora/$name"
		status=$?
	else
		log=$FOUND/$name.log
		mkdir -p "$FOUND/$name" || return 1
		timeout --kill-after=5 $((SECONDS_EACH + 60)) "$binary" -max_total_time="$SECONDS_EACH" \
			-timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$FOUND/$name/" \
			"$FOUND/$name" "$corpora/$name" >"$log" 2>&1
		status=$?
		if [ "$status" -ne 0 ]; then
			tail -n 60 "$log"
		else
			echo "$target: $SECONDS_EACH s, $(grep -a 'number_of_executed_units' "$log")"
		fi
	fi
	[ "$status" -eq 0 ] || echo "$target: exit status $status" | tee -a "$failures"
}

if [ "$1" = one ]; then
	one "$2" "$3"
	exit 0
fi
mode=$1
shift
failures=$(mktemp) || exit 1
trap 'rm -f "$failures"' EXIT
export failures
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" "$0" one "$mode"
failed=$(wc -l <"$failures")
cat "$failures"
echo "fuzz $mode: $(($# - failed)) targets passed, $failed failed"
[ "$failed" -eq 0 ]
