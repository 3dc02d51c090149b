# SPDX-License-Identifier: Apache-2.0
"""The fleet held against an inventory: hosts without agent, problems first, bad files refused."""
from basics import count, until
from daemons import field
from swarm import Swarm

AGENTS = count(5, 100)


def test_fleet_against_inventory(lab):
    collector = lab.collector()
    hosts = lab.site.many_hosts([f"many-{i}" for i in range(AGENTS)])
    cli = lab.cli(collector)
    listed = lab.dir / "inventory.csv"
    listed.write_bytes(b"\xef\xbb\xbfhost,owner\r\n" + b"".join(b"many-%d,me\r\n" % i for i in range(1, AGENTS))
                       + b'"absent-1","ops, night"\r\nMANY-1,me\r\n')
    with Swarm(hosts, collector.address, lab.site.order_ca, every=0.5) as swarm:
        until(lambda: swarm.greeted == AGENTS, 60, f"{AGENTS} agents, errors {swarm.errors}")
        until(lambda: all(field(r, "exhibit.connected") for r in cli.run("hosts", "--json").rows), what="all to be seen")
        swarm.rest()
        until(swarm.delivered, 60, "every acknowledgement")
        answer = cli.run("hosts", "--against", str(listed), "--json")
        problems = cli.run("coverage", "--against", str(listed), "--json")
    assert answer.code == problems.code == 3, answer.err
    assert len(answer.rows) == AGENTS + 1
    first = answer.rows[0]
    assert first["host"]["name"] == "absent-1" and first["exhibit"]["problems"] == ["no agent"]
    assert first["exhibit"]["inventory"] == {"name": "absent-1", "owner": "ops, night", "line": AGENTS + 1}
    (other,) = [r for r in answer.rows if "not in the inventory" in r["exhibit"]["problems"]]
    assert other["host"]["name"] == "many-0"
    assert f"{AGENTS + 1} hosts" in answer.err and "no agent: 1" in answer.err
    assert f"1 rows of {listed} repeat an earlier one and count once; the first is line {AGENTS + 2}" in answer.err
    said = {(r["host"]["name"], r["exhibit"]["problem"]) for r in problems.rows}
    assert ("absent-1", "no agent") in said and ("many-0", "not in the inventory") in said
    # What these agents never told is no coverage.
    assert {n for n, p in said if p == "classes missing"} == {f"many-{i}" for i in range(AGENTS)}

    for text, why in ((b'host\n"a', "line 2: a quoted field does not end"),
                      (b"fqdn\na\n", "its first row names no column 'host' or 'name'")):
        listed.write_bytes(text)
        answer = cli.run("hosts", "--against", str(listed))
        assert answer.code == 2 and why in answer.err and answer.err.count("\n") == 1, answer.err
    with open(listed, "wb") as f:
        f.truncate(100 << 20)
    answer = cli.run("coverage", "--against", str(listed))
    assert answer.code == 2 and "cannot read the inventory" in answer.err, answer.err
    answer = cli.run("hosts", "--against", str(listed), "--host", "many-1")
    assert answer.code == 2 and "--against is about all hosts" in answer.err
