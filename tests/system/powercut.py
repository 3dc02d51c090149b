# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after the power went, from the log that shim_powercut.so wrote.

    log = run(command, folder, workdir)            # runs command with the shim, returns a Log
    log.materialise(cut, random.Random(7), target) # one possible disk after the first cut operations

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


class Disk:
    def __init__(self, base, ops):
        self.names = {path: File(data) for path, data in base.files.items()}  # durable
        self.now = dict(self.names)  # as the program saw it
        self.folders = set(base.folders) | {"."}
        self.now_folders = set(self.folders)
        self.inodes = {}
        self.pending = []  # changes of names that no sync covers: (folder, change)
        for op in ops:
            self.step(op)

    def step(self, op):
        if op.kind == OPEN and op.path in self.now:
            self.inodes[op.inode] = self.now[op.path]
        elif op.kind == OPEN:
            self.inodes[op.inode] = op.path  # a folder
        elif op.kind == CREATE:
            self.inodes[op.inode] = self.now[op.path] = File()
            self.note(op.path, ("create", op.path, self.now[op.path]))
        elif op.kind in (WRITE, TRUNCATE) and isinstance(self.inodes.get(op.inode), File):
            self.inodes[op.inode].pending.append(op)
        elif op.kind == SYNC:
            self.sync(self.inodes.get(op.inode))
        elif op.kind == RENAME:
            new = os.path.normpath(op.data.decode())
            file = self.now.pop(op.path)
            self.now[new] = file
            self.note(new, ("rename", op.path, new, file))
        elif op.kind == UNLINK:
            file = self.now.pop(op.path, None)
            self.now_folders.discard(op.path)
            self.note(op.path, ("unlink", op.path, file))
        elif op.kind == MKDIR:
            self.now_folders.add(op.path)
            self.note(op.path, ("mkdir", op.path))

    def note(self, path, change):
        self.pending.append((os.path.dirname(path) or ".", change))

    def sync(self, what):
        if isinstance(what, File):
            what.sync()
        elif isinstance(what, str):
            for folder, change in self.pending:
                if folder == what:
                    change_name(self.names, self.folders, change)
            self.pending = [p for p in self.pending if p[0] != what]

    def write(self, rng, target):
        names, folders = dict(self.names), set(self.folders)
        how = rng.randrange(4)
        kept = [change for _, change in self.pending]
        if how == 0:
            kept = []
        elif how == 1:
            kept = kept[:rng.randint(0, len(kept))]
        elif how == 2:  # in any order, those of one name in theirs
            kept = [change for change in kept if rng.random() < 0.5]
        for change in kept:
            change_name(names, folders, change)
        target.mkdir(parents=True)
        for folder in sorted(folders):
            (target / folder).mkdir(parents=True, exist_ok=True)
        contents = {}
        for path, file in sorted(names.items()):
            if id(file) not in contents:
                contents[id(file)] = file.after_crash(rng)
            if (target / path).parent.is_dir():
                (target / path).write_bytes(contents[id(file)])


def change_name(names, folders, change):
    if change[0] == "create":
        names[change[1]] = change[2]
    elif change[0] == "rename":
        names.pop(change[1], None)
        names[change[2]] = change[3]
    elif change[0] == "unlink":
        names.pop(change[1], None)
        folders.discard(change[1])
    elif change[0] == "mkdir":
        folders.add(change[1])
