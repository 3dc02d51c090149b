# SPDX-License-Identifier: Apache-2.0
"""Uploads at one time are few: hosts that keep their places and say nothing, or take all they can get, do not keep the
others out; who works goes on."""
import os
import threading
import time

import pytest

from basics import TooLate, until
from vault_agent import Agent, Item, MiB, VaultDriver, asked, chunk, item_start, noise, start
from wire import Refused

PLACES = 16  # driver_vault's


@pytest.fixture
def world(site, tmp_path):
    class World:
        honest = site.host(f"honest-{tmp_path.name[:40]}".replace("_", "-"))
        driver = VaultDriver(site, tmp_path / "driver").start()
        calls = []

        def agent(self, identity):
            return Agent(identity, self.driver, site.order_ca)

        def call(self, identity):
            u = self.agent(identity).upload()
            self.calls.append(u)
            u.send(start(asked(), os.urandom(16)))
            u.wait_durable()
            return u

        def brings(self, seconds):
            """The honest host, as an agent that tries again; the tries it took."""
            order_id, exhibit_id, tries = asked(), os.urandom(16), 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                tries += 1
                try:
                    self.agent(self.honest).once(order_id, exhibit_id, [Item("a.raw", noise(MiB + 5))])
                    return tries
                except Refused as e:
                    assert "too many exhibits" in e.sentence, e
                    time.sleep(0.3)
            raise TooLate(f"no place within {seconds} s")

    w = World()
    yield w
    for u in w.calls:
        u.close()
    assert w.driver.stop() == 0


def test_two_hosts_with_all_places_make_room_at_once(world, site):
    for identity in site.many_hosts(["greedy-1", "greedy-2"]):
        for _ in range(PLACES // 2):
            world.call(identity)
    assert world.brings(20) == 1
    assert len([u for u in world.calls if u.ended]) == 1


def test_the_silent_make_room_after_a_while(world, site):
    calls = [world.call(identity) for identity in site.many_hosts([f"silent-{n}" for n in range(PLACES)])]
    world.brings(30)
    until(lambda: any(u.ended for u in calls), 10, "one that made room")
    assert len([u for u in calls if u.ended]) == 1


def test_who_works_is_not_interrupted(world, site):
    """Each a byte now and then: nobody has more than one place, and nobody is silent."""
    calls = [world.call(identity) for identity in site.many_hosts([f"busy-{n}" for n in range(PLACES)])]
    stop = threading.Event()

    def work(u):
        # An item goes on with whole chunks alone: begin one after the other.
        for n in range(1, 30):
            u.send(item_start(n, Item(f"i{n}", b"")), chunk(n, 0, b"x"))
            if stop.wait(0.5):
                return
    threads = [threading.Thread(target=work, args=(u,)) for u in calls]
    for t in threads:
        t.start()
    try:
        with pytest.raises(TooLate):
            world.brings(8)
    finally:
        stop.set()
        for t in threads:
            t.join(10)
    assert not any(u.ended for u in calls)


def test_what_was_brought_before_is_gone_on_with(world, site):
    one, = site.many_hosts(["pushed-out"])
    order_id, exhibit_id, item = asked(), os.urandom(16), Item("a.raw", noise(3 * MiB))
    agent = world.agent(one)
    with agent.upload() as u:
        u.send(start(order_id, exhibit_id), item_start(1, item), chunk(1, 0, item.data[:MiB]))
        u.wait_durable((1, MiB))
        for identity in site.many_hosts([f"crowd-{n}" for n in range(PLACES - 1)]):
            world.call(identity)
        world.brings(30)
        until(lambda: u.ended, 10, "the oldest to make room")
    world.calls.pop().close()

    def again():
        with agent.upload() as more:
            more.send(start(order_id, exhibit_id))
            try:
                return more.wait_durable()
            except Refused:
                return None
    assert until(again, 20, "its turn") == (1, MiB)
