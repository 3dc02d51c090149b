# SPDX-License-Identifier: Apache-2.0
"""The ledger: whatever was acknowledged is a leaf, kills and all; its checkpoints follow from each other; a
collector that is rolled back or has two histories is contradicted; others' software reads it."""
import os
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest

import event_pb2
import service_pb2
from basics import count, until
from tlog import (Contradiction, Folder, Key, ask_entries, ask_update, check_consistency, check_inclusion,
                  leaf_hash, open_checkpoint)
from wire import Client, event, exec_process

SUMDB = Path(__file__).parent / "sumdb"


@pytest.fixture(scope="session")
def key(site):
    return Key((site.dir / "ledger.crt").read_bytes(), site.order_ca)


@pytest.fixture(scope="session")
def sumdb(tmp_path_factory):
    """Go's own implementation, from Debian's golang-golang-x-mod-dev."""
    folder = tmp_path_factory.mktemp("sumdb")
    subprocess.run(["/usr/bin/go", "build", "-o", folder / "sumdb", "main.go"], cwd=SUMDB, check=True, timeout=280, env={
        **os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOTOOLCHAIN": "local",
        "GOCACHE": str(folder / "cache")})
    return lambda *args: subprocess.run([folder / "sumdb", *map(str, args)], capture_output=True, text=True, timeout=60)


def batch(host, n=3):
    return host.batch([event(event_pb2.ACTION_CREATE, file=event_pb2.File(path=b"/l/%d" % i),
                             **{"class": event_pb2.CLASS_FILE_OPEN}) for i in range(n)],
                      [exec_process(7, b"w", [b"w"], start_ns=7)])


def folder(collector, key):
    return Folder(collector.store / ".ledger", key)


def put(lab, collector, host, n=1):
    """n acknowledged batches."""
    batches = [batch(host) for _ in range(n)]
    with Client(host, collector.address, lab.site.order_ca) as client:
        for b in batches:
            client.put(b)
    return batches


def update(lab, collector, key, old_size=0):
    """The newest checkpoint and its proof, checked for what it is."""
    m = ask_update(collector.address, lab.responder, lab.site.order_ca, old_size)
    assert Key(m.certificate, lab.site.order_ca).raw == key.raw
    return open_checkpoint(m.checkpoint, key), list(m.consistency)


def checkpoint_of(lab, collector, key, size):
    return until(lambda: (lambda c: c if c.size >= size else None)(update(lab, collector, key)[0]), 10,
                 "a checkpoint over all leaves")


# ---- what was acknowledged is in it ---------------------------------------------------------------------------------

def test_acknowledged_batches_have_leaves_after_kills(lab, key):
    collector, host = lab.collector(), lab.host()
    acked, held = [], None
    for _ in range(count(6, 40)):
        acked += put(lab, collector, host, 3)
        collector.kill()
        leaves = folder(collector, key).all()
        objects = [e.object for e in leaves if e.kind == service_pb2.LEDGER_BATCH]
        assert {b.hash for b in acked} <= set(objects)
        assert len(set(objects)) == len(objects), "a leaf twice"
        collector.start()
        now, proof = update(lab, collector, key, held.size if held else 0)
        if held:
            check_consistency(held.size, now.size, held.root, now.root, proof)
        held = now
    kinds = {e.kind for e in folder(collector, key).all()}
    assert service_pb2.LEDGER_HOST_RECORD in kinds
    assert collector.stop() == 0
    collector.check()


def test_batches_sent_again_have_one_leaf(lab, key):
    collector, host = lab.collector(), lab.host()
    batches = [batch(host) for _ in range(5)]
    for _ in range(2):
        with Client(host, collector.address, lab.site.order_ca) as client:
            for b in batches:
                client.put(b)
    collector.kill()
    collector.start()
    with Client(host, collector.address, lab.site.order_ca) as client:
        client.put(batches[-1])
    collector.stop()
    objects = [e.object for e in folder(collector, key).all() if e.kind == service_pb2.LEDGER_BATCH]
    assert sorted(objects) == sorted(b.hash for b in batches)


def test_a_store_without_its_ledger_gets_leaves(lab, key):
    """As one of before there were ledgers; a mark of another ledger does not count."""
    collector, host = lab.collector(), lab.host()
    batches = put(lab, collector, host, 5)
    collector.stop()
    shutil.rmtree(collector.store / ".ledger")
    assert collector.offline("check").returncode == 1
    collector.start()
    collector.stop()
    objects = {e.object for e in folder(collector, key).all()}
    assert {b.hash for b in batches} <= objects
    collector.check()


def test_many_leaves_fill_tiles(lab, key):
    collector, host = lab.collector(), lab.host()
    with Client(host, collector.address, lab.site.order_ca) as client:
        batches = [batch(host, 1) for _ in range(600)]
        for b in batches:
            client.send(b)
        client.wait_ack(batches[-1], 60)
    c = checkpoint_of(lab, collector, key, 601)
    entries = folder(collector, key).entries()
    assert len(entries) == c.size and (collector.store / ".ledger/tile/0/001").exists()
    replies = ask_entries(collector.address, lab.responder, lab.site.order_ca, first=250, last=260)
    newest = open_checkpoint(replies[0].checkpoint, key)
    for r in replies:
        assert r.entry == entries[r.index]
        check_inclusion(r.index, newest.size, leaf_hash(r.entry), list(r.inclusion), newest.root)
    assert [r.index for r in replies] == list(range(250, 260))


# ---- who may ask -----------------------------------------------------------------------------------------------------

def test_each_tenant_sees_its_own_leaves(lab, key):
    collector, host = lab.collector(), lab.host()
    put(lab, collector, host, 2)
    checkpoint_of(lab, collector, key, 3)
    other = lab.site.responder("oth", tenant="other")
    mine = ask_entries(collector.address, lab.responder, lab.site.order_ca)
    assert mine and all(service_pb2.LedgerEntry.FromString(r.entry).tenant == b"acme" for r in mine)
    assert ask_entries(collector.address, other, lab.site.order_ca) == []
    with pytest.raises(grpc.RpcError) as refused:
        ask_update(collector.address, host.identity, lab.site.order_ca)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_export_is_a_leaf_and_in_the_answer(lab, key):
    collector = lab.collector()
    replies = ask_entries(collector.address, lab.responder, lab.site.order_ca, case_id=b"IR-1")
    entry = service_pb2.LedgerEntry.FromString(replies[0].entry)
    assert len(replies) == 1 and entry.kind == service_pb2.LEDGER_EXPORT and entry.case_id == b"IR-1"
    assert entry.subject.endswith(b"/responder/ann")


# ---- rolled back, forked ----------------------------------------------------------------------------------------------

def test_rolled_back_collector_is_contradicted(lab, key):
    collector, host = lab.collector(), lab.host()
    put(lab, collector, host, 3)
    collector.stop()
    old = lab.dir / "old"
    shutil.copytree(collector.store, old)
    collector.start()
    put(lab, collector, host, 3)
    held = checkpoint_of(lab, collector, key, 7)
    collector.stop()
    shutil.rmtree(collector.store)
    shutil.copytree(old, collector.store)
    collector.start()
    with pytest.raises(grpc.RpcError) as e:
        update(lab, collector, key, held.size)
    assert "not the one that grew from there" in e.value.details()
    # Grown past what is held, its proof does not hold.
    put(lab, collector, lab.host(), 6)
    checkpoint_of(lab, collector, key, held.size + 1)
    now, proof = update(lab, collector, key, held.size)
    with pytest.raises(Contradiction):
        check_consistency(held.size, now.size, held.root, now.root, proof)


def test_two_histories_contradict_each_other(lab, key):
    """Fork drill: one key, one size, two roots: both signed, each is proof against the collector."""
    collector, host = lab.collector(), lab.host()
    put(lab, collector, host, 2)
    collector.stop()
    other = lab.collector(start=False)
    shutil.copytree(collector.store, other.store)
    collector.start()
    other.start()
    first, second = lab.host(), lab.host()
    put(lab, collector, first, 3)
    put(lab, other, second, 3)
    a = checkpoint_of(lab, collector, key, 7)
    b = checkpoint_of(lab, other, key, 7)
    assert a.size == b.size and a.root != b.root
    put(lab, other, second, 1)
    checkpoint_of(lab, other, key, 8)
    later, proof = update(lab, other, key, a.size)
    check_consistency(b.size, later.size, b.root, later.root, proof)
    with pytest.raises(Contradiction):
        check_consistency(a.size, later.size, a.root, later.root, proof)


# ---- damage -----------------------------------------------------------------------------------------------------------

def flip(path, at):
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def filled(site, tmp_path_factory):
    """A stopped collector with 300 batches; tests copy its store."""
    from conftest import Lab
    lab = Lab(site, site.responder("ann"), tmp_path_factory.mktemp("filled"))
    collector, host = lab.collector(), lab.host()
    with Client(host, collector.address, site.order_ca) as client:
        batches = [batch(host, 1) for _ in range(300)]
        for b in batches:
            client.send(b)
        client.wait_ack(batches[-1], 60)
    assert collector.stop() == 0
    collector.check()
    yield collector
    lab.end()


@pytest.fixture
def copy(filled, tmp_path, lab):
    collector = lab.collector(start=False)
    shutil.copytree(filled.store, collector.store)
    return collector


@pytest.mark.parametrize("name,at,said", [
    ("tile/0/000", 32 * 7 + 3, "bytes 224 to 256"),
    ("tile/entries/000", 40, "tile/0/000"),
    ("tile/1/000.p/1", 5, "tile/1/000.p/1"),
    ("checkpoint", 50, "signature"),
])
def test_damage_is_named(copy, name, at, said):
    flip(copy.store / ".ledger" / name, at)
    done = copy.offline("check")
    assert done.returncode == 1 and said in done.stdout, done.stdout + done.stderr


def test_a_batch_taken_away_is_missed(copy, key):
    """The newest segment gone: nothing in the store tells of it, the ledger does."""
    for path in (copy.store / "acme").iterdir():
        path.unlink()
    for path in copy.store.glob("catalog.sqlite*"):
        path.unlink()
    done = copy.offline("check")
    assert done.returncode == 1 and "was stored, and is not there" in done.stdout, done.stdout


def test_a_leaf_taken_away_is_missed(copy, key):
    """A ledger of its own key that never heard of a batch in the middle."""
    ledger = copy.store / ".ledger"
    shutil.rmtree(ledger)
    done = copy.offline("check")
    assert done.returncode == 1 and "there is no ledger" in done.stdout


def test_collector_does_not_start_on_a_damaged_ledger(copy):
    flip(copy.store / ".ledger/checkpoint", 50)
    with pytest.raises(AssertionError) as e:
        copy.start()
    assert "checkpoint" in str(e.value) and "does not count" in str(e.value)


# ---- others' software ---------------------------------------------------------------------------------------------------

def test_go_reads_the_log(filled, key, sumdb, tmp_path):
    log = filled.store / ".ledger"
    seen = sumdb("log", log, key.vkey)
    assert seen.returncode == 0, seen.stderr
    assert int(seen.stdout) == folder(filled, key).checkpoint().size
    copied = tmp_path / "ledger"
    shutil.copytree(log, copied)
    flip(copied / "tile/entries/001.p" / os.listdir(copied / "tile/entries/001.p")[0], 9)
    assert sumdb("log", copied, key.vkey).returncode == 1


def test_go_sees_that_it_grew(lab, key, sumdb, tmp_path):
    collector, host = lab.collector(), lab.host()
    put(lab, collector, host, 3)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(checkpoint_of(lab, collector, key, 4).note)
    put(lab, collector, host, 3)
    new.write_bytes(checkpoint_of(lab, collector, key, 7).note)
    collector.stop()
    log = collector.store / ".ledger"
    new.write_bytes((log / "checkpoint").read_bytes())
    assert sumdb("grown", old, new, log, key.vkey).returncode == 0
    forged = tmp_path / "forged"
    forged.write_bytes(old.read_bytes().replace(b"\n4\n", b"\n5\n"))
    assert sumdb("grown", forged, new, log, key.vkey).returncode == 1


def test_openssl_checks_key_and_checkpoint(filled, site, key, tmp_path):
    run = lambda *args: subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, timeout=30)  # noqa: E731
    assert run("verify", "-CAfile", site.order_ca, site.dir / "ledger.crt").returncode == 0
    pem = run("x509", "-in", site.dir / "ledger.crt", "-noout", "-pubkey").stdout
    (tmp_path / "key.pem").write_text(pem)
    import base64
    text, _, line = (filled.store / ".ledger/checkpoint").read_text().rpartition("\n\n")
    (tmp_path / "text").write_text(text + "\n")
    (tmp_path / "sig").write_bytes(base64.b64decode(line.split()[2])[4:])
    check = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", tmp_path / "key.pem", "-in", tmp_path / "text",
             "-sigfile", tmp_path / "sig")
    assert run(*check).returncode == 0
    (tmp_path / "text").write_text(text.replace("\n3", "\n4") + "\n")
    assert run(*check).returncode != 0
