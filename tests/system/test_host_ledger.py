# SPDX-License-Identifier: Apache-2.0
"""The host watches the collector's ledger: a collector that is set back to an old copy is contradicted."""
import hashlib
import shutil
import subprocess

import pytest

import batch_pb2
import service_pb2
from basics import until
from daemons import copy_tree
from exhibit_reader import TOMBSTONE, read_journal

pytestmark = pytest.mark.usefixtures("need_bpf")


def held(agent):
    """The checkpoint that the agent holds: (size, note)."""
    path = agent.state / "orders" / "checkpoint"
    if not path.exists():
        return 0, b""
    note = service_pb2.LedgerUpdate.FromString(path.read_bytes()).checkpoint
    return int(note.split(b"\n")[1]), note


def grow(agent, size, seconds=90):
    """Events until the agent holds a larger checkpoint."""
    def larger():
        subprocess.run(["/bin/true"], check=True)
        return held(agent)[0] > size and held(agent)
    return until(larger, seconds, f"a checkpoint of more than {size} entries")


def named(agent):
    """The checkpoints that sealed batches name."""
    signed = [batch_pb2.SignedBatch.FromString(f.body) for f in read_journal(agent.state / "journal")
              if f.kind != TOMBSTONE]
    return {batch_pb2.BatchHeader.FromString(s.header).last_checkpoint for s in signed}


def test_a_collector_that_is_set_back_is_contradicted(lab):
    collector = lab.collector()
    agent = lab.agent(collector)
    grow(agent, 0)
    assert collector.stop() == 0
    old = copy_tree(collector.store, lab.dir / "old")
    collector.start()
    second, note = grow(agent, int((old / ".ledger" / "checkpoint").read_text().split("\n")[1]))
    # Batches name what is held.
    until(lambda: hashlib.sha256(note).digest() in named(agent), 30, "a batch that names the checkpoint")
    assert collector.stop() == 0
    shutil.rmtree(collector.store)
    copy_tree(old, collector.store)
    collector.start()
    agent.wait_log("the ledger contradicts itself", 90)
    assert "ALARM" in agent.log
    collector.wait_log("ALARM: a host holds a checkpoint that this ledger contradicts", 30)
    assert held(agent)[0] >= second
    # And after a restart of the agent.
    before = agent.log.count("the ledger contradicts itself")
    assert agent.stop() == 0
    agent.start()
    until(lambda: agent.log.count("the ledger contradicts itself") > before, 60, "the contradiction again")
