# SPDX-License-Identifier: Apache-2.0
"""Hundreds of agents at once, each streaming: everything is acknowledged and found."""
import time

from basics import count, until
from swarm import Swarm

AGENTS = count(50, 500)
SECONDS = count(3, 20)


def test_many_agents_stream_at_once(lab):
    collector = lab.collector()
    hosts = lab.site.many_hosts([f"many-{i}" for i in range(AGENTS)])
    cli = lab.cli(collector)
    with Swarm(hosts, collector.address, lab.site.order_ca, every=0.5) as swarm:
        until(lambda: swarm.greeted == AGENTS, count(60, 120), f"{AGENTS} agents, errors {swarm.errors}")
        time.sleep(SECONDS)
        swarm.rest()
        sent = until(swarm.delivered, 60, "every acknowledgement")
        answer = cli.run("hosts", "--json")
        assert len({row["host"]["id"] for row in answer.rows if "host" in row}) == AGENTS
        assert not swarm.errors
    some = [f"many-{i}" for i in range(0, AGENTS, max(1, AGENTS // 20))]
    for name in some:
        rows = cli.events("--host", name, "--action", "exec")
        assert sorted(row["process"]["args"][1] for row in rows) == sorted(f"swarm-{i}" for i in range(sent[name]))
    assert collector.memory_peak() < 512 << 20
    collector.stop()
    collector.check()
