#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh PYTHON TIMEOUT [ARGUMENTS of pytest...]: the system tests in two parts, first those that may run
# beside each other (conftest.py names them), four at a time since they mostly wait, then the others one by
# one. The closing line is the sum of both.
set -u
python=$1 limit=$2
shift 2
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
worst=0 ran=0

# part ARGUMENTS...: pytest's status 5 says that nothing was chosen, which is no failure of one part
part() {
	"$python" -m pytest -p no:cacheprovider --timeout="$limit" -q "$(dirname "$0")" "$@" 2>&1 | tee -a "$log"
	local status=${PIPESTATUS[0]}
	[ "$status" -eq 5 ] && return
	ran=1
	[ "$status" -le "$worst" ] || worst=$status
}

SECONDS=0
part -m beside -n 4 --dist loadgroup "$@"
part -m "not beside" "$@"
sum=$(grep -aE '^[0-9]+ (passed|failed|skipped|errors?).* in [0-9.]+s' "$log" | grep -aoE '[0-9]+ (passed|failed|skipped|error)' |
	awk '{ n[$2] += $1 }
		END {
			words = split("failed passed skipped error", w)
			for (i = 1; i <= words; i++)
				if (w[i] in n)
					printf "%s%d %s", some++ ? ", " : "", n[w[i]], w[i] (w[i] == "error" && n[w[i]] != 1 ? "s" : "")
		}')
echo "system tests: ${sum:-nothing ran} in $SECONDS.0s"
[ "$ran" -eq 1 ] && exit "$worst"
echo "system tests: no test is chosen by: $*"
exit 5
