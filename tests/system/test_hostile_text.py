# SPDX-License-Identifier: Apache-2.0
"""What a host and an attacker's files are called and say stays inert on a terminal, where tables are shown, and in JSON:
no control sequence, no line that was not one, nothing that turns text around."""
import json
import os
import pty
import subprocess
import unicodedata

import pytest

import event_pb2
import order_pb2
from basics import until
from orders import Orders, OrdersHost, PersonCli, an_order, person, signed
from orders_world import known
from vault_agent import Agent, Item
from wire import Client, Host, event, exec_process

# A responder's own reason is one line without control characters; these show nothing, or turn text around.
UNSEEN = "\u202egnp.exe\u2066\u200b\u2028\U000e0041".encode()
EVIL = b"\x1b[2J\x1b]0;owned\x07\x9b31m\r\nexhibit: all is well\n\t\x00\x7f\xff" + UNSEEN


@pytest.fixture(scope="module")
def world(module_lab):
    class World:
        server = module_lab.collector()
        lab, site = module_lab, module_lab.site
        ann = person(site, "ann-text", "viewer,acquirer")
        cli = PersonCli(site, ann, server.address, server.dir)
        cli.env = {**cli.env, "NO_COLOR": "1", "TERM": "xterm"}

    w = World()
    identity = known(w, w.lab.host_identity())
    orders, host = Orders(w.site, w.ann.tls, w.server.address), OrdersHost(identity, w.server.address, w.site.order_ca)
    order = an_order(w.ann, [identity.host_id], reason=UNSEEN)
    orders.submit(signed(order, w.ann))
    host.wait(lambda: host.orders, "the order")
    agent, exhibit_id, items = Agent(identity, w.server, w.site.order_ca), os.urandom(16), [Item("a.raw", b"x")]
    agent.once(order.order_id, exhibit_id, items, manifest=agent.sealer.manifest(
        order.order_id, exhibit_id, items, complete=False, failure=EVIL.decode(errors="replace").replace("\0", "")))
    host.step(order.order_id, order_pb2.ORDER_FAILED, reason=EVIL)
    until(lambda: orders.states(order.order_id)[-1] == "ORDER_FAILED", what="the order's end")
    with Client(Host(identity), w.server.address, w.site.order_ca) as client:
        client.put(client.host.batch([event(event_pb2.ACTION_CREATE, file=event_pb2.File(path=b"/tmp/" + EVIL),
                                            **{"class": event_pb2.CLASS_FILE_OPEN})],
                                     [exec_process(7, EVIL, [EVIL, b"x"], start_ns=7)]))
    orders.close()
    host.close()
    yield w


def on_terminal(cli, verb, *args):
    """What the command writes to a terminal, standard error included."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(cli.command(verb, *args), stdin=theirs, stdout=theirs, stderr=theirs, env=cli.env)
    os.close(theirs)
    out = b""
    try:
        while True:
            out += os.read(ours, 65536)
    except OSError:  # the last one who held it is gone
        pass
    os.close(ours)
    assert process.wait(20) in (0, 3), out
    return out.decode()  # a terminal gets UTF-8


def inert(text):
    """Lines of a terminal: only characters that show."""
    for c in text.replace("\r\n", ""):
        assert unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Cs", "Cn"), ascii(text)


@pytest.mark.parametrize("verb, args, rows", [
    ("orders", (), 1), ("exhibits", (), 1), ("events", ("--limit", "0", "--action", "create"), 1), ("hosts", (), 1),
    ("status", (), 1), ("coverage", (), 0),
])
def test_a_table_on_a_terminal(verb, args, rows, world):
    text = on_terminal(world.cli, verb, *args)
    inert(text)
    lines = text.split("\r\n")
    assert not any(line.startswith("exhibit: all is well") for line in lines), text
    assert len([line for line in lines if line]) >= rows + 1, text


@pytest.mark.parametrize("verb, args", [
    ("orders", ()), ("exhibits", ()), ("events", ("--limit", "0", "--action", "create"))])
def test_json_is_a_line_each(verb, args, world):
    answer = world.cli.run(verb, "--json", *args)
    lines = answer.out.split("\n")[:-1]
    assert lines and all(isinstance(json.loads(line), dict) for line in lines)
    for c in answer.out.replace("\n", "") + answer.err.replace("\n", ""):
        assert unicodedata.category(c) != "Cc", answer.out


def test_what_is_fetched_and_said_of_it(world, tmp_path):
    row, = world.cli.run("exhibits", "--json").rows
    text = on_terminal(world.cli, "fetch", row["exhibit"]["id"], "--out", tmp_path / "out")
    inert(text)
    assert "INCOMPLETE exhibit: " in text
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.raw", "manifest.json", "manifest.sig", "SHA256SUMS"}
