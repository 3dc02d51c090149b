# SPDX-License-Identifier: Apache-2.0
"""What cases share: running an acquirer, and judging it by other programs than ours."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "system"), str(HERE.parent / "kernels")]

from basics import BUILD, FULL, count  # noqa: E402,F401
from report import Skip  # noqa: E402

DRIVER = BUILD / "tests/driver_acquire"
OUT = BUILD / "validation"
OUT.mkdir(parents=True, exist_ok=True)
WORK = Path(tempfile.mkdtemp(prefix="work-", dir=OUT))

made = {}  # kind: folders of all acquisitions that ended well, for the cases about their logs
refused = {}  # kind: what failed ones said


def kinds():
    """What this agent can do: the rows of its table."""
    return re.findall(r'ORDER_KIND__ORDER_\w+, "(\w+)"', (TOP / "agent/acquire/table.c").read_text())


def folder():
    return Path(tempfile.mkdtemp(dir=WORK))


def acquire(kind, *words, into=None, status=0, env=None, seconds=300, keep=True):
    """The folder of items. status 1: must fail; then what it said."""
    into = into or folder() / "out"
    done = subprocess.run([DRIVER, kind, into, *words], capture_output=True, text=True, timeout=seconds, check=False,
                          env={**os.environ, **(env or {})})
    if done.returncode != status:
        raise AssertionError(f"{kind} {' '.join(map(str, words))}: exit {done.returncode}: {done.stderr}")
    if status != 0:
        refused.setdefault(kind, []).append(done.stderr)
        return done.stderr
    if keep:
        made.setdefault(kind, []).append(into)
    return into


def forget(into):
    shutil.rmtree(into.parent, ignore_errors=True)


def rows(into, name="notes.jsonl"):
    return [json.loads(line) for line in (into / name).read_text().splitlines()]


def notes(into):
    return {row["note"]: row["value"] for row in rows(into) if "note" in row}


def digest(path):
    """By coreutils, not by the library that we use."""
    done = subprocess.run(["sha256sum", "--binary", path], capture_output=True, text=True, check=True, timeout=600)
    return done.stdout.lstrip("\\").split()[0]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def check_log(trials, into):
    """Each item's length and hash, computed again from the file."""
    items = [row for row in rows(into) if "item" in row]
    present = {path.name for path in into.iterdir()} - {"notes.jsonl"}
    trials.check({row["item"] for row in items} == present, f"{into}: items {sorted(row['item'] for row in items)}, files {sorted(present)}")
    for row in items:
        path = into / row["item"]
        trials.check(path.exists() and path.stat().st_size == row["bytes"] and digest(path) == row["sha256"],
                     f"{path}: not as the log says: {row}")


def stats(top):
    """All that the kernel keeps of each file below, times to the nanosecond. A link's access time is left out:
    reading where it leads changes it, and there is no way around."""
    found = {}
    for parent, folders, files in os.walk(os.fsencode(top)):
        for name in [b"."] + folders + files:
            path = os.path.join(parent, name)
            st = os.lstat(path)
            link = os.path.islink(path)
            attributes = () if link else tuple((key, os.getxattr(path, key)) for key in sorted(os.listxattr(path)))
            found[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_nlink, st.st_mtime_ns, st.st_ctime_ns,
                           0 if link else st.st_atime_ns, attributes)
    return found


def check_unchanged(trials, before, after):
    for path in before.keys() | after.keys():
        trials.check(before.get(path) == after.get(path), f"{path}: {before.get(path)} is now {after.get(path)}")


def need(*programs):
    for program in programs:
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            raise Skip(f"{program} is not installed")


def writes(kind, *words):
    """Files that an acquisition opened so that they could be written, its own output apart (strace)."""
    need("strace")
    into, log = folder() / "out", folder() / "strace"
    subprocess.run(["strace", "-f", "-qq", "-y", "-s", "4096", "-o", log, "-e",
                    "trace=open,openat,openat2,creat,truncate,ftruncate,rename,renameat2,unlink,unlinkat,mknodat,mkdirat,"
                    "linkat,symlinkat,fchmodat,fchownat,utimensat,setxattr,fsetxattr,execve,mount,ioctl", DRIVER, kind, into, *words],
                   check=True, capture_output=True, timeout=300)
    found, text = [], log.read_text(errors="replace")
    if "O_CREAT" not in text:
        raise AssertionError("strace does not show that the output itself is written")
    for line in text.splitlines():
        call = line.split(" ", 1)[1].lstrip() if " " in line else line
        own = str(into) in call
        name = call.split("(", 1)[0]
        if "= -1 " in call:
            continue
        if name == "ioctl":
            if re.search(r"BLK(DISCARD|SECDISCARD|ZEROOUT|RRPART|ROSET|FLSBUF)|FS_IOC_SET|FIFREEZE", call):
                found.append(call)
        elif name == "execve":
            if str(DRIVER) not in call:
                found.append(call)
        elif name in ("open", "openat", "openat2"):
            if re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call) and not own and "/proc/self" not in call:
                found.append(call)
        elif not own and re.match(r"[a-z0-9_]+\(", call) and name != "strace":
            found.append(call)
    return found


class Small:
    """A file system that is soon full."""

    def __init__(self, kib):
        self.kib = kib

    def __enter__(self):
        self.path = folder() / "small"
        self.path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.kib}k", "tmpfs", self.path], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return self.path

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=True, timeout=20)


def check_told(trials, small, told):
    """The target was full: one sentence that says so, and no item that was not whole passes for one."""
    whole = [json.loads(line) for line in (small / "out/notes.jsonl").read_text().splitlines() if line.endswith("}")]
    short = [row for row in whole if "item" in row and (small / "out" / row["item"]).stat().st_size != row["bytes"]]
    trials.check("No space left" in told and len(told.splitlines()) == 1 and not short, f"said: {told!r}, told as whole: {short}")


def check_full(trials, kind, *words):
    """An acquisition into targets of several sizes, all too small."""
    for i in range(count(8, 64)):
        with Small(64 + 100 * (i % 8) + 4 * (i // 8)) as small:
            check_told(trials, small, acquire(kind, *words, into=small / "out", status=1))


def clean():
    shutil.rmtree(WORK, ignore_errors=True)
