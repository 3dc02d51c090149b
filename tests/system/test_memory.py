# SPDX-License-Identifier: Apache-2.0
"""The agent's resident set, as an operator sees it: all three processes added up."""
import os
import subprocess
from pathlib import Path

import pytest

from basics import until

MB = 1_000_000
AIM = 60 * MB
EXECS = 1000


def rollup(pid, name):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"/proc/{pid}/smaps_rollup has no {name}")


@pytest.mark.skipif(os.geteuid() != 0, reason="tracing a host takes root")
def test_all_three_processes_fit_into_60_mb(lab, tmp_path):
    collector = lab.collector()
    agent = lab.agent(collector)
    subprocess.run(["/bin/sh", "-c", f"i=0; while [ $i -lt {EXECS} ]; do /bin/true; echo x > {tmp_path}/f$i; "
                                     "i=$((i+1)); done"], check=True, timeout=60)
    mark = subprocess.Popen(["/bin/true"])
    mark.wait(10)
    cli = lab.cli(collector)
    until(lambda: cli.events("--where", f"process.pid={mark.pid}"), 30, "the last of many processes")
    pids = {"sense": agent.pid, "launcher": agent.launcher(), "uplink": agent.uplink()}
    resident = {name: rollup(pid, "Rss") for name, pid in pids.items()}
    assert sum(resident.values()) < AIM, resident
