# SPDX-License-Identifier: Apache-2.0
"""What hosts told around an exhibit, in the case's bundle: chosen by target and window, bounded, with what is missing;
a timeline that Timesketch takes whatever the names are; a collector that goes away meanwhile."""
import base64
import json
import os
import re
import secrets
import select
import signal
import subprocess
import tarfile
import time
from datetime import datetime, timezone

import pytest

from basics import until
from daemons import field
from pods import make_cgroup
from proxy import Proxy
from test_order_to_exhibit import CASE, Site
from test_verify import World, verify
from vault_agent import Item, MiB, noise

TOP = "exhibit-bundle/"
HOSTILE = b"evil\n\x1b[2J\"=cmd|' C'!A0 \xff\xe2\x80\xae"


def timesketch(text):
    """The rows, as Timesketch's importer takes them: message, datetime (ISO 8601) and timestamp_desc in each, timestamp in
    microseconds, one type per field name, since all go into one index."""
    rows, types = [], {}
    for line in text.decode().splitlines():
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line), "it would drive a terminal"
        row = json.loads(line)
        for name in ("message", "datetime", "timestamp_desc"):
            assert isinstance(row[name], str) and row[name], line
        at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z$", r"\1+00:00", row["datetime"]))
        assert at.tzinfo == timezone.utc and abs(at.timestamp() * 1e6 - row["timestamp"]) < 2, line
        assert {"source", "host", "case", "evidence_sha256"} <= set(row) or row["source"] == "ledger", line
        for name, value in row.items():
            assert types.setdefault(name, type(value)) is type(value), name
        rows.append(row)
    return rows


class Bundle:
    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.files = {m.name.removeprefix(TOP): tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}
        self.rows = timesketch(self.files["timeline.jsonl"])
        self.events = [r for r in self.rows if r["source"] == "event"]
        self.said = [json.loads(data) for name, data in self.files.items() if re.match(r"events/[0-9a-f]{32}\.json$", name)]


def export(cli, path, *flags):
    done = cli.run("export", CASE, "--out", path, *flags)
    assert done.code == 0, done.err
    return Bundle(path), done


def act(folder):
    """A process with a hostile name for a file."""
    path = os.path.join(os.fsencode(folder), HOSTILE)
    subprocess.run(["touch", path], check=True, timeout=20)
    return path


@pytest.fixture
def real(lab, need_bpf):
    """A collector and an agent."""
    return Site(lab)


def test_the_timeline_has_what_the_host_did(real, tmp_path):
    path = act(tmp_path)
    until(lambda: real.cli.events("--process", "touch", "--host", real.host), 30, "the event")
    code, _, err = real.grab("files", "--path", "/etc/hostname")
    assert code == 0, err
    bundle, done = export(real.cli, tmp_path / "case.tar", "--json")
    (result,) = done.rows
    assert field(result, "exhibit.case") == CASE and field(result, "exhibit.exhibits") == 1
    assert field(result, "exhibit.events.rows") == len(bundle.events) > 0
    assert field(result, "file.size") == (tmp_path / "case.tar").stat().st_size
    ran = [r for r in bundle.events if r["message"].startswith("exec touch(") and "evil" in r["message"]]
    assert ran and ran[0]["host"] == real.host and ran[0]["timestamp_desc"] == "exec", bundle.events[:3]
    exact = [base64.b64decode(b) for r in ran for b in field(r, "ecs.process.args_base64") or [] if b]
    assert path in exact, "its bytes, exactly"
    # People and hosts on one axis.
    order = next(i for i, r in enumerate(bundle.rows) if r["source"] == "ledger" and r["timestamp_desc"] == "order")
    assert bundle.rows.index(ran[0]) < order
    assert [r["timestamp"] for r in bundle.rows] == sorted(r["timestamp"] for r in bundle.rows)
    (said,) = bundle.said
    assert said["events"] >= len(bundle.events) and said["host"] == real.host and said["limit"] == 10000
    checked = verify(tmp_path / "case.tar", "--explain")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "only the collector says that hosts told them" in checked.stderr


def test_window_limit_and_none(real, tmp_path):
    for _ in range(20):
        subprocess.run(["true"], check=True)
    until(lambda: len(real.cli.events("--process", "true", "--host", real.host)) >= 20, 30, "the events")
    assert real.grab("files", "--path", "/etc/hostname")[0] == 0
    bundle, done = export(real.cli, tmp_path / "five.tar", "--limit", "5")
    assert len(bundle.events) == 5 and bundle.said[0]["cut"] is True and bundle.said[0]["complete"] is False
    assert "CUT" in done.err
    bundle, _ = export(real.cli, tmp_path / "none.tar", "--no-events")
    assert bundle.events == [] and bundle.said == []
    assert verify(tmp_path / "none.tar").returncode == 0
    # A window of its own: long ago nothing was recorded, which is not the same as nothing happened.
    bundle, done = export(real.cli, tmp_path / "old.tar", "--since", "2020-01-01T00:00:00Z", "--until",
                          "2020-01-02T00:00:00Z")
    assert bundle.events == [] and bundle.said[0]["since"].startswith("2020-01-01T00:00:00")
    assert bundle.said[0]["complete"] is False and bundle.said[0]["hosts_recorded"] == 0
    assert "INCOMPLETE: the host was not recorded then" in done.err


def test_of_a_container_only_its_own(real, tmp_path):
    container = secrets.token_hex(32)
    cgroup = make_cgroup(container)
    inside = lambda: (cgroup / "cgroup.procs").write_text("0")  # noqa: E731
    resident = subprocess.Popen(["sleep", "300"], preexec_fn=inside)
    try:
        subprocess.run(["true"], check=True, preexec_fn=inside)
        subprocess.run(["true"], check=True)
        until(lambda: real.cli.events("--container", container, "--process", "true"), 30, "the container's events")
        code, _, err = real.grab("files", "--container", container, "--path", "/etc/hostname")
        assert code == 0, err
    finally:
        resident.kill()
        resident.wait()
        until(lambda: not (cgroup / "cgroup.procs").read_text(), 10, "the end of its processes")
        cgroup.rmdir()
    bundle, _ = export(real.cli, tmp_path / "case.tar")
    assert bundle.events and {r["container"] for r in bundle.events} == {container}
    assert bundle.said[0]["terms"] == [{"field": "container.id", "value": container, "group": 1}]


# ---- a collector that goes away --------------------------------------------------------------------------------------


class SlowProxy(Proxy):
    """Some 6 MB/s, so that there is time to break it."""

    def _relay(self, selector, end):
        time.sleep(0.01)
        super()._relay(selector, end)


@pytest.fixture
def far(site, tmp_path):
    """A case of 12 MiB behind a line that can break."""
    world = World(site, tmp_path)
    proxy = SlowProxy(int(world.collector.address.rsplit(":", 1)[1]))
    world.items = [Item("memory.raw", noise(12 * MiB), "raw")]
    world.exhibits.append(world.take(world.items))
    config = world.cli.config
    config.write_text(config.read_text().replace(world.collector.address, proxy.address))
    yield world, proxy
    proxy.close()
    world.lab.end()


def part_of(path, size):
    part = path.with_name(path.name + ".part")
    until(lambda: part.exists() and part.stat().st_size >= size, 30, "the first bytes")
    return part


def test_a_broken_line_is_gone_on_with(far, tmp_path):
    world, proxy = far
    out = tmp_path / "far.tar"
    export_ = world.cli.popen("export", "IR-2026-14", "--out", out)
    for megabytes in (1, 3, 6):
        part_of(out, megabytes * MiB)
        proxy.reset()
    _, err = export_.communicate(timeout=60)
    assert export_.returncode == 0, err
    assert err.count(b"going on when it is back") >= 3, err
    assert verify(out).returncode == 0 and not out.with_name("far.tar.part").exists()


def test_a_collector_that_stays_away_leaves_no_half_file(far, tmp_path):
    world, proxy = far
    out = tmp_path / "far.tar"
    export_ = world.cli.popen("export", "IR-2026-14", "--out", out)
    part = part_of(out, MiB)
    world.collector.kill()
    until(lambda: select.select([export_.stderr], [], [], 0)[0], 30, "a word about it")
    export_.send_signal(signal.SIGINT)
    _, err = export_.communicate(timeout=60)
    assert export_.returncode == 2 and not out.exists() and not part.exists(), err
    # It comes back: nothing stands in the way of doing it again.
    world.collector.start()
    again = world.cli.run("export", "IR-2026-14", "--out", out, seconds=60)
    assert again.code == 0 and verify(out).returncode == 0, again.err
