#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run unit test binaries, one on each CPU: cmocka's closing lines of each, everything of those that
# fail, and the sum. A binary that dies or hangs counts as one failure.
set -u

count() {
	sed -n "s/^\\[  $2  \\] \\([0-9]*\\) test.*/\\1/p" "$1" | awk '{ n += $1 } END { print n + 0 }'
}

# one BINARY: its output stands together, since others run beside it
one() {
	local binary=$1 limit=${UNIT_TIMEOUT:-120} log status ok bad=0
	log=$(mktemp) || exit 1
	timeout --kill-after=5 "$limit" "$binary" >"$log" 2>&1
	status=$?
	# A binary that leaves without cmocka's closing lines has tested nothing.
	[ "$status" -ne 0 ] || grep -qa '^\[==========\] .* run' "$log" || status="0, but no test ran"
	ok=$(count "$log" PASSED)
	if [ "$status" != 0 ]; then
		bad=$(count "$log" FAILED)
		[ "$bad" -gt 0 ] || bad=1
		case $status in
		124 | 137) status="no end within $limit s" ;;
		*) status="exit status $status" ;;
		esac
		printf '%s\n%s: %s\n' "$(tail -c 100000 "$log" | tr -d '\0')" "$(basename "$binary")" "$status"
	else
		printf '%-24s %s\n' "$(basename "$binary")" "$(grep -a '^\[  PASSED  \]' "$log" | tr '\n' ' ')"
	fi
	echo "$ok $bad" >>"$sums"
	rm -f "$log"
}

if [ "$1" = one ]; then
	one "$2"
	exit 0
fi
sums=$(mktemp) || exit 1
trap 'rm -f "$sums"' EXIT
export sums
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" "$0" one
read -r passed failed told < <(awk '{ p += $1; f += $2; n++ } END { print p + 0, f + 0, n + 0 }' "$sums")
failed=$((failed + $# - told)) # whoever told no sum did not end
echo "unit tests: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
