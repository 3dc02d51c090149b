# SPDX-License-Identifier: Apache-2.0
"""`make run` as deploy/run/run.sh does it: comes up, shows, restarts what dies, ends without a trace."""
import datetime
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from activity import execs_with, run
from basics import BUILD, until
from test_clock import Clock

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "run" / "run.sh"


class Run:
    """One `make run` in a build folder of its own that shares the binaries."""

    def __init__(self, folder, env=None):
        self.build, self.env = folder, env or dict(os.environ)
        folder.mkdir(exist_ok=True)
        if not (folder / "bin").exists():
            (folder / "bin").symlink_to(BUILD / "bin")
        self.process = None

    def start(self, within=()):
        self.output = open(self.build / "output", "ab")
        # Tests that run in a shell's background ignore Ctrl-C, and so would all that they start.
        self.process = subprocess.Popen([*within, SCRIPT], env={**self.env, "B": str(self.build)}, stdout=self.output,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        self.shown = len(self.text)
        until(lambda: self.process.poll() is not None or "live events follow" in self.text[self.shown:], 60,
              "the daemons")
        assert self.process.poll() is None, self.text
        return self

    @property
    def text(self):
        return (self.build / "output").read_text(errors="replace")

    def pid_of(self, program):
        """The process that the script started."""
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == program[:15] \
                        and str(self.build) in Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
            except OSError:  # it ended meanwhile
                continue
        return 0

    def ask(self, *args, seconds=60):
        done = subprocess.run([BUILD / "bin" / "exhibit", *args, "--config", self.build / "run" / "exhibit.yaml",
                               "--json"], capture_output=True, text=True, timeout=seconds, env=self.env)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def events(self, *args, seconds=60):
        return self.ask("events", *args, seconds=seconds)

    def sees(self, marker, seconds=60):
        """Again and again: the script does not wait until the agent traces."""
        def asked():
            run(marker)
            return execs_with(self, marker)
        return until(asked, seconds, f"the exec {marker}\n{self.text[-2000:]}")

    def interrupt(self):
        """As Ctrl-C does: to everybody in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)
        status = self.process.wait(60)
        self.output.close()
        return status

    def end(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)

    @staticmethod
    def leave_none(*pids):
        """For a test that failed: what it started ends with it."""
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)


def programs_of(pid):
    """Ids of the BPF programs and links that this process holds."""
    return {line.split()[1] for info in Path(f"/proc/{pid}/fdinfo").iterdir()
            for line in info.read_text().splitlines() if line.startswith("prog_id:")}


def programs():
    """Ids of all that are in the kernel."""
    shown = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, text=True, check=True, timeout=30)
    return {str(program["id"]) for program in json.loads(shown.stdout)}


@pytest.fixture
def runs(need_bpf, tmp_path):
    started = []

    def start(name, env=None):
        started.append(Run(tmp_path / name, env))
        return started[-1].start()
    yield start
    for one in started:
        one.end()


def test_run_twice_and_leave_nothing(runs, tmp_path):
    first = runs("b")
    agent, collector = first.pid_of("exhibit-agent"), first.pid_of("exhibit-collector")
    assert agent and collector
    first.sees("run-first")
    until(lambda: "run-first" in first.text, 30, "the live event on the screen")
    held = programs_of(agent)
    assert held & programs(), "the agent holds no program: this test measures nothing"
    assert first.interrupt() == 0
    for pid in (agent, collector):
        assert not Path(f"/proc/{pid}").exists()
    until(lambda: not held & programs(), 10, "the programs to leave the kernel")
    # The second time: the data are still there, and go on.
    second = Run(tmp_path / "b").start()
    try:
        second.sees("run-second")
        assert execs_with(second, "run-first")
        host = second.ask("hosts")
        assert len(host) == 1 and host[0]["exhibit"]["conflicts"] == 0
    finally:
        second.end()


@pytest.mark.parametrize("how", ["terminal closed", "script killed"])
def test_nothing_outlives_the_script(how, runs, tmp_path):
    """Neither a terminal that is closed (SIGHUP, which the daemons take for reload) nor SIGKILL of the script
    leaves a daemon that the next `make run` could not start beside."""
    first = runs("b")
    first.sees("outlived-first")
    agent, collector = first.pid_of("exhibit-agent"), first.pid_of("exhibit-collector")
    held = programs_of(agent)
    assert agent and collector and held
    try:
        if how == "terminal closed":
            os.killpg(first.process.pid, signal.SIGHUP)
            assert first.process.wait(60) == 0
        else:
            first.process.kill()
            first.process.wait(60)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (agent, collector)), 30, "the daemons to end")
        until(lambda: not held & programs(), 10, "the programs to leave the kernel")
    finally:
        first.leave_none(agent, collector)
    second = runs("b")
    second.sees("outlived-second")
    assert execs_with(second, "outlived-first")
    assert second.interrupt() == 0


def test_each_daemon_is_started_again(runs):
    one = runs("b")
    one.sees("again-0")
    for i, program in enumerate(["exhibit-agent", "exhibit-collector"], 1):
        before = one.pid_of(program)
        os.kill(before, signal.SIGKILL)
        until(lambda: one.pid_of(program) not in (0, before), 30, f"another {program}")  # noqa: B023
        one.sees(f"again-{i}", 90)
    assert execs_with(one, "again-0")


def test_two_instances_do_not_disturb_each_other(runs):
    one, two = runs("one"), runs("two")
    one.sees("instances-1")
    two.sees("instances-2")
    # Each has its own port, keys and store.
    assert (one.build / "run" / "port").read_text() != (two.build / "run" / "port").read_text()
    assert one.interrupt() == 0
    two.sees("instances-3")
    assert two.interrupt() == 0


def test_the_local_user_orders_at_once(runs, tmp_path):
    """The key that it makes has every role, and signs."""
    one = runs("b")
    marker = tmp_path / "evidence"
    marker.write_text("found")
    host = until(lambda: [r["host"]["id"] for r in one.ask("hosts") if r["exhibit"]["connected"]], 60, "the host")[0]
    (row,) = one.ask("grab", "files", "--path", str(marker), "--host", host, "--case", "C-1", "--reason", "a test",
                     "--wait")
    assert row["exhibit"]["order"]["state"] == "done", row
    assert row["exhibit"]["manifest"]["complete"] is True
    assert one.ask("orders")[-1]["exhibit"]["order"]["exhibit"] == row["exhibit"]["order"]["exhibit"]


def test_same_folder_twice_is_refused(runs, tmp_path):
    one = runs("b")
    second = subprocess.run([SCRIPT], env={**os.environ, "B": str(one.build)}, capture_output=True, text=True,
                            timeout=30, stdin=subprocess.DEVNULL)
    assert second.returncode == 2
    assert "another 'make run' has" in second.stderr
    one.sees("still-there")


@pytest.mark.parametrize("text", ["", "uninitialized\n"])
def test_a_machine_without_an_id_goes_by_its_name(text, need_bpf, tmp_path):
    """/etc/machine-id of images before their first boot, and of most containers."""
    (tmp_path / "machine-id").write_text(text)
    one = Run(tmp_path / "b")
    try:
        one.start(["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/machine-id && exec "$@"',
                   tmp_path / "machine-id"])
        one.sees("nameless")
        (host,) = one.ask("hosts")
        assert host["host"]["id"] == socket.gethostname()
        assert one.interrupt() == 0
    finally:
        one.end()


def validity(crt):
    cert = x509.load_pem_x509_certificate(crt.read_bytes())
    return cert.not_valid_before, cert.not_valid_after


@pytest.mark.parametrize("days,expired", [(1, {"responder"}), (40, {"responder", "host"}),
                                          (100, {"responder", "host", "collector"})])
def test_the_next_day_certificates_are_renewed(days, expired, runs, tmp_path):
    """A later day, by a clock that all of `make run` goes by: what ran out meanwhile is made anew, with the same
    names, and the data are still there."""
    clock = Clock(tmp_path)
    first = runs("b", clock.env())
    first.sees("day-one")
    assert first.interrupt() == 0
    certs = {kind: next((first.build / "run" / "certs").glob(f"{kind}-*.crt"))
             for kind in ("responder", "host", "collector")}
    old = {kind: crt.read_bytes() for kind, crt in certs.items()}
    clock.set(days * 86400)
    later = datetime.datetime.utcnow() + datetime.timedelta(days=days)
    assert {kind for kind, crt in certs.items() if validity(crt)[1] < later} == expired
    second = runs("b", clock.env())
    second.sees("day-two")
    for kind, crt in certs.items():
        begins, ends = validity(crt)
        assert begins < later + datetime.timedelta(minutes=5) and ends > later, kind
        assert crt.read_bytes() != old[kind] or kind not in expired, kind
    assert execs_with(second, "day-one")
    hosts = second.ask("hosts")
    assert len(hosts) == 1 and hosts[0]["exhibit"]["conflicts"] == 0
