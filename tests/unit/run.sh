#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run unit test binaries one after the other: cmocka's closing lines of each, everything of those
# that fail, and the sum. A binary that dies or hangs counts as one failure.
set -u
passed=0 failed=0
limit=${UNIT_TIMEOUT:-120}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

for binary in "$@"; do
	timeout --kill-after=5 "$limit" "$binary" >"$log" 2>&1
	status=$?
	# A binary that leaves without cmocka's closing lines has tested nothing.
	[ "$status" -ne 0 ] || grep -qa '^\[==========\] .* run' "$log" || status="0, but no test ran"
	ok=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
	if [ "$status" != 0 ]; then
		tail -c 100000 "$log"
		bad=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
		[ "$bad" -gt 0 ] || bad=1
		case $status in
		124 | 137) echo "$(basename "$binary"): no end within $limit s" ;;
		*) echo "$(basename "$binary"): exit status $status" ;;
		esac
	else
		bad=0
		printf '%-24s %s\n' "$(basename "$binary")" "$(grep -a '^\[  PASSED  \]' "$log" | tr '\n' ' ')"
	fi
	passed=$((passed + ok)) failed=$((failed + bad))
done
echo "unit tests: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
