# SPDX-License-Identifier: Apache-2.0
"""Triage bundles of this host and of a container that is hostile."""
import hashlib
import json
import os
import shutil
import socket
import subprocess
import tarfile

from pods import Pod
from report import Skip, case
from tools import acquire, check_full, check_unchanged, count, folder, rows, stats, writes


class Bundle:
    def __init__(self, *words, **more):
        self.out = acquire("triage", *words, **more)
        self.tar = tarfile.open(self.out / "triage.tar", encoding="utf-8", errors="surrogateescape")
        self.names = self.tar.getnames()

    def lines(self, name):
        return [json.loads(line) for line in self.tar.extractfile(name).read().splitlines()]


class Hostile:
    """A container whose files are a test's of the tools that read them."""

    def __enter__(self):
        import _pytest.outcomes
        from test_triage import fill
        self.root = folder() / "root"
        fill(self.root)
        try:
            self.pod = Pod(self.root)
        except _pytest.outcomes.Skipped as why:
            raise Skip(str(why)) from why
        return self

    def __exit__(self, *_):
        self.pod.end()


@case("triage", "TRIAGE-01", "RFC 3227, 2.1", "what is more volatile is collected first",
      "the done order is the planned one: network, memory, temporary files, files, disk, logs; times rise")
def order(trials):
    for _ in range(count(2, 20)):
        bundle = Bundle()
        said = rows(bundle.out, "triage.order.jsonl")
        planned, done = ([row["step"] for row in said if key in row] for key in ("planned", "done"))
        trials.check(planned == done, done)
        held = list(dict.fromkeys(row["holds"] for row in said if "done" in row))
        trials.check(held == ["network", "memory", "temporary files", "files", "disk", "logs"], held)
        times = [row[key] for row in said if "done" in row for key in ("from_boottime_ns", "to_boottime_ns")]
        trials.check(times == sorted(times), times)


@case("triage", "TRIAGE-02", "CFTT AM-06 (by analogy)", "every process and socket that was there all along is listed, accurately",
      "each of ours with its executable's hash, its parent, its socket's address and owner")
def complete(trials):
    n = count(30, 300)
    sleep = shutil.which("sleep")
    with open(sleep, "rb") as f:
        want = hashlib.sha256(f.read()).hexdigest()
    children = [subprocess.Popen([sleep, "600"]) for _ in range(n)]
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    try:
        bundle = Bundle()
        processes = {row["pid"]: row for row in bundle.lines("live_response/process/processes.jsonl")}
        for child in children:
            row = processes.get(child.pid, {})
            trials.check(row.get("executable_sha256") == want and row.get("parent_pid") == os.getpid(), f"process {child.pid}: {row}")
        space = os.readlink("/proc/self/ns/net")[5:-1]
        sockets = {(row["local_ip"], row["local_port"]): row for row in bundle.lines(f"live_response/network/netns-{space}/sockets.jsonl")
                   if row.get("state") == "listening"}
        for listener in listeners:
            row = sockets.get(listener.getsockname(), {})
            trials.check(os.getpid() in row.get("pids", []), f"{listener.getsockname()}: {row}")
    finally:
        for child in children:
            child.kill()
            child.wait()
        for listener in listeners:
            listener.close()


@case("triage", "TRIAGE-03", "CFTT AM-08", "files are acquired accurately", "bytes, mode, owner and time of each file in the bundle equal the container's own")
def accurate(trials):
    with Hostile() as it:
        bundle = Bundle(f"container={it.pod.container}")
        for member in bundle.tar:
            if not member.name.startswith("[root]/") or not member.isfile():
                continue
            path = os.path.join(os.fsencode(it.root), os.fsencode(member.name.removeprefix("[root]/")))
            st = os.lstat(path)
            with open(path, "rb") as f:
                f.seek(st.st_size - member.size)
                same = bundle.tar.extractfile(member).read() == f.read()
            trials.check(same and (member.mode, member.uid, member.gid, int(member.mtime)) ==
                         (st.st_mode & 0o7777, st.st_uid, st.st_gid, int(st.st_mtime)), path)


@case("triage", "TRIAGE-04", "CFTT AO-24; HWB", "the source is not changed",
      "all that the kernel keeps of each file of the container is the same; no write-capable open, no program started")
def unchanged(trials):
    with Hostile() as it:
        stats(it.root)
        before = stats(it.root)
        Bundle(f"container={it.pod.container}")
        check_unchanged(trials, before, stats(it.root))
        found = writes("triage", f"container={it.pod.container}")
        trials.check(not found, found)


@case("triage", "TRIAGE-05", "CFTT AM-09", "what is lacking is reported", "each bundle that a limit cut says so, opens, and ends with its log")
def limited(trials):
    with Hostile() as it:
        for limit in [1, 5000, 50_000, 200_000, 1 << 20] + [i * 3001 for i in range(1, count(5, 100))]:
            bundle = Bundle(f"container={it.pod.container}", f"max-bytes={limit}")
            trials.check(bundle.names[-1] == "exhibit.log", f"{limit}: ends with {bundle.names[-1]}")
            trials.check(any(row.get("lacking") for row in rows(bundle.out)), f"{limit}: passes for whole")


@case("triage", "TRIAGE-06", "CFTT AO-04", "a full target is told, and nothing half passes for whole", "one sentence")
def full(trials):
    check_full(trials, "triage")


@case("triage", "TRIAGE-07", "examiners' tools open it", "dissect opens a bundle, packed and unpacked", "the UAC loader, with the container's own host name")
def opens(trials):
    import _pytest.outcomes
    import dissect
    with Hostile() as it:
        bundle = Bundle(f"container={it.pod.container}")
        unpacked = folder()
        subprocess.run(["tar", "-xf", bundle.out / "triage.tar", "-C", unpacked, "--no-same-owner", "--exclude=*/tmp/disk"], check=True, timeout=60)
        for where, loader in ((bundle.out / "triage.tar", "UacTarSubloader"), (unpacked, "UacLoader")):
            try:
                seen = dissect.opened(where)
            except _pytest.outcomes.Skipped as why:
                raise Skip(str(why)) from why
            trials.check((seen["loader"], seen["hostname"]) == (loader, "inside"), seen)
