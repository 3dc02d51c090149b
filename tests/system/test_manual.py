# SPDX-License-Identifier: Apache-2.0
"""--help, --print-man and the flags that a program takes come from one table: here from outside."""
import os
import re
import subprocess
from pathlib import Path

import pytest

BIN = Path(os.environ.get("EXHIBIT_BUILD", "build")) / "bin"
PROGRAMS = ["exhibit-agent", "exhibit-collector"]


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, timeout=30)


def flags_of_help(text):
    return set(re.findall(r"^ +--([a-z0-9.-]+)", text, re.MULTILINE))


@pytest.mark.parametrize("program", PROGRAMS)
def test_man_page_is_valid_and_names_every_flag_of_help(program, tmp_path):
    man, help_ = run(BIN / program, "--print-man"), run(BIN / program, "--help")
    assert man.returncode == 0 and help_.returncode == 0
    page = tmp_path / f"{program}.8"
    page.write_text(man.stdout)
    lint = run("mandoc", "-Tlint", "-Wwarning", page)
    assert lint.returncode == 0, lint.stdout
    flags = flags_of_help(help_.stdout)
    assert {"config", "check", "help", "version", "print-man"} < flags
    assert flags == set(re.findall(r"^\.It Fl -([a-z0-9.-]+)", man.stdout, re.MULTILINE))


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_flag_is_one_sentence_on_standard_error(program):
    bad = run(BIN / program, "--no-such-flag-at-all")
    assert bad.returncode != 0
    assert bad.stdout == ""
    assert "unknown flag '--no-such-flag-at-all'" in bad.stderr
    assert len(bad.stderr.splitlines()) == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_unknown_key_names_line_and_column(program, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("# a comment\nnosuchgroup:\n  key: 1\n")
    bad = run(BIN / program, f"--config={config}", "--check")
    assert bad.returncode != 0
    assert f"{config}:2:1: unknown key 'nosuchgroup'" in bad.stderr
    assert len(bad.stderr.splitlines()) == 1
