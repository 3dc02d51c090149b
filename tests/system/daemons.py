# SPDX-License-Identifier: Apache-2.0
"""The real daemons and the CLI, run as an operator would."""
import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

import basics
from basics import BIN, until


def nested(options):
    """{"tls.cert": x} as YAML writes it."""
    out = {}
    for name, value in options.items():
        if "." not in name:
            out[name] = value
            continue
        group, key = name.split(".", 1)
        out.setdefault(group, {})[key] = str(value) if isinstance(value, Path) else value
    return {k: str(v) if isinstance(v, Path) else v for k, v in out.items()}


class Daemon:
    """One process under test; its log is a file that all its starts append to."""
    program = None

    def __init__(self, folder, options, env=None, wrap=()):
        self.dir = Path(folder)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.log_file = self.dir / f"{self.program}.log"
        self.config = self.dir / f"{self.program}.yaml"
        self.options, self.env, self.wrap = options, env, list(wrap)
        self.process = None

    def write_config(self):
        self.config.write_text(yaml.safe_dump(nested(self.options)))

    def spawn(self, **kwargs):
        self.write_config()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*self.wrap, BIN / self.program, "--config", self.config],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=self.env, **kwargs)
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.running():
            self.process.kill()
        return self.process.wait(20)

    def stop(self, seconds=30):
        """End with SIGTERM; the exit status."""
        if self.running():
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as e:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"{self.program} did not end within {seconds} s of SIGTERM\n{self.tail()}") from e

    def tail(self, n=15):
        return "\n".join(self.log.splitlines()[-n:])

    def memory_peak(self):
        """VmHWM in bytes."""
        return memory_peak(self.pid)

    def wait_log(self, text, seconds=20):
        def seen():
            assert self.running() or text in self.log, f"{self.program} ended:\n{self.tail()}"
            return text in self.log
        until(seen, seconds, f"'{text}' in the log of {self.program}:\n{self.tail()}")


def memory_peak(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/status has no VmHWM")


class Collector(Daemon):
    program = "exhibit-collector"

    def __init__(self, site, folder, env=None, wrap=(), **options):
        folder = Path(folder)
        self.site, self.port = site, 0
        self.ready = folder / "port"
        super().__init__(folder, {
            "listen": "127.0.0.1:0", "ready-file": self.ready,
            "tls.cert": site.collector.cert, "tls.key": site.collector.key,
            "tls.fleet-ca": site.fleet_ca, "tls.order-ca": site.order_ca,
            "store.dir": folder / "store", "store.ledger-key": site.ledger_key, "store.reserve": "0",
            "hosts.dir": site.hosts, "vault.reserve": "0", "vault.immutable": "false", "stop-timeout": "2s",
            **{key.replace("__", ".").replace("_", "-"): value for key, value in options.items()}}, env, wrap)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def store(self):
        return Path(self.options["store.dir"])

    def start(self, seconds=30):
        """Start and wait until it serves; later starts take the same port again."""
        if self.port:
            self.options["listen"] = self.address
        self.ready.unlink(missing_ok=True)
        self.spawn()

        def serving():
            assert self.running(), f"the collector ended:\n{self.tail()}"
            return self.ready.exists() and self.ready.read_text().strip()
        self.port = int(until(serving, seconds, "the collector"))
        return self

    def offline(self, verb, seconds=120):
        """`check` or `reindex` on the store; nobody else may have it open."""
        return subprocess.run([BIN / self.program, verb, "--store.dir", self.store,
                               "--tls.fleet-ca", self.site.fleet_ca, "--tls.order-ca", self.site.order_ca,
                               "--store.ledger-key", self.site.ledger_key],
                              capture_output=True, text=True, errors="replace", timeout=seconds)

    def check(self):
        """The store must be intact."""
        done = self.offline("check")
        assert done.returncode == 0, done.stdout + done.stderr


class Agent(Daemon):
    program = "exhibit-agent"

    def __init__(self, site, host, folder, address, env=None, wrap=(), **options):
        folder = Path(folder)
        self.state = folder / "state"
        super().__init__(folder, {
            "collector.address": address, "tls.cert": host.cert, "tls.key": host.key,
            "tls.fleet-ca": site.fleet_ca, "tls.order-ca": site.order_ca,
            "seal.key": host.seal_key, "seal.host-record": host.record, "state.dir": self.state,
            "stop-timeout": "3s", "sense.own-dirs": [str(folder)],
            **{key.replace("__", ".").replace("_", "-"): value for key, value in options.items()}}, env, wrap)

    def start(self, seconds=60):
        begin = len(self.log)
        self.spawn()

        def tracing():
            assert self.running(), f"the agent ended:\n{self.tail()}"
            return "tracing this host" in self.log[begin:]
        until(tracing, seconds, "the agent")
        return self

    def launcher(self):
        return until(lambda: next((pid for pid, name in descendants(self.pid) if name == "exhibit-launch"), 0),
                     10, "the launcher")

    def uplink(self):
        return until(lambda: next((pid for pid, name in descendants(self.pid) if name != "exhibit-launch"), 0),
                     10, "the uplink")


def descendants(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found.append((int(child), Path(f"/proc/{child}/comm").read_text().strip()))
            found += descendants(int(child))
    return found


@dataclass
class Answer:
    """What the CLI said."""
    code: int
    out: str
    err: str

    @property
    def rows(self):
        return [json.loads(line) for line in self.out.split("\n") if line]


class Cli:
    def __init__(self, site, responder, address, folder):
        self.config = Path(folder) / "exhibit.yaml"
        self.config.write_text(yaml.safe_dump({
            "collector": address, "tls": {"cert": str(responder.cert), "key": str(responder.key),
                                          "order-ca": str(site.order_ca)}}))
        self.env = {**os.environ, "HOME": str(folder)}

    def command(self, verb, *args):
        return [BIN / "exhibit", verb, "--config", self.config, *map(str, args)]

    def run(self, verb, *args, seconds=30):
        done = subprocess.run(self.command(verb, *args), capture_output=True, timeout=seconds, env=self.env)
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    def events(self, *args, seconds=30):
        """Rows of `events`, found or not; an error of the CLI fails the test."""
        answer = self.run("events", "--json", "--limit", "0", *args, seconds=seconds)
        assert answer.code in (0, 1, 3), answer.err
        return answer.rows

    def popen(self, verb, *args, **kwargs):
        return subprocess.Popen(self.command(verb, *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                stdin=subprocess.DEVNULL, env=self.env, **kwargs)


def field(row, name):
    """row["process"]["parent"]["pid"] for "process.parent.pid"; None when absent."""
    for part in name.split("."):
        if not isinstance(row, dict) or part not in row:
            return None
        row = row[part]
    return row


def copy_tree(source, target):
    shutil.copytree(source, target, symlinks=True)
    return target
