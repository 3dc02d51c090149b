# SPDX-License-Identifier: Apache-2.0
"""What is there before the agent: whoever was started by it is told by its parent's name too."""
import os
import subprocess

import pytest

from basics import until
from daemons import field


@pytest.mark.skipif(os.geteuid() != 0, reason="tracing a host takes root")
def test_existing_processes_know_their_parents(lab):
    # A child of pid 1, which some kernels' iterator leaves out; and one of a process that it lists.
    orphan = subprocess.run(["/bin/sh", "-c", "sleep 300 >/dev/null 2>&1 </dev/null & echo $!"], capture_output=True, text=True,
                            check=True, timeout=10)
    pid = int(orphan.stdout)
    try:
        collector = lab.collector()
        lab.agent(collector)
        cli = lab.cli(collector)
        row = until(lambda: cli.events("--where", f"process.pid={pid}", "--action", "exec"), 30, "the orphan")[0]
        assert field(row, "exhibit.existing") is True
        parent = field(row, "process.parent.pid")
        with open(f"/proc/{parent}/comm", encoding="utf-8") as comm:
            assert field(row, "process.parent.name") == comm.read().strip()
        rows = [row for row in cli.events("--action", "exec") if field(row, "exhibit.existing")]
        alive = {field(row, "process.pid") for row in rows}
        assert 1 in alive
        nameless = [row["process"]["name"] for row in rows
                    if field(row, "process.parent.pid") in alive and not field(row, "process.parent.name")]
        assert nameless == []
    finally:
        os.kill(pid, 9)
