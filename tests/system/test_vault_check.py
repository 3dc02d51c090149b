# SPDX-License-Identifier: Apache-2.0
"""Evidence that was taken out of the vault: nothing in the vault tells of it, the ledger does."""
import os
import shutil
import subprocess

import pytest

from basics import until
from orders import Orders, OrdersHost, an_order, person, signed
from orders_world import known
from vault_agent import Agent, Item


class World:
    def __init__(self, lab, **options):
        self.lab, self.site, self.server = lab, lab.site, lab.collector(**options)
        ann = person(self.site, "ann-chk", "viewer,acquirer")
        identity = known(self, lab.host_identity())
        orders, host = Orders(self.site, ann.tls, self.server.address), OrdersHost(
            identity, self.server.address, self.site.order_ca)
        order, self.exhibit = an_order(ann, [identity.host_id]), os.urandom(16)
        orders.submit(signed(order, ann))
        host.wait(lambda: host.orders, "the order")
        Agent(identity, self.server, self.site.order_ca).once(order.order_id, self.exhibit, [Item("a.raw", b"evidence")])
        orders.close()
        host.close()

    @property
    def folder(self):
        return self.server.store / ".vault" / "acme" / "exhibits" / self.exhibit.hex()


@pytest.mark.parametrize("what", ["exhibit", "tenant", "vault"])
def test_what_was_taken_out_is_missed(what, lab):
    w = World(lab)
    assert w.server.stop() == 0
    w.server.check()
    shutil.rmtree({"exhibit": w.folder, "tenant": w.folder.parents[1], "vault": w.folder.parents[2]}[what])
    done = w.server.offline("check")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"exhibit '{w.exhibit.hex()}'" in done.stdout and "was sealed, and is not there" in done.stdout


def test_what_retention_removed_is_not_missed(lab):
    w = World(lab, vault__retain_age="1s")
    until(lambda: not w.folder.exists(), 30, "the exhibit to be removed")
    assert w.server.stop() == 0
    w.server.check()


@pytest.mark.parametrize("leaf, what", [
    ("manifest.sig", "is not the signature of host"),
    ("chunks.jsonl", "is damaged: it does not have the SHA-256 that exhibit.json names"),
    ("exhibit.json", "is damaged: it does not have the SHA-256 that it ends in"),
])
def test_a_flipped_bit_is_named_with_file_and_exhibit(leaf, what, lab):
    """The key that verifies is that of the host's record in the store."""
    w = World(lab)
    assert w.server.stop() == 0
    w.server.check()
    path = w.folder / leaf
    subprocess.run(["chattr", "-i", path], stderr=subprocess.DEVNULL)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    done = w.server.offline("check")
    assert done.returncode == 1, done.stdout + done.stderr
    named = [line for line in done.stdout.splitlines() if f"{w.exhibit.hex()}/{leaf}" in line]
    assert len(named) == 1 and what in named[0], done.stdout
