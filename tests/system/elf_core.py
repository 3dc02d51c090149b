# SPDX-License-Identifier: Apache-2.0
"""An ELF core file, read without our code (System V ABI; NT_* notes of Linux)."""
import struct


class Core:
    def __init__(self, path):
        self.file = open(path, "rb")
        head = self.file.read(64)
        self.type, self.machine = struct.unpack_from("<HH", head, 16)
        phoff, shoff = struct.unpack_from("<QQ", head, 32)
        phnum = struct.unpack_from("<H", head, 56)[0]
        if phnum == 0xffff:
            self.file.seek(shoff)
            phnum = struct.unpack_from("<I", self.file.read(64), 44)[0]
        self.file.seek(phoff)
        raw = self.file.read(56 * phnum)
        self.segments = [struct.unpack_from("<IIQQQQQQ", raw, 56 * i) for i in range(phnum)]
        self.end = max(s[2] + s[5] for s in self.segments)

    def read(self, address, size):
        """None: no byte of it is in the file."""
        for kind, _, offset, vaddr, _, filesz, memsz, _ in self.segments:
            if kind == 1 and vaddr <= address < vaddr + memsz:
                if filesz == 0:
                    return None
                self.file.seek(offset + address - vaddr)
                return self.file.read(min(size, vaddr + filesz - address))
        return None

    def notes(self):
        kind, _, offset, _, _, size, _, _ = self.segments[0]
        assert kind == 4
        self.file.seek(offset)
        raw, at, found = self.file.read(size), 0, []
        while at < len(raw):
            name, desc, number = struct.unpack_from("<III", raw, at)
            at += 12
            label = raw[at:at + name - 1].decode()
            at += (name + 3) & ~3
            found.append((label, number, raw[at:at + desc]))
            at += (desc + 3) & ~3
        return found
