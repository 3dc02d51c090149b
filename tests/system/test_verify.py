# SPDX-License-Identifier: Apache-2.0
"""One bundle of a case: made by export, checked by verify, sha256sum, openssl, Go and CASE's own validator; every
change to it is named."""
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile

import pytest

import exhibit_pb2
import service_pb2
from basics import BIN, BUILD, until
from conftest import Lab
from orders import Orders, OrdersHost, PersonCli, an_order, person, signed
from test_ledger import batch, sumdb  # noqa: F401  (a fixture)
from vault_agent import Agent, Item, MiB, noise
from wire import Client

CASE_UTILS = "case-utils==0.18.0"
CASE = "IR-2026-14"
TOP = "exhibit-bundle/"


def verify(path, *flags, wrap=()):
    return subprocess.run([*wrap, BIN / "exhibit", "verify", path, *flags], capture_output=True, text=True, timeout=120)


class World:
    """A collector with two exhibits of one case, taken by the order of one person."""

    def __init__(self, site, folder):
        self.lab = Lab(site, site.responder("ann"), folder)
        self.site, self.dir = site, folder
        self.collector = self.lab.collector()
        self.who = person(site, "vera", "viewer,acquirer")
        self.host = self.lab.host_identity()
        self.cli = PersonCli(site, self.who, self.collector.address, folder)
        with Client(self.lab.host(self.host), self.collector.address, site.order_ca) as client:
            client.put(batch(client.host))
        self.items = [Item("memory.lime", noise(3 * MiB + 17), "lime"), Item("notes.jsonl", b'{"a": 1}\n', "jsonl")]
        self.exhibits = [self.take(self.items), self.take([Item("empty.raw", b"")])]
        self.bundle = folder / "case.tar"
        done = self.cli.run("export", CASE, "--out", self.bundle)
        assert done.code == 0, done.err
        self.unpacked = folder / "unpacked"
        with tarfile.open(self.bundle) as tar:
            tar.extractall(self.unpacked)

    def take(self, items):
        """Submit an order, as the host it is for take it and upload what it asks for."""
        orders, order, exhibit = Orders(self.site, self.who.tls, self.collector.address), None, os.urandom(16)
        order = an_order(self.who, [self.host.host_id], case_id=CASE.encode())
        host = OrdersHost(self.host, self.collector.address, self.site.order_ca)
        try:
            orders.submit(signed(order, self.who))
            host.wait(lambda: host.orders, "the order")
            Agent(self.host, self.collector, self.site.order_ca).once(order.order_id, exhibit, items)
        finally:
            orders.close()
            host.close()
        return exhibit


@pytest.fixture(scope="module")
def world(site, tmp_path_factory):
    w = World(site, tmp_path_factory.mktemp("verify"))
    yield w
    w.lab.end()


@pytest.fixture
def folder(world, tmp_path):
    """A copy to spoil."""
    copied = tmp_path / "copy"
    shutil.copytree(world.unpacked, copied)
    for path in copied.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copied / "exhibit-bundle"


def sums(folder):
    """SHA256SUMS as whoever changes a file would make it again."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "SHA256SUMS"):
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))


def files(world):
    with tarfile.open(world.bundle) as tar:
        return {m.name.removeprefix(TOP): m for m in tar.getmembers()}


# ---- whole ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("what", ["tar", "folder", "inner"])
def test_a_bundle_is_intact(world, what):
    path = {"tar": world.bundle, "folder": world.unpacked, "inner": world.unpacked / "exhibit-bundle"}[what]
    done = verify(path, "--authority", world.site.order_ca, "--explain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "" and "trusting" not in done.stderr
    for said in ("signed the checkpoint over", "the order authority says", "signed its manifest",
                 "3 items with", "and there is no other file", "byte for byte", "responder/vera'"):
        assert said in done.stderr, said


def test_it_needs_no_network(world):
    assert verify(world.bundle, wrap=("unshare", "-n")).returncode == 0


def test_whose_authority_is_trusted_is_said(world):
    done = verify(world.bundle)
    digest = hashlib.sha256(world.site.order_ca.read_bytes()).hexdigest()
    assert done.returncode == 0 and digest in done.stderr


def test_another_authority_does_not_count(world, tmp_path):
    other = tmp_path / "other"
    subprocess.run([BIN / "exhibit-collector", "certs", "init", "--dir", other], check=True, capture_output=True)
    done = verify(world.bundle, "--authority", other / "order-ca.crt")
    assert done.returncode == 1 and "not issued by the order authority" in done.stdout


def test_it_holds_what_the_case_has(world):
    names = set(files(world))
    for exhibit in world.exhibits:
        assert f"exhibits/{exhibit.hex()}/manifest.json" in names
    path = world.unpacked / "exhibit-bundle" / "exhibits" / world.exhibits[0].hex() / "items/memory.lime"
    assert path.read_bytes() == world.items[0].data
    lines = [json.loads(line) for line in (world.unpacked / "exhibit-bundle/custody.jsonl").read_text().splitlines()]
    kinds = [line["kind"] for line in lines]
    assert {"order", "exhibit", "export", "host record"} <= set(kinds) and kinds.count("exhibit") == 2
    timeline = [json.loads(line)
                for line in (world.unpacked / "exhibit-bundle/timeline.jsonl").read_text().splitlines()]
    assert len([row for row in timeline if row["source"] == "ledger"]) == len(lines)
    events = [row for row in timeline if row["source"] == "event"]
    assert {row["ecs"]["file"]["path"] for row in events if row["timestamp_desc"] == "create"} == {"/l/0", "/l/1", "/l/2"}
    assert len(events) == len({row["evidence_sha256"] for row in events}), "both exhibits have them around, once each"
    for row in timeline:
        assert row["message"] and row["timestamp_desc"] and re.match(r"\d{4}-\d\d-\d\dT", row["datetime"])


def test_export_refuses_what_it_cannot(world, tmp_path):
    assert world.cli.run("export", CASE, "--out", world.bundle).code == 2
    none = world.cli.run("export", "no-such-case", "--out", tmp_path / "x.tar")
    assert none.code == 1 and "knows no case" in none.err and not list(tmp_path.iterdir())
    assert verify(tmp_path / "absent.tar").returncode == 2
    os.mkfifo(tmp_path / "pipe")
    assert verify(tmp_path / "pipe").returncode == 2, "nobody is waited for"
    (tmp_path / "empty.tar").write_bytes(b"")
    assert verify(tmp_path / "empty.tar").returncode in (1, 2)


def test_a_folder_that_is_not_there_is_an_error(world, tmp_path):
    done = world.cli.run("export", CASE, "--out", tmp_path / "absent/x.tar")
    assert done.code == 2 and "No such file" in done.err


def test_sticks_know_no_links_and_no_modes(world, tmp_path):
    env = {**world.cli.env, "LD_PRELOAD": str(BUILD / "tests/shim_fat.so")}
    run = lambda *words: subprocess.run(world.cli.command(*words), env=env, capture_output=True, text=True, timeout=60, check=False)
    bundle, fetched = tmp_path / "b.tar", tmp_path / "fetched"
    done = run("export", CASE, "--out", bundle)
    assert done.returncode == 0 and [path.name for path in tmp_path.iterdir()] == ["b.tar"], done.stderr
    assert verify(bundle).returncode == 0
    assert run("export", CASE, "--out", bundle).returncode == 2, "what is there stays"
    done = run("fetch", world.exhibits[0].hex(), "--out", fetched)
    assert done.returncode == 0 and not list(fetched.glob("*.part")), done.stderr
    assert verify(fetched).returncode == 0


# ---- changed ----------------------------------------------------------------------------------------------------------

def kinds_of_files(world):
    """One of each kind of file, as a name, a place in it, and the byte range that has to be named."""
    first = f"exhibits/{world.exhibits[0].hex()}/"
    leaf = next(n for n in files(world) if n.endswith(".leaf"))
    order = next(n for n in files(world) if n.endswith(".order"))
    host = world.host.host_id
    return [(first + "items/memory.lime", 2 * MiB + 5, f"bytes {2 * MiB} to {3 * MiB}"),
            (first + "items/memory.lime", 3 * MiB + 16, f"bytes {3 * MiB} to {3 * MiB + 17}"),
            (first + "items/notes.jsonl", 3, "bytes 0 to 9"),
            (first + "manifest.json", 20, "bytes 0 to"), (first + "manifest.sig", 20, ""),
            (first + "manifest.signed", 25, ""), (first + "chunks/memory.lime", 4, ""),
            (leaf, 3, "bytes 0 to"), (leaf.replace(".leaf", ".tlog-proof"), 40, ""), (order, 30, "bytes 0 to"),
            (f"events/{world.exhibits[0].hex()}.events", 6, "bytes 0 to"),
            (f"events/{world.exhibits[0].hex()}.json", 20, "from its byte"),
            ("ledger/checkpoint", 60, "bytes 0 to"), ("ledger/checkpoint.txt", 5, ""), ("ledger/checkpoint.sig", 5, ""),
            ("ledger/certificate.der", 200, "bytes 0 to"), ("ledger/certificate.crt", 100, ""),
            ("ledger/key.pem", 50, ""), ("ledger/vkey", 9, ""), (f"keys/{host}.record", 40, "bytes 0 to"),
            (f"keys/{host}.pem", 50, ""), ("keys/order-ca.crt", 200, ""), ("custody.jsonl", 100, "from its byte"),
            ("timeline.jsonl", 30, "from its byte"), ("case.jsonld", 300, "from its byte"),
            ("README.txt", 10, "from its byte"), ("SHA256SUMS", 3, "")]


def test_every_changed_file_is_named(world, tmp_path):
    """In the tar, a byte of each kind of file: the file is named, and where."""
    members = files(world)
    whole = world.bundle.read_bytes()
    assert len(kinds_of_files(world)) >= 20
    for name, at, said in kinds_of_files(world):
        data = bytearray(whole)
        data[members[name].offset_data + at] ^= 1
        spoiled = tmp_path / "spoiled.tar"
        spoiled.write_bytes(data)
        done = verify(spoiled)
        assert done.returncode == 1, f"{name}: {done.stdout}{done.stderr}"
        # SHA256SUMS names one file with a false hash.
        assert name in done.stdout or name == "SHA256SUMS", f"{name}: {done.stdout}"
        assert said in done.stdout, f"{name}: {done.stdout}"


def test_changes_with_new_sums_are_named(world, folder):
    """Whoever can write the bundle can write SHA256SUMS: signatures and proofs tell all the same."""
    kept = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for name, at, _ in kinds_of_files(world):
        if name in ("SHA256SUMS",) or "/chunks/" in name:
            continue
        path = folder / name
        data = bytearray(kept[path])
        data[at] ^= 1
        path.write_bytes(data)
        sums(folder)
        done = verify(folder, "--authority", world.site.order_ca)
        assert done.returncode == 1 and name.split("/")[-1].split(".")[0] in done.stdout, \
            f"{name}: {done.stdout}{done.stderr}"
        path.write_bytes(kept[path])
    sums(folder)
    assert verify(folder).returncode == 0


def test_what_is_taken_away_or_added_is_named(world, folder):
    exhibit = world.exhibits[1].hex()
    shutil.rmtree(folder / "exhibits" / exhibit)
    sums(folder)
    done = verify(folder)
    assert done.returncode == 1 and f"exhibits/{exhibit}" in done.stdout and "not here" in done.stdout
    (folder / "extra.txt").write_text("x")
    done = verify(folder)
    assert "extra.txt" in done.stdout and "added" in done.stdout


def test_two_exhibits_swapped_are_named(world, folder):
    a, b = (folder / "exhibits" / e.hex() / "manifest.json" for e in world.exhibits)
    x, y = a.read_bytes(), b.read_bytes()
    a.write_bytes(y)
    b.write_bytes(x)
    sums(folder)
    done = verify(folder)
    assert done.returncode == 1 and str(a.relative_to(folder)) in done.stdout


def test_a_manifest_of_somebody_else_is_named(world, folder):
    """Signed by another key, sums and texts made anew: no leaf of the ledger is over it."""
    from vault_agent import Sealer
    other = Sealer(world.lab.host_identity())
    path = folder / "exhibits" / world.exhibits[0].hex()
    forged = exhibit_pb2.SignedManifest.FromString(
        other.manifest(b"x" * 16, world.exhibits[0], world.items).manifest.SerializeToString())
    (path / "manifest.json").write_bytes(forged.manifest)
    (path / "manifest.sig").write_bytes(forged.signature)
    sums(folder)
    done = verify(folder)
    assert done.returncode == 1 and "no leaf of the ledger is over it" in done.stdout


def test_a_cut_tar_is_damaged(world, tmp_path):
    whole = world.bundle.read_bytes()
    for size in (len(whole) // 2, len(whole) - MiB, 700, 100):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(whole[:size])
        done = verify(cut)
        assert done.returncode in (1, 2) and done.stdout + done.stderr
        assert done.returncode == 1 or size <= 700


def test_a_damaged_header_does_not_hide_the_rest(world, tmp_path):
    members = files(world)
    data = bytearray(world.bundle.read_bytes())
    data[members["custody.jsonl"].offset + 5] ^= 1
    spoiled = tmp_path / "spoiled.tar"
    spoiled.write_bytes(data)
    done = verify(spoiled)
    at = members["custody.jsonl"].offset
    assert done.returncode == 1 and f"the tar: bytes {at} to {at + 512}" in done.stdout
    assert "custody.jsonl: it is not there" in done.stdout


def test_json_tells_the_same(world, folder):
    (folder / "README.txt").write_text("other")
    row, = (json.loads(line) for line in verify(folder, "--json").stdout.splitlines()
            if "README" in line)
    assert row["object"] == "README.txt" and row["fault"]


# ---- hostile -----------------------------------------------------------------------------------------------------------

def tar_of(path, *entries):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data) if data is not None else None)


def entry(name, data=b"x", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data) if data is not None else 0
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


@pytest.mark.parametrize("hostile", [
    entry("../../etc/passwd"), entry("/etc/passwd"), entry(TOP + "../x"), entry(TOP + "a/./b"),
    entry(TOP + "link", None, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    entry(TOP + "hard", None, type=tarfile.LNKTYPE, linkname="README.txt"),
    entry(TOP + "dev", None, type=tarfile.CHRTYPE), entry(TOP + "a\x1b[31mb"), entry(TOP + "n" * 4000),
    entry(TOP + "exhibits/x/items/\u202egnp.exe"), entry(TOP + ".hidden/x"),
], ids=lambda e: ascii(e[0].name[:30]) if isinstance(e, tuple) else None)
def test_hostile_entries_stay_inert(world, tmp_path, hostile):
    path = tmp_path / "hostile.tar"
    tar_of(path, hostile)
    # Before a whole bundle: the end of the archive is cut off.
    entries = path.read_bytes().rstrip(b"\0")
    path.write_bytes(entries.ljust((len(entries) + 511) // 512 * 512, b"\0") + world.bundle.read_bytes())
    done = verify(path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr and "\u202e" not in done.stdout
    assert not (tmp_path / "passwd").exists()


# ---- by others' means ------------------------------------------------------------------------------------------------------

def test_sha256sum_checks_it(world, folder):
    check = lambda: subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder,  # noqa: E731
                                   capture_output=True, text=True, timeout=60)
    assert check().returncode == 0
    named = {line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert named == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    (folder / "README.txt").write_text("other")
    assert check().returncode == 1


def test_openssl_checks_it(world, folder):
    def openssl(*args):
        return subprocess.run(["openssl", *args], cwd=folder, capture_output=True, text=True, timeout=30).returncode
    exhibit = f"exhibits/{world.exhibits[0].hex()}/"
    assert openssl("verify", "-CAfile", "keys/order-ca.crt", "ledger/certificate.crt") == 0
    for key, text, sig in (("ledger/key.pem", "ledger/checkpoint.txt", "ledger/checkpoint.sig"),
                           (f"keys/{world.host.host_id}.pem", exhibit + "manifest.signed", exhibit + "manifest.sig")):
        flags = ("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", key, "-in", text, "-sigfile", sig)
        assert openssl(*flags) == 0
        data = bytearray((folder / text).read_bytes())
        data[-5] ^= 1
        (folder / text).write_bytes(data)
        assert openssl(*flags) != 0
    signed_text = (world.unpacked / "exhibit-bundle" / exhibit / "manifest.signed").read_bytes()
    manifest = (folder / exhibit / "manifest.json").read_bytes()
    assert signed_text == b"exhibit/manifest/v1\0" + hashlib.sha256(manifest).digest()


def test_go_checks_every_proof(world, folder, sumdb):  # noqa: F811
    vkey = (folder / "ledger/vkey").read_text().strip()
    leaves = sorted((folder / "ledger/leaves").glob("*.leaf"))
    assert len(leaves) >= 5
    for leaf in leaves:
        done = sumdb("proof", leaf.with_suffix(".tlog-proof"), leaf, vkey)
        assert done.returncode == 0 and done.stdout.strip() == leaf.stem, done.stderr
    leaves[0].write_bytes(leaves[0].read_bytes() + b"x")
    assert sumdb("proof", leaves[0].with_suffix(".tlog-proof"), leaves[0], vkey).returncode == 1


@pytest.fixture(scope="session")
def case_validate():
    """From the package case-utils, in a folder of its own that later runs find again."""
    venv = BUILD / "case-utils"
    program = venv / "bin/case_validate"
    if not program.exists():
        shutil.rmtree(venv, ignore_errors=True)
        try:
            subprocess.run(["/usr/bin/python3", "-m", "venv", venv], check=True, capture_output=True, timeout=60)
            subprocess.run([venv / "bin/pip", "install", "-q", CASE_UTILS], check=True, capture_output=True, timeout=250)
        except (subprocess.SubprocessError, OSError) as e:
            shutil.rmtree(venv, ignore_errors=True)
            pytest.skip(f"case-utils cannot be installed: {e}")
    return lambda path: subprocess.run([program, path], capture_output=True, text=True, timeout=250)


@pytest.mark.timeout(600)
def test_case_validate_accepts_it(world, folder, case_validate, tmp_path):
    done = case_validate(folder / "case.jsonld")
    assert done.returncode == 0 and "Conforms: True" in done.stdout, done.stdout + done.stderr
    wrong = json.loads((folder / "case.jsonld").read_text())
    for row in wrong["@graph"]:
        if row["@type"] == "case-investigation:ProvenanceRecord":
            row["case-investigation:exhibitNumber"] = 7
    (tmp_path / "wrong.jsonld").write_text(json.dumps(wrong))
    assert case_validate(tmp_path / "wrong.jsonld").returncode != 0


# ---- what fetch wrote -------------------------------------------------------------------------------------------------------

def test_a_fetched_exhibit_is_checked(world, tmp_path):
    out = tmp_path / "fetched"
    assert world.cli.run("fetch", world.exhibits[0].hex(), "--out", out).code == 0
    done = verify(out)
    assert done.returncode == 0 and "not a bundle" in done.stderr, done.stdout + done.stderr
    path = out / "notes.jsonl"
    path.chmod(0o644)
    path.write_bytes(b"other")
    done = verify(out)
    assert done.returncode == 1 and "notes.jsonl" in done.stdout
