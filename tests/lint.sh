#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What no compiler checks: licence lines, paths of somebody's machine, shell scripts. Warns of files
# that have grown past 600 lines, where a second job usually hides.
set -u
failed=0

complain() {
	echo "$1: $2"
	failed=1
}

files() {
	find . -name .git -prune -o -path './build*' -prune -o -name __pycache__ -prune \
		-o -path './tests/fuzz/corpus/*' -prune -o -type f -print | sort
}

while read -r file; do
	case $file in
	./LICENSE | *.json | *.jsonl | */go.sum) continue ;;
	esac
	# Binary golden files have no lines.
	grep -qI . "$file" || continue
	head -n 5 "$file" | grep -q 'SPDX-License-Identifier:' || complain "$file" "no SPDX line in the first five"
	case $file in
	./bpf/*.[ch])
		grep -q 'SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause' "$file" ||
			complain "$file" "bpf/ is GPL-2.0-only OR BSD-2-Clause"
		;;
	esac
	if grep -nE '(^|[^A-Za-z0-9_.])/(work|root|home/[a-z]+)/|/tmp/(b|helpers)[-/]' "$file"; then
		complain "$file" "names a path of somebody's machine"
	fi
	if grep -nE '\b(TODO|FIXME|XXX)\b' "$file" | grep -v 'TODO|FIXME'; then
		complain "$file" "holds a note to self"
	fi
	case $file in
	*.c | *.h | *.py | *.sh)
		lines=$(wc -l <"$file")
		[ "$lines" -le 600 ] || echo "$file: warning: $lines lines; look for its second job"
		;;
	esac
done < <(files)

if command -v shellcheck >/dev/null; then
	while read -r file; do
		head -n 1 "$file" | grep -qaE '^#!.*\b(ba|da)?sh$' || continue
		shellcheck -S warning "$file" || failed=1
	done < <(files)
else
	complain shellcheck "not installed; run 'make lint-deps' as root"
fi
exit "$failed"
