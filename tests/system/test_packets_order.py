# SPDX-License-Identifier: Apache-2.0
"""Packets from the command to the exhibit, through the shipped agent and its flight recorder."""
import struct
import subprocess
import sys
import time

import pcapng_reader
from test_order_to_exhibit import Site, field
from test_packets import FLOOD, tokens

assert FLOOD  # the sender of numbered datagrams


def test_before_and_after_in_one_exhibit(lab, need_bpf, tmp_path):
    site = Site(lab, recorder__bytes="64MiB")
    flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(1 << 40), "400", "3000", "12"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    port = int(flood.stdout.readline())
    flood.stdin.write("go\n")
    flood.stdin.flush()
    time.sleep(3)
    code, row, err = site.grab("packets", "--before", "60s", "--seconds", "2s", "--filter", f"udp port {port}")
    assert code == 0, err
    flood.stdout.readline()
    flood.communicate("end\n", timeout=20)
    manifest = field(row, "exhibit.manifest")
    assert manifest["method"]["packets.engine"] == "recorder, cgroup_skb"
    assert {o["name"] for o in manifest["tool"]["bpf"]} >= {"packets", "recorder"}
    answer = site.cli.run("fetch", field(row, "exhibit.order.exhibit"), "--out", str(tmp_path / "got"), seconds=60)
    assert answer.code == 0, answer.err
    file = pcapng_reader.read(next((tmp_path / "got").rglob("capture.pcapng")))
    numbers = [struct.unpack_from("<Q", data, 44)[0] for *_, data, options in file.packets if options[2][0] & 3 == 2]
    assert numbers == list(range(len(numbers))) and len(numbers) > 3000 * 4
    lengths = [len(data) for *_, data, _ in file.packets]
    assert lengths[0] == 16 + 96 and lengths[-1] == 16 + 28 + 400
    assert {tokens(options[1].decode())["pid"] for *_, options in file.packets} == {str(flood.pid)}


def test_our_own_way_to_the_collector_is_left_out(lab, need_bpf):
    """A live capture of everything would else feed itself."""
    site = Site(lab)
    code, row, err = site.grab("packets", "--seconds", "2s", "--filter", "net 127.0.0.0/8")
    assert code == 0, err
    manifest = field(row, "exhibit.manifest")
    assert manifest["method"]["packets.left_out_processes"] >= 1
    assert manifest["method"]["packets.engine"] == "cgroup_skb"
