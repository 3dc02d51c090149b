# SPDX-License-Identifier: Apache-2.0
"""Physical memory: pages of our own that we know, on this machine; whole images in guests, judged by Volatility 3
(tests/kernels), which takes minutes: with EXHIBIT_FULL=1, or where EXHIBIT_GUESTS names kernels."""
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as xml

from report import Skip, case
from tools import BUILD, FULL, OUT, TOP, Small, check_told, count, folder, made, notes, refused

booted = {}


@case("memory", "MEMORY-01", "CFTT AM-08 (by analogy)", "pages are read as they are (BPF route)", "each of our own pages equals what we wrote")
def pages(trials):
    done = subprocess.run([BUILD / "tests/driver_physical", "256" if FULL else "16"], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 1 and "cannot load the BPF program" in done.stderr:
        raise Skip(done.stderr.strip())
    said = json.loads(done.stdout)
    trials.add(said["pages"], said["pages"] - said["equal"], "pages differ")
    return f"{said['pages']} pages of 4,096 bytes"


def boot():
    """Each guest once: name of a test and what it said, in all of them."""
    guests = os.environ.get("EXHIBIT_GUESTS", "5.10-four 6.1-four 6.1-five 6.12-four newest-four newest-bpf" if FULL else "")
    if not guests:
        raise Skip("boots guests for minutes: EXHIBIT_FULL=1, or EXHIBIT_GUESTS=6.1-four")
    where = OUT / "guests.xml"
    if booted.get("guests") != guests:
        where.unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--timeout=1200", f"--junitxml={where}",
                               "tests/kernels/test_memory.py", "-k", f"({' or '.join(guests.split())}) and not refuses"], cwd=TOP,
                              env={**os.environ, "EXHIBIT_BUILD": str(BUILD)}, capture_output=True, text=True, timeout=7200, check=False)
        if not where.exists():
            raise AssertionError(done.stdout[-1000:] + done.stderr[-1000:])
        booted["guests"] = guests
    return guests, list(xml.parse(where).iter("testcase"))


def guest_cases(trials, words):
    guests, tests = boot()
    skipped = set()
    for one in tests:
        if not any(word in one.get("name") for word in words):
            continue
        if one.find("skipped") is not None:
            skipped.add(one.find("skipped").get("message"))
            continue
        bad = [child for child in one if child.tag in ("failure", "error")]
        trials.check(not bad, f"{one.get('name')}: {bad[0].get('message') if bad else ''}")
    if trials.n == 0 and skipped:
        raise Skip("; ".join(sorted(skipped)))
    return f"guests: {guests}"


@case("memory", "MEMORY-02", "CFTT AM-06, AM-09 (by analogy)", "image and gaps together are all RAM of the machine",
      "ranges of the image and of the gap list cover /proc/iomem's System RAM, byte for byte; every chunk has a time")
def covers(trials):
    return guest_cases(trials, ["all_memory", "every_chunk", "paging"])


@case("memory", "MEMORY-03", "Voemel and Freiling 2012: correctness", "an independent tool finds in the image what was planted",
      "Volatility 3 shows processes, arguments, environment, history, modules, sockets, files, code")
def correct(trials):
    return guest_cases(trials, ["plugin_shows", "arguments", "sockets", "memory_of_the_process"])


@case("memory", "MEMORY-04", "CFTT AM-09 (by analogy)", "what is told of each chunk and page is so",
      "SHA-256 of each chunk is that of its bytes in the image; flags of every page, as many as it has pages")
def told(trials):
    return guest_cases(trials, ["hash_and_flags"])


def own_image(into):
    """The acquirer on a machine whose memory is the driver's own: nothing else of this one is read."""
    proc = folder()
    (proc / "kpageflags").symlink_to("/proc/kpageflags")
    done = subprocess.run([BUILD / "tests/driver_physical", "8", proc, into], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 1 and "cannot load the BPF program" in done.stderr:
        raise Skip(done.stderr.strip())
    return done


@case("memory", "MEMORY-05", "CFTT AO-04", "a full target is told, and no item that is cut passes for a whole one",
      "8 MiB of our own pages: one sentence where there is no room; a whole image where there is")
def full(trials):
    for i in range(count(8, 32)):
        with Small(64 + 1000 * (i % 8) + 40 * (i // 8)) as small:
            done = own_image(small / "out")
            trials.check(done.returncode == 1, f"exit {done.returncode}")
            refused.setdefault("memory", []).append(done.stderr)
            check_told(trials, small, done.stderr)
    into = folder() / "out"
    done = own_image(into)
    if trials.check(done.returncode == 0, done.stderr):
        said = notes(into)
        made.setdefault("memory", []).append(into)
        trials.check(said["memory.ram_bytes"] == 8 << 20 == said["memory.read_bytes"] + said["memory.gap_bytes"], said)
        trials.check((into / "memory.lime").stat().st_size > said["memory.read_bytes"] > 0, "no image")
        return f"{said['memory.read_bytes']} of {8 << 20} bytes where there is room"
