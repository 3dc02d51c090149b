#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# activity.sh SECONDS DIR: what a busy host does, from its own programs: searches, text tools, builds of
# small files, temporary files, archives, loopback connections. Ends by itself.
set -u
until=$((SECONDS + $1))
dir=$2
mkdir -p "$dir"
cd "$dir" || exit 1
python3 -c '
import http.server, socketserver, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *a): pass
with socketserver.TCPServer(("127.0.0.1", 0), Quiet) as s:
    open("port", "w").write(str(s.server_address[1]))
    s.serve_forever()
' &
server=$!
trap 'kill $server' EXIT
for _ in $(seq 100); do
	[ -s port ] && break
	sleep 0.05
done
port=$(cat port)
n=0
while [ $SECONDS -lt "$until" ]; do
	n=$((n + 1))
	t=$(mktemp -d job.XXXXXXXX)
	printf '#include <stdio.h>\nint f%d(void) { return %d; }\n' $n $RANDOM >"$t/unit$n.c"
	[ $((n % 8)) = 0 ] && gcc -O1 -c "$t/unit$n.c" -o "$t/unit$n.o"
	du -ab "$t" | sort -n | tail -n 2 >"$t/list"
	grep -c return "$t"/*.c >"$t/count"
	sed -e "s/f$n/g$RANDOM/" "$t/unit$n.c" | tr "[:lower:]" "[:upper:]" >"$t/upper"
	find /etc -maxdepth 1 -name "*.conf" -newermt "2020-01-01" | head -n 3 | xargs -r stat -c %s >"$t/sizes"
	exec 7<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /%s HTTP/1.0\r\n\r\n' "$t/list" >&7 && cat <&7 >"$t/page"
	exec 7>&-
	tar -czf "$t.tar.gz" "$t"
	mv "$t.tar.gz" "$t/archive.tgz"
	id -un >/dev/null
	rm -rf "$t"
done
