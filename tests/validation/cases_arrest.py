# SPDX-License-Identifier: Apache-2.0
"""Programs that are stopped before their first instruction. The program's first act leaves a mark: when there is one, it
was too late."""
import os
import shutil
import subprocess

from report import Skip, case
from tools import Small, acquire, check_told, count, digest, folder, made, refused


def start(words, where=None):
    """An acquirer that waits for its victim; skips where the kernel does not let it."""
    import _pytest.outcomes
    from test_arrest import Arrest
    try:
        return Arrest(where or folder(), *words)
    except _pytest.outcomes.Skipped as why:
        raise Skip(str(why)) from why


def victim():
    path = folder() / "victim"
    shutil.copy(shutil.which("touch"), path)
    return path


@case("arrest", "ARREST-01", "own; Voemel and Freiling 2012: integrity", "the process is stopped before it runs an instruction of its own",
      "program counter at the linker's entry, executable byte for byte, no mark; killed as ordered")
def before_first(trials):
    from elf_core import Core
    from test_arrest import at_first_instruction
    program = victim()
    for _ in range(count(5, 100)):
        mark = folder() / "mark"
        it = start([f"on-exec={program}", "end=kill"])
        try:
            process = subprocess.Popen([program, mark])
            it.end()
            process.wait(10)
        finally:
            it.close()
        core = Core(next(it.out.glob("core.*.elf")))
        trials.check(not mark.exists() and at_first_instruction(core), "it ran")
        core.file.close()
        trials.check(digest(next(it.out.glob("exe.*"))) == digest(program), "another executable")
        trials.check(process.returncode == -9, f"ended with {process.returncode}")
        made.setdefault("arrest", []).append(it.out)


@case("arrest", "ARREST-02", "safe for people and hosts", "it goes on as ordered, and no other process is held",
      "the program does its work after its dump; another one that does not match runs meanwhile")
def goes_on(trials):
    program, other = victim(), victim()
    for _ in range(count(3, 50)):
        where = folder()
        it = start([f"on-exec={program}", "end=continue"])
        try:
            aside = subprocess.run([other, where / "aside"], timeout=20, check=False)
            process = subprocess.Popen([program, where / "mark"])
            it.end()
            process.wait(20)
        finally:
            it.close()
        trials.check(process.returncode == 0 and (where / "mark").exists(), f"ended with {process.returncode}")
        trials.check(aside.returncode == 0 and (where / "aside").exists(), "another program was held")


@case("arrest", "ARREST-03", "safe for people and hosts", "what must not be stopped is refused", "one sentence, at once")
def refuses(trials):
    for words in (["on-exec=/usr/bin/runc"], ["on-exec=usr/bin/x"], ["on-exec=/usr/bin/containerd-shim-runc-v2"], []):
        try:
            told = acquire("arrest", *words, status=1, seconds=10)
        except subprocess.TimeoutExpired:
            told = "it waits\nfor a process"
        trials.check(len(told.splitlines()) == 1, f"{words}: {told}")


@case("arrest", "ARREST-04", "CFTT AO-04", "a full target is told, and the process ends as ordered all the same",
      "one sentence; the program does its work or is killed, as ordered, and the next one is free")
def full(trials):
    program = victim()
    with open(program, "ab") as f:
        f.write(os.urandom(1 << 20))  # behind what is loaded: the executable alone fills the target
    for i in range(count(8, 64)):
        end, marks = ("continue", "kill")[i % 2], folder()
        with Small(64 + 100 * (i // 2 % 4) + 4 * (i // 8)) as small:
            it = start([f"on-exec={program}", f"end={end}"], small)
            try:
                process = subprocess.Popen([program, marks / "first"])
                _, told = it.process.communicate(timeout=60)
                status = process.wait(20)
            finally:
                it.close()
            trials.check(it.process.returncode == 1, f"exit {it.process.returncode}")
            refused.setdefault("arrest", []).append(told)
            check_told(trials, small, told)
        right = (0, True) if end == "continue" else (-9, False)
        trials.check((status, (marks / "first").exists()) == right, f"{end}: ended with {status}")
        after = subprocess.run([program, marks / "next"], timeout=20, check=False)
        trials.check(after.returncode == 0 and (marks / "next").exists(), "the next one is held")
