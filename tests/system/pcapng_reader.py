# SPDX-License-Identifier: Apache-2.0
"""pcapng as draft-ietf-opsawg-pcapng says, for what tshark does not show: a second reader, written from the draft."""
import struct
from dataclasses import dataclass, field


@dataclass
class File:
    interfaces: list = field(default_factory=list)  # (link type, snap, options)
    packets: list = field(default_factory=list)  # (interface, ns, length, bytes, options)
    statistics: dict = field(default_factory=dict)  # of the last block of each interface: options


def options(data):
    found, at = {}, 0
    while at + 4 <= len(data):
        code, size = struct.unpack_from("<HH", data, at)
        if code == 0:
            break
        found[code] = data[at + 4:at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    return found


def u64(value):
    return struct.unpack("<Q", value)[0]


def read(path, cut=None):
    """What is whole; with cut, of that many bytes."""
    data, at, file = path.read_bytes()[:cut], 0, File()
    while at + 12 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if at + size > len(data):
            break
        assert size % 4 == 0 and struct.unpack_from("<I", data, at + size - 4)[0] == size
        body = data[at + 8:at + size - 4]
        if kind == 1:
            link, _, snap = struct.unpack_from("<HHI", body)
            file.interfaces.append((link, snap, options(body[8:])))
        elif kind == 6:
            interface, high, low, caplen, length = struct.unpack_from("<IIIII", body)
            file.packets.append((interface, high << 32 | low, length, body[20:20 + caplen],
                                 options(body[20 + (caplen + 3) // 4 * 4:])))
        elif kind == 5:
            file.statistics[struct.unpack_from("<I", body)[0]] = options(body[12:])
        at += size
    return file
