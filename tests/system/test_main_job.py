# SPDX-License-Identifier: Apache-2.0
"""The main job on this host's own activity: what a program did is what `exhibit` shows, byte for byte."""
import base64
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from basics import BIN, until
from daemons import field

PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def host(module_lab):
    """An agent on this host, its collector, and the CLI; nothing is asked before the agent traces."""
    if os.geteuid() != 0:
        pytest.skip("tracing a host takes root")
    collector = module_lab.collector()
    agent = module_lab.agent(collector)
    agent.cli = module_lab.cli(collector)
    agent.collector = collector
    return agent


def seen(host, *args, n=1, seconds=30):
    """At least n rows that match."""
    def ask():
        rows = host.cli.events(*args)
        return rows if len(rows) >= n else None
    return until(ask, seconds, f"{n} rows of {args}")


def of_pid(host, action, pid, n=1):
    return seen(host, "--action", action, "--where", f"process.pid={pid}", n=n)


def run(*argv, **kwargs):
    """Run it to its end; its pid and how it ended."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, **kwargs)
    return process.pid, process.wait(30)


# ---- processes ---------------------------------------------------------------------------------------

def exact_args(row):
    """Arguments as bytes: the text, or the base64 beside it where it is not UTF-8."""
    exact = field(row, "process.args_base64") or [None] * len(row["process"]["args"])
    return [base64.b64decode(b) if b else text.encode() for text, b in zip(row["process"]["args"], exact)]


ARGUMENTS = {
    "plain": [b"one", b"two words", b""],
    "newline, tab, quote": [b"a\nb\tc", b"'\"\\", b"\x1b[31mred"],
    "not UTF-8": [b"\xff\xfe", b"caf\xe9", b"fine"],
    "UTF-8": ["grüße 日本 🐧".encode()],
    "20 KiB": [b"x" * 20480, b"end"],
    "1,000": [b"%d" % i for i in range(1000)],
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_exec_with_exact_arguments(kind, host):
    argv = [b"true", *ARGUMENTS[kind]]
    pid = os.posix_spawn("/bin/true", argv, {})
    os.waitpid(pid, 0)
    row = of_pid(host, "exec", pid)[-1]
    assert exact_args(row) == argv
    assert field(row, "process.args_count") == len(argv)
    assert field(row, "exhibit.args_bytes") == sum(len(arg) + 1 for arg in argv)
    assert not field(row, "exhibit.truncated")


def test_long_arguments_are_cut_and_say_so(host):
    argv = [b"true"] + [bytes([65 + i % 26]) * 1000 for i in range(60)]
    pid = os.posix_spawn("/bin/true", argv, {})
    os.waitpid(pid, 0)
    row = of_pid(host, "exec", pid)[-1]
    assert field(row, "exhibit.truncated") is True
    assert field(row, "exhibit.args_bytes") == sum(len(arg) + 1 for arg in argv)
    kept = b"\0".join(exact_args(row))
    assert b"\0".join(argv).startswith(kept)
    assert len(kept) >= 32 * 1024 - 1001


def test_exec_says_where_and_who(host, tmp_path):
    pid, _ = run("/bin/true", "who", cwd=tmp_path, user=12345, group=23456, extra_groups=[])
    row = of_pid(host, "exec", pid)[-1]
    true = os.path.realpath("/bin/true")
    assert field(row, "process.executable") == true
    assert field(row, "exhibit.executable.inode") == str(os.stat(true).st_ino)
    assert field(row, "process.working_directory") == str(tmp_path)
    assert field(row, "process.user.id") == "12345"
    assert field(row, "process.group.id") == "23456"
    assert field(row, "process.thread.capabilities.effective") in ([], None)
    assert field(row, "exhibit.namespace.mnt") == os.readlink("/proc/self/ns/mnt")[5:-1] \
        or str(field(row, "exhibit.namespace.mnt")) in os.readlink("/proc/self/ns/mnt")
    assert field(row, "process.parent.pid") == os.getpid()
    assert field(row, "host.boot.id") == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert field(row, "event.category") == ["process"]


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code(code, host):
    pid, status = run("/bin/sh", "-c", f"exit {code}")
    assert status == code
    row = of_pid(host, "exit", pid)[-1]
    assert field(row, "process.exit_code") == code
    assert field(row, "exhibit.signal") is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_exit_by_signal(number, host):
    pid, status = run("/bin/sh", "-c", f"kill -{int(number)} $$")
    assert status == -number
    row = of_pid(host, "exit", pid)[-1]
    assert field(row, "exhibit.signal") == int(number)
    assert field(row, "process.exit_code") is None


def test_fork_names_child_and_parent(host):
    read, write = os.pipe()
    parent, _ = run(PYTHON, "-c", f"import os; p = os.fork(); p and os.write({write}, b'%d' % p) and os.wait()",
                    pass_fds=[write])
    child = int(os.read(read, 100))
    row = of_pid(host, "fork", child)[-1]
    assert field(row, "process.parent.pid") == parent
    assert field(row, "process.entity_id") != field(row, "process.parent.entity_id")


def test_each_exec_is_an_image_of_its_own(host):
    pid, _ = run("/bin/sh", "-c", "exec /usr/bin/env true")
    rows = of_pid(host, "exec", pid, n=3)
    assert [field(row, "process.name") for row in rows] == ["sh", "env", "true"]
    assert len({field(row, "process.entity_id") for row in rows}) == 3
    ended = of_pid(host, "exit", pid)[-1]
    assert field(ended, "process.entity_id") == field(rows[-1], "process.entity_id")


def test_threads_are_no_processes(host):
    code = "import threading, time\nfor _ in range(3): threading.Thread(target=time.sleep, args=[0]).start()"
    pid, _ = run(PYTHON, "-c", code)
    of_pid(host, "exit", pid)
    assert len(host.cli.events("--action", "exit", "--where", f"process.pid={pid}")) == 1
    assert host.cli.events("--action", "fork", "--where", f"process.parent.pid={pid}") == []


def test_tree_reaches_up_to_init(host):
    pid, _ = run("/bin/sh", "-c", "/bin/true tree; /bin/true tree; exit 0")
    of_pid(host, "exit", pid)
    entity = of_pid(host, "exec", pid)[-1]["process"]["entity_id"]
    answer = host.cli.run("tree", entity, "--json")
    assert answer.code in (0, 3), answer.err
    rows = answer.rows
    pids = [field(row, "process.pid") for row in rows]
    assert pids[0] == 1
    assert os.getpid() in pids
    below = rows[pids.index(pid) + 1:]
    assert [field(row, "process.name") for row in below] == ["true", "true"]
    by_pid = host.cli.run("tree", "--pid", pid, "--host", host.host.host_id, "--json")
    assert [field(row, "process.entity_id") for row in by_pid.rows] == \
        [field(row, "process.entity_id") for row in rows]


# ---- what was there before ---------------------------------------------------------------------------

def test_existing_processes_and_sockets_are_marked(host):
    row = seen(host, "--where", "process.pid=1", "--action", "exec")[0]
    assert field(row, "exhibit.existing") is True
    me = seen(host, "--where", f"process.pid={os.getpid()}", "--action", "exec")
    assert [field(row, "exhibit.existing") for row in me] == [True]
    port = host.collector.port
    listening = seen(host, "--action", "listen", "--port", str(port))
    assert field(listening[0], "exhibit.existing") is True
    assert field(listening[0], "process.pid") == host.collector.pid


def test_restarted_agent_gives_the_same_entity_ids(host):
    sleeper = subprocess.Popen(["/bin/sleep", "600"])
    try:
        first = of_pid(host, "exec", sleeper.pid)[-1]
        assert host.stop() == 0
        host.start()
        rows = of_pid(host, "exec", sleeper.pid, n=2)
        assert field(rows[-1], "exhibit.existing") is True
        assert {field(row, "process.entity_id") for row in rows} == {first["process"]["entity_id"]}
    finally:
        sleeper.kill()
        sleeper.wait(10)
    assert field(of_pid(host, "exit", sleeper.pid)[-1], "process.entity_id") == first["process"]["entity_id"]


# ---- files -------------------------------------------------------------------------------------------

def test_life_of_a_file(host, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    code = (f"import os\nf = open('{first}', 'wb'); f.write(b'x' * 100); f.close()\n"
            f"f = open('{first}', 'r+b'); f.seek(0, 2); f.write(b'y' * 50); f.close()\n"
            f"os.rename('{first}', '{second}'); os.unlink('{second}')")
    pid, status = run(PYTHON, "-c", code)
    assert status == 0
    of_pid(host, "exit", pid)

    def row(action, path):
        rows = seen(host, "--action", action, "--path", str(path))
        rows = [r for r in rows if field(r, "file.path") == str(path)]
        assert rows, f"no {action} of {path}"
        return rows
    create = row("create", first)[0]
    assert field(create, "process.pid") == pid
    assert field(create, "event.type") == ["creation"]
    inode = field(create, "file.inode")
    opened = row("open_write", first)[-1]
    assert (field(opened, "process.pid"), field(opened, "file.inode")) == (pid, inode)
    sizes = [field(r, "file.size") for r in row("modify", first)]
    assert sizes[-1] == 150 or sizes[-1] is None
    for r in row("modify", first):
        before = field(r, "exhibit.file.size_before")
        assert before is None or before in (0, 100)
    renamed = row("rename", second)[-1]
    assert field(renamed, "exhibit.file.old_path") == str(first)
    assert field(renamed, "file.path") == str(second)
    assert row("unlink", second)


def test_odd_file_names(host, tmp_path):
    names = [b"line\nbreak", b"\xff\xfe", "ümlaut".encode(), b"\x1b[2J", b" "]
    folder = os.fsencode(tmp_path)
    for name in names:
        os.close(os.open(folder + b"/" + name, os.O_CREAT | os.O_WRONLY, 0o600))
    rows = seen(host, "--action", "create", "--path", f"{tmp_path}/*", n=len(names))
    found = [base64.b64decode(b) if (b := field(row, "file.path_base64")) else field(row, "file.path").encode()
             for row in rows]
    assert sorted(found) == sorted(folder + b"/" + name for name in names)


def test_reading_is_no_event(host, tmp_path):
    path = tmp_path / "read"
    path.write_text("x")
    seen(host, "--action", "create", "--path", str(path))
    pid, _ = run("/bin/cat", path, stdout=subprocess.DEVNULL)
    of_pid(host, "exit", pid)
    rows = host.cli.events("--path", str(path), "--where", f"process.pid={pid}")
    assert [row for row in rows if field(row, "file.path") == str(path)] == []


# ---- network -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("family,address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")],
                         ids=["IPv4", "IPv6"])
def test_tcp_connection(family, address, host):
    """Listen, connect and accept, disconnect with the bytes of each way, told by both sides."""
    server = socket.socket(family)
    server.bind((address, 0))
    server.listen(1)
    port = server.getsockname()[1]

    def serve():
        peer, _ = server.accept()
        while peer.recv(65536):
            pass
        peer.sendall(b"r" * 3000)
        peer.close()
    thread = threading.Thread(target=serve)
    thread.start()
    code = (f"import socket\ns = socket.create_connection(('{address}', {port})); s.sendall(b'q' * 12345)\n"
            "s.shutdown(socket.SHUT_WR)\nwhile s.recv(65536): pass\ns.close()")
    pid, status = run(PYTHON, "-c", code)
    assert status == 0
    thread.join(20)
    server.close()
    connect = seen(host, "--action", "connect", "--port", str(port))[-1]
    accept = seen(host, "--action", "accept", "--port", str(port))[-1]
    listen = seen(host, "--action", "listen", "--port", str(port))[-1]
    assert field(connect, "process.pid") == pid
    assert field(accept, "process.pid") == field(listen, "process.pid") == os.getpid()
    for row in (connect, accept):
        assert field(row, "source.ip") == field(row, "destination.ip") == address
        assert field(row, "destination.port") == port
        assert field(row, "source.port") == field(connect, "source.port")
        assert field(row, "network.transport") == "tcp"
        assert field(row, "network.type") == ("ipv4" if family == socket.AF_INET else "ipv6")
    ends = seen(host, "--action", "disconnect", "--port", str(port), n=2)
    assert {field(row, "process.pid") for row in ends} == {pid, os.getpid()}
    for row in ends:
        assert field(row, "source.bytes") == 12345
        assert field(row, "destination.bytes") == 3000
        assert field(row, "event.duration") > 0


def test_refused_connection_is_a_failure(host):
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    pid, _ = run(PYTHON, "-c", f"import socket; socket.socket().connect_ex(('127.0.0.1', {port}))")
    free.close()
    assert field(seen(host, "--action", "connect", "--port", str(port))[-1], "process.pid") == pid
    assert field(seen(host, "--action", "disconnect", "--port", str(port))[-1], "event.outcome") == "failure"


def test_udp_flow(host):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(10)
    port = server.getsockname()[1]
    code = (f"import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', {port}))\n"
            "for _ in range(3): s.send(b'u' * 100)\ns.recv(2000); s.close()")
    process = subprocess.Popen([PYTHON, "-c", code])
    for _ in range(3):
        _, peer = server.recvfrom(2000)
    server.sendto(b"a" * 500, peer)
    assert process.wait(20) == 0
    server.close()
    rows = seen(host, "--action", "udp_flow", "--port", str(port), seconds=60)
    mine = until(lambda: [row for row in host.cli.events("--action", "udp_flow", "--port", str(port))
                          if field(row, "process.pid") == process.pid], 30, f"the client's flow, there is {rows}")
    assert field(mine[-1], "destination.port") == port
    assert sum(field(row, "source.bytes") or 0 for row in mine) == 300
    assert sum(field(row, "destination.bytes") or 0 for row in mine) == 500
    assert field(mine[-1], "network.transport") == "udp"


def test_exhibits_own_connection_and_files_are_not_recorded(host):
    """Storing makes no events: neither the uplink's traffic nor the journal's and store's files."""
    time.sleep(1)
    pids = {host.pid, host.uplink(), host.launcher()}
    rows = host.cli.events("--path", f"{host.state}/*")
    assert [row for row in rows if field(row, "file.path")] == []
    rows = host.cli.events("--port", str(host.collector.port))
    assert [row for row in rows if field(row, "process.pid") in pids and not field(row, "exhibit.existing")] == []


# ---- coverage and completeness -----------------------------------------------------------------------

def test_coverage_reaches_the_collector(host):
    answer = until(lambda: a if (a := host.cli.run("coverage", "--json")).rows and
                   field(a.rows[0], "exhibit.coverage.state") != "unknown" else None, 30, "the coverage")
    rows = {(field(row, "exhibit.class"), field(row, "exhibit.hook")): row for row in answer.rows}
    classes = {name for name, _ in rows}
    assert classes >= {"exec", "fork", "exit", "file_open", "file_change", "tcp", "udp"}
    for row in answer.rows:
        assert field(row, "exhibit.coverage.state") in ("attached", "partial"), json.dumps(row)
        said = row["exhibit"]["coverage"]
        if "seen" in said:
            assert said["seen"] == sum(said[name] for name in ("filtered", "aggregated", "sent", "lost"))
    assert {name for (name, _), row in rows.items() if "seen" in row["exhibit"]["coverage"]} >= \
        {"exec", "fork", "exit", "file_open", "tcp", "udp"}


def test_probe_prints_the_same_table(host, tmp_path):
    probe = subprocess.run([BIN / "exhibit-agent", "--probe", "--state.dir", tmp_path], capture_output=True, text=True,
                           timeout=60)
    assert probe.returncode == 0, probe.stderr
    for name in ("exec", "fork", "exit", "file_open", "file_change", "tcp", "udp"):
        line = next(line for line in probe.stdout.splitlines() if line.split() and line.split()[0] == name)
        assert "attached" in line or "partial" in line


def test_answer_says_how_complete_it_is(host):
    answer = host.cli.run("events", "--action", "exec", "--json", "--limit", "3")
    assert len(answer.rows) == 3
    assert "complete for 1 host" in answer.err or answer.code == 3
    assert "limit" in answer.err, "cut by --limit must be said"
