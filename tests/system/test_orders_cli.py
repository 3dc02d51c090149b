# SPDX-License-Identifier: Apache-2.0
"""grab, approve and orders as people type them."""
import json
import os
import subprocess

import pytest

import order_pb2
from basics import until
from daemons import field
from orders import person
from orders_world import DONE, REFUSED, STARTED, known, shared, world  # noqa: F401  (fixtures)


GRAB = ("--case", "INC-9", "--reason", "beacon seen")


def test_grab_waits_and_tells_the_end(world):
    world.collector()
    host = world.host(known(world, world.lab.host_identity()))
    cli = world.cli(world.ann)
    grab = cli.popen("grab", "memory", "--host", host.host.host_id, "--wait", "--json", *GRAB)
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    order = order_pb2.Order.FromString(got.order)
    assert order.kind == order_pb2.ORDER_MEMORY and order.case_id == b"INC-9" and order.reason == b"beacon seen"
    host.step(order.order_id, STARTED)
    host.step(order.order_id, DONE, exhibit_id=b"\1" * 16, manifest_sha256=b"\2" * 32)
    out, err = grab.communicate(timeout=30)
    # This host made its exhibit up: the row lacks the manifest, and says so.
    assert grab.returncode == 3 and b"there is no exhibit" in err, err
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert field(row, "exhibit.order.state") == "done" and field(row, "exhibit.order.exhibit") == "01" * 16
    assert field(row, "exhibit.order.manifest") == "02" * 32 and field(row, "host.id") == host.host.host_id
    for word in (b"made", b"sent", b"started", b"done"):
        assert word in err


def test_grab_fails_with_the_hosts_reason(world):
    world.collector()
    host = world.host(known(world, world.lab.host_identity()))
    grab = world.cli(world.ann).popen("grab", "memory", "--host", host.host.host_id, "--wait", *GRAB)
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    host.step(order_pb2.Order.FromString(got.order).order_id, REFUSED, reason=b"orders.deny names memory\x1b[2J")
    out, err = grab.communicate(timeout=30)
    assert grab.returncode == 2
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert field(row, "exhibit.order.reason") == "orders.deny names memory\x1b[2J"
    assert b"\x1b" not in out + err


def test_grab_survives_the_collectors_restart(world):
    world.collector()
    host = world.host(known(world, world.lab.host_identity()))
    grab = world.cli(world.ann).popen("grab", "memory", "--host", host.host.host_id, "--wait", *GRAB)
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    order_id = order_pb2.Order.FromString(got.order).order_id
    host.step(order_id, STARTED)
    until(lambda: "ORDER_STARTED" in world.orders(world.ann).states(order_id), what="the start")
    world.server.kill()
    world.server.start()
    again = world.host(host.host)
    again.step(order_id, DONE, exhibit_id=b"\1" * 16, manifest_sha256=b"\2" * 32)
    out, err = grab.communicate(timeout=60)
    assert grab.returncode == 3 and b"there is no exhibit" in err, err
    assert b"the order is not" in err


def test_grab_without_wait_ends_when_the_order_is_made(world):
    world.collector()
    host = known(world, world.lab.host_identity())
    cli = world.cli(world.ann)
    answer = cli.run("grab", "disk", "--device", "/dev/sdz9", "--host", host.host_id, *GRAB)
    assert answer.code == 0 and "is made" in answer.err
    (row,) = cli.run("orders", "--json").rows
    assert field(row, "exhibit.order.kind") == "disk" and field(row, "exhibit.order.state") == "waiting"
    listed = cli.run("orders", field(row, "exhibit.order.id")[:8]).rows
    assert [field(r, "exhibit.order.state") for r in listed] == ["made", "waiting"]
    assert cli.run("orders", "--case", "nothing").code == 1
    assert len(cli.run("orders", "--host", host.host_id, "--since", "1m").rows) == 1
    assert cli.run("orders", "--until", "1m").code == 1
    assert "cut by --limit: only the newest 1 orders" in cli.run("orders", "--limit", "1").err
    assert "cut" not in cli.run("orders").err
    assert len(cli.run("orders", field(row, "exhibit.order.id").upper()).rows) == 2, "by the whole id"
    other = known(world, world.lab.host_identity())
    assert cli.run("orders", "--host", other.host_id).code == 1
    assert cli.run("orders", "--host", "nobody").code == 2
    assert cli.run("orders", "ffffffff").code == 2


def test_approve_signs_what_it_shows(world):
    world.collector(orders__require_approvals=["all=1"])
    host = world.host(known(world, world.lab.host_identity()))
    cli = world.cli(world.ann)
    assert cli.run("grab", "memory", "--host", host.host.host_id, *GRAB).code == 0
    (row,) = cli.run("orders").rows
    assert field(row, "exhibit.order.state") == "made"
    for said in (b"", b"n\n"):  # silence is no consent, nor is a pipe
        command = world.cli(world.bob).command("approve", field(row, "exhibit.order.id")[:8])
        silent = subprocess.run(command, input=said, capture_output=True, timeout=30, check=False)
        assert silent.returncode == 2 and b"nothing is signed; answer y, or give --yes" in silent.stderr, silent.stderr
    assert not host.orders
    answer = world.cli(world.bob).run("approve", field(row, "exhibit.order.id")[:8], "--yes")
    assert answer.code == 0, answer.err
    for text in ("memory", "the whole host", "INC-9", "beacon seen", "ann-acq", host.host.host_id):
        assert text in answer.err
    got = host.wait(lambda: host.orders and host.orders[0], "the order")
    assert len(got.approvals) == 1
    # The requester holds no role for it; the role alone would not do either.
    both = person(world.site, "both", "viewer,acquirer,approver")
    cli = world.cli(both)
    assert cli.run("grab", "memory", "--host", host.host.host_id, *GRAB).code == 0
    row = cli.run("orders").rows[-1]
    answer = cli.run("approve", field(row, "exhibit.order.id"), "--yes")
    assert answer.code == 2 and "of their own" in answer.err


@pytest.mark.parametrize("words,text", [
    (["memory", *GRAB], "--host is needed"),
    (["memory", "--host", "HOST", "--reason", "x"], "--case is needed"),
    (["memory", "--host", "HOST", "--case", "x"], "--reason is needed"),
    (["memory", "--host", "nobody", *GRAB], "there is no host 'nobody'"),
    (["shell", "--host", "HOST", *GRAB], "nothing that can be grabbed"),
    (["memory", "--host", "HOST", "--filter", "port 53", *GRAB], "takes no --filter"),
    (["core", "--host", "HOST", *GRAB], "'core' cannot be of a whole host"),
    (["core", "--host", "HOST", "--process", "x", *GRAB], "is no process"),
    (["disk", "--host", "HOST", *GRAB], "takes --device"),
    (["disk", "--host", "HOST", "--device", "/etc/shadow", *GRAB], "below /dev"),
    (["memory", "--host", "HOST", "--expires", "25h", *GRAB], "24 hours"),
    (["memory", "--host", "HOST", "--case", "../x", "--reason", "y"], "its case"),
    (["memory", "--host", "HOST", "--rate", "fast", *GRAB], "is not a value for --rate"),
])
def test_grab_refuses_with_a_sentence(shared, words, text):
    if not hasattr(shared, "known"):
        shared.known = known(shared, shared.lab.host_identity()).host_id
    answer = shared.cli(shared.ann).run("grab", *[shared.known if w == "HOST" else w for w in words])
    assert answer.code == 2 and text in answer.err and answer.err.count("\n") == 1, answer.err
    assert answer.out == ""


def test_a_viewer_cannot_grab(shared):
    shared.known = getattr(shared, "known", None) or known(shared, shared.lab.host_identity()).host_id
    answer = shared.cli(shared.dora).run("grab", "memory", "--host", shared.known, *GRAB)
    assert answer.code == 2 and "takes the role 'acquirer'" in answer.err


def test_a_key_on_a_token_orders(world, tmp_path):
    """P-256 in SoftHSM: the authority signs the public half, the CLI signs on the token."""
    world.collector()
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    conf = tmp_path / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    run = lambda *words: subprocess.run(words, check=True, capture_output=True, timeout=30)
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "t.pem")
    run("softhsm2-util", "--init-token", "--free", "--label", "tok", "--so-pin", "1357", "--pin", "2468")
    run("softhsm2-util", "--import", tmp_path / "t.pem", "--token", "tok", "--label", "orders", "--id", "01",
        "--pin", "2468")
    (tmp_path / "t.pem").unlink()
    module = run("sh", "-c", "ls /usr/lib/*/softhsm/libsofthsm2.so | head -n 1").stdout.decode().strip()
    uri = f"pkcs11:token=tok;object=orders?pin-value=2468&module-path={module}"
    try:
        tom = person(world.site, "tom-token", "viewer,acquirer", signing_key=uri)
        host = world.host(known(world, world.lab.host_identity()))
        answer = world.cli(tom, key=uri).run("grab", "memory", "--host", host.host.host_id, *GRAB)
        assert answer.code == 0, answer.err
        assert host.wait(lambda: host.orders, "the order")
        wrong = world.cli(tom, key=uri.replace("2468", "9999")).run("grab", "memory", "--host", host.host.host_id,
                                                                    *GRAB)
        assert wrong.code == 2 and "9999" not in wrong.err
    finally:
        del os.environ["SOFTHSM2_CONF"]
