# SPDX-License-Identifier: Apache-2.0
"""Evidence that was taken out of the vault: nothing in the vault tells of it, the ledger does."""
import os
import shutil

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
