# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after the power went, from the log that shim_powercut.so wrote.

    log = run(command, folder, workdir)            # runs command with the shim, returns a Log
    log.materialise(cut, random.Random(7), target) # one possible disk after the first cut operations
    log.killed(cut, target)                        # the program alone died there: recover from it with run(),
    log.then(cut, recovery)                        # and cut the power in that

What was synced is there. Of what was not, each 512-byte sector of a write may have reached the disk or
not, in any order; a size may have; a name (create, rename, unlink) may have; a sync of a folder makes
its names durable, a sync of a file its data and size, and nothing else does."""
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

OPEN, CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, MARK = range(1, 10)
RECORD = struct.Struct("<IIQQQ")
SECTOR = 512
BUILD = Path(os.environ.get("EXHIBIT_BUILD", "build"))


@dataclass
class Op:
    kind: int
    path: str
    inode: int
    offset: int
    data: bytes


@dataclass
class Folder:
    """A folder as it lay on the disk before the program ran: names to contents."""
    files: dict
    folders: list


def snapshot(folder):
    base = Folder({}, [])
    for at, folders, files in os.walk(folder):
        relative = os.path.relpath(at, folder)
        for name in folders:
            base.folders.append(os.path.normpath(os.path.join(relative, name)))
        for name in files:
            path = os.path.normpath(os.path.join(relative, name))
            base.files[path] = Path(at, name).read_bytes()
    return base


def parse(raw):
    ops, at = [], 0
    while at < len(raw):
        kind, path_len, inode, offset, data_len = RECORD.unpack_from(raw, at)
        at += RECORD.size
        path = os.path.normpath(raw[at:at + path_len].decode()) if path_len else ""
        at += path_len
        ops.append(Op(kind, path, inode, offset, raw[at:at + data_len]))
        at += data_len
    return ops


def run(command, folder, workdir, check=True, timeout=120, env=None):
    """Run command with the shim over folder; workdir holds the log."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    base = snapshot(folder)
    path = Path(workdir) / "powercut.log"
    path.unlink(missing_ok=True)
    result = subprocess.run(
        [str(c) for c in command], capture_output=True, timeout=timeout,
        env={**os.environ, **(env or {}), "LD_PRELOAD": str((BUILD / "tests/shim_powercut.so").resolve()),
             "POWERCUT_DIR": str(Path(folder).resolve()), "POWERCUT_LOG": str(path)})
    assert not check or result.returncode == 0, result.stderr.decode()
    return Log(base, parse(path.read_bytes()), result)


class File:
    """One inode: what is durable, and the changes since the last sync."""

    def __init__(self, durable=b""):
        self.durable = bytearray(durable)
        self.pending = []

    def sync(self):
        for op in self.pending:
            apply(self.durable, op)
        self.pending = []

    def after_crash(self, rng):
        data = bytearray(self.durable)
        how = rng.randrange(4)
        kept = self.pending if how > 0 else []
        if how == 1:  # the first ones, the last of them torn
            kept = kept[:rng.randint(0, len(kept))]
        for i, op in enumerate(kept):
            if how == 1 and i < len(kept) - 1:
                apply(data, op)
            elif op.kind == TRUNCATE:
                if rng.random() < 0.5:
                    apply(data, op)
            else:
                for piece in sectors(op):
                    if rng.random() < (0.5 if how < 3 else 0.9):
                        apply(data, piece)
        return bytes(data)


def sectors(op):
    """A write as the sectors that it touches."""
    at = 0
    while at < len(op.data):
        size = min(SECTOR - (op.offset + at) % SECTOR, len(op.data) - at)
        yield Op(WRITE, "", op.inode, op.offset + at, op.data[at:at + size])
        at += size


def apply(data, op):
    if op.kind == TRUNCATE:
        del data[op.offset:]
        data.extend(bytes(op.offset - len(data)))
        return
    if op.offset > len(data):
        data.extend(bytes(op.offset - len(data)))
    data[op.offset:op.offset + len(op.data)] = op.data


class Log:
    def __init__(self, base, ops, result):
        self.base, self.ops, self.result = base, ops, result

    def marks(self, cut=None):
        """Lines that the program had written to standard output before the cut."""
        text = b"".join(op.data for op in self.ops[:cut] if op.kind == MARK)
        return text.decode().splitlines()

    def materialise(self, cut, rng, target):
        Disk(self.base, self.ops[:cut]).write(rng, Path(target))

    def killed(self, cut, target):
        """What is there when the program is killed after the first `cut` operations, and the power stays."""
        Disk(self.base, self.ops[:cut]).write_all(Path(target))

    def then(self, cut, after):
        """This log up to a kill, and what another program did to what killed() made of it."""
        return Log(self.base, self.ops[:cut] + after.ops, after.result)


@dataclass
class Change:
    """Of a folder's names, not yet durable. seq: its place among all changes."""
    seq: int
    name: str
    apply: object


class Dir:
    """One folder: its names as the program sees them, those that are durable, and the changes between."""

    def __init__(self):
        self.now, self.names, self.pending = {}, {}, []

    def sync(self):
        changes, self.pending = self.pending, []
        for change in changes:
            change.apply()


class Disk:
    def __init__(self, base, ops):
        self.top, self.inodes, self.seq = Dir(), {}, 0
        for path in sorted(base.folders):
            at, name = self.find(path)
            at.now[name] = at.names[name] = Dir()
        for path, data in base.files.items():
            at, name = self.find(path)
            at.now[name] = at.names[name] = File(data)
        for op in ops:
            self.step(op)

    def find(self, path):
        """The folder that path lies in, as the program sees it, and its name there."""
        *parents, name = path.split("/")
        at = self.top
        for parent in parents:
            at = at.now[parent]
        return at, name

    def step(self, op):
        if op.kind == OPEN:
            at, name = self.find(op.path)
            self.inodes[op.inode] = self.top if op.path == "." else at.now.get(name)
        elif op.kind == CREATE:
            self.inodes[op.inode] = self.put(op.path, File())
        elif op.kind == MKDIR:
            self.put(op.path, Dir())
        elif op.kind in (WRITE, TRUNCATE) and isinstance(self.inodes.get(op.inode), File):
            self.inodes[op.inode].pending.append(op)
        elif op.kind == SYNC and self.inodes.get(op.inode):
            self.inodes[op.inode].sync()
        elif op.kind == RENAME:
            self.move(op.path, os.path.normpath(op.data.decode()))
        elif op.kind == UNLINK:
            at, name = self.find(op.path)
            at.now.pop(name, None)
            self.note(at, name, lambda: at.names.pop(name, None))

    def note(self, at, name, apply):
        self.seq += 1
        at.pending.append(Change(self.seq, name, apply))

    def put(self, path, node):
        at, name = self.find(path)
        at.now[name] = node
        self.note(at, name, lambda: at.names.update({name: node}))
        return node

    def move(self, path, new_path):
        """A file or a folder, with all that is in it. Durable, both at once, with the folder that it goes to."""
        (at, name), (to, new) = self.find(path), self.find(new_path)
        node = to.now[new] = at.now.pop(name)
        seq = self.seq + 1

        def moved():
            at.names.pop(name, None)
            at.pending = [c for c in at.pending if c.name != name or c.seq > seq]
            to.names[new] = node
        self.note(to, new, moved)

    def folders(self):
        """All that there are for the program, or on the disk."""
        found, left = [], [self.top]
        while left:
            at = left.pop()
            if at not in found:
                found.append(at)
                left += [x for x in (*at.now.values(), *at.names.values()) if isinstance(x, Dir)]
        return found

    def write(self, rng, target):
        """One possible disk. This object is spent."""
        how = rng.randrange(4)
        kept = sorted((c for at in self.folders() for c in at.pending), key=lambda c: c.seq)
        if how == 0:
            kept = []
        elif how == 1:
            kept = kept[:rng.randint(0, len(kept))]
        elif how == 2:  # in any order, those of one name in theirs
            kept = [c for c in kept if rng.random() < 0.5]
        for change in kept:
            change.apply()
        contents = {}

        def crashed(file):
            if id(file) not in contents:
                contents[id(file)] = file.after_crash(rng)
            return contents[id(file)]
        lay(target, self.top, lambda at: at.names, crashed)

    def write_all(self, target):
        """As the program sees it. This object is spent."""
        def whole(file):
            file.sync()
            return bytes(file.durable)
        lay(target, self.top, lambda at: at.now, whole)


def lay(target, at, names, content):
    target.mkdir(parents=True)
    for name, node in sorted(names(at).items()):
        if isinstance(node, Dir):
            lay(target / name, node, names, content)
        else:
            (target / name).write_bytes(content(node))
