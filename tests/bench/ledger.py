# SPDX-License-Identifier: Apache-2.0
"""What the ledger takes and costs, and verify beside sha256sum and openssl over the same bytes."""
import hashlib
import re
import shutil
import subprocess
import time

ITEM_BYTES = 1 << 30


def key_values(text):
    return {key: float(value) for key, value in re.findall(r"^(\w+) ([\d.]+)$", text, re.M)}


def leaves(bench, work, *args):
    folder = work / "leaves"
    shutil.rmtree(folder, ignore_errors=True)
    done = subprocess.run([bench, folder, *map(str, args)], capture_output=True, text=True, check=True, timeout=300)
    return key_values(done.stdout)


def seconds(*command, cwd):
    best = float("inf")
    for _ in range(3):
        start = time.monotonic()
        subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
        best = min(best, time.monotonic() - start)
    return best


def exhibit_of(folder):
    """As `exhibit fetch` leaves one: an item of 1 GiB and its sums."""
    folder.mkdir(parents=True, exist_ok=True)
    block, digest = hashlib.shake_128(b"bench").digest(1 << 20), hashlib.sha256()
    with open(folder / "memory.lime", "wb") as out:
        for _ in range(ITEM_BYTES >> 20):
            out.write(block)
            digest.update(block)
    (folder / "SHA256SUMS").write_text(f"{digest.hexdigest()}  memory.lime\n")
    return folder


def measure(table, build, work):
    work.mkdir(parents=True, exist_ok=True)
    table.title("ledger and verify")
    bench = build / "bench" / "bench_ledger"
    many = leaves(bench, work, 100000, 32, 4)
    single = leaves(bench, work, 20000, 1, 16)
    table.add("leaves a second, durable, groups of 32 from 4 threads", f"{many['leaves_per_second']:,.0f}", aim="10,000",
              met=many["leaves_per_second"] > 10000)
    table.add("leaves a second, durable, one at a time from 16 threads", f"{single['leaves_per_second']:,.0f}")
    table.add("signed checkpoint over 20,000 leaves, after the last of them", f"{single['checkpoint_ms']:.0f} ms",
              aim="1 s", met=single["checkpoint_ms"] < 1000)
    folder = exhibit_of(work / "exhibit")
    ours = seconds(build / "bin" / "exhibit", "verify", folder, cwd=folder)
    sums = seconds("sha256sum", "-c", "SHA256SUMS", cwd=folder)
    openssl = seconds("openssl", "dgst", "-sha256", "memory.lime", cwd=folder)
    table.add("verify 1 GiB, page cache warm (beside: openssl dgst)", f"{ours:.2f} s", beside=f"{openssl:.2f} s",
              aim="the hash's", met=ours < 1.25 * openssl)
    table.add("  sha256sum -c over the same", f"{sums:.2f} s")
    shutil.rmtree(work, ignore_errors=True)
