# SPDX-License-Identifier: Apache-2.0
"""Nothing that was reported durable is lost, whatever happens."""
import os
import random
import subprocess
import threading

import grpc
import pytest

from basics import count, until
from vault_agent import Agent, Item, MiB, RAW, VaultDriver, asked, chunk, item_end, item_start, noise, start
from vault_world import shared, world  # noqa: F401  (fixtures)
from wire import Refused, sha256


def test_goes_on_after_a_broken_link(shared):
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(6 * MiB + 9, 5))
    with shared.agent.upload() as u:
        u.send(start(order_id, exhibit_id), item_start(1, item))
        for at, raw in list(item.chunks())[:4]:
            u.send(chunk(1, at, raw))
        u.wait_durable((1, 4 * MiB))
        assert u.requests_durable == 5
    with shared.agent.upload() as u:
        u.send(start(order_id, exhibit_id))
        assert u.wait_durable() == (1, 4 * MiB)
        # Other bytes than those of before are never spliced in.
        u.send(chunk(1, 0, noise(MiB, 99)))
        assert "not spliced" in u.wait_ended().sentence
    shared.agent.once(order_id, exhibit_id, [item])
    assert shared.driver.object(item.sha256).read_bytes() == item.data


def test_what_is_said_again_counts(shared):
    """An agent that kept what was durable already, and waits for it, hears of it."""
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(2 * MiB, 14))
    requests = [item_start(1, item), *(chunk(1, at, raw) for at, raw in item.chunks()), item_end(1, item)]
    for _ in range(2):
        with shared.agent.upload() as u:
            u.send(start(order_id, exhibit_id), *requests)
            u.wait(lambda: u.requests_durable == 4, "all to be durable")
            assert u.durable[-1] == (2, 0)
    shared.agent.once(order_id, exhibit_id, [item])


def test_a_new_call_takes_over_from_one_that_lingers(shared):
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(MiB, 6))
    old = shared.agent.upload()
    old.send(start(order_id, exhibit_id), item_start(1, item))
    old.wait_durable()
    shared.agent.once(order_id, exhibit_id, [item])
    assert old.wait_ended().code != grpc.StatusCode.OK
    old.close()


def test_killed_at_any_moment(world):
    """SIGKILL again and again while exhibits come in: each arrives whole, with its hash, once."""
    w = world()
    random.seed(11)
    stop = threading.Event()

    def kill_and_start():
        while not stop.is_set():
            stop.wait(random.uniform(0.05, 0.7))
            w.driver.kill()
            w.driver.start()

    killer = threading.Thread(target=kill_and_start)
    killer.start()
    made = []
    try:
        for n in range(count(6, 60)):
            items = [Item("a.raw", noise(random.randrange(1, 24) * MiB + n, n)), Item("b.jsonl", b"{}\n" * n)]
            order_id, exhibit_id = asked(), os.urandom(16)
            w.agent.stubborn(order_id, exhibit_id, items)
            made.append((exhibit_id, items))
    finally:
        stop.set()
        killer.join(60)
    until(lambda: all(w.driver.exhibit(e).is_dir() for e, _ in made), 30, "the last to be sealed")
    for exhibit_id, items in made:
        assert w.driver.record(exhibit_id)["state"] == "sealed"
        for item in items:
            assert sha256(w.driver.object(item.sha256).read_bytes()) == item.sha256
    assert w.driver.stop() == 0
    code, said = w.driver.check()
    assert (code, said) == (0, "")
    assert list((w.driver.vault / "acme" / "incoming").iterdir()) == []


def test_abandoned(world):
    w = world(abandon=2000)
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(3 * MiB, 12))
    with w.agent.upload() as u:
        u.send(start(order_id, exhibit_id), item_start(1, item), chunk(1, 0, item.data[:MiB]))
        u.wait_durable((1, MiB))
    until(lambda: w.driver.exhibit(exhibit_id).is_dir(), 40, "the abandoned exhibit to be sealed")
    record = w.driver.record(exhibit_id)
    assert record["state"] == "incomplete" and "did not go on with the upload" in record["reason"]
    assert record["items"] == [{"name": "a.raw", "format": "raw", "bytes": MiB,
                                "sha256": sha256(item.data[:MiB]).hex()}]
    assert w.driver.leaves()[-1][4].startswith("the host did not go on")
    # It is never spliced with what comes later.
    receipt = w.agent.once(order_id, exhibit_id, [item])
    assert receipt.manifest_sha256 == bytes(32)
    assert w.driver.record(exhibit_id) == record


def test_full_disk(site, tmp_path):
    """The vault on a file system of 24 MiB: one clear sentence, then room is made, and the upload goes on."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", mount], timeout=20).returncode != 0:
        pytest.skip("mounting takes root")
    try:
        identity = site.host("full-disk")
        driver = VaultDriver(site, tmp_path / "driver", reserve=2 * MiB)
        driver.vault = mount / "vault"
        (mount / "filler").write_bytes(bytes(12 * MiB))
        agent = Agent(identity, driver.start(), site.order_ca)
        order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(16 * MiB, 13))
        with pytest.raises(Refused) as refused:
            agent.once(order_id, exhibit_id, [item])
        assert refused.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the vault's file system is full" in refused.value.sentence
        with agent.upload() as u:
            u.send(start(order_id, exhibit_id))
            number, offset = u.wait_durable()
            assert number == 1 and offset >= 8 * MiB
        (mount / "filler").unlink()
        agent.once(order_id, exhibit_id, [item])
        assert driver.object(item.sha256).read_bytes() == item.data
        assert driver.stop() == 0
        assert driver.check()[0] == 0
    finally:
        if driver.running():
            driver.kill()
        subprocess.run(["umount", "-l", mount], timeout=20, check=True)


def test_memory_stays_bounded(shared):
    """64 MiB in four calls at once, 16 MiB of it unread messages: no more than the calls' buffers."""
    def one(n):
        shared.sealed([Item("a.raw", noise(16 * MiB, 40 + n))], codec=RAW)
    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive()
    status = (f"/proc/{shared.driver.process.pid}/status")
    peak = next(int(line.split()[1]) for line in open(status) if line.startswith("VmHWM"))
    assert peak < 256 * 1024
