#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh replay BINARY...: each target over its corpus, once.
# run.sh fuzz BINARY...: each for SECONDS_EACH from its corpus; what is found goes to FOUND/NAME.
set -u
mode=$1
shift
failed=0
corpora=$(dirname "$0")/corpus

for binary in "$@"; do
	target=$(basename "$binary")
	name=${target#fuzz_}
	if [ "$mode" = replay ]; then
		timeout --kill-after=5 120 "$binary" "$corpora/$name"
	else
		mkdir -p "$FOUND/$name" || exit 1
		echo "$target: $SECONDS_EACH s"
		log=$FOUND/$name.log
		timeout --kill-after=5 $((SECONDS_EACH + 60)) "$binary" -max_total_time="$SECONDS_EACH" \
			-timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$FOUND/$name/" \
			"$FOUND/$name" "$corpora/$name" >"$log" 2>&1
	fi
	status=$?
	if [ "$status" -ne 0 ]; then
		failed=$((failed + 1))
		[ "$mode" = replay ] || tail -n 60 "$log"
		echo "$target: exit status $status"
	elif [ "$mode" != replay ]; then
		grep -a 'number_of_executed_units' "$log"
	fi
done
echo "fuzz $mode: $(($# - failed)) targets passed, $failed failed"
[ "$failed" -eq 0 ]
