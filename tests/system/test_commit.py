# SPDX-License-Identifier: Apache-2.0
"""Which source a binary was built from: the commit that manifests name."""
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    return tmp_path / "tree"


def git(tree, *words):
    return subprocess.run([*GIT, *words], cwd=tree, check=True, capture_output=True, text=True).stdout.strip()


def built(tree, *more):
    # FLAGS_MK: which flags the compiler takes is of no interest here.
    subprocess.run(["make", "-s", "B=out", "PROBE_FLAGS=", "out/gen/commit.h", *more], cwd=tree, check=True, timeout=60,
                   capture_output=True)
    header = tree / "out/gen/commit.h"
    return header.read_text().strip().removeprefix('#define BUILD_COMMIT "').removesuffix('"'), header.stat().st_mtime_ns


def test_the_commit_and_whether_the_tree_differs(tree):
    git(tree, "init", "-q")
    git(tree, "add", "Makefile")
    git(tree, "commit", "-qm", "x")
    head = git(tree, "rev-parse", "HEAD")
    first = built(tree)
    assert first[0] == head
    assert built(tree) == first, "written again, so that all would be compiled again"
    with (tree / "Makefile").open("a") as f:
        f.write("# changed\n")
    assert built(tree)[0] == head + "-dirty"


def test_outside_of_its_own_tree_it_is_unknown(tree):
    assert built(tree)[0] == "unknown"
    assert built(tree, "COMMIT=v1")[0] == "v1"
    # Another project's tree around it is not ours.
    git(tree.parent, "init", "-q")
    git(tree.parent, "add", "tree/Makefile")
    git(tree.parent, "commit", "-qm", "x")
    assert built(tree)[0] == "unknown"
