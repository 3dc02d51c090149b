# SPDX-License-Identifier: Apache-2.0
"""The whole way in a guest: an order, signed and checked, the host's physical memory through agent, uplink and
collector into the vault, fetched, and opened by stock Volatility 3."""
import hashlib
import json
import shutil
import subprocess

import pytest

import kernels
from kernels import CACHE, PROGRAMS, tail
from test_memory import VOL, flat, needed

SCENARIO = kernels.Scenario("grab", "guest_grab.sh", {**PROGRAMS, "/usr/bin/planted": CACHE / "planted"}, memory_mib=512,
                            cpu="max,la57=off", disk=4096 << 20, result=1400 << 20)


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def out(request):
    needed()
    folder = kernels.boot(request.param, SCENARIO, seconds=600)
    yield folder
    shutil.rmtree(folder / "exhibit", ignore_errors=True)


def logs(out):
    return "\n".join(f"--- {path.name}\n{tail(path, 8)}" for path in [out.parent / "console", *sorted(out.glob("*.log"))])


def test_grab_ends_with_a_sealed_exhibit(out):
    assert (out / "grab.status").read_text() == "0\n", logs(out)
    assert (out / "fetch.status").read_text() == "0\n", logs(out)
    manifest = json.loads((out / "exhibit/manifest.json").read_text())
    assert manifest["kind"] == "memory" and manifest["case_id"] == "CASE-1" and manifest["complete"], manifest
    sums = dict(reversed(line.split("  ")) for line in (out / "exhibit/SHA256SUMS").read_text().splitlines())
    for name, digest in sums.items():
        with open(out / "exhibit" / name, "rb") as f:
            assert hashlib.file_digest(f, "sha256").hexdigest() == digest, name
    assert {"memory.lime", "memory.chunks.jsonl", "memory.gaps.jsonl", "vmlinux.btf", "kallsyms.txt"} <= set(sums)


def test_volatility_opens_what_was_fetched(out):
    shown = subprocess.run([VOL, "-q", "-r", "json", "-s", out / "exhibit/volatility/symbols", "-f", out / "exhibit/memory.lime",
                            "linux.pslist.PsList"], capture_output=True, text=True, timeout=400, check=False)
    assert shown.returncode == 0, shown.stderr[-2000:]
    names = {row["COMM"] for row in flat(json.loads(shown.stdout))}
    assert {"planted", "exhibit-agent", "exhibit-collec"} <= {name[:14] if name.startswith("exhibit-c") else name for name in names}

