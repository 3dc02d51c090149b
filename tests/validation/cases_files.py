# SPDX-License-Identifier: Apache-2.0
"""Named files, and a container's changes."""
import os
import random
import tarfile

from report import Skip, case
from tools import acquire, check_full, check_unchanged, count, folder, rows, sha256, stats, writes


def make_tree(n, seed=1):
    """Files of any size and name, some with holes, attributes, odd modes and owners."""
    rng, top = random.Random(seed), folder() / "tree"
    top.mkdir()
    for i in range(n):
        name = bytes(rng.choice(b"abc\n\\|\x1b\xff -*") for _ in range(rng.randrange(1, 20))) + b"%d" % i
        parent = os.path.join(os.fsencode(top), b"d%d" % (i % 17))
        os.makedirs(parent, exist_ok=True)
        path = os.path.join(parent, name)
        with open(path, "wb") as f:
            f.write(rng.randbytes(rng.choice([0, 1, 511, 512, 513, rng.randrange(100000)])))
            if i % 10 == 0:
                f.seek(rng.randrange(1 << 20), os.SEEK_CUR)
                f.write(b"after a hole")
        if i % 7 == 0:
            try:
                os.setxattr(path, b"user.mark", rng.randbytes(20))
            except OSError:
                pass
        os.chown(path, rng.randrange(3000), rng.randrange(3000))
        os.chmod(path, rng.choice([0o600, 0o644, 0o4755, 0o000]))
        os.utime(path, ns=(10 ** 18 + i, 10 ** 18 + 7 * i))
    return top


def members(out):
    with tarfile.open(out / "files.tar", encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            yield member, tar.extractfile(member).read() if member.isfile() else None


@case("files", "FILES-01", "CFTT AM-06, AM-08", "every file below a folder is acquired, accurately",
      "content, mode, owner, time of each equal its own, whatever its name; nothing else is in the archive")
def every_file(trials):
    top = make_tree(count(200, 10000))
    before = stats(top)
    out = acquire("files", f"path={top}")
    found = {}
    for member, data in members(out):
        path = os.path.join(b"/", os.fsencode(member.name))
        found[path] = member
        if member.isfile():
            st = os.lstat(path)
            with open(path, "rb") as f:
                same = data == f.read()
            trials.check(same and (member.mode, member.uid, member.gid) == (st.st_mode & 0o7777, st.st_uid, st.st_gid) and
                         abs(float(member.pax_headers.get("mtime", member.mtime)) - st.st_mtime_ns / 1e9) < 1e-3,
                         f"{path}: {member.mode:o} {member.uid} {member.pax_headers}")
    want = {path for path in before if os.path.isfile(path)}
    for path in want ^ {path for path, member in found.items() if member.isfile()}:
        trials.check(False, f"{path}: in one of both alone")
    return f"{len(want)} files"


@case("files", "FILES-02", "CFTT AO-24; HWB", "the source is not changed",
      "all that the kernel keeps of each file and folder is the same before and after; no write-capable open")
def unchanged(trials):
    top = make_tree(count(200, 10000), seed=2)
    stats(top)
    before = stats(top)
    acquire("files", f"path={top}")
    check_unchanged(trials, before, stats(top))
    trials.check(not (found := writes("files", f"path={top}")), found)


@case("files", "FILES-03", "CFTT DFR, what this tool states to do", "deleted files that a process holds open are acquired",
      "each is there byte for byte: on a disk, in memory (memfd), empty, with holes")
def deleted(trials):
    rng, held, want = random.Random(3), [], {}
    where = folder()
    for i in range(count(20, 200)):
        data = rng.randbytes(rng.choice([1, 4096, 70000]))
        if i % 4 == 0:
            fd = os.memfd_create(f"validation-{i}")
        else:
            fd = os.open(where / str(i), os.O_RDWR | os.O_CREAT)
            os.unlink(where / str(i))
        if i % 5 == 0:
            os.lseek(fd, 100000, os.SEEK_SET)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        want[sha256(os.read(fd, 1 << 20))] = i
        held.append(fd)
    out = acquire("files", f"pid={os.getpid()}", "deleted=1")
    found = {sha256(data) for member, data in members(out) if data is not None}
    for digest, i in want.items():
        trials.check(digest in found, f"deleted file {i} is not there")
    for fd in held:
        os.close(fd)


@case("files", "FILES-04", "CFTT AM-09", "what cannot be had is reported", "each path that gives nothing has a row that says why")
def gaps(trials):
    where = folder()
    os.symlink("loop", where / "loop")
    for path in (f"{where}/none", f"{where}/none*", f"{where}/loop/x"):
        out = acquire("files", f"path={path}")
        told = {row["path"]: row.get("not_taken") for row in rows(out, "files.jsonl")}
        trials.check(bool(told.get(path)), f"{path}: {told}")
        trials.check(any(row.get("lacking") for row in rows(out)), f"{path}: the exhibit passes for whole")


@case("files", "FILES-05", "CFTT AO-04, AO-05", "a full target is told, and nothing half passes for whole",
      "one sentence; no item that is told as whole is short")
def full(trials):
    where = folder()
    (where / "large").write_bytes(os.urandom(4 << 20))
    check_full(trials, "files", f"path={where}/large")


@case("changes", "CHANGES-01", "CFTT AM-06, AM-08", "what a container changed against its image is acquired, exactly",
      "the table names each added, modified and deleted path, and no other; contents are equal")
def changes(trials):
    try:
        from overlay import Container
    except ImportError as why:
        raise Skip(f"no container can be made: {why}") from why
    for seed in range(count(3, 30)):
        with Container(seed) as it:
            out = acquire("changes", f"container={it.container}")
            table = rows(out, "changes.jsonl")
            got = {row["path"]: row.get("change", row.get("kind")) for row in table}
            for path, kind in it.changes.items():
                trials.check(got.get(path) == kind, f"{path}: {got.get(path)}, and it was {kind}")
            for path in got.keys() - it.changes.keys() - it.folders:
                trials.check(False, f"{path}: {got[path]}, and nobody changed it")
            for row in table:
                if row["path"] in it.contents:
                    trials.check(row.get("sha256") == sha256(it.contents[row["path"]]), f"{row['path']}: other bytes")
