# SPDX-License-Identifier: Apache-2.0
"""A herd comes back at once after an outage, and all of it gets in."""
from basics import count, until
from daemons import field
from swarm import Swarm

AGENTS = count(100, 2000)


def test_all_come_back(lab):
    collector = lab.collector()
    hosts = lab.site.many_hosts([f"herd-{i}" for i in range(AGENTS)])
    with Swarm(hosts, collector.address, lab.site.order_ca) as swarm:
        until(lambda: swarm.greeted == AGENTS, count(60, 240), f"{AGENTS} agents, errors {swarm.errors}")
        collector.kill()
        until(lambda: swarm.greeted == 0, 60, "the swarm to notice")
        collector.start()
        until(lambda: swarm.greeted == AGENTS, count(60, 240), f"{AGENTS} agents again, errors {swarm.errors}")
        assert collector.memory_peak() < 512 << 20
        answer = lab.cli(collector).run("status", "--json")
        assert answer.code in (0, 3), answer.err
        assert field(answer.rows[0], "exhibit.collector.connected") == AGENTS
        assert sum(field(row, "exhibit.connected") is True for row in answer.rows) == AGENTS
    assert collector.stop() == 0


def test_says_that_nobody_answers(need_bpf, lab):
    """An agent that starts before its collector, and for as long as that takes."""
    agent = lab.agent(None, address="127.0.0.1:9")
    agent.wait_log("no connection to the collector, batches stay in the journal", 20)
    assert "127.0.0.1:9" in agent.tail()
    assert agent.stop() == 0
