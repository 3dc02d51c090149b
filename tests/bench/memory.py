# SPDX-License-Identifier: Apache-2.0
"""Physical memory: images in a guest (this machine's own memory is nobody's to read), beside dd of the same source
and beside AVML; an order end to end beside writing to the local disk; two passes of a core beside one. The BPF route
on this machine, over pages that the bench allocated. Figures of the guest are emulation's: only ratios count."""
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

KERNEL = "6.1"
OWN_MIB = 256
AVML = Path(os.environ.get("AVML", "/usr/local/bin/avml"))  # `cargo install avml`: Debian has no package of it


def bpf_route(table, build):
    done = subprocess.run([build / "tests/driver_physical", str(OWN_MIB)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        table.note(f"memory by BPF: not measured: {done.stderr.strip()}")
        return
    said = json.loads(done.stdout)
    rate = said["pages"] * 4096 / said["ns"]
    table.add(f"by BPF, {OWN_MIB} MiB of our own pages on this machine, {said['pages'] - said['equal']} differ", f"{rate:.1f} GB/s",
              aim="2 GB/s", met=rate >= 2 and said["pages"] == said["equal"])


def boot(build):
    os.environ["EXHIBIT_BUILD"] = str(build)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))
    import kernels
    missing = [program for program in kernels.NEEDED if not shutil.which(program, path=kernels.PATH)]
    if missing:
        raise RuntimeError(f"no guest without {', '.join(missing)}: 'make kernel-deps'")
    programs = {path: source for path, source in kernels.PROGRAMS.items() if "workload" not in path}
    programs |= {"/usr/bin/od": "od", "/usr/bin/dd": "dd", "/x/bin/driver_acquire": build / "tests/driver_acquire",
                 "/x/bin/driver_odd": build / "tests/driver_odd"}
    if AVML.exists():
        programs["/x/bin/avml"] = AVML
    return kernels.boot(KERNEL, kernels.Scenario("bench", "../bench/guest_memory.sh", programs, memory_mib=512,
                                                 cpu="max,la57=off", disk=3072 << 20), seconds=900)


def times(out):
    """Microseconds a byte of each, the median over the rounds."""
    found = {}
    for line in (out / "times").read_text().splitlines():
        what, microseconds, size = line.split()
        found.setdefault(what, []).append((int(microseconds), int(size)))
    return {what: (statistics.median(us for us, _ in rounds), rounds[0][1]) for what, rounds in found.items()}


def image_rows(table, taken):
    image = taken["image"]
    ours = image[1] / image[0]
    beside = {what: taken[what][1] / taken[what][0] for what in ("dd", "avml") if what in taken}
    table.add("image in a guest, to its disk (beside: dd of the same kcore)", f"{ours:.0f} MB/s", beside=f"{beside['dd']:.0f} MB/s",
              added=f"x{beside['dd'] / ours:.2f}")
    if "avml" in beside:
        table.add("  (beside: AVML)", f"{ours:.0f} MB/s", beside=f"{beside['avml']:.0f} MB/s", added=f"x{beside['avml'] / ours:.2f}")
    else:
        table.add("  (beside: AVML)", "", beside=f"not here: {AVML}")
    if "order" in taken:
        table.add("order, sealed and in the vault, in the guest (nothing: to its disk)", f"{taken['order'][0] / 1e6:.1f} s",
                  f"{image[0] / 1e6:.1f} s", added=f"x{taken['order'][0] / image[0]:.2f}")


def core_rows(table, out):
    """Lines of "passes N copy_ns N asked N"."""
    frozen = {}
    for line in (out / "cores").read_text().splitlines():
        words = line.split()
        said = dict(zip(words[::2], map(int, words[1::2])))
        if said["passes"] != said["asked"]:
            raise RuntimeError(f"a core was taken in {said['passes']} passes, not {said['asked']}")
        frozen.setdefault(said["passes"], []).append(said["copy_ns"])
    one, two = (statistics.median(frozen[n]) / 1e6 for n in (1, 2))
    table.add("frozen for a core, a sixteenth written meanwhile: two passes (nothing: one)", f"{two:.1f} ms", f"{one:.1f} ms",
              added=f"x{two / one:.2f}", aim="less", met=two < one)


def measure(table, build, _):
    table.title("physical memory")
    bpf_route(table, build)
    out = boot(build)
    image_rows(table, times(out))
    core_rows(table, out)
