# SPDX-License-Identifier: Apache-2.0
"""Programs that are stopped before their first instruction. The program's first act leaves a mark: when there is one, it
was too late."""
import shutil
import subprocess

from report import Skip, case
from tools import acquire, count, digest, folder, made


def start(words):
    """An acquirer that waits for its victim; skips where the kernel does not let it."""
    import _pytest.outcomes
    from test_arrest import Arrest
    try:
        return Arrest(folder(), *words)
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
