# SPDX-License-Identifier: Apache-2.0
"""The host's clock is set back an hour while it is traced (an injected clock: nobody else's is touched)."""
import datetime
import os
import struct

from activity import execs_with, run
from basics import BUILD, until
from daemons import field


class Clock:
    def __init__(self, folder):
        self.file = folder / "clock"
        self.set(0)

    def set(self, seconds):
        if not self.file.exists():
            self.file.write_bytes(struct.pack("=q", seconds))
        with open(self.file, "r+b") as f:  # the same inode: it is mapped
            f.write(struct.pack("=q", seconds))

    def env(self):
        return {**os.environ, "LD_PRELOAD": str(BUILD / "tests" / "shim_clock.so"), "CLOCK_SHIM": str(self.file)}


def wall(row):
    text = row["@timestamp"][:26] + "+00:00"
    return datetime.datetime.fromisoformat(text)


def run_marked(marker, n):
    for i in range(n):
        run(f"{marker}-{i}")


def test_nothing_is_lost_when_the_clock_is_set_back(lab, tmp_path, need_bpf):
    clock, collector = Clock(tmp_path), lab.collector()
    agent = lab.agent(collector, env=clock.env())
    cli = lab.cli(collector)
    run_marked("before-step", 20)
    until(lambda: len(execs_with(cli, "before-step-")) == 20, 30, "the first execs")
    clock.set(-3600)
    run_marked("after-step", 20)
    until(lambda: len(execs_with(cli, "after-step-")) == 20, 30, "the later execs")
    before = execs_with(cli, "before-step-")
    after = execs_with(cli, "after-step-")
    assert len(before) == 20, "what was stored before the step is still found"
    # The wall clock went back, the order of what happened did not.
    assert max(map(wall, after)) < min(map(wall, before))
    assert min(field(r, "exhibit.boottime_ns") for r in after) > max(field(r, "exhibit.boottime_ns") for r in before)
    assert min(field(r, "event.sequence") for r in after) > max(field(r, "event.sequence") for r in before)
    # And it comes back: nothing is found twice.
    clock.set(0)
    run_marked("again-step", 5)
    until(lambda: len(execs_with(cli, "again-step-")) == 5, 30, "the last execs")
    agent.stop()
    numbers = [field(r, "event.sequence") for r in cli.events("--limit", "0") if field(r, "exhibit.lane") == "critical"]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    collector.stop()
    collector.check()
