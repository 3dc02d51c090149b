# SPDX-License-Identifier: Apache-2.0
"""Verbs and flags: --help, the man page and bash completion say the same; refusals are one clear sentence."""
import os
import re
import subprocess

import pytest

BUILD = os.environ.get("EXHIBIT_BUILD", "build")
EXHIBIT = os.path.join(BUILD, "bin", "exhibit")
VERBS = ["hosts", "tail", "events", "tree", "coverage", "status", "authority", "grab",
         "approve", "orders", "exhibits", "fetch", "hold", "completion"]
OURS = {"authority", "grab", "approve", "orders", "exhibits", "fetch", "hold", "completion"}  # which ask about no hosts
COMMON = {"--json", "--host", "--limit", "--no-color"}
FILTERS = {"--action", "--process", "--exe", "--path", "--address", "--port", "--container", "--pod", "--namespace", "--image", "--user", "--text",
           "--where"}


def run(*words, **more):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run([EXHIBIT, *words], capture_output=True, text=True, timeout=30, env=env, **more)


def help_flags(verb):
    answer = run(verb, "--help")
    assert answer.returncode == 0 and answer.stderr == ""
    return set(re.findall(r"^  (--[a-z-]+)", answer.stdout, re.M))


@pytest.fixture(scope="module")
def man():
    answer = run("--print-man")
    assert answer.returncode == 0
    return answer.stdout


@pytest.fixture(scope="module")
def completion():
    return run("completion", "bash").stdout


@pytest.mark.parametrize("verb", VERBS)
def test_verb_is_in_help_man_page_and_completion(verb, man, completion):
    assert re.search(rf"^  {verb} ", run("--help").stdout, re.M)
    assert re.search(rf"^\.Ss exhibit {verb}\b", man, re.M)
    assert re.search(rf"--version --print-man .*\b{verb}\b", completion)


@pytest.mark.parametrize("verb", VERBS)
def test_flags_agree(verb, man, completion):
    flags = help_flags(verb)
    section = re.search(rf"^\.Ss exhibit {verb}\b.*?(?=^\.Ss|^\.Sh)", man, re.M | re.S).group(0)
    assert {"-" + f for f in re.findall(r"^\.Fl (-[a-z-]+)", section, re.M)} == flags
    words = re.search(rf"^\t\t{verb}\) words='([^']*)'", completion, re.M).group(1).split()
    assert {w for w in words if w.startswith("--")} == flags


@pytest.mark.parametrize("verb", [v for v in VERBS if v not in OURS])
def test_common_flags(verb):
    assert COMMON <= help_flags(verb)


@pytest.mark.parametrize("verb", ["events", "tail"])
def test_filters(verb):
    assert FILTERS <= help_flags(verb)


def test_man_page_is_well_formed(man):
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=man, capture_output=True, text=True,
                          timeout=30)
    assert lint.stdout == ""


def test_man_page_lists_fields(man):
    for name in ["process.entity_id", "destination.ip", "exhibit.gap.count", "file.path"]:
        assert f".It Li {name} Ta" in man


def complete(completion, *words):
    script = completion + '\nCOMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n_exhibit\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    answer = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, timeout=30)
    assert answer.stderr == ""
    return set(answer.stdout.split())


def test_completion_completes(completion):
    assert complete(completion, "exhibit", "ev") == {"events"}
    assert complete(completion, "exhibit", "events", "--add") == {"--address"}
    assert "connect" in complete(completion, "exhibit", "events", "--action", "conn")
    assert complete(completion, "exhibit", "hosts", "--add") == set()


@pytest.mark.parametrize("words, sentence", [
    (["evnets"], "exhibit: there is no verb 'evnets'; did you mean 'events'?\n"),
    (["events", "--prot", "1"], "exhibit: 'exhibit events' has no flag '--prot'; did you mean --port?\n"),
    (["events", "--since", "noon"], "exhibit: 'noon' is not a value for --since; give a time such as "
     "2026-11-24T14:00:00Z, or an age such as 15m, 2h or 7d\n"),
    (["tree"], "exhibit: a tree needs the entity id of a process, or one --host with --pid; "
     "exhibit tree --host web-1 --pid 4711\n"),
    (["completion", "fish"], "exhibit: completion is written for bash only; . <(exhibit completion bash)\n"),
])
def test_refusals(words, sentence):
    answer = run(*words)
    assert (answer.returncode, answer.stdout, answer.stderr) == (2, "", sentence)


def test_missing_configuration_says_what_to_do():
    answer = run("hosts")
    assert answer.returncode == 2
    assert "'/nonexistent/.config/exhibit/config.yaml'" in answer.stderr
    assert "--config or $EXHIBIT_CONFIG" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_unknown_key_has_line_and_column(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("collector: 127.0.0.1:1\ntsl:\n  cert: x\n")
    answer = run("hosts", "--config", str(config))
    assert answer.returncode == 2
    assert re.search(r"config\.yaml:2:1: .*'tsl'", answer.stderr)


def test_no_words_shows_help():
    answer = run()
    assert answer.returncode == 2 and "Usage: exhibit VERB" in answer.stdout


def test_help_into_a_closed_pipe_is_quiet():
    answer = subprocess.run(["bash", "-c", f"{EXHIBIT} --print-man | head -n 1; exit ${{PIPESTATUS[1]}}"],
                            capture_output=True, text=True, timeout=30)
    assert answer.stderr == "" and answer.returncode == 0
