# SPDX-License-Identifier: Apache-2.0
"""Packets on a kernel whose programs cannot see them: a packet socket does, and says what it does not know."""
import json
import shutil
import subprocess

import pytest

import kernels
from kernels import PROGRAMS, tail

SCENARIO = kernels.Scenario("packets", "guest_packets.sh", PROGRAMS, disk=4096 << 20)


@pytest.fixture(scope="module", params=["5.10"])
def out(request):
    for program in (*kernels.NEEDED, "tshark"):
        if not shutil.which(program, path=kernels.PATH):
            pytest.skip(f"{program} is not installed; run 'make kernels' as root")
    return kernels.boot(request.param, SCENARIO, seconds=400)


def logs(out):
    return "\n".join(f"--- {path.name}\n{tail(path, 8)}"
                     for path in [out.parent / "console", *sorted(out.glob("*.log")), *sorted(out.glob("*.err"))])


def frames(out, only):
    done = subprocess.run(["tshark", "-n", "-r", out / "exhibit/capture.pcapng", "-Y", only, "-T", "fields", "-e", "frame.comment"],
                          capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_a_packet_socket_in_their_place(out):
    assert (out / "all.status").read_text() == "0\n", logs(out)
    manifest = json.loads((out / "exhibit/manifest.json").read_text())
    method = manifest["method"]
    assert manifest["complete"] and method["packets.engine"] == "af_packet", manifest
    assert "packets can be seen from Linux 5.12 on: this is 5.10" in method["packets.engine_reason"]
    assert any("no packet names its process" in json.dumps(w) for w in manifest["warnings"]), manifest["warnings"]
    # 20 requests and 20 answers, each out and in.
    assert frames(out, "icmp") == ["owner=unknown;"] * 80, logs(out)
    assert method["packets.lost"] == 0 and method["packets.seen"] == method["packets.written"] + method["packets.filtered"]


def test_our_own_way_to_the_collector_is_left_out(out):
    """What is captured is sent on: it would feed itself."""
    method = json.loads((out / "exhibit/manifest.json").read_text())["method"]
    ports = [word for left in method["packets.left_out"].split(" or ") for word in [left.split()[2]]]
    assert ports and all(frames(out, f"tcp.port == {port}") == [] for port in ports)


def test_the_past_is_refused(out):
    assert (out / "past.status").read_text() != "0\n"
    assert "packets can be seen from Linux 5.12 on" in (out / "past.json").read_text() + (out / "past.err").read_text(), logs(out)
