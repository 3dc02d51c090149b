# SPDX-License-Identifier: Apache-2.0
"""Arrest of scripts: what the kernel runs is their interpreter, what a responder knows is their path."""
import os
import signal
import subprocess

import pytest

from basics import until
from test_arrest import arrest, is_stopped, pytestmark  # noqa: F401  (a fixture and a mark)
from test_core import status


@pytest.fixture
def script(tmp_path):
    (tmp_path / "place/deep").mkdir(parents=True)
    path = tmp_path / "place/deep/dropper.sh"
    path.write_text("#!/bin/sh\necho ran >\"$1\"\n")
    path.chmod(0o755)
    return path


def said(script, how):
    """The working directory, and the script as its caller names it."""
    return {"absolute": ("/", script), "below": (script.parent.parent, "deep/dropper.sh"),
            "here": (script.parent, "./dropper.sh"), "root": ("/", f".{script}")}[how]


@pytest.mark.parametrize("by", ["path", "prefix"])
@pytest.mark.parametrize("how", ["absolute", "below", "here", "root"])
def test_a_script_is_stopped(arrest, script, tmp_path, how, by):  # noqa: F811
    mark = tmp_path / "mark"
    it = arrest({"path": f"on-exec={script}", "prefix": f"on-prefix={script.parent}/"}[by], "end=stay")
    folder, name = said(script, how)
    victim = subprocess.Popen(["sh", "-c", 'cd "$0" && exec "$@"', folder, name, mark])
    until(lambda: it.said("core.processes") is not None, 30, "it is taken")
    assert is_stopped(victim.pid) and not mark.exists() and status(victim.pid, "Name") == "dropper.sh"
    assert os.path.samefile(f"/proc/{victim.pid}/exe", "/bin/sh")
    it.process.send_signal(signal.SIGTERM)
    it.end()
    assert victim.wait(10) == 0 and mark.read_text() == "ran\n"


def test_what_only_looks_like_it_runs(arrest, script, tmp_path):  # noqa: F811
    """Another folder's script of that name, and a script that is an argument only."""
    (tmp_path / "other").mkdir()
    other = tmp_path / "other/dropper.sh"
    other.write_bytes(script.read_bytes())
    other.chmod(0o755)
    it = arrest(f"on-exec={script}", "max-seconds=20")
    assert subprocess.run(["./dropper.sh", tmp_path / "a"], cwd=other.parent, timeout=10, check=False).returncode == 0
    assert subprocess.run(["sh", script, tmp_path / "b"], timeout=10, check=False).returncode == 0
    it.process.send_signal(signal.SIGTERM)
    notes, _ = it.end()
    assert notes["arrest.stops"] == 0 and (tmp_path / "a").exists() and (tmp_path / "b").exists()
