# SPDX-License-Identifier: Apache-2.0
"""`make install`: what it lays down is whole, and what it says of itself is true: configuration that the programs
accept, units that systemd accepts, no more capabilities than the agent's tables name."""
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("EXHIBIT_BUILD", ROOT / "build"))
UNITS = ROOT / "deploy/systemd"

# The most that `systemd-analyze security` may say, in tenths. A service whose main process talks to the network: 2.0.
# The agent's one unit is scored for the process that holds the kernel's privileges, too (deploy/README.md, "Units").
EXPOSURE = {"collector": 20, "agent": 68}


def run(*args, **more):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120, **more)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    at = tmp_path_factory.mktemp("root")
    # -o all: the build is another step's work, here only its result is laid down.
    made = run("make", "-s", "-C", ROOT, f"B={BUILD}", "-o", "all", *(f"-o{BUILD}/bin/{b}" for b in (
        "exhibit", "exhibit-agent", "exhibit-collector")), "install", f"DESTDIR={at}")
    assert made.returncode == 0, made.stderr
    return at


def test_everything_is_there(root):
    have = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    want = {"usr/bin/exhibit", "usr/share/man/man1/exhibit.1", "usr/share/bash-completion/completions/exhibit"}
    for part in ("agent", "collector"):
        want |= {f"usr/sbin/exhibit-{part}", f"usr/share/man/man8/exhibit-{part}.8", f"etc/exhibit/{part}.yaml",
                 f"usr/lib/systemd/system/exhibit-{part}.service", f"usr/lib/sysusers.d/exhibit-{part}.conf",
                 f"usr/lib/tmpfiles.d/exhibit-{part}.conf",
                 f"usr/lib/systemd/system-preset/80-exhibit-{part}.preset"}
    assert have == want
    assert all(p.stat().st_mode & 0o022 == 0 for p in root.rglob("*"))


def test_a_configuration_that_is_there_stays(root):
    mine = root / "etc/exhibit/agent.yaml"
    shipped = mine.read_text()
    mine.write_text("log:\n  level: debug\n")
    try:
        made = run("make", "-s", "-C", ROOT, f"B={BUILD}", f"-o{BUILD}/bin/exhibit-agent", "install",
                   "COMPONENTS=agent", f"DESTDIR={root}")
        assert made.returncode == 0, made.stderr
        assert mine.read_text() == "log:\n  level: debug\n"
    finally:
        mine.write_text(shipped)


@pytest.mark.parametrize("part", ["agent", "collector"])
@pytest.mark.parametrize("kind", ["shipped", "uncommented"])
def test_configuration_is_accepted(root, part, kind, tmp_path):
    text = (root / f"etc/exhibit/{part}.yaml").read_text()
    if kind == "uncommented":
        text = re.sub(r"(?m)^#(?=[a-z ]+)(?! )|^#(?=  +[a-z])", "", text)
        assert re.search(r"(?m)^[a-z]", text), "no example was uncommented"
    (tmp_path / "c.yaml").write_text(text)
    checked = run(root / f"usr/sbin/exhibit-{part}", "--config", tmp_path / "c.yaml", "--check")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("part", ["agent", "collector"])
def test_unit_is_valid(root, part):
    # Names what is wrong in the text; that tools and other units are not in this root is not.
    said = run("systemd-analyze", f"--root={root}", "--man=no", "verify", f"exhibit-{part}.service")
    wrong = [line for line in (said.stdout + said.stderr).splitlines()
             if not re.search(r"/bin/kill is not executable|Unit [a-z-]+\.(target|service) not found", line)]
    assert not wrong, wrong


@pytest.mark.parametrize("part", sorted(EXPOSURE))
def test_unit_is_hardened(root, part):
    unit = root / f"usr/lib/systemd/system/exhibit-{part}.service"
    scored = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE[part]}", unit)
    assert scored.returncode == 0, scored.stdout.splitlines()[-1:]
    assert "Overall exposure level" in scored.stdout


def test_unit_holds_the_capabilities_that_the_agent_names():
    unit = (UNITS / "exhibit-agent.service").read_text()
    given = set(re.findall(r"CAP_([A-Z_]+)", " ".join(re.findall(r"(?m)^CapabilityBoundingSet=(.*)$", unit))))
    privilege = (ROOT / "agent/privilege.c").read_text()
    named = set()
    for table in re.findall(r"cap_value_t \w+_caps\[\] = \{(.*?)\};", privilege, re.S):
        named |= set(re.findall(r"CAP_([A-Z_]+)", table))
    named |= set(re.findall(r"\bCAP\(([A-Z_]+)\)", (ROOT / "agent/acquire/table.c").read_text()))
    assert len(named) > 10
    assert given == named


def expanded(word):
    """A name of a system call, or all of a set of systemd's, sets in it included."""
    if not word.startswith("@"):
        return {word}
    listed = run("systemd-analyze", "syscall-filter", word)
    assert listed.returncode == 0, listed.stderr
    inner = [line.strip() for line in listed.stdout.splitlines() if line.startswith(" ") and "#" not in line]
    return set().union(*(expanded(name) for name in inner))


def test_unit_lets_the_agent_make_its_calls():
    """What its uplink's own filter allows, and reading the state of the clock, which every batch tells: refused, each would
    say that the clock is not synchronised."""
    unit = (UNITS / "exhibit-agent.service").read_text()
    refused = set()
    for line in re.findall(r"(?m)^SystemCallFilter=(.*)$", unit):
        calls = set().union(*(expanded(word) for word in line.lstrip("~").split()))
        refused = refused | calls if line.startswith("~") else refused - calls
    allowed = re.search(r"uplink_calls\[\] = \{(.*?)\};", (ROOT / "agent/privilege.c").read_text(), re.S).group(1)
    needed = set(re.findall(r"SCMP_SYS\((\w+)\)", allowed)) | {"adjtimex", "clock_adjtime"}
    assert len(needed) > 50 and "clock_settime" in refused
    assert not needed & refused


def test_man_pages_are_clean(root):
    for page in root.rglob("*.[18]"):
        linted = run("mandoc", "-T", "lint", "-W", "error", page)
        assert linted.returncode == 0, linted.stdout
