# SPDX-License-Identifier: Apache-2.0
"""A vault in a process of its own, an agent of ours that uploads to it, and the CLI."""
import os

import pytest

from daemons import Cli
from vault_agent import Agent, Item, MiB, VaultDriver, asked, noise


class World:
    def __init__(self, site, folder, **words):
        self.site = site
        # Host records are read at the start.
        self.identity = site.host(f"vault-{folder.name[:40]}".replace("_", "-"))
        self.driver = VaultDriver(site, folder / "driver", **words).start()
        self.agent = Agent(self.identity, self.driver, site.order_ca)
        self.dir = folder

    def cli(self, roles="viewer,acquirer,approver", name="ann"):
        person = self.site.responder(f"{name}-{roles.replace(',', '-')}", roles=roles)
        folder = self.dir / f"cli-{name}-{roles}"
        folder.mkdir(exist_ok=True)
        return Cli(self.site, person, self.driver.address, folder)

    def sealed(self, items, **kwargs):
        order_id, exhibit_id = asked(), os.urandom(16)
        self.agent.once(order_id, exhibit_id, items, **kwargs)
        return exhibit_id


@pytest.fixture
def world(site, tmp_path):
    worlds = []

    def make(**words):
        worlds.append(World(site, tmp_path, **words))
        return worlds[-1]
    yield make
    for w in worlds:
        if w.driver.running():
            w.driver.kill()


@pytest.fixture(scope="module")
def shared(site, tmp_path_factory):
    w = World(site, tmp_path_factory.mktemp("shared"))
    yield w
    assert w.driver.running(), w.driver.log[-2000:]
    assert w.driver.stop() == 0
    code, said = w.driver.check()
    assert code == 0, said


def three_items():
    sparse = noise(MiB, 7) + bytes(3 * MiB) + noise(5, 8)
    return [Item("memory.lime", noise(3 * MiB + 17), "lime"), Item("sparse.raw", sparse),
            Item("empty.jsonl", b"", "jsonl")]
